"""Bits per dimension and the quality of samples, of a network that is exact for the data."""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.data import EightGaussians, Points
from genlab.diffusion import schedules
from genlab.diffusion.likelihood import ProbabilityFlow
from genlab.diffusion.paths import VP
from genlab.diffusion.samplers import Sampler, Samples
from genlab.evaluation import FeatureStatistics, PixelFeatures, Scoring
from genlab.objectives.diffusion import ImageDiffusion, PointDiffusion
from genlab.objectives.generation import BitsPerDimension, Draw, PointQuality, SampleQuality, data_of

STD = 0.25


class Exact(nn.Module):
    """The noise expected in x_t of normal data of mean (label - 1) / 10 and standard deviation STD."""

    image_size: int = 4
    channels: int = 1
    dimensions: int = 2
    num_classes: int = 0
    dtype: str = "float32"

    def validate(self):
        pass

    @nn.compact
    def __call__(self, x, noise_level, label=None, train=False):
        unused = self.param("unused", nn.initializers.ones, ())
        t = (noise_level / 1_000).reshape(-1, *[1] * (x.ndim - 1))
        alpha, sigma = VP().alpha(t), VP().sigma(t)
        mean = 0.0 if label is None else (label.reshape(t.shape) - 1) / 10
        return sigma * (x - alpha * mean) / (alpha**2 * STD**2 + sigma**2) * unused


OBJECTIVE = ImageDiffusion(model=Exact())
CONDITIONAL = ImageDiffusion(model=Exact(num_classes=3), label_dropout=0.1)


def collector(objective, count=256, held_out=None):
    """The data that the network is exact for, as a run's `collect` gives them."""
    def arrays(split, n):
        random = np.random.default_rng(split == "train")
        label = np.arange(n) % 3
        mean = (label - 1) / 10 if objective.model.num_classes else np.zeros(n)
        x = mean[:, None, None, None] + STD * random.normal(size=(n, 4, 4, 1))
        return {"image": np.asarray(objective.pixels.to_bytes(x)), "label": label, "index": np.arange(n)}

    @functools.cache
    def collect(split, read, examples=0):
        batch = arrays(split, examples or count)
        found = jax.jit(lambda v, b: read(objective, v, b))(objective.init(jax.random.key(0)), batch)
        return jax.device_get(found) | {"label": batch["label"]}

    return collect


def test_bits_per_dimension_are_those_of_the_normal_distribution():
    nats = 0.5 * math.log(2 * math.pi * math.e * STD**2) - math.log(2 / 256)
    for objective in (OBJECTIVE, CONDITIONAL):
        found = BitsPerDimension(ProbabilityFlow(steps=12)).run(collector(objective))["bits_per_dimension"]
        assert found.mean == pytest.approx(nats / math.log(2), abs=4 * found.standard_error)
        assert 0.005 < found.standard_error < 0.02


def test_without_labels_a_conditional_model_says_less():
    told, untold = (BitsPerDimension(ProbabilityFlow(steps=8), 96, conditional).run(collector(CONDITIONAL))
                    for conditional in (True, False))
    assert untold["bits_per_dimension"].mean > told["bits_per_dimension"].mean + 0.02


def test_samples_are_scored_beside_held_out_data_and_have_the_class_asked_for(tmp_path):
    quality = SampleQuality(Sampler(steps=12), samples=240, scoring=Scoring(("frechet", "neighbours")))
    record, made = quality.score(collector(CONDITIONAL))
    assert record.samples == 240 and record.references == record.held_out == 256 and record.extractor == "pixels"
    x = np.asarray(CONDITIONAL.pixels.normalize(made["sample"])).reshape(240, -1)
    np.testing.assert_array_equal(made["label"], np.arange(240) % 3)
    for label in range(3):
        assert x[made["label"] == label].mean() == pytest.approx((label - 1) / 10, abs=0.03)
    assert x[made["label"] == 1].std() == pytest.approx(STD, rel=0.06)
    # Against a file's moments, here those of the same data.
    real = collector(CONDITIONAL)("train", data_of)["data"]
    FeatureStatistics.of(PixelFeatures()(real)).save(tmp_path / "moments.npz")
    known = dataclasses.replace(quality, statistics=str(tmp_path / "moments.npz"))
    found = known.score(collector(CONDITIONAL), made)[0]
    assert found.statistics == record.statistics | {"name": str(tmp_path / "moments.npz")}
    assert found.scores["frechet_distance"].value == pytest.approx(record.scores["frechet_distance"].value)
    assert found.scores["frechet_distance"].standard_error < record.scores["frechet_distance"].standard_error
    estimates = quality.run(collector(CONDITIONAL))
    assert estimates["frechet_distance"].mean < 1.5 * estimates["held_out_frechet_distance"].mean
    assert estimates["neighbour_ratio"].mean == pytest.approx(1, abs=0.1)


def test_points_are_scored_by_what_their_source_knows():
    source = EightGaussians()
    objective = PointDiffusion(model=Exact())

    asked = []

    def collect(split, read, examples=0):
        asked.append(examples)
        random = np.random.default_rng(split == "train")
        batch = {"point": source.sample(random, 800).astype(np.float32), "index": np.arange(800)}
        return jax.device_get(read(objective, objective.init(jax.random.key(0)), batch))

    found = PointQuality(source, Sampler(steps=8), 800).run(collect)
    assert found["within_4_sigma"].mean < 0.1  # One normal distribution in the middle is none of the eight.
    assert found["sliced_wasserstein"].mean > 10 * found["held_out_sliced_wasserstein"].mean
    assert {"in_mode_0", "in_mode_7"} <= set(found)
    assert asked == [800] * 3  # At equal numbers.


def test_samples_end_where_they_are_told_to():
    """An evaluation's end goes before the objective's own, that before the path's."""
    class Ends:
        def sample(self, path, denoiser, key, shape):
            return Samples(np.full(shape, path.start))

    plain = PointDiffusion(model=Exact())
    own = dataclasses.replace(plain, sampling_start=0.2)
    for objective, start, end in ((plain, None, 1e-3), (own, None, 0.2), (own, 0.5, 0.5), (own, 0.01, 0.01)):
        found = Draw(Ends(), start=start)(objective, objective.init(jax.random.key(0)), {"index": np.arange(4)})
        assert found["sample"].shape == (4, 2) and (found["sample"] == end).all()


def test_equal_evaluations_share_a_program():
    """A run's program is found by what is read (genlab/training/program.py)."""
    reads = []

    def collect(split, read, examples=0):
        reads.append(read)
        return {"sample": np.zeros((30, 2)), "data": np.ones((30, 2)), "bits": np.arange(3.0)}

    for _ in range(2):
        PointQuality(EightGaussians(), Sampler(steps=8), 30).run(collect)
        BitsPerDimension(ProbabilityFlow(steps=3)).run(collect)
    assert reads[0] == reads[4] and reads[3] == reads[7] and len(set(reads)) == 3


def test_fewer_samples_than_asked_for_are_told(caplog):
    collect = {"sample": np.zeros((5, 2))}
    assert len(Draw(Sampler()).made(lambda *_: collect, 5)["sample"]) == 5 and not caplog.text
    Draw(Sampler()).made(lambda *_: collect, 7)
    assert "7 samples were asked for and 5 made: one for each training example" in caplog.text


@pytest.mark.parametrize(("evaluation", "objective", "message"), [
    (BitsPerDimension(), PointDiffusion(model=Exact()), "bits per dimension are of diffusion models of images, not of"),
    (SampleQuality(guidance=2.0), OBJECTIVE, "guidance=2.0 asks for a class, but this run is unconditional"),
    (BitsPerDimension(conditional=False), dataclasses.replace(CONDITIONAL, label_dropout=0.0),
     "bits per dimension without labels need a network that was also trained without them"),
    (SampleQuality(), dataclasses.replace(OBJECTIVE, model=Exact(image_size=256, channels=3)),
     "the Fréchet distance of 196,608 pixels an image needs matrices of 288 GiB; compare features of at most 12,288"),
    (SampleQuality(statistics="nowhere.npz"), OBJECTIVE, "there is no statistics file nowhere.npz"),
    (PointQuality(None), OBJECTIVE, "these are measures of points, and ImageDiffusion makes none"),
    (SampleQuality(Sampler(steps=40)), dataclasses.replace(
        OBJECTIVE, path=VP(schedules.Discrete(32), start=1 / 32)), "more than the discretisation allows"),
    (SampleQuality(start=1e-4), OBJECTIVE, "start=0.0001 is no time of this path, which is trained from 0.001 on"),
    (BitsPerDimension(start=1e-4), OBJECTIVE, "start=0.0001 is no time of this path"),
    (PointQuality(None, start=1e-4), PointDiffusion(model=Exact()), "start=0.0001 is no time of this path"),
])  # fmt: skip
def test_what_cannot_be_evaluated_is_a_one_line_error(evaluation, objective, message):
    with pytest.raises(ConfigError, match=message):
        evaluation.check(objective, Points())


def test_one_example_has_no_standard_error():
    with pytest.raises(ConfigError, match="bits per dimension of 1 example have no standard error; take 2 or more"):
        BitsPerDimension(held_out_examples=1)


def test_samples_cannot_end_where_nothing_was_trained():
    with pytest.raises(ConfigError, match="start=1e-05 is no time of this path"):
        dataclasses.replace(OBJECTIVE, sampling_start=1e-5).validate()
