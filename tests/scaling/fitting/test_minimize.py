"""Where the steps end, against SciPy; bounds; path following."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from genlab.scaling.fitting.bootstrap import draw_resamples
from genlab.scaling.fitting.derivatives import Derivatives, Local, Table
from genlab.scaling.fitting.fit_law import table_of
from genlab.scaling.fitting.minimize import _whitener, bounded_step, follow, minimize, polish
from genlab.scaling.fitting.starts import _least_squares, starting_points
from genlab.scaling.law import Law, Parameter, exp
from genlab.scaling.laws import get_law
from genlab.scaling.runs import Runs

LAWS = ("chinchilla", "kaplan")


@pytest.mark.parametrize("name", LAWS)
def test_least_squares_minimum_is_scipys(name, synthetic):
    law = get_law(name)
    table = table_of(law, synthetic(name, noise=0.01, seed=1))
    points = starting_points(law, table, 8, seed=0)
    found = minimize(law, table, points, np.ones((8, len(table))), loss=1e6)
    assert found.converged.all()
    np.testing.assert_allclose(found.objective, found.objective.min(), rtol=1e-9)
    inputs = dict(zip(law.inputs, np.exp(table.log_inputs), strict=True))

    def residual(at):
        return np.log(law.predict(law.values(at), **inputs)) - table.response

    best = found.coordinates[0]
    peer = least_squares(residual, best + 0.01, xtol=1e-15, ftol=1e-15, gtol=1e-15, x_scale="jac", method="trf")
    assert found.objective[0] == pytest.approx(peer.cost, rel=1e-9)
    np.testing.assert_allclose(best, peer.x, rtol=1e-4)


@pytest.mark.parametrize("name", LAWS)
def test_starts_from_afar_reach_one_minimum_of_the_narrow_objective(name, synthetic):
    law = get_law(name)
    table = table_of(law, synthetic(name, noise=0.01, seed=1))
    ones = np.ones((16, len(table)))
    found = follow(law, table, starting_points(law, table, 16, seed=0), ones, loss=1e-3)
    assert found.converged.all()
    lowest = found.objective.min()
    assert np.mean(found.objective <= lowest * (1 + 1e-6)) >= 0.9
    best = found.take(int(found.objective.argmin()))
    assert np.abs(polish(law, table, best, ones[:1], 1e-3).gradient).max() < 1e-12
    # No point nearby is lower: a minimum, not a saddle or a kink.
    rng = np.random.default_rng(0)
    for size in (1e-6, 1e-4, 1e-2):
        around = best.coordinates + size * rng.standard_normal((16, len(law.parameters)))
        assert (Derivatives(law, table, 1e-3)(around, ones).value >= lowest * (1 - 1e-12)).all()


def test_weights_may_be_summed_or_averaged(synthetic):
    law = get_law("chinchilla")
    table = table_of(law, synthetic("chinchilla", noise=0.01, seed=1))
    points = starting_points(law, table, 4, seed=0)
    ones = np.ones((4, len(table)))
    summed = follow(law, table, points, ones, 1e-3)
    averaged = follow(law, table, points, ones / len(table), 1e-3)
    np.testing.assert_allclose(summed.coordinates, averaged.coordinates, rtol=1e-7)
    np.testing.assert_allclose(summed.objective, len(table) * averaged.objective, rtol=1e-10)


def test_a_parameter_ends_at_its_bound_where_the_table_pushes_it_there():
    law = get_law("chinchilla")
    params, tokens = (g.ravel() for g in np.meshgrid(np.geomspace(1e7, 1e10, 8), np.geomspace(1e9, 1e12, 6)))
    # A floor of -0.2 cannot be expressed: the best E is 0.
    loss = -0.2 + 400 * params**-0.3 + 2000 * tokens**-0.3
    table = Table(np.log(np.stack([params, tokens])), np.log(loss))
    points = starting_points(law, table, 8, seed=0)
    found = follow(law, table, points, np.ones((8, len(table))), 1e-3)
    floor = law.parameter_names.index("E")
    assert found.converged.all()
    assert (found.coordinates[:, floor] == 0.0).all()
    assert (found.gradient[:, floor] == 0.0).all()
    raw = Derivatives(law, table, 1e-3)(found.coordinates, np.ones((8, len(table)))).gradient
    assert (raw[:, floor] > 0).all()


def test_steps_do_not_depend_on_the_choice_of_coordinates():
    rng = np.random.default_rng(0)
    root, turn = rng.standard_normal((4, 4)), rng.standard_normal((4, 4))
    hessian, majoriser = root + root.T, root @ root.T + np.eye(4)
    gradient = 1e-3 * rng.standard_normal(4)

    def step(g, h, m):
        here = Local(np.zeros(1), g[None], h[None], m[None])
        wide = np.full(4, np.inf)
        return bounded_step(np.zeros((1, 4)), here, np.array([0.1]), -wide, wide)[0][0]

    plain = step(gradient, hessian, majoriser)
    turned = step(turn.T @ gradient, turn.T @ hessian @ turn, turn.T @ majoriser @ turn)
    np.testing.assert_allclose(turn @ turned, plain, rtol=1e-6)
    assert gradient @ plain < 0  # downhill, though the Hessian is indefinite
    assert np.linalg.eigvalsh(hessian).min() < 0


def test_hard_resamples_are_reached_along_the_path(small_grid):
    """A law that does not fit, twelve rows: nearly piecewise linear objectives with curved valleys."""
    law = get_law("chinchilla")
    runs = Runs(small_grid).grid
    table = table_of(law, runs)
    table = Table(table.log_inputs, table.response + 0.01 * np.cos(np.arange(12.0)))
    best = follow(law, table, starting_points(law, table, 8, 0), np.ones((8, 12)), 1e-3)
    point = best.coordinates[best.objective.argmin()]
    weights, _ = draw_resamples(np.random.default_rng(0), table, 100, len(law.parameters))
    start = np.repeat(point[None], 100, axis=0)
    direct = minimize(law, table, start, weights, 1e-3, max_iterations=40)
    found = follow(law, table, start, weights, 1e-3, near=True)
    assert direct.converged.sum() < 90
    assert found.converged.all()
    assert (found.objective <= direct.objective * (1 + 1e-9)).mean() > 0.9


def test_nonnegative_least_squares_against_scipy():
    from scipy.optimize import nnls

    rng = np.random.default_rng(0)
    designs = rng.standard_normal((20, 12, 3)) + 0.3
    ones = np.ones((20, 12))
    for design, found in zip(designs, _least_squares(designs, ones, np.zeros(3, bool)), strict=True):
        np.testing.assert_allclose(found, nnls(design, np.ones(12))[0], atol=1e-9)
    for design, found in zip(designs, _least_squares(designs, ones, np.ones(3, bool)), strict=True):
        np.testing.assert_allclose(found, np.linalg.lstsq(design, np.ones(12))[0], atol=1e-9)


def test_starts_whose_derivatives_overflow_are_left_behind():
    """1 / (1 + e^-z) is finite at z = -800, its derivative infinity times 0."""
    parameters = (
        Parameter("k", "", (0.1, 10.0), (1e-9, 1e9)),
        Parameter("m", "", (1.0, 9.0), (-1e9, 1e9), "linear"),
    )
    law = Law(
        "naive", "", "none", ("x",), parameters, lambda p, x: 1.0 + 1.0 / (1.0 + exp(-p.k * (x.x.log - p.m)))
    )  # fmt: skip
    values = np.linspace(1.0, 9.0, 20)
    table = Table(values[None], np.log(law.predict([1.5, 4.0], x=np.exp(values))))
    start = law.coordinates(np.array([[1.0, 5.0], [1e3, 20.0]]))
    found = minimize(law, table, start, np.ones((2, 20)), 0.1)
    assert found.converged.tolist() == [True, False] and found.objective[1] == np.inf
    np.testing.assert_allclose(law.values(found.coordinates[0]), [1.5, 4.0], rtol=1e-7)


def test_a_metric_that_rounding_left_indefinite_is_whitened_all_the_same():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 4, 4))
    metric = root @ root.transpose(0, 2, 1)
    white = _whitener(metric)
    np.testing.assert_allclose(white @ metric @ white.transpose(0, 2, 1), np.tile(np.eye(4), (3, 1, 1)), atol=1e-9)
    flat = np.diag([1.0, 1.0, 0.5, -1e-17])
    found = _whitener(np.stack([metric[0], flat, np.full((4, 4), np.nan)]))
    np.testing.assert_allclose(found[0] @ metric[0] @ found[0].T, np.eye(4), atol=1e-9)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.sort(np.linalg.norm(found[1], axis=1))[:3], [1, 1, 2**0.5])
