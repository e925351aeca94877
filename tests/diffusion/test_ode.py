"""The adaptive solver against closed forms: accuracy, both directions, pytrees, cost, and failure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.diffusion.ode import solve

pytestmark = pytest.mark.usefixtures("float64")
X = np.array([[1.0, -2.0], [0.5, 3.0]])


def turning(t, x):
    """dx/dt of a rotation that speeds up, whose angle is t^2 / 2."""
    return t * jnp.stack([-x[:, 1], x[:, 0]], axis=1)


def turned(x, t0, t1):
    angle = (t1**2 - t0**2) / 2
    return x @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


@pytest.fixture(scope="module")
def solved():
    """(x, t0, t1, tolerance) -> the solution; one program for all."""
    return jax.jit(lambda x, t0, t1, tolerance: solve(turning, x, t0, t1, tolerance, tolerance))


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 3.0), (3.0, 0.5)])
def test_error_follows_the_tolerance_in_both_directions(solved, t0, t1):
    errors, costs = [], []
    for tolerance in (1e-4, 1e-6, 1e-8):
        found = solved(X, t0, t1, tolerance)
        assert bool(found.success)
        errors.append(np.abs(found.x - turned(X, t0, t1)).max())
        costs.append(int(found.evaluations))
    assert (errors < 30 * np.array([1e-4, 1e-6, 1e-8])).all() and errors[2] < 1e-2 * errors[0]
    # Order 5: steps in proportion to tolerance^(-1/5), so 2.5 times as many for a hundredth.
    assert 1.7 < costs[2] / costs[1] < 3.2


def test_there_and_back_is_where_it_began(solved):
    there = solved(X, 0.0, 2.0, 1e-9)
    back = solved(there.x, 2.0, 0.0, 1e-9)
    np.testing.assert_allclose(back.x, X, atol=1e-7)


def test_evaluations_are_those_of_the_velocity():
    calls = []

    def counted(t, x):
        jax.debug.callback(lambda: calls.append(1))
        return -x

    found = solve(counted, jnp.ones(3), 0.0, 4.0)
    jax.effects_barrier()
    # Beside them, the first step's length takes at most two, and compilation none.
    assert 0 <= len(calls) - int(found.evaluations) <= 2


def test_trees_move_together():
    start = {"a": jnp.ones(3), "b": jnp.zeros(2)}
    found = solve(lambda t, x: {"a": -x["a"], "b": 2 * t * jnp.ones(2)}, start, 0.0, 1.5, 1e-8, 1e-8)
    np.testing.assert_allclose(found.x["a"], np.exp(-1.5), rtol=1e-6)
    np.testing.assert_allclose(found.x["b"], 1.5**2, rtol=1e-6)


def test_too_few_steps_are_no_success():
    found = solve(turning, jnp.asarray(X), 0.0, 30.0, 1e-8, 1e-8, max_steps=16)
    assert not bool(found.success)


def test_an_explosion_is_no_success():
    """dx/dt = x^2 is infinite at t = 1."""
    assert not bool(solve(lambda t, x: x * x, jnp.ones(2), 0.0, 2.0, max_steps=256).success)


def test_float32_stays_float32():
    assert solve(lambda t, x: -x, jnp.ones(2, jnp.float32), 0.0, 1.0).x.dtype == jnp.float32
