"""The backtest: its cuts, what it may see, and whether it finds the law behind a table."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.forecasts.backtest import Backtest, _choose, backtest, cuts_of
from genlab.scaling.law import log
from genlab.scaling.laws import CHINCHILLA, KAPLAN, get_law
from genlab.scaling.runs import Runs

BOTH = ("chinchilla", "kaplan")


@pytest.mark.parametrize("name", BOTH)
def test_the_law_behind_a_table_is_chosen(name, synthetic):
    found = backtest(BOTH, synthetic(name, noise=0.003), starts=6)
    assert found.choice == name
    other = next(law for law in BOTH if law != name)
    assert found.scores[name] < 0.02
    assert found.scores[name] < 0.8 * found.scores[other]


def test_twelve_runs_are_enough(small_grid):
    found = backtest(BOTH, Runs(small_grid).grid, starts=8)
    assert found.choice == "kaplan"
    assert set(found.table.rows_fitted) <= set(range(6, 12))
    assert "at least 6 runs" in found.rule


def test_scores_are_the_root_mean_square_of_the_table(synthetic):
    found = backtest(BOTH, synthetic("kaplan", noise=0.01), starts=4)
    for law, rows in found.table.groupby("law"):
        errors = np.log(rows.predicted / rows.measured)
        assert found.scores[law] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-12)
    assert (found.table.extrapolation > 1).all()
    assert (found.table.flops > found.table.cut_flops).all()
    again = Backtest.from_json(found.to_json())
    assert again.to_json() == found.to_json()


def test_a_fit_below_a_cut_sees_nothing_above_it(synthetic):
    runs = synthetic("kaplan", noise=0.01)
    changed = Runs(runs.frame.copy())
    first = cuts_of(runs, parameters=4)[0][0]
    above = np.flatnonzero(runs.column("flops") > first)
    changed.frame.loc[above, "loss"] *= np.where(above % 2, 2.0, 0.5)
    before, after = (backtest(("kaplan",), table, starts=4).table for table in (runs, changed))
    before, after = (table[table.cut_flops == first] for table in (before, after))
    assert len(before) == len(above)
    np.testing.assert_allclose(after.predicted, before.predicted, rtol=1e-9)
    np.testing.assert_allclose(after.measured / before.measured, np.where(above % 2, 2.0, 0.5))


def test_cuts_leave_rows_on_both_sides(small_grid):
    runs = Runs(small_grid).grid
    cuts, rows = cuts_of(runs, parameters=5)
    below = [int(np.sum(runs.column("flops") <= cut)) for cut in cuts]
    assert rows == 6 and below == sorted(set(below)) and min(below) >= 6 and max(below) <= 11
    # Runs that cost the same, but for rounding, are on one side.
    same = small_grid.assign(flops=np.where(small_grid.index < 9, 1e15, 2e15))
    same["flops"] *= 1 + 1e-3 * np.linspace(0, 1, len(same))
    cuts, _ = cuts_of(Runs(same), parameters=5)
    assert len(cuts) == 1 and 1.001e15 < cuts[0] < 2e15


def test_at_most_twelve_cuts_of_a_large_table(synthetic):
    cuts, rows = cuts_of(synthetic("chinchilla", sizes=30, data=10), parameters=5)
    assert len(cuts) == 12 and rows == 150


def test_too_few_runs_for_a_backtest(synthetic):
    with pytest.raises(ValueError, match="leave no compute cut with 6 runs"):
        backtest(BOTH, Runs(synthetic("chinchilla").frame.iloc[:5]))


def test_ties_go_to_the_law_with_fewer_parameters():
    laws = [CHINCHILLA, KAPLAN]
    assert _choose(laws, {"chinchilla": 0.0100, "kaplan": 0.01005}) == "kaplan"
    assert _choose(laws, {"chinchilla": 0.0100, "kaplan": 0.0102}) == "chinchilla"
    assert _choose(laws, {"chinchilla": 0.0100}) == "chinchilla"


@pytest.fixture(scope="module")
def curve():
    """A learning curve of 30 points that bends, with 0.5 % noise."""
    law, x = get_law("power_floor"), np.geomspace(1e6, 1e9, 30)
    loss = law.predict([0.4, 60.0, 0.3], x=x) * np.exp(0.005 * np.random.default_rng(1).standard_normal(30))
    return Runs(pd.DataFrame({"x": x, "loss": loss}))


def test_laws_of_one_variable_are_cut_along_it(curve):
    found = backtest(("power", "power_floor"), curve, starts=4)
    assert found.choice == "power_floor" and found.along == "x" and "above a cut of x" in found.rule
    np.testing.assert_allclose(found.table.extrapolation, found.table.x / found.table.cut_x)
    assert (found.table.extrapolation > 1).all() and len(set(found.table.cut_x)) == 12
    assert Backtest.from_json(found.to_json()).to_json() == found.to_json()


def test_forecasts_are_combined_by_inverse_squared_mean_squares(curve):
    found = backtest(("power", "power_floor"), curve, starts=4)
    shares = []
    for _, rows in found.table.groupby("cut_x"):
        mean = {law: np.mean(part.log_error**2) for law, part in rows.groupby("law")}
        shares.append(mean["power"] ** 2 / (mean["power"] ** 2 + mean["power_floor"] ** 2))
    share = np.mean(shares)
    assert found.weights["power_floor"] == pytest.approx(share, rel=1e-12)
    assert sum(found.weights.values()) == pytest.approx(1.0)
    told = {"power": np.array([1.0, 2.0]), "power_floor": np.array([4.0, 2.0])}
    np.testing.assert_allclose(found.combine(told), [4.0**share, 2.0], rtol=1e-12)


def test_a_law_too_large_for_the_table_does_not_take_the_cuts(curve):
    few = Runs(curve.frame.iloc[::3])
    found = backtest(("power", "broken_2"), few, starts=2)
    assert found.notes == ["broken_2 is not compared: 10 runs are too few to test 9 parameters"]
    assert set(found.weights) == {"power"} and min(found.table.rows_fitted) == 5


def test_accuracies_are_compared_by_differences():
    flops = np.geomspace(1e18, 1e22, 24)
    law = get_law("accuracy_of_flops").fix(chance=0.25)
    accuracy = law.predict([0.25, 0.95, 0.6, 47.0], flops=flops).copy()
    accuracy[0] = 0.0
    found = backtest((law,), Runs(pd.DataFrame({"flops": flops, "accuracy": accuracy})), starts=4)
    assert found.response_scale == "linear" and "mean square error of" in found.rule
    np.testing.assert_allclose(found.table.log_error, found.table.predicted - found.table.measured)
    np.testing.assert_allclose(found.combine({law.name: np.array([0.0, 0.5])}), [0.0, 0.5])
    with pytest.raises(ValueError, match="different responses"):
        backtest((law, "power"), Runs(pd.DataFrame({"flops": flops, "accuracy": accuracy})))


def test_some_rows_of_a_large_table_stand_for_all(synthetic, monkeypatch):
    monkeypatch.setattr("genlab.scaling.fitting.rows._ENOUGH_ROWS", 40)
    runs = synthetic("kaplan", noise=0.01, sizes=20, data=10)
    found = backtest(("kaplan",), runs, starts=2)
    assert found.notes == ["the backtest judges the laws by 40 of the 200 rows, drawn at random"]
    assert set(found.table.name) < set(runs.names) and found.table.rows_fitted.max() < 40
    assert not backtest(("kaplan",), synthetic("kaplan", noise=0.01), starts=2).notes


def test_a_law_without_predictions_is_not_compared(curve):
    power = get_law("power")
    lost = dataclasses.replace(power, name="lost", formula=lambda p, x: power.formula(p, x) + 0 * log(9e8 - x.x.value))
    found = backtest((lost, "power_floor"), curve, starts=4)
    assert set(found.scores) == {"power_floor"} and any("lost is not compared" in note for note in found.notes)
    assert found.weights == {"power_floor": 1.0}
