"""The figure of a one-variable law: every run, the curve beyond the fit, both scales of response."""

import numpy as np
import pandas as pd
import pytest

from genlab.figures.response import response
from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.law import Law, Parameter, exp
from genlab.scaling.laws.terms import coefficient, exponent
from genlab.scaling.runs import Runs

POWER = Law(
    "plain_power", "L = A x^-alpha", "none", ("x",), (coefficient("A", ""), exponent("alpha", "")),
    lambda p, x: p.A * x.x**-p.alpha, linear=("A",),
)  # fmt: skip
LOGISTIC = Law(
    "logistic", "a = 1 / (1 + exp(k (L - L_0)))", "none", ("loss",),
    (Parameter("k", "", (0.5, 5.0), (0.01, 100.0)), Parameter("L_0", "", (1.0, 5.0), (0.1, 20.0))),
    lambda p, x: 1.0 / (1.0 + exp(p.k * (x.loss.value - p.L_0))), response="accuracy", response_scale="linear",
)  # fmt: skip


def drawn(axes):
    return np.concatenate([np.column_stack(line.get_data()) for line in axes.lines]).astype(float)


@pytest.mark.parametrize("law", [POWER, LOGISTIC], ids=lambda law: law.name)
def test_every_run_and_the_curve_are_drawn(law):
    rng = np.random.default_rng(0)
    x = np.geomspace(1e6, 1e9, 24) if law is POWER else np.linspace(2.0, 4.0, 24)
    y = law.predict(np.array([40.0, 0.2] if law is POWER else [3.0, 3.0]), **{law.inputs[0]: x})
    noise = 0.01 * rng.standard_normal(24)
    y = y * np.exp(noise) if law is POWER else np.maximum(y + noise, 0)
    frame = pd.DataFrame({law.inputs[0]: x, law.response: y, "role": ["grid"] * 20 + ["held_out"] * 4})
    fit = fit_law(law, Runs(frame).grid, starts=4, resamples=50)
    figure = response(frame, fit, {"x": "Seen Examples"})
    left, right = figure.axes
    assert left.get_xlabel() == ("Seen Examples" if law is POWER else "loss")
    points = drawn(left)
    for x_run, y_run in zip(x, y, strict=True):
        assert np.isclose(points, (x_run, y_run)).all(axis=1).any()
    assert len(left.collections) == 2  # both bands
    dashed = [line for line in left.lines if line.get_linestyle() == "--"]
    assert min(line.get_xdata().min() for line in dashed) > x[19]
    errors = drawn(right)[:, 1]
    assert np.isfinite(errors).all()


def test_nothing_to_show_is_said():
    frame = pd.DataFrame({"x": np.geomspace(1, 100, 8), "loss": 40 * np.geomspace(1, 100, 8) ** -0.2})
    fit = fit_law(POWER, Runs(frame), starts=2, resamples=0)
    figure = response(frame.assign(loss=np.nan), fit)
    assert "nothing to show" in figure.texts[0].get_text()
