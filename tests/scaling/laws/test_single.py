"""Laws of one variable against independent computation, their limits, derivatives, and recovery from tables."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

from genlab.scaling import fit_law, read_runs
from genlab.scaling.law import Positive
from genlab.scaling.laws import SINGLE, candidates, get_law

X = np.geomspace(1e6, 1e10, 9)


def predict(name, parameters, x=X):
    law = get_law(name)
    return law.predict(law.vector(parameters), x=x)


def test_power_laws_by_hand(truth):
    p = truth["power_shift"]
    by_hand = [p["beta"] * (1 / x + p["gamma"]) ** p["c"] for x in X]
    np.testing.assert_allclose(predict("power_shift", p), by_hand, rtol=1e-13)
    # Kaplan et al. 2020, equation 1.2, and the data term of Hoffmann et al. 2022, equation 10.
    np.testing.assert_allclose(predict("power", truth["power"]), [(5.4e13 / x) ** 0.095 for x in X], rtol=1e-13)
    by_hand = [1.69 + 410.7 / x**0.28 for x in X]
    np.testing.assert_allclose(predict("power_floor", truth["power_floor"]), by_hand, rtol=1e-13)
    # Zhai et al. 2021, figure 2: ImageNet error after fine-tuning at 1 and at 30,000 TPUv3 core-days.
    by_hand = [0.09 + 0.26 * (1 + 0.01) ** -0.35, 0.09 + 0.26 * (3e4 + 0.01) ** -0.35]
    np.testing.assert_allclose(predict("zhai", truth["zhai"], np.array([1.0, 3e4])), by_hand, rtol=1e-13)


@pytest.mark.parametrize("alpha", [0.01, 0.4, 1.0, 3.0, 100.0])
def test_the_saturating_law_solves_its_equation(truth, alpha):
    p = {**truth["saturating"], "alpha": alpha}
    beta = (p["L_0"] - p["E"]) ** (1 - alpha) * p["d"] ** p["c"]
    found = predict("saturating", p)
    for x, loss in zip(X, found, strict=True):

        def gap(logit, x=x):  # of the logarithms of both sides, at L = E + (L_0 - E) / (1 + exp(-logit))
            above, below = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
            span = np.log(p["L_0"] - p["E"])
            return (above + span) - alpha * (below + span) - np.log(beta) + p["c"] * np.log(x)

        logit = brentq(gap, -2000, 2000, xtol=1e-13)
        assert loss == pytest.approx(p["E"] + (p["L_0"] - p["E"]) / (1 + np.exp(-logit)), rel=1e-11)


def compiled(name, truth, x, *transforms):
    """Transforms of the formula in parameters relative to the truth, at each x: [len(x), ...]."""
    law = get_law(name)
    scale = law.vector(truth[name])

    def formula(unit, x):
        p = SimpleNamespace(**dict(zip(law.parameter_names, unit * scale, strict=True)))
        return law.formula(p, SimpleNamespace(x=Positive(jnp.log(x))))

    with jax.enable_x64(True):
        at = jnp.ones(len(scale))
        found = jax.jit(lambda xs: [jax.vmap(each(formula), (None, 0))(at, xs) for each in transforms])
        return [np.asarray(array) for array in found(jnp.asarray(x))]


def test_derivatives_of_the_saturating_law(truth):
    law, x = get_law("saturating"), np.array([1e5, 2e7, 3e9])
    scale = law.vector(truth["saturating"])
    gradient, hessian = compiled("saturating", truth, x, jax.grad, jax.hessian)

    def shifted(*steps):
        return law.predict((1.0 + np.sum(steps, axis=0)) * scale, x=x)

    h, eye = 1e-4, np.eye(5)
    slopes = np.stack([shifted(h * e) - shifted(-h * e) for e in eye], axis=-1) / (2 * h)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-9)
    for i, a in enumerate(h * eye):
        for j, b in enumerate(h * eye):
            bend = (shifted(a, b) - shifted(a, -b) - shifted(-a, b) + shifted(-a, -b)) / (4 * h * h)
            np.testing.assert_allclose(hessian[:, i, j], bend, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["saturating", "broken_1"])
def test_derivatives_are_finite_at_any_x(name, truth):
    (hessian,) = compiled(name, truth, np.array([1e-30, 1.0, 1e40]), jax.hessian)
    assert np.isfinite(hessian).all()


def test_broken_power_laws_by_hand(truth):
    p, x = truth["broken_3"], np.geomspace(1e-1, 1e26, 40)
    by_hand = p["b"] * x ** -p["c0"]
    for i in (1, 2, 3):
        by_hand = by_hand * (1 + (x / p[f"d{i}"]) ** (1 / p[f"f{i}"])) ** (-p[f"c{i}"] * p[f"f{i}"])
    np.testing.assert_allclose(predict("broken_3", p, x), p["E"] + by_hand, rtol=1e-10)
    # Where the power itself would overflow: a break of width 0.01, far behind and far ahead.
    sharp = {"E": 0.0, "b": 2.0, "c0": 0.1, "c1": 0.4, "d1": 1e8, "f1": 0.01}
    far = predict("broken_1", sharp, np.array([1e-2, 1e18]))
    np.testing.assert_allclose(far, [2 * 1e-2**-0.1, 2 * 1e18**-0.5 * 1e8**0.4], rtol=1e-12)


def test_limits(truth):
    A, alpha = 30.0, 0.3
    power = predict("power", {"A": A, "alpha": alpha})
    np.testing.assert_allclose(predict("power_floor", {"E": 0.0, "A": A, "alpha": alpha}), power, rtol=1e-14)
    np.testing.assert_allclose(predict("power_shift", {"beta": A, "gamma": 1e-30, "c": alpha}), power, rtol=1e-14)
    floor = predict("power_floor", {"E": 0.2, "A": A, "alpha": alpha})
    zhai = {"E": 0.2, "b": A, "d": 1e-30, "c": alpha}
    np.testing.assert_allclose(predict("zhai", zhai), floor, rtol=1e-14)
    assert predict("zhai", zhai | {"d": 1e3}, 1e-9) == pytest.approx(0.2 + A / 1e3**alpha, rel=1e-9)
    straight = {"E": 0.2, "b": A, "c0": alpha, "c1": 0.0, "d1": 1e8, "f1": 0.5}
    np.testing.assert_allclose(predict("broken_1", straight), floor, rtol=1e-14)
    more = {"c2": 0.0, "d2": 1e9, "f2": 0.7}
    bent = truth["broken_1"]
    np.testing.assert_allclose(predict("broken_2", bent | more), predict("broken_1", bent), rtol=1e-14)
    # The saturating law: guessing where x is small, a power law to the floor where it is large.
    p = truth["saturating"]
    assert predict("saturating", p, 1e-20) == pytest.approx(p["L_0"], rel=1e-9)
    law = {"E": p["E"], "A": (p["L_0"] - p["E"]) * p["d"] ** p["c"], "alpha": p["c"]}
    far = np.geomspace(1e20, 1e22, 3)
    above = predict("saturating", p | {"E": 0.0}, far)
    law["A"] = p["L_0"] * p["d"] ** p["c"]
    np.testing.assert_allclose(above, predict("power", {"A": law["A"], "alpha": p["c"]}, far), rtol=1e-6)


def test_losses_out_of_reach_have_no_x(truth):
    for name, losses in {
        "power_floor": (1.0, 1.69),
        "power_shift": (1e-3,),
        "zhai": (0.05, 0.09, 2.0),  # below the floor, at it, and above the loss at x = 0
        "saturating": (0.1, 0.2, 0.98, 2.0),
    }.items():
        law = get_law(name)
        assert np.isnan(law.solve(law.vector(truth[name]), "x", np.array(losses))).all()


RECOVERED = {
    "zhai": {"E": 0.3, "b": 40.0, "d": 2e7, "c": 0.3},
    "broken_1": {"E": 0.3, "b": 2.3, "c0": 0.05, "c1": 0.5, "d1": 1e8, "f1": 0.4},
}


@pytest.mark.parametrize("name", ["power", "power_floor", "power_shift", "zhai", "saturating", "broken_1"])
def test_parameters_are_recovered_from_a_table_without_noise(name, truth):
    p = RECOVERED.get(name, truth[name])
    x = np.geomspace(1e6, 1e10, 32)
    runs = read_runs(pd.DataFrame({"x": x, "loss": predict(name, p, x)}), needed=("x", "loss"))
    fit = fit_law(name, runs, starts=8, resamples=0)
    for key, value in p.items():
        assert fit.parameters[key] == pytest.approx(value, rel=1e-4), key


def test_zhais_law_is_not_among_those_that_an_analysis_chooses_from():
    runs = read_runs(pd.DataFrame({"x": X, "loss": predict("power", {"A": 30.0, "alpha": 0.3})}), needed=("x", "loss"))
    assert candidates(runs) == ("power", "power_floor", "power_shift", "saturating", "broken_1")


def test_breaks_by_name():
    assert get_law("broken_4") is get_law("broken_4") and len(get_law("broken_4").parameters) == 15
    assert set(SINGLE) >= {"broken_1", "broken_2", "broken_3"} and get_law("broken_1") is get_law("broken_1")
    for breaks in (0, 12):
        with pytest.raises(ValueError, match=f"1 to 9 breaks, not {breaks}"):
            get_law(f"broken_{breaks}")
    with pytest.raises(ValueError, match="did you mean broken_"):
        get_law("broken_l")


def test_breaks_are_reported_in_the_order_of_their_places(truth):
    law, p = get_law("broken_2"), truth["broken_2"]
    swapped = {**p, **{f"{name}{i}": p[f"{name}{3 - i}"] for name in "cdf" for i in (1, 2)}}
    np.testing.assert_allclose(predict("broken_2", swapped), predict("broken_2", p), rtol=1e-12)
    both = law.coordinates(np.array([law.vector(swapped), law.vector(p)]))
    np.testing.assert_array_equal(law.in_order(both), both[[1, 1]])
    held = law.fix(f1=0.3)
    np.testing.assert_array_equal(held.in_order(both), both)
    x = np.geomspace(1e4, 1e12, 32)
    loss = predict("broken_2", p, x) * np.exp(0.002 * np.random.default_rng(0).standard_normal(len(x)))
    runs = read_runs(pd.DataFrame({"x": x, "loss": loss}), needed=("x", "loss"))
    fit = fit_law(law, runs, loss="squared", starts=4, resamples=6)
    places = fit.samples[:, [law.parameter_names.index(name) for name in ("d1", "d2")]]
    assert fit.parameters["d1"] < fit.parameters["d2"] and (places[:, 0] <= places[:, 1]).all()
