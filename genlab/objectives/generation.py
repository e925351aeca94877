"""What a diffusion model is worth beside its loss: bits per dimension, and the quality of its samples.

Evaluations as in genlab/objectives/probes.py; their numbers can stand in a run's record or be asked of a finished run.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from genlab.configuration import ConfigError
from genlab.diffusion.dequantization import dequantized_bits
from genlab.diffusion.grids import starting_at
from genlab.diffusion.likelihood import ProbabilityFlow
from genlab.diffusion.samplers import AdaptiveOde, Sampler
from genlab.evaluation import (
    FeatureStatistics,
    PixelFeatures,
    PointFeatures,
    References,
    SampleScores,
    Scoring,
    proportion,
    score_samples,
)
from genlab.objectives.dequantization import VariationalDequantization
from genlab.objectives.diffusion import ImageDiffusion, PointDiffusion, ScoreMatching
from genlab.objectives.metric import Estimate, ratio_estimate
from genlab.objectives.probes import Collect

_WIDEST = 12_288  # pixels, of 64 x 64 x 3: a covariance of 1.1 GiB, of which the Fréchet distance takes nine


@dataclasses.dataclass(frozen=True)
class BitsPerDimension:
    """Exact bits per dimension of held-out images, dequantised as the objective has it: "bits_per_dimension".

    Uniformly, or by noise that was trained for the model (genlab/objectives/dequantization.py); either gives an upper
    bound on those of the levels (Theis et al. 2015, arXiv 1511.01844, section 3.1). Of a class-conditional model they
    are p(x | label)'s; with `conditional` off, those of the model without a label.

    Attributes:
      flow: how the ODE is solved.
      held_out_examples: 0 for all.
      conditional: whether a model that reads labels is told them.
      start: the time that the ODE begins at, as if data were noised as much; none for the path's start.
    """

    flow: ProbabilityFlow = ProbabilityFlow(steps=20)
    held_out_examples: int = 0
    conditional: bool = True
    start: float | None = None

    def __post_init__(self):
        if self.held_out_examples == 1:
            raise ConfigError("bits per dimension of 1 example have no standard error; take 2 or more, or 0 for all")

    def check(self, objective: Any, data: Any) -> None:
        """See genlab/objectives/probes.py."""
        if not isinstance(objective, ImageDiffusion | VariationalDequantization):
            raise ConfigError(f"bits per dimension are of diffusion models of images, not of "
                              f"{type(objective).__name__}")
        diffusion = getattr(objective, "teacher", objective)
        if not self.conditional and diffusion.model.num_classes and not diffusion.label_dropout:
            raise ConfigError("bits per dimension without labels need a network that was also trained without them: "
                              "train one with label_dropout, or leave conditional on")
        starting_at(objective.path, self.start)

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See genlab/objectives/probes.py; NaN where the ODE could not be solved."""
        bits_N = collect("held_out", self, self.held_out_examples)["bits"]
        return {"bits_per_dimension": ratio_estimate(bits_N, np.ones_like(bits_N))}

    def __call__(self, objective: ImageDiffusion, variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Reads the bits per dimension of a batch's images."""
        network = getattr(objective, "teacher", objective).model
        label = jnp.asarray(batch["label"], jnp.int32) if self.conditional and network.num_classes else None
        return {"bits": dequantized_bits(
            self.flow, starting_at(objective.path, self.start), objective.denoiser(variables, label),
            objective.pixels.levels(batch["image"]), batch_key(batch), objective.dequantization(variables))}


@dataclasses.dataclass(frozen=True)
class Draw:
    """Reads a sample for each example of a batch, with its class if the model reads one.

    Equal ones share a compiled program, over evaluations and over runs of one shape.

    Attributes:
      sampler: as launch.sample has it.
      guidance: scale, 1 for none.
      start: the time that samples end at; none for where the objective has them end.
    """

    sampler: Sampler | AdaptiveOde
    guidance: float = 1.0
    start: float | None = None

    def check(self, objective: ScoreMatching) -> None:
        """Raises ConfigError, in one line, for samples that this objective cannot make."""
        objective.check_guidance(self.guidance)
        path = objective.sampling_path(self.start)
        if isinstance(self.sampler, Sampler):
            self.sampler.times(path)

    def __call__(self, objective: ScoreMatching, variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Reads "sample", data [B, ...]."""
        label = jnp.asarray(batch["label"], jnp.int32) if objective.model.num_classes else None
        denoiser = objective.denoiser(variables, label, self.guidance)
        shape = (len(batch["index"]), *objective.example_shape())
        samples = self.sampler.sample(objective.sampling_path(self.start), denoiser, batch_key(batch), shape)
        return {"sample": objective.decode(samples.x)}

    def made(self, collect: Collect, count: int) -> dict[str, np.ndarray]:
        """So many samples, or one for each training example, whose number a warning then tells."""
        made = collect("train", self, count)
        if len(made["sample"]) < count:
            logging.warning("%d samples were asked for and %d made: one for each training example, of which there are "
                            "no more", count, len(made["sample"]))
        return made


@dataclasses.dataclass(frozen=True)
class SampleQuality:
    """Samples scored against the training and the held-out data (genlab/evaluation/report.py).

    A sample is made for each of so many training examples, evenly spaced, with its class if the model reads one.

    Attributes:
      sampler, guidance, start: see `Draw`.
      samples: how many, at most as many as training examples; 0 for all of these.
      extractor: of the features that are compared; none for pixels, or for points as they are.
      scoring: what is measured.
      statistics: a file of moments for the Fréchet distance (genlab/evaluation/frechet.py), such as a published one's;
        none for those of the training data, all of which are held in memory, as the held-out data are.
    """

    sampler: Sampler | AdaptiveOde = Sampler()
    guidance: float = 1.0
    samples: int = 1_000
    extractor: Any = None
    scoring: Scoring = Scoring()
    start: float | None = None
    statistics: str | None = None

    @property
    def draw(self) -> Draw:
        """What is sampled."""
        return Draw(self.sampler, self.guidance, self.start)

    def check(self, objective: Any, data: Any, made: bool = False) -> None:
        """See genlab/objectives/probes.py; `made`: whether samples are there already, and none are drawn."""
        if not isinstance(objective, ScoreMatching):
            raise ConfigError(f"samples are of diffusion models, not of {type(objective).__name__}")
        width = math.prod(objective.example_shape())
        if self.extractor is None and "frechet" in self.scoring.measures and width > _WIDEST:
            raise ConfigError(f"the Fréchet distance of {width:,} pixels an image needs matrices of "
                              f"{8 * width**2 / 2**30:,.0f} GiB; compare features of at most {_WIDEST:,} numbers")
        if self.statistics is not None:
            FeatureStatistics.load(self.statistics)
        if not made:
            self.draw.check(objective)

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See genlab/objectives/probes.py."""
        scores = self.score(collect)[0].scores
        return {name: Estimate(score.value, score.standard_error) for name, score in scores.items()}

    def score(self, collect: Collect, made: dict[str, np.ndarray] | None = None,
              on_measure: Callable[[str], None] = lambda name: None) -> tuple[SampleScores, dict[str, np.ndarray]]:
        """(the record of the scores, what was scored: "sample" and, where there are labels, "label").

        That is `made` where samples are there already. `on_measure` is as of `score_samples`.
        """
        made = made or self.draw.made(collect, self.samples)
        real = {split: collect(split, data_of, 0)["data"] for split in ("train", "held_out")}
        extractor = self.extractor or (PointFeatures() if real["train"].ndim == 2 else PixelFeatures())
        moments = None if self.statistics is None else FeatureStatistics.load(self.statistics)
        references = References("the training data", real["train"], moments, self.statistics or "")
        scores = score_samples(made["sample"], references, extractor, real["held_out"], self.scoring, on_measure)
        return scores, made


@dataclasses.dataclass(frozen=True)
class PointQuality:
    """Samples of points: their sliced Wasserstein distance to held-out ones, and what the source knows of them.

    "sliced_wasserstein" (W_1) with "held_out_sliced_wasserstein", training data against held-out data, beside it; and
    the source's own measures (genlab/data/points.py): shares of points on the support, in the modes.

    Attributes:
      source: of the data, where it says how good points are.
      sampler, start: see `Draw`.
      samples: how many, at most as many as training examples.
    """

    source: Any
    sampler: Sampler | AdaptiveOde = Sampler(steps=50)
    samples: int = 10_000
    start: float | None = None

    @property
    def draw(self) -> Draw:
        """What is sampled."""
        return Draw(self.sampler, start=self.start)

    def check(self, objective: Any, data: Any, made: bool = False) -> None:
        """See `SampleQuality.check`."""
        if not isinstance(objective, PointDiffusion):
            raise ConfigError(f"these are measures of points, and {type(objective).__name__} makes none")
        if not made:
            self.draw.check(objective)

    def run(self, collect: Collect, made: dict[str, np.ndarray] | None = None) -> dict[str, Estimate]:
        """See genlab/objectives/probes.py; `made` as `SampleQuality.score` has it."""
        scoring = Scoring(measures=("sliced_wasserstein",), power=1)
        points = (made or self.draw.made(collect, self.samples))["sample"]
        train, held_out = (collect(split, data_of, len(points))["data"] for split in ("train", "held_out"))
        scored = score_samples(points, References("held-out points", held_out), PointFeatures(), train, scoring)
        measures = self.source.measures(points) if hasattr(self.source, "measures") else {}
        scores = {name: proportion(true_N) for name, true_N in measures.items()} | scored.scores
        return {name: Estimate(score.value, score.standard_error) for name, score in scores.items()}


def data_of(objective: ScoreMatching, variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The data of a batch as samples are compared with it."""
    return {"data": batch["image"] if "image" in batch else batch["point"]}


def batch_key(batch: dict[str, jax.Array]) -> jax.Array:
    """A key of the examples in a batch of an evaluation: the same at every evaluation, another for every batch."""
    return jax.random.fold_in(jax.random.key(0), batch["index"][0])
