"""The compiled objective against a plain one, its derivatives against finite differences."""

import jax.numpy as jnp
import numpy as np
import pytest

from genlab.scaling.fitting.derivatives import Derivatives, Table
from genlab.scaling.fitting.fit_law import table_of
from genlab.scaling.laws import LAWS, get_law


def plain_objective(law, table, at, weights, delta):
    """Sum of Huber, written out."""
    inputs = dict(zip(law.inputs, np.exp(table.log_inputs), strict=True))
    residual = np.log(law.predict(law.values(at), **inputs)) - table.response
    small = np.abs(residual) <= delta
    huber = np.where(small, residual**2 / 2, delta * (np.abs(residual) - delta / 2))
    return float(np.sum(weights * huber))


@pytest.fixture(params=[name for name, law in LAWS.items() if law.allocates])
def problem(request, synthetic, truth):
    law = get_law(request.param)
    table = table_of(law, synthetic(request.param, noise=0.01, sizes=6, data=2))
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, size=(70, len(table))).astype(float)
    at = law.coordinates(law.vector(truth[request.param])) + 0.003 * rng.standard_normal((70, 1))
    return law, table, at, weights


@pytest.mark.parametrize("delta", [1e-3, 0.02, np.inf])
def test_objective_is_the_sum_of_huber(problem, delta):
    law, table, at, weights = problem
    found = Derivatives(law, table, delta)(at, weights)
    expected = [plain_objective(law, table, a, w, delta) for a, w in zip(at, weights, strict=True)]
    np.testing.assert_allclose(found.value, expected, rtol=1e-11)


def test_gradient_and_hessian_are_those_of_finite_differences(problem):
    law, table, at, weights = problem
    delta = 0.02
    found = Derivatives(law, table, delta)(at[:3], weights[:3])
    for k in range(3):
        for i, step in enumerate(1e-6 * np.maximum(1.0, np.abs(at[k])) * np.eye(at.shape[1])):
            ends = [plain_objective(law, table, at[k] + s * step, weights[k], delta) for s in (1, -1)]
            slope = (ends[0] - ends[1]) / (2 * step[i])
            assert found.gradient[k, i] == pytest.approx(slope, rel=1e-5, abs=1e-8)
        steps = 1e-6 * np.eye(at.shape[1])
        sides = [
            Derivatives(law, table, delta)(at[k] + sign * steps, np.repeat(weights[k : k + 1], len(steps), 0))
            for sign in (1, -1)
        ]
        numeric = (sides[0].gradient - sides[1].gradient) / 2e-6
        scale = np.abs(found.hessian[k]).max()
        np.testing.assert_allclose(found.hessian[k], numeric, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("delta", [1e-3, np.inf])
def test_majoriser_is_the_hessian_of_reweighted_least_squares(problem, delta):
    law, table, at, weights = problem
    at, weights = at[0], weights[0]
    inputs = dict(zip(law.inputs, np.exp(table.log_inputs), strict=True))

    def log_predicted(coordinates):
        return np.log(law.predict(law.values(coordinates), **inputs))

    steps = 1e-6 * np.eye(len(at))
    jacobian = np.array([(log_predicted(at + s) - log_predicted(at - s)) / 2e-6 for s in steps])
    residual = np.abs(log_predicted(at) - table.response)
    expected = (jacobian * weights * np.minimum(1.0, delta / residual)) @ jacobian.T
    found = Derivatives(law, table, delta)(at[None], weights[None]).majoriser[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


def test_float64_stays_inside(problem):
    law, table, at, weights = problem
    assert Derivatives(law, table, 1e-3)(at, weights).value.dtype == np.float64
    assert jnp.ones(1).dtype == jnp.float32


def test_one_row_more_is_padded_away():
    law = get_law("chinchilla")
    values = np.log(np.array([[1e8, 1e9, 1e10], [1e10, 1e10, 1e10]]))
    at = law.coordinates(np.array([[400.0, 2000.0, 1.8, 0.35, 0.37]]))
    three = Derivatives(law, Table(values, np.log(np.array([3.0, 2.5, 2.2]))), 0.1)(at, np.ones((1, 3)))
    split = [
        Derivatives(law, Table(values[:, [i]], np.log(np.array([[3.0, 2.5, 2.2][i]]))), 0.1)(at, np.ones((1, 1)))
        for i in range(3)
    ]
    assert three.value[0] == pytest.approx(sum(part.value[0] for part in split), rel=1e-12)
