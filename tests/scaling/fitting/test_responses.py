"""Fixed parameters, and laws whose responses are linear: zero and negative ones too."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from genlab.scaling import fit_law, forecast, get_law, read_runs
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.fitting.rows import table_of
from genlab.scaling.fitting.starts import starting_points
from genlab.scaling.law import Law, Parameter, exp

RISE = Law(
    name="rise",
    text="y = a + b / (1 + exp(-k (log x - m)))",
    citation="a logistic curve of log x",
    inputs=("x",),
    parameters=(
        Parameter("a", "level far below", (-1.0, 1.0), (-10.0, 10.0), "linear"),
        Parameter("b", "height", (0.0, 2.0), (-10.0, 10.0), "linear"),
        Parameter("k", "steepness", (0.3, 5.0), (0.01, 100.0)),
        Parameter("m", "middle", (-2.0, 2.0), (-20.0, 20.0), "linear"),
    ),
    formula=lambda p, x: p.a + p.b / (1.0 + exp(-p.k * (x.x.log - p.m))),
    linear=("a", "b"),
    response="score",
    response_scale="linear",
)
TRUTH = np.array([-0.3, 1.1, 1.5, 0.4])


def rise_runs(noise=0.02, seed=0):
    x = np.geomspace(0.03, 40.0, 30)
    score = RISE.predict(TRUTH, x=x) + noise * np.random.default_rng(seed).standard_normal(30)
    return read_runs(pd.DataFrame({"x": x, "score": score}), needed=("x", "score"))


def test_responses_below_zero_are_fitted():
    runs = rise_runs()
    assert (runs.column("score") < 0).any()
    fit = fit_law(RISE, runs, loss="squared", starts=16, resamples=60)

    def residual(values):
        return RISE.predict(values, x=runs.column("x")) - runs.column("score")

    np.testing.assert_allclose(fit.values, least_squares(residual, TRUTH, xtol=1e-14).x, rtol=1e-5)
    assert fit.certificate["converged"] and fit.certificate["share_of_starts"] > 0.5
    assert fit.certificate["resamples_converged"] == 60
    np.testing.assert_allclose(fit.residuals, -residual(fit.values), atol=1e-12)
    assert fit.residual_scatter == pytest.approx(0.02, rel=0.4)


def test_intervals_of_linear_responses_add_the_scatter():
    fit = fit_law(RISE, rise_runs(), starts=8, resamples=200)
    low, high = fit.predict_interval(x=0.05)
    assert low < fit.predict(x=0.05) < high < 0  # the law is below zero there
    assert high - low == pytest.approx(4 * 0.02, rel=0.6)
    band = fit.confidence_interval(x=0.05)
    assert low < band[0] < band[1] < high


def test_forecasts_of_linear_responses_may_be_zero():
    fit = fit_law(RISE, rise_runs(), starts=8, resamples=60)
    held_out = read_runs(pd.DataFrame({"x": [0.2, 60.0], "score": [0.0, 0.8]}), needed=("x", "score"))
    at_zero, far = forecast(fit, held_out)
    assert at_zero["measured"] == 0.0 and np.isnan(at_zero["relative_error"])
    assert at_zero["error"] == pytest.approx(at_zero["predicted"])
    assert far["relative_error"] == pytest.approx(far["predicted"] / 0.8 - 1)


def test_scaling_a_linear_response_scales_the_fit():
    runs = rise_runs()
    percent = read_runs(runs.frame.assign(score=100 * runs.column("score")), needed=("x", "score"))
    wide = RISE.fix()
    one = fit_law(wide, runs, delta=0.003, starts=8, resamples=0)
    hundred = fit_law(
        Law(**{**vars(RISE), "parameters": tuple(
            Parameter(q.name, q.meaning, q.start, (-1e3, 1e3) if q.name in "ab" else q.bounds, q.scale)
            for q in RISE.parameters)}),
        percent, delta=0.3, starts=8, resamples=0,
    )  # fmt: skip
    np.testing.assert_allclose(hundred.values, one.values * [100, 100, 1, 1], rtol=1e-6)


def test_fixed_parameters_are_held_exactly(synthetic):
    runs = synthetic("chinchilla", noise=0.01, seed=3)
    law = get_law("chinchilla").fix(E=1.69, B=2085.43)
    fit = fit_law(law, runs, starts=8, resamples=30)
    assert fit.parameters["E"] == 1.69 and fit.parameters["B"] == 2085.43
    assert (fit.samples[:, 1] == 2085.43).all() and (fit.samples[:, 2] == 1.69).all()
    assert fit.certificate["at_bound"] == [] and fit.certificate["converged"]
    assert fit.certificate["resamples_converged"] == 30
    free = fit_law("chinchilla", runs, starts=8, resamples=0)
    assert free.objective < fit.objective
    assert fit.certificate["condition_number"] < free.certificate["condition_number"]
    again = Fit.from_json(fit.to_json())
    assert again.law.fixed == {"E": 1.69, "B": 2085.43} == fit.to_json()["fixed"]
    assert again.to_json() == fit.to_json()


def test_starts_keep_fixed_parameters_and_solve_for_the_free_linear_ones(synthetic):
    law = get_law("chinchilla").fix(E=1.8, alpha=0.35)
    points = law.values(starting_points(law, table_of(law, synthetic("chinchilla")), 6, seed=0))
    np.testing.assert_allclose(points[:, 2], 1.8)
    np.testing.assert_allclose(points[:, 3], 0.35)
    # With the truth fixed in E, alpha and beta, the projection finds A and B at once.
    law = law.fix(beta=0.37)
    points = law.values(starting_points(law, table_of(law, synthetic("chinchilla")), 2, seed=0))
    np.testing.assert_allclose(points[:, :2], [[480.0, 2100.0]] * 2, rtol=1e-6)


def test_few_rows_are_counted_by_free_parameters(synthetic):
    runs = synthetic("chinchilla", noise=0.01).take(np.array([0, 9, 26, 40, 47]))
    with pytest.raises(ValueError, match="has 5 parameters and the table only 5 usable rows"):
        fit_law("chinchilla", runs)
    law = get_law("chinchilla").fix(E=1.8, alpha=0.35)
    assert fit_law(law, runs, starts=4, resamples=0).certificate["converged"]
