"""Forecasts of held-out runs."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.forecasts.forecast import COMBINED, combined_forecast, forecast, weighted_quantiles
from genlab.scaling.runs import Runs


@pytest.fixture(scope="module")
def fit(synthetic):
    return fit_law("kaplan", synthetic("kaplan", noise=0.01, data=4), starts=2, resamples=100)


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


def test_weighted_quantiles_of_equal_weights_are_order_statistics():
    values = np.random.default_rng(0).standard_normal((40, 3))
    found = weighted_quantiles(values, np.ones(40), (0.025, 0.5, 1.0))
    np.testing.assert_array_equal(found, np.sort(values, axis=0)[[0, 19, 39]])
    # A row of weight 3 counts as three copies, one of weight 0 as none.
    counts = np.random.default_rng(1).integers(0, 4, 40)
    copies = np.repeat(values, counts, axis=0)
    found = weighted_quantiles(values, counts.astype(float), (0.1, 0.77))
    np.testing.assert_array_equal(found, weighted_quantiles(copies, np.ones(len(copies)), (0.1, 0.77)))
    assert np.isnan(weighted_quantiles(np.array([[1.0, np.nan], [2.0, 1.0]]), np.ones(2), (0.5,))[0, 1])


def test_a_combined_forecast_is_the_weighted_geometric_mean_with_the_mixtures_interval(synthetic):
    runs = synthetic("kaplan", noise=0.01, data=4)
    fits = {name: fit_law(name, runs, starts=2, resamples=100) for name in ("kaplan", "chinchilla")}
    far = held_out(fits["kaplan"])
    scatter = {name: fit.residual_scatter for name, fit in fits.items()}
    (alone,) = forecast(fits["kaplan"], far)
    (other,) = forecast(fits["chinchilla"], far)
    (row,) = combined_forecast(fits, {"kaplan": 0.7, "chinchilla": 0.3}, far, scatter)
    assert row["law"] == COMBINED and row.keys() == alone.keys()
    assert row["predicted"] == pytest.approx(alone["predicted"] ** 0.7 * other["predicted"] ** 0.3, rel=1e-12)
    assert row["extrapolation"] == pytest.approx(alone["extrapolation"])
    # One law with all the weight is that law; two that disagree are as wide as both together.
    (single,) = combined_forecast(fits, {"kaplan": 1.0}, far, scatter)
    assert single["interval_95"] == pytest.approx(alone["interval_95"], rel=2e-3)
    (even,) = combined_forecast(fits, {"kaplan": 0.5, "chinchilla": 0.5}, far, scatter)
    ends, points = zip(*((each["interval_95"], each["predicted"]) for each in (alone, other)), strict=True)
    assert min(low for low, _ in ends) <= even["interval_95"][0] < min(points)
    assert max(points) < even["interval_95"][1] <= max(high for _, high in ends)
    plain = {name: dataclasses.replace(fit, samples=fit.samples[:0]) for name, fit in fits.items()}
    assert combined_forecast(plain, {"kaplan": 1.0}, far, scatter)[0]["interval_95"] is None


def test_the_reach_of_a_law_of_one_variable_is_along_it():
    x = np.geomspace(1e6, 1e8, 12)
    runs = Runs(pd.DataFrame({"x": x, "loss": 2.0 + 30.0 * x**-0.3}))
    fit = fit_law("power_floor", runs, starts=4, resamples=0)
    (row,) = forecast(fit, Runs(pd.DataFrame({"x": [5e8], "loss": [2.0]})))
    assert row["extrapolation"] == pytest.approx(5.0)
