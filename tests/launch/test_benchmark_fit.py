"""The benchmark of fits: SciPy's side minimises genlab's objective, and both sides are reported."""

import numpy as np
import pytest

from genlab.scaling import get_law, read_runs
from genlab.scaling.fitting.derivatives import Derivatives
from genlab.scaling.fitting.rows import table_of
from launch.benchmarks import fit
from launch.benchmarks.fit_reference import GRID


@pytest.fixture(scope="module")
def runs():
    return read_runs(fit.synthetic_table(60), embeddings="included")


def test_the_reference_is_genlabs_objective(runs):
    law, table, reference = get_law("chinchilla"), table_of(get_law("chinchilla"), runs), fit._reference(runs)
    at = law.coordinates(law.vector(fit._TRUTH))
    theirs = np.array([at[0], at[1], np.log(at[2]), at[3], at[4]])
    weights = np.arange(len(table)) % 3.0
    here = Derivatives(law, table, fit.DELTA)(at[None], weights[None])
    value, gradient = reference(theirs, weights)
    assert value == pytest.approx(here.value[0], rel=1e-10)
    scale = np.array([1, 1, at[2], 1, 1])  # d/d log E = E d/dE
    np.testing.assert_allclose(gradient, here.gradient[0] * scale, rtol=1e-8)


def test_the_grid_is_that_of_the_paper():
    assert GRID.shape == (4500, 5)
    np.testing.assert_array_equal(GRID.min(axis=0), [0, 0, -1, 0, 0])
    np.testing.assert_array_equal(GRID.max(axis=0), [25, 25, 1, 2, 2])


def test_both_sides_are_run_and_compared(runs, monkeypatch):
    monkeypatch.setattr(fit, "RESAMPLES", 32)
    monkeypatch.setattr(fit, "_TURNS", 1)
    points = fit._point_fits(runs, share=1500)
    assert points["scipy_starts_run"] == 3
    assert points["scipy_seconds"] == pytest.approx(1500 * points["scipy_seconds_run"])
    assert points["objective"] <= points["lowest_of_scipy"] * (1 + 1e-6)
    refits = fit._refits(runs, share=16, at=points["coordinates"])
    assert refits["unconverged"] == 0 == refits["lower_in_scipy"] and refits["scipy_resamples_run"] == 2
