"""Sigmoids from loss or compute to accuracy, and what is said of tasks that never leave chance."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.fitting.derivatives import Derivatives
from genlab.scaling.fitting.fit_law import fit_law, table_of
from genlab.scaling.laws import get_law
from genlab.scaling.runs import Runs

LAW = get_law("accuracy_of_loss")


def table(name="accuracy_of_loss", noise=0.0, rows=40, seed=0, **truth):
    law, rng = get_law(name), np.random.default_rng(seed)
    name, values = law.inputs[0], np.linspace(2.0, 5.0, rows)
    column = {name: values if name == "loss" else np.geomspace(1e18, 1e24, rows)}
    accuracy = law.predict(law.vector(truth), **column) + noise * rng.standard_normal(rows)
    return Runs(pd.DataFrame({**column, "accuracy": accuracy}))


def test_formulas_by_hand():
    values = LAW.vector({"chance": 0.25, "ceiling": 0.9, "k": 2.0, "L_0": 3.0})
    assert LAW.predict(values, loss=2.5) == pytest.approx(0.25 + 0.65 / (1 + np.exp(-1.0)), rel=1e-14)
    ends = [0.25 + 0.65 / (1 + np.exp(-6.0)), 0.575, 0.25]
    np.testing.assert_allclose(LAW.predict(values, loss=[1e-9, 3.0, 1e3]), ends)
    of_flops = get_law("accuracy_of_flops")
    values = of_flops.vector({"chance": 0.25, "ceiling": 0.9, "k": 0.5, "log_C_0": np.log(1e21)})
    expected = 0.25 + 0.65 / (1 + np.exp(-0.5 * np.log(100)))
    assert of_flops.predict(values, flops=1e23) == pytest.approx(expected, rel=1e-14)


def test_an_accuracy_outside_has_no_loss():
    values = [0.25, 0.9, 2.0, 3.0]
    found = LAW.solve(values, "loss", np.array([0.2, 0.575, 0.95]))
    assert np.isnan(found[[0, 2]]).all() and found[1] == pytest.approx(3.0)


@pytest.mark.parametrize("name, last", [("accuracy_of_loss", {"L_0": 3.0}), ("accuracy_of_flops", {"log_C_0": 49.0})])
def test_fits_recover_with_chance_held(name, last):
    truth = {"chance": 0.25, "ceiling": 0.85, "k": 2.0 if name == "accuracy_of_loss" else 0.7, **last}
    fit = fit_law(get_law(name).fix(chance=0.25), table(name, **truth), starts=8, resamples=0)
    assert fit.certificate["converged"] and fit.parameters == pytest.approx(truth, rel=1e-8)
    assert not any("flat" in warning or "identifiable" in warning for warning in fit.warnings)


def test_derivatives_are_finite_far_from_the_midpoint():
    runs = table(chance=0.25, ceiling=0.9, k=2.0, L_0=3.0)
    at = LAW.coordinates(LAW.vector({"chance": 0.25, "ceiling": 0.9, "k": 9e3, "L_0": 90.0}))[None]
    found = Derivatives(LAW, table_of(LAW, runs), 0.1)(at, np.ones((1, len(runs))))
    assert np.isfinite(found.hessian).all()


def test_percent_are_refused():
    runs = table(chance=0.25, ceiling=0.9, k=2.0, L_0=3.0)
    with pytest.raises(ValueError, match=r"row 0: accuracy is 82.* must be a share between 0 and 1 \(percent / 100\)"):
        fit_law(LAW, Runs(runs.frame.assign(accuracy=100 * runs.frame.accuracy)))


def warnings(**truth):
    settings = {"chance": 0.25, "ceiling": 0.9, "k": 3.0, "L_0": 3.0, "noise": 0.01, **truth}
    return fit_law(LAW.fix(chance=0.25), table(**settings), starts=16, resamples=0, loss="squared").warnings


@pytest.mark.parametrize("seed", range(3))
def test_a_task_at_chance_is_called_flat(seed):
    found = warnings(ceiling=0.25, seed=seed)
    assert found[0].startswith("flat: accuracy 0.2") and "nothing follows for better models" in found[0]


def test_falling_small_and_early_rises_are_named():
    assert any("falls by 0.1" in w for w in warnings(ceiling=0.12))
    assert any("hardly identifiable" in w for w in warnings(ceiling=0.32, noise=0.05, rows=200))
    assert any("no run is half way" in w for w in warnings(L_0=1.6, k=2.0, noise=0.002))
    assert not any("accuracy" in w or "half way" in w for w in warnings())
