"""Minima of curves: exact where the curve is known, and equal to a slow search."""

import numpy as np
import pytest

from genlab.scaling.approaches.valleys import (
    akima_minima,
    akima_spline,
    estimate_noise,
    merge_repeats,
    parabola_minima,
    polynomial_minimum,
    same_sizes,
)

X = np.log(np.geomspace(1e7, 1e9, 8))


def test_parabolas_are_found_for_every_draw_at_once():
    centres = np.array([X[2] + 0.1, X[4], X[6] - 0.2])
    y = 1.2 + 0.03 * (X[:, None] - centres) ** 2
    best, coefficients = parabola_minima(X, y)
    np.testing.assert_allclose(best, centres)
    for k in range(3):
        np.testing.assert_allclose(np.polyval(coefficients[:, k], X), y[:, k])
    upside_down, _ = parabola_minima(X, -y)
    beyond, _ = parabola_minima(X, 0.03 * (X[:, None] - X[-1] - 1) ** 2)
    assert np.isnan(upside_down).all() and np.isnan(beyond).all()


def test_the_splines_lowest_point_is_that_of_a_fine_grid():
    """Porian et al. search a grid of 25 places an interval; here 4,000 an interval, draw by draw."""
    rng = np.random.default_rng(0)
    y = 0.02 * (X[:, None] - X.mean()) ** 2 + 0.01 * rng.standard_normal((len(X), 40))
    best, loss = akima_minima(X, y)
    fine = np.linspace(X[0], X[-1], 28_001)
    inside = 0
    for k in range(y.shape[1]):
        values = akima_spline(X, y[:, k])(fine)
        assert loss[k] == pytest.approx(values.min(), abs=1e-8) and loss[k] <= values.min() + 1e-15
        if np.isfinite(best[k]):
            assert best[k] == pytest.approx(fine[values.argmin()], abs=2e-3)
            inside += 1
        else:
            assert values.argmin() in (0, len(fine) - 1)
    assert inside > 20


def test_a_falling_curve_has_no_minimum():
    assert np.isnan(akima_minima(X, -X[:, None])[0]).all()


def test_the_local_minimum_of_cubics_and_quartics():
    at = X[3] + 0.05
    for bend in (-0.004, 0.0, 0.004):
        y = 0.03 * (X - at) ** 2 + bend * (X - at) ** 3
        assert polynomial_minimum(X, y, 3) == pytest.approx(at)
        assert polynomial_minimum(X, y + 0.002 * (X - at) ** 4, 4) == pytest.approx(at)
    assert np.isnan(polynomial_minimum(X, -X, 3)) and np.isnan(polynomial_minimum(X[:3], X[:3], 3))


def test_noise_is_estimated_from_smooth_curves_and_from_repeats():
    rng = np.random.default_rng(0)
    smooth = 0.03 * (X - X.mean()) ** 2 + 0.001 * (X - X.mean()) ** 3
    curves = [(X, smooth + 0.003 * rng.standard_normal(len(X))) for _ in range(40)]
    assert estimate_noise(curves) == pytest.approx(0.003, rel=0.2)
    steep = 0.03 * (X - X[2]) ** 2 + 9 * np.maximum(X - X[5], 0.0)  # the far end of a wide curve is no noise
    assert estimate_noise([(X, steep)] * 3) < 1e-3
    assert np.isnan(estimate_noise([(X[:3], smooth[:3])] * 5))
    twice = np.repeat(X, 2)
    jagged = np.repeat(rng.standard_normal(len(X)), 2)  # a curve that no polynomial fits
    repeats = [(twice, jagged + 0.003 * rng.standard_normal(len(twice))) for _ in range(20)]
    assert estimate_noise(repeats) == pytest.approx(0.003, rel=0.2)


def test_sizes_read_off_twice_are_one_and_a_spline_does_not_run_off_along_their_noise():
    x = np.array([0.0, 1.0, 2.0, 2.0 + 1e-7, 3.0, 4.0])
    y = np.array([1.3, 1.1, 1.0, 1.01, 1.1, 1.4])
    sizes, means, count = merge_repeats(x, y)
    np.testing.assert_allclose(sizes, [0, 1, 2, 3, 4], atol=1e-6)
    np.testing.assert_allclose(means, [1.3, 1.1, 1.005, 1.1, 1.4])
    assert list(count) == [1, 1, 2, 1, 1] and list(same_sizes(x)) == [0, 1, 2, 2, 3, 4]
    (best,), (loss,) = akima_minima(sizes, means[:, None])
    assert 1.5 < best < 2.5 and 0.98 < loss <= 1.005
