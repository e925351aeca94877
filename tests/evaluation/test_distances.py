"""Kernel and sliced Wasserstein distances against closed forms, slow versions, and their own spread over draws."""

import numpy as np
import pytest
import scipy.stats

from genlab.configuration import ConfigError
from genlab.evaluation import distances, kernel_distance, sliced_wasserstein


def test_kernel_distance_of_one_block_by_hand():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 4)), rng.normal(size=(6, 4)) + 0.5

    def mean(pairs):
        return np.mean([(a @ b / 4 + 1) ** 3 for a, b in pairs])

    within = sum(mean([(a[i], a[j]) for i in range(6) for j in range(6) if i != j]) for a in (x, y))
    expected = within - 2 * mean([(a, b) for a in x for b in y])
    assert distances._unbiased_mmd(x, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_kernel_distance_is_unbiased_and_knows_its_error(shift):
    # (x y + 1)^3 has the features x^j sqrt(C(3, j)): the distance is 3 m^2 + 3 m^4 + (m^3 + 3 m)^2 for unit normals.
    rng = np.random.default_rng(1)
    draws = np.array([
        kernel_distance(rng.normal(size=(220, 1)) + shift, rng.normal(size=(200, 1))) for _ in range(300)])
    truth = 3 * shift**2 + 3 * shift**4 + (shift**3 + 3 * shift) ** 2
    spread = draws[:, 0].std(ddof=1)
    assert abs(draws[:, 0].mean() - truth) < 3 * spread / np.sqrt(300)
    assert np.sqrt(np.mean(draws[:, 1] ** 2)) == pytest.approx(spread, rel=0.2)


def test_kernel_blocks_are_as_asked(monkeypatch):
    sizes = []
    monkeypatch.setattr(distances, "_unbiased_mmd", lambda x, y: sizes.append((len(x), len(y))) or 0.0)
    kernel_distance(np.zeros((105, 2)), np.zeros((300, 2)), block_size=8)
    kernel_distance(np.zeros((105, 2)), np.zeros((300, 2)))
    assert sizes == [(8, 8)] * 13 + [(10, 10)] * 10


@pytest.mark.parametrize("sizes", [(40, 40), (40, 30), (7, 60)])
def test_on_a_line_sliced_is_wasserstein(sizes):
    rng = np.random.default_rng(2)
    x, y = (rng.normal(size=(n, 1)) * scale for n, scale in zip(sizes, (1, 3), strict=True))
    expected = scipy.stats.wasserstein_distance(x[:, 0], y[:, 0])
    assert sliced_wasserstein(x, y, power=1, projections=2).value == pytest.approx(expected, rel=1e-9)
    common = np.lcm(*sizes)
    x_all, y_all = (np.sort(np.repeat(each[:, 0], common // len(each))) for each in (x, y))
    second = np.sqrt(np.mean((x_all - y_all) ** 2))
    assert sliced_wasserstein(x, y, power=2, projections=2).value == pytest.approx(second, rel=1e-9)


def test_shifted_points():
    # The mean square of a shift along uniform directions is |m|^2 / D; with m on one axis its mean modulus is
    # |m| E|cos|, 1/2 in 3 dimensions.
    x, shift = np.random.default_rng(3).normal(size=(50, 3)), np.array([0.0, 3.0, 0.0])
    for power, expected in ((1, 1.5), (2, np.sqrt(3))):
        found = sliced_wasserstein(x, x + shift, power=power, projections=4_000)
        assert found.value == pytest.approx(expected, abs=0.045)  # 3 standard errors of 4,000 directions


@pytest.mark.parametrize("power", [1, 2])
def test_sliced_error_is_the_spread_over_draws(power):
    rng = np.random.default_rng(4)
    draws = np.array([
        sliced_wasserstein(rng.normal(size=(150, 2)) * [1, 1.5] + 0.5, rng.normal(size=(100, 2)), power, 24, seed)
        for seed in range(200)])
    assert draws[:, 1].mean() == pytest.approx(draws[:, 0].std(ddof=1), rel=0.15)


def test_sliced_blocks_and_copies(monkeypatch):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    whole = sliced_wasserstein(x, y, projections=10)
    monkeypatch.setattr(distances, "_SLICE_NUMBERS", 150)
    np.testing.assert_allclose(sliced_wasserstein(x, y, projections=10), whole, rtol=1e-12)
    assert sliced_wasserstein(x, x[::-1]) == (0, 0)
    assert sliced_wasserstein(x, y, projections=10, seed=1) != whole


@pytest.mark.parametrize(("measure", "options", "message"), [
    (kernel_distance, {"block_size": 1}, "block_size=1 must be at least 2"),
    (sliced_wasserstein, {"power": 3}, "power=3 must be 1 or 2"),
    (sliced_wasserstein, {"projections": 1}, "projections=1 must be at least 2"),
])
def test_bad_settings(measure, options, message):
    with pytest.raises(ConfigError, match=message):
        measure(np.zeros((20, 2)), np.zeros((20, 2)), **options)


@pytest.mark.parametrize(("measure", "least"), [(kernel_distance, 20), (sliced_wasserstein, 2)])
def test_bad_features(measure, least):
    with pytest.raises(ConfigError, match=f"{least - 1} references are too few; this measure needs at least {least}"):
        measure(np.zeros((20, 2)), np.zeros((least - 1, 2)))
    with pytest.raises(ConfigError, match="samples have 3 features and references 2"):
        measure(np.zeros((20, 3)), np.zeros((20, 2)))
