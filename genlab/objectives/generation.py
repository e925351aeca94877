"""What a diffusion model is worth beside its loss: bits per dimension, and the quality of its samples.

Evaluations as in genlab/objectives/probes.py; their numbers can stand in a run's record or be asked of a finished run.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.diffusion.dequantization import dequantized_bits
from genlab.diffusion.likelihood import ProbabilityFlow
from genlab.diffusion.samplers import AdaptiveOde, Sampler
from genlab.evaluation import PixelFeatures, PointFeatures, References, SampleScores, Scoring, score_samples
from genlab.objectives.dequantization import VariationalDequantization
from genlab.objectives.diffusion import ImageDiffusion, PointDiffusion, ScoreMatching
from genlab.objectives.metric import Estimate
from genlab.objectives.probes import Collect


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
    """

    flow: ProbabilityFlow = ProbabilityFlow(steps=20)
    held_out_examples: int = 0
    conditional: bool = True

    def check(self, objective: Any, data: Any) -> None:
        """See genlab/objectives/probes.py."""
        if not isinstance(objective, ImageDiffusion | VariationalDequantization):
            raise ConfigError(f"bits per dimension are of diffusion models of images, not of "
                              f"{type(objective).__name__}")
        diffusion = getattr(objective, "teacher", objective)
        if not self.conditional and diffusion.model.num_classes and not diffusion.label_dropout:
            raise ConfigError("bits per dimension without labels need a network that was also trained without them: "
                              "train one with label_dropout, or leave conditional on")

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See genlab/objectives/probes.py; NaN where the ODE could not be solved."""
        bits_N = collect("held_out", self.read, self.held_out_examples)["bits"].astype(np.float64)
        return {"bits_per_dimension": Estimate(float(bits_N.mean()), float(bits_N.std(ddof=1) / np.sqrt(len(bits_N))))}

    def read(self, objective: ImageDiffusion, variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """The bits per dimension of a batch's images."""
        network = getattr(objective, "teacher", objective).model
        label = jnp.asarray(batch["label"], jnp.int32) if self.conditional and network.num_classes else None
        return {"bits": dequantized_bits(
            self.flow, objective.path, objective.denoiser(variables, label), objective.pixels.levels(batch["image"]),
            batch_key(batch), objective.dequantization(variables))}


@dataclasses.dataclass(frozen=True)
class SampleQuality:
    """Samples scored against the training and the held-out data (genlab/evaluation/report.py).

    A sample is made for each of so many training examples, evenly spaced, with its class if the model reads one.

    Attributes:
      sampler: as launch.sample has it.
      guidance: scale, 1 for none.
      samples: how many; 0 for as many as training examples.
      extractor: of the features that are compared; none for pixels, or for points as they are.
      scoring: what is measured.
    """

    sampler: Sampler | AdaptiveOde = Sampler()
    guidance: float = 1.0
    samples: int = 1_000
    extractor: Any = None
    scoring: Scoring = Scoring()

    def check(self, objective: Any, data: Any) -> None:
        """See genlab/objectives/probes.py."""
        if not isinstance(objective, ScoreMatching):
            raise ConfigError(f"samples are of diffusion models, not of {type(objective).__name__}")
        objective.check_guidance(self.guidance)
        if isinstance(self.sampler, Sampler):
            self.sampler.times(objective.path)

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See genlab/objectives/probes.py."""
        scores = self.score(collect)[0].scores
        return {name: Estimate(score.value, score.standard_error) for name, score in scores.items()}

    def score(self, collect: Collect) -> tuple[SampleScores, dict[str, np.ndarray]]:
        """(the record of the scores, what was scored: "sample" and, where there are labels, "label")."""
        made = collect("train", self.read, self.samples)
        real = {split: collect(split, data_of, 0)["data"] for split in ("train", "held_out")}
        extractor = self.extractor or (PointFeatures() if real["train"].ndim == 2 else PixelFeatures())
        references = References(f"the training data ({len(real['train']):,})", real["train"])
        return score_samples(made["sample"], references, extractor, real["held_out"], self.scoring), made

    def read(self, objective: ScoreMatching, variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """A sample for each example of a batch."""
        label = jnp.asarray(batch["label"], jnp.int32) if objective.model.num_classes else None
        denoiser = objective.denoiser(variables, label, self.guidance)
        shape = (len(batch["index"]), *objective.example_shape())
        return {"sample": objective.decode(self.sampler.sample(objective.path, denoiser, batch_key(batch), shape).x)}


@dataclasses.dataclass(frozen=True)
class PointQuality:
    """Samples of points: their sliced Wasserstein distance to held-out ones, and what the source knows of them.

    "sliced_wasserstein" (W_1) with "held_out_sliced_wasserstein", training data against held-out data, beside it; and
    the source's own measures (genlab/data/points.py): shares of points on the support, in the modes.

    Attributes:
      sampler: as launch.sample has it.
      samples: how many.
    """

    source: Any
    sampler: Sampler | AdaptiveOde = Sampler(steps=50)
    samples: int = 10_000

    def check(self, objective: Any, data: Any) -> None:
        """See genlab/objectives/probes.py."""
        if not isinstance(objective, PointDiffusion):
            raise ConfigError(f"these are measures of points, and {type(objective).__name__} makes none")

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See genlab/objectives/probes.py."""
        scoring = Scoring(measures=("sliced_wasserstein",), power=1)
        found = SampleQuality(self.sampler, samples=self.samples, scoring=scoring)
        points = collect("train", found.read, self.samples)["sample"]
        train, held_out = (collect(split, data_of, self.samples)["data"] for split in ("train", "held_out"))
        scored = score_samples(points, References("held-out points", held_out), PointFeatures(), train, scoring)
        measures = self.source.measures(points) if hasattr(self.source, "measures") else {}
        shares = {name: Estimate(float(true_N.mean()), float(np.sqrt(true_N.var() / len(true_N))))
                  for name, true_N in measures.items()}
        return shares | {name: Estimate(score.value, score.standard_error) for name, score in scored.scores.items()}


def data_of(objective: ScoreMatching, variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The data of a batch as samples are compared with it."""
    return {"data": batch["image"] if "image" in batch else batch["point"]}


def batch_key(batch: dict[str, jax.Array]) -> jax.Array:
    """A key of the examples in a batch of an evaluation: the same at every evaluation, another for every batch."""
    return jax.random.fold_in(jax.random.key(0), batch["index"][0])
