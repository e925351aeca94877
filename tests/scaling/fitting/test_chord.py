"""Refits of large tables by chord steps are those of the plain path, and meet its criterion."""

import numpy as np
import pytest

from genlab.scaling import fit_law
from genlab.scaling.fitting import chord
from genlab.scaling.fitting.bootstrap import Refits, draw_resamples
from genlab.scaling.fitting.chord import Chord
from genlab.scaling.fitting.derivatives import Derivatives, Gradients
from genlab.scaling.fitting.minimize import follow
from genlab.scaling.fitting.robust import Robust
from genlab.scaling.fitting.rows import table_of
from genlab.scaling.laws import get_law


@pytest.fixture(scope="module")
def problem(synthetic):
    law = get_law("kaplan")
    runs = synthetic("kaplan", noise=0.01, sizes=100, data=100)
    table = table_of(law, runs)
    at = law.coordinates(fit_law(law, runs, starts=4, resamples=0).values)
    weights, _ = draw_resamples(np.random.default_rng(0), table, 12, 4)
    return law, table, at, weights


def test_chord_refits_are_those_of_the_plain_path(problem):
    law, table, at, weights = problem
    found = Chord(law, table, Robust(), at)(weights)
    plain = follow(law, table, np.repeat(at[None], 12, 0), weights, 1e-3, near=True)
    assert plain.converged.all() and found.converged.sum() >= 10
    done = found.converged
    np.testing.assert_allclose(found.objective[done], plain.objective[done], rtol=1e-10)
    spread = plain.coordinates.std(axis=0)
    assert (np.abs(found.coordinates - plain.coordinates)[done] < 1e-4 * spread).all()
    # The certificate is the plain one: a full Newton step with the Hessian at the very point.
    here = Derivatives(law, table, 1e-3)(found.coordinates[done], weights[done])
    steps = np.linalg.solve(here.hessian, here.gradient[..., None])[..., 0]
    assert (0.5 * np.sum(steps * here.gradient, axis=1) <= 1e-13 * here.value).all()


def test_what_the_chord_leaves_is_followed(problem, monkeypatch):
    law, table, at, weights = problem
    monkeypatch.setattr(chord, "_STEPS", 1)
    monkeypatch.setattr("genlab.scaling.fitting.bootstrap.LARGE", 100)
    assert not Chord(law, table, Robust(), at)(weights).converged.any()
    assert Refits(law, table, at[None], 1e-3)(weights[:3]).converged.all()


def test_gradients_alone_are_those_of_all_derivatives(problem):
    law, table, at, weights = problem
    value, gradient = Gradients(law, table, 1e-3)(at[None] + 1e-3, weights, np.array([3]))
    here = Derivatives(law, table, 1e-3)(at[None] + 1e-3, weights[3:4])
    np.testing.assert_allclose(value, here.value, rtol=1e-12)
    np.testing.assert_allclose(gradient, here.gradient, rtol=1e-9)


def test_a_bound_is_left_to_the_plain_path(problem):
    law, table, at, weights = problem
    low = at.copy()
    low[2] = law.bounds[0][2] + 1e-12
    found = Chord(law, table, Robust(), low)(weights)
    assert not found.converged.any() or np.isfinite(found.coordinates[found.converged]).all()


def test_fixed_parameters_stay(problem):
    law, table, at, weights = problem
    held = law.fix(alpha_N=float(at[2]))
    found = Chord(held, table, Robust(), at)(weights)
    assert (found.coordinates[:, 2] == at[2]).all() and found.converged.any()
