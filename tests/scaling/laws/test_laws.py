"""Laws against the papers, allocation against numerical minimisation, inverses against the formula."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from genlab.scaling.cost import Cost
from genlab.scaling.law import Positive
from genlab.scaling.laws import KAPLAN, LAWS, get_law

JOINT = [name for name, law in LAWS.items() if law.allocates]
COSTS = [Cost(), Cost(constant=9.0, params_exponent=0.85)]


def test_chinchilla_by_hand():
    law = get_law("chinchilla")
    values = law.vector({"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28})
    # Hoffmann et al. 2022: a 70e9-parameter model on 1.4e12 tokens.
    expected = 1.69 + 406.4 / 70e9**0.34 + 410.7 / 1.4e12**0.28
    assert law.predict(values, params=70e9, tokens=1.4e12) == pytest.approx(expected, rel=1e-14)


def test_kaplan_by_hand():
    law = get_law("kaplan")
    values = law.vector({"N_c": 8.8e13, "D_c": 5.4e13, "alpha_N": 0.076, "alpha_D": 0.095})
    expected = ((8.8e13 / 1e9) ** (0.076 / 0.095) + 5.4e13 / 2e10) ** 0.095
    assert law.predict(values, params=1e9, tokens=2e10) == pytest.approx(expected, rel=1e-13)
    # Equation 1.1 and 1.2 are its limits.
    assert law.predict(values, params=1e9, tokens=1e30) == pytest.approx((8.8e13 / 1e9) ** 0.076, rel=1e-6)
    assert law.predict(values, params=1e30, tokens=2e10) == pytest.approx((5.4e13 / 2e10) ** 0.095, rel=1e-6)


def test_busbridge_holds_the_other_two():
    busbridge, points = get_law("busbridge"), {"params": np.array([1e7, 1e10]), "tokens": np.array([1e9, 1e12])}
    additive = {"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28}
    np.testing.assert_allclose(
        busbridge.predict(busbridge.vector({**additive, "gamma": 1.0}), **points),
        get_law("chinchilla").predict(get_law("chinchilla").vector(additive), **points),
        rtol=1e-13,
    )
    ratio = 0.076 / 0.103
    joint = {"A": 8.8e13**ratio, "B": 5.4e13, "E": 0.0, "alpha": ratio, "beta": 1.0, "gamma": 0.103}
    np.testing.assert_allclose(
        busbridge.predict(busbridge.vector(joint), **points),
        get_law("kaplan").predict([8.8e13, 5.4e13, 0.076, 0.103], **points),
        rtol=1e-12,
    )


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", JOINT)
def test_allocation_is_the_numerical_minimum(name, cost, truth):
    law = get_law(name)
    values = law.vector(truth[name])

    def loss(log_params, flops):
        params = np.exp(log_params)
        return float(law.predict(values, params=params, tokens=cost.tokens(flops, params)))

    budgets = np.array([1e19, 1e22, 1e25])
    params, tokens = law.allocate(values, budgets, cost)
    for flops, found in zip(budgets, params, strict=True):
        best = minimize_scalar(loss, args=(flops,), bounds=(np.log(1e5), np.log(1e14)), method="bounded")
        assert np.log(found) == pytest.approx(best.x, abs=1e-3)
        assert loss(np.log(found), flops) <= best.fun * (1 + 1e-12)
    np.testing.assert_allclose(cost.flops(params, tokens), budgets, rtol=1e-12)
    searched, _ = dataclasses.replace(law, optimum=None).allocate(values, budgets, cost)
    np.testing.assert_allclose(searched, params, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name, law in LAWS.items() if law.inverse])
def test_inverses_undo_the_formula(name, truth, points):
    law = get_law(name)
    values = law.vector(truth[name])
    point = points(law, 5)
    response = law.predict(values, **point)
    for wanted in law.inputs:
        if name == "batch_size_of_params_tokens" and wanted == "params":
            continue  # the batch size does not depend on it
        given = {key: value for key, value in point.items() if key != wanted}
        np.testing.assert_allclose(law.solve(values, wanted, response, **given), point[wanted], rtol=1e-8)
    with pytest.raises(ValueError, match="cannot be solved for"):
        law.solve(values, "experts", 2.0)


@pytest.mark.parametrize("name", JOINT)
def test_a_loss_out_of_reach_has_no_inverse(name, truth):
    law = get_law(name)
    assert np.isnan(law.solve(law.vector(truth[name]), "tokens", 1e-3, params=1e8))  # no data reach this loss


@pytest.mark.parametrize("name", LAWS)
def test_formula_is_the_same_in_numpy_and_jax(name, truth, points):
    law = get_law(name)
    values = law.vector(truth[name])
    inputs = points(law, 7)
    with jax.enable_x64(True):
        p = SimpleNamespace(**{key: jnp.asarray(v) for key, v in law.named(values).items()})
        x = SimpleNamespace(**{key: Positive(jnp.log(jnp.asarray(v))) for key, v in inputs.items()})
        compiled = np.asarray(law.formula(p, x))
    np.testing.assert_allclose(compiled, law.predict(values, **inputs), rtol=1e-12)


@pytest.mark.parametrize("name", LAWS)
def test_every_law_says_what_it_is(name):
    law = get_law(name)
    assert law.name == name and law.text and "arXiv" in law.citation
    for parameter in law.parameters:
        low, high = parameter.bounds
        assert parameter.meaning and low <= parameter.start[0] < parameter.start[1] <= high
        assert parameter.scale == "linear" or low > 0
    values = np.array([parameter.start[1] for parameter in law.parameters])
    np.testing.assert_allclose(law.values(law.coordinates(values)), values, rtol=1e-14)


def test_predictions_broadcast_samples_against_inputs(truth):
    law = get_law("chinchilla")
    samples = np.stack([law.vector(truth["chinchilla"])] * 4)
    samples[1, 2] += 1.0  # E
    found = law.predict(samples, params=np.ones((2, 3)) * 1e9, tokens=1e10)
    assert found.shape == (4, 2, 3)
    np.testing.assert_allclose(found[1] - found[0], 1.0, rtol=1e-12)
    params, _ = law.allocate(samples, np.array([1e20, 1e21]), Cost())
    assert params.shape == (4, 2)


def test_an_unknown_law_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean chinchilla"):
        get_law("chincilla")
    with pytest.raises(ValueError, match="has the parameters A, B, E, alpha, beta"):
        get_law("chinchilla").vector({"A": 1.0})


def test_kaplans_closed_forms_do_not_overflow():
    p = {"N_c": 1e20, "D_c": 1e12, "alpha_N": 0.8, "alpha_D": 0.05}  # N_c^(alpha_N/alpha_D) = 1e320
    values, cost = KAPLAN.vector(p), Cost()
    params, _ = KAPLAN.allocate(values, 1e35, cost)
    plain = dataclasses.replace(KAPLAN, optimum=None)
    assert params == pytest.approx(plain.allocate(values, 1e35, cost)[0], rel=1e-4)
    loss = KAPLAN.predict(values, params=1e20, tokens=1e12)
    assert KAPLAN.solve(values, "params", loss, tokens=1e12) == pytest.approx(1e20, rel=1e-9)
    assert KAPLAN.solve(values, "tokens", loss, params=1e20) == pytest.approx(1e12, rel=1e-6)
