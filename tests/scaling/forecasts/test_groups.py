"""One fit a group: its forecasts against the backtest's own, and groups that cannot be fitted."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling import Runs, get_law
from genlab.scaling.forecasts.backtest import backtest
from genlab.scaling.forecasts.groups import GroupFits, fit_by

LAWS = ("power", "power_floor")
CURVES = {
    ("vision", "a"): ("power", {"A": 40.0, "alpha": 0.25}),
    ("vision", "b"): ("power_floor", {"E": 0.4, "A": 60.0, "alpha": 0.3}),
    ("language", "c"): ("power_floor", {"E": 1.7, "A": 400.0, "alpha": 0.35}),
}


def table(noise=0.003):
    rng, x = np.random.default_rng(0), np.geomspace(1e6, 2e8, 24)
    parts = []
    for (domain, model), (name, p) in CURVES.items():
        law = get_law(name)
        loss = law.predict(law.vector(p), x=x) * np.exp(noise * rng.standard_normal(len(x)))
        parts.append(pd.DataFrame({"domain": domain, "model": model, "x": x, "loss": loss, "train": x < 1e8}))
    few = pd.DataFrame({"domain": "language", "model": "few", "x": [1e6, 1e7], "loss": [2.0, 1.0], "train": True})
    flat = pd.DataFrame({"domain": "language", "model": "flat", "x": x, "loss": 1.0, "train": x < 1e8})
    short = parts[0].iloc[[0, 5, 9, 23]].assign(model="short")
    return Runs(pd.concat([*parts, few, flat, short], ignore_index=True))


@pytest.fixture(scope="module")
def found():
    return fit_by(LAWS, table(), ("domain", "model"), "not train", starts=6)


def test_every_group_is_a_row(found):
    rows = found.table.set_index("model")
    assert list(rows.index) == ["a", "b", "c", "few", "flat", "short"]
    assert list(rows.status) == ["fitted"] * 3 + ["refused"] * 2 + ["fitted"]
    assert "only 2 usable rows" in rows.reason["few"] and "same loss" in rows.reason["flat"]
    assert rows.law["b"] == rows.law["c"] == "power_floor"
    assert rows.rows_fitted["a"] == 20 and rows.rows_held_out["a"] == 4
    # Three rows: one law, no backtest, and a forecast all the same.
    assert rows.law["short"] == "power" and "power_floor has 3 parameters" in rows.reason["short"]
    assert "no backtest" in rows.reason["short"] and rows.weight_power["short"] == 1.0
    assert rows.error["short"] == rows.error_power["short"] < 0.05


def test_errors_are_those_of_the_forecasts(found):
    for model, told in found.forecasts.groupby("model"):
        row = found.table.set_index("model").loc[model]
        for column, error in {"predicted": "error", "chosen": "error_chosen", "predicted_power": "error_power"}.items():
            errors = np.log(told[column] / told.measured)
            assert row[error] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-12)
    noise = found.table[found.table.model.isin(["a", "b", "c"])]
    assert (noise.error < 0.01).all() and (noise.error_power_floor < 0.012).all()


def test_the_forecast_is_the_backtests_combination(found):
    runs = table()
    inside = runs.where("model == 'b' and train")
    tested = backtest(LAWS, inside, "squared", starts=6)
    row = found.table.set_index("model").loc["b"]
    for law in LAWS:
        assert row[f"score_{law}"] == tested.scores[law] and row[f"weight_{law}"] == tested.weights[law]
    told = found.forecasts[found.forecasts.model == "b"]
    w = tested.weights["power"]
    expected = told.predicted_power**w * told.predicted_power_floor ** (1 - w)
    np.testing.assert_allclose(told.predicted, expected, rtol=1e-12)


def test_held_out_losses_change_nothing_but_their_errors(found):
    runs = table()
    runs.frame.loc[~runs.frame.train, "loss"] *= 3.0
    again = fit_by(LAWS, runs, ("domain", "model"), "not train", starts=6)
    np.testing.assert_array_equal(again.forecasts.predicted, found.forecasts.predicted)
    pd.testing.assert_frame_equal(again.parameters, found.parameters)
    assert again.table.error[0] > 1.0


def test_summary_is_the_mean_over_groups(found):
    by_domain = found.summary("domain")
    vision = found.table[found.table.domain == "vision"]
    assert by_domain.loc["vision", "groups"] == 3 and by_domain.loc["language", "refused"] == 2
    assert by_domain.loc["vision", "error"] == pytest.approx(vision.error.mean())
    assert found.summary().loc["all", "error"] == pytest.approx(found.table.error.mean())
    with pytest.raises(ValueError, match="have no column 'task'; there are: domain, model"):
        found.summary("task")


def test_round_trip_through_json(found):
    assert GroupFits.from_json(found.to_json()).to_json().keys() == found.to_json().keys()
    pd.testing.assert_frame_equal(GroupFits.from_json(found.to_json()).table, found.table)


def test_bad_calls():
    with pytest.raises(ValueError, match="no column 'task' to group by"):
        fit_by(LAWS, table(), ("task",))
    with pytest.raises(ValueError, match="at least one column"):
        fit_by(LAWS, table(), ())
    with pytest.raises(ValueError, match="cannot evaluate"):
        fit_by(LAWS, table(), ("model",), "Training ==")


def test_rows_are_held_out_by_role_without_an_expression():
    runs = table().where("model == 'a'")
    role = np.where(runs.frame.train, "grid", "held_out")
    row = fit_by(("power",), Runs(runs.frame.assign(role=role)), ("model",), starts=2).table.iloc[0]
    assert (row.rows_fitted, row.rows_held_out) == (20, 4)


def test_all_laws_are_fitted_to_the_same_rows_in_any_order():
    runs = table()
    runs.frame["flops"] = np.where(np.arange(len(runs)) % 3, runs.frame["x"] * 1e9, np.nan)
    laws = ("power_floor", "kaplan_compute")
    one, other = (fit_by(order, runs, ("model",), "not train", starts=6) for order in (laws, laws[::-1]))
    for model in ("a", "b"):
        rows = [each.table.set_index("model").loc[model] for each in (one, other)]
        assert rows[0].rows_fitted == rows[1].rows_fitted < 20
        assert rows[0].error_power_floor == pytest.approx(rows[1].error_power_floor, rel=1e-9)
        assert "rows left out: no value" in rows[0].reason
