"""Precision, recall and nearest neighbours against brute force and cases whose answer is known."""

import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.evaluation import manifold, memorisation, nearest, precision_recall


def normal(seed, count, width=4, shift=0.0):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32) + np.float32(shift)


def brute_force(x, y, k):
    """(precision, recall, density, coverage), as the papers define them."""
    def distances(a, b):
        return np.linalg.norm(a[:, None].astype(np.float64) - b, axis=-1)

    x_radius, y_radius = (np.sort(distances(each, each), axis=1)[:, k] for each in (x, y))
    in_y = distances(x, y) <= y_radius
    in_x = distances(x, y) <= x_radius[:, None]
    return in_y.any(axis=1).mean(), in_x.any(axis=0).mean(), in_y.sum() / (k * len(x)), in_y.any(axis=0).mean()


@pytest.mark.parametrize("numbers", [2**25, 300])
def test_brute_force(numbers, monkeypatch):
    monkeypatch.setattr(manifold, "_BLOCK_NUMBERS", numbers)
    x, y = normal(0, 57, shift=0.8), normal(1, 40)
    found = precision_recall(x, y, k=2)
    values = [score.value for score in found]
    np.testing.assert_allclose(values, brute_force(x, y, 2), rtol=1e-6)
    assert all(0.1 < value < 0.95 for value in values)
    precision, recall, _, coverage = found
    for score, count in ((precision, 57), (recall, 40), (coverage, 40)):  # Agresti and Coull's.
        adjusted = (score.value * count + 2) / (count + 4)
        assert score.standard_error == pytest.approx(np.sqrt(adjusted * (1 - adjusted) / (count + 4)))


def test_one_set_and_two_that_do_not_meet():
    x = normal(2, 50)
    assert [score.value for score in precision_recall(x, x[::-1])] == pytest.approx([1, 1, 4 / 3, 1])  # itself and 3
    assert [score.value for score in precision_recall(x, x + 100)] == [0, 0, 0, 0]


def test_a_missing_mode_costs_recall_alone():
    both = np.concatenate([normal(3, 100), normal(4, 100, shift=50)])
    found = precision_recall(normal(5, 200), both)
    assert found.precision.value > 0.9
    assert 0.4 < found.recall.value <= 0.5
    assert found.coverage.value <= 0.5
    swapped = precision_recall(both, normal(5, 200))
    assert swapped.recall.value > 0.9 and swapped.precision.value <= 0.5


def test_copies_far_from_the_origin():
    # 4 copies of each: balls of radius 0, which rounding must not open or close.
    x = np.tile(normal(6, 20, width=64, shift=30), (4, 1))
    other = np.concatenate([x[:20], x[:20] + 1e-1])
    assert precision_recall(other, x).precision.value == 0.5


@pytest.mark.parametrize("numbers", [2**25, 200])
def test_nearest(numbers, monkeypatch):
    monkeypatch.setattr(manifold, "_BLOCK_NUMBERS", numbers)
    x, y = normal(7, 33, shift=1e3), normal(8, 50, shift=1e3)
    x[5] = y[17]
    found = nearest(x, y)
    distances = np.linalg.norm(x[:, None].astype(np.float64) - y, axis=-1)
    np.testing.assert_array_equal(found.index, distances.argmin(axis=1))
    np.testing.assert_allclose(found.distance, distances.min(axis=1), rtol=1e-12)
    assert (found.index[5], found.distance[5]) == (17, 0)
    assert nearest(x[:1], y[:2]).index.shape == (1,)


def test_nearest_of_almost_copies_is_float64s():
    # Float32 ranks 3 almost equal references by its rounding: the candidates' distances differ by 1e-4 of their norm.
    y = normal(9, 3, width=256) * np.float32(1e-4) + normal(10, 1, width=256, shift=0)
    y = np.concatenate([y, -y])
    x = y[[2]] + np.float32(1e-5)
    assert nearest(x, y).index.tolist() == [2]


def test_memorisation():
    train, held_out, fresh = normal(11, 400), normal(12, 400), normal(13, 400)
    honest = memorisation(fresh, train, held_out)
    assert abs(honest.ratio.value - 1) < 3 * honest.ratio.standard_error
    assert abs(honest.near_copies.value - 0.01) < 3 * honest.near_copies.standard_error
    assert honest.ratio.standard_error < 0.05
    halves = np.concatenate([train[:200], fresh[200:]])  # half of the samples are copies
    copied = memorisation(halves, train, held_out)
    assert copied.ratio.value == pytest.approx(0.5, abs=0.05)
    assert copied.near_copies.value == pytest.approx(0.5, abs=0.02)


def test_error_of_a_ratio_is_its_spread():
    rng = np.random.default_rng(14)
    draws = np.array([manifold.compare_distances(rng.gamma(4, size=80), rng.gamma(9, size=50)).ratio
                      for _ in range(1_000)])
    assert draws[:, 0].mean() == pytest.approx(4 / 9, rel=0.02)
    assert draws[:, 1].mean() == pytest.approx(draws[:, 0].std(ddof=1), rel=0.1)


def test_bad_input():
    x = normal(15, 4)
    with pytest.raises(ConfigError, match="k=4 must be below the number of references, 4"):
        precision_recall(normal(16, 9), x, k=4)
    with pytest.raises(ConfigError, match="k=0 must be at least 1"):
        precision_recall(x, x, k=0)
    with pytest.raises(ConfigError, match="samples have 4 features and references 3"):
        nearest(x, x[:, :3])
    with pytest.raises(ConfigError, match="0 references are too few"):
        nearest(x, x[:0])
    with pytest.raises(ConfigError, match="1 held-out examples are too few"):
        memorisation(x, x, x[:1])
    with pytest.raises(ConfigError, match="every held-out example is in the training set"):
        memorisation(x, x, x)
