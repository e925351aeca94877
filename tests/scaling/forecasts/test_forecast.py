"""Forecasts of held-out runs."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.forecasts.forecast import forecast
from genlab.scaling.runs import Runs


@pytest.fixture(scope="module")
def fit(synthetic):
    return fit_law("kaplan", synthetic("kaplan", noise=0.01), starts=4, resamples=200)


def held_out(fit, error=0.0):
    point = {"params": np.array([3e10]), "tokens": np.array([1e12])}
    loss = fit.predict(**point) * np.exp(error)
    return Runs(pd.DataFrame({**point, "loss": loss, "name": "large"}))


def test_a_forecast_states_prediction_error_interval_and_extrapolation(fit):
    (row,) = forecast(fit, held_out(fit, error=0.005))
    assert row["name"] == "large" and row["law"] == "kaplan"
    assert row["predicted"] == pytest.approx(float(fit.predict(params=3e10, tokens=1e12)))
    assert row["relative_error"] == pytest.approx(np.exp(-0.005) - 1, rel=1e-9)
    assert row["interval_95"][0] < row["predicted"] < row["interval_95"][1]
    assert row["covered"] is True
    assert row["extrapolation"] == pytest.approx(row["flops"] / (6 * 1e10 * 3e11))
    (far,) = forecast(fit, held_out(fit, error=0.2))
    assert far["covered"] is False


def test_a_larger_scatter_widens_the_interval(fit):
    (narrow,), (wide,) = forecast(fit, held_out(fit)), forecast(fit, held_out(fit), scatter=0.05)
    width = [np.log(row["interval_95"][1] / row["interval_95"][0]) for row in (narrow, wide)]
    assert 3 < width[1] / width[0] < 7


def test_no_bootstrap_no_interval_and_no_runs_no_forecast(synthetic):
    plain = fit_law("kaplan", synthetic("kaplan", noise=0.01), starts=4, resamples=0)
    (row,) = forecast(plain, held_out(plain))
    assert row["interval_95"] is None and row["covered"] is None
    assert forecast(plain, Runs(held_out(plain).frame.iloc[:0])) == []
