"""The record of a set of samples: what it names, what it measures, and when it may say FID."""

import json

import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.evaluation import (
    MEASURES,
    FeatureStatistics,
    InceptionFeatures,
    PixelFeatures,
    PointFeatures,
    References,
    Scoring,
    frechet_distance,
    memorisation,
    precision_recall,
    proportion,
    read_accuracy,
    score_samples,
)

SCORES = {"frechet_distance", "kernel_distance", "sliced_wasserstein", "precision", "recall", "density", "coverage"}


def images(seed, count):
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def record():
    return score_samples(images(0, 40), References("noise, train", images(1, 50)), PixelFeatures(), images(2, 30))


def test_record_names_all_that_decides_it(record):
    assert (record.extractor, record.extractor_hash) == ("pixels", PixelFeatures().hash)
    assert (record.samples, record.references, record.held_out, record.matched) == (40, 50, 30, 30)
    moments = FeatureStatistics.of(PixelFeatures()(images(1, 50)))
    assert record.statistics == {"name": "noise, train", "count": 50, "hash": moments.hash}
    assert record.settings["projections"] == 256 and record.settings["measures"] == list(MEASURES)
    assert json.loads(json.dumps(record.to_json()))["scores"]["recall"].keys() == {"value", "standard_error"}


def test_scores_are_the_measures(record):
    neighbours = {f"neighbour_{name}" for name in ("distance", "ratio", "near_copies")}
    prefixed = {f"{prefix}_{name}" for prefix in ("held_out", "matched") for name in SCORES}
    assert record.scores.keys() == SCORES | prefixed | neighbours
    x, y, held_out = (PixelFeatures()(images(seed, count)) for seed, count in ((0, 40), (1, 50), (2, 30)))
    moments = FeatureStatistics.of(y)
    found = record.scores
    assert found["frechet_distance"].value == pytest.approx(frechet_distance(FeatureStatistics.of(x), moments))
    floor = frechet_distance(FeatureStatistics.of(held_out), moments)
    assert found["held_out_frechet_distance"].value == pytest.approx(floor)
    assert found["neighbour_ratio"] == memorisation(x, y, held_out).ratio
    assert all(np.isfinite(score).all() for score in found.values())


def test_samples_and_held_out_data_are_compared_at_equal_numbers(record):
    """Two draws of one distribution: at 30 the distance is larger than at 120, and no model is the better for it."""
    references, scoring = References("noise", images(1, 200)), Scoring(measures=("frechet",))
    for samples, held_out in ((120, 30), (30, 120)):
        found = score_samples(images(0, samples), references, PixelFeatures(), images(2, held_out), scoring)
        at_thirty = found.scores["matched_frechet_distance" if samples == 120 else "frechet_distance"]
        assert found.matched == 30 and ("matched_frechet_distance" in found.scores) == (samples == 120)
        assert at_thirty.value == pytest.approx(found.scores["held_out_frechet_distance"].value, rel=0.3)
        if samples == 120:
            assert at_thirty.value > 1.5 * found.scores["frechet_distance"].value
        assert "held_out_ and matched_ scores: of 30 each" in str(found)


def test_precision_and_recall_are_of_so_many_at_most():
    scoring = Scoring(measures=("precision_recall",), balls=30)
    found = score_samples(images(0, 40), References("noise", images(1, 50)), PixelFeatures(), scoring=scoring)
    drawn = [PixelFeatures()(images(seed, count))[np.random.default_rng(0).permutation(count)[:30]]
             for seed, count in ((0, 40), (1, 50))]
    assert found.scores == precision_recall(*drawn)._asdict() and found.settings["balls"] == 30
    assert "precision, recall, density and coverage: of 30 each at most" in str(found)


def test_measures_are_told_of_before_they_are_taken():
    told, scoring = [], Scoring(measures=("neighbours", "frechet"))
    references = References("noise", images(1, 50))
    score_samples(images(0, 40), references, PixelFeatures(), images(2, 40), scoring, told.append)
    assert told == ["features", "frechet", "frechet", "neighbours"]  # Of samples, and of held-out data.


def test_text_never_says_fid(record):
    text = str(record)
    assert "40 samples against noise, train (50); features: pixels" in text
    assert "+-" in text and "fid" not in text.lower() and "kid" not in text.lower()


def test_fid_is_of_inception_alone():
    class Loaded(InceptionFeatures):
        _variables = None

        def __call__(self, images):
            return PixelFeatures()(images)

    scoring = Scoring(measures=("frechet", "kernel"))
    found = score_samples(images(0, 40), References("noise", images(1, 50)), Loaded("weights.npz"), scoring=scoring)
    assert found.scores.keys() == {"fid", "kid"}
    assert found.extractor == "InceptionV3 (pytorch-fid)"


def test_statistics_from_a_file(record):
    moments = FeatureStatistics.of(PixelFeatures()(images(1, 50)))
    public = FeatureStatistics(moments.mean, moments.covariance, None)
    references = References("noise", statistics=public, statistics_name="noise.npz")
    with_images = References("noise", images(4, 30), statistics=public, statistics_name="noise.npz")
    for each in (references, with_images):
        found = score_samples(images(0, 40), each, PixelFeatures(), scoring=Scoring(measures=("frechet",)))
        assert found.statistics == {"name": "noise.npz", "count": None, "hash": moments.hash}
        (name, score), = found.scores.items()
        assert name == "frechet_distance" and score.value == record.scores[name].value
        assert score.standard_error < record.scores[name].standard_error  # the references' draw is not covered
    with pytest.raises(ConfigError, match="kernel needs references' images, and 'noise' are statistics alone"):
        score_samples(images(0, 40), references, PixelFeatures())


def test_points():
    x, y = np.random.default_rng(3).normal(size=(2, 60, 2))
    scoring = Scoring(measures=("sliced_wasserstein",), power=1)
    found = score_samples(x, References("plane", y), PointFeatures(), scoring=scoring)
    assert found.statistics is None and found.scores.keys() == {"sliced_wasserstein"}


def test_accuracy():
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3]])
    found = read_accuracy(probabilities, np.array([0, 2, 1, 1]))
    assert found == pytest.approx((0.75, np.sqrt(5 / 8 * 3 / 8 / 8)))  # Two more of each.
    with pytest.raises(ConfigError, match=r"probabilities must be \[N, K\] and labels \[N\]"):
        read_accuracy(probabilities, np.zeros(3, int))
    with pytest.raises(ConfigError, match="labels go from 0 to 3; the classifier knows 0 to 2"):
        read_accuracy(probabilities, np.array([0, 2, 1, 3]))
    with pytest.raises(ConfigError, match="not all finite"):
        read_accuracy(probabilities * np.nan, np.array([0, 2, 1, 1]))


@pytest.mark.parametrize("value", [True, False])
def test_all_alike_is_not_certain(value):
    found = proportion(np.full(1_000, value))
    assert found.value == value and 2 * found.standard_error == pytest.approx(3 / 1_000, rel=0.1)  # The rule of three.


def test_bad_input():
    with pytest.raises(ConfigError, match="there is no measure 'fid'; there are: frechet, kernel"):
        Scoring(measures=("fid",))
    with pytest.raises(ConfigError, match="measures is empty"):
        Scoring(measures=())
    with pytest.raises(ConfigError, match="balls=3 must be above k=3"):
        Scoring(balls=3)
    with pytest.raises(ConfigError, match="references 'none' have neither images nor statistics"):
        References("none")
    with pytest.raises(ConfigError, match="samples have 16 features and references 3"):
        score_samples(images(0, 40), References("three", statistics=FeatureStatistics(np.zeros(3), np.eye(3), None)),
                      PixelFeatures(), scoring=Scoring(measures=("frechet",)))
