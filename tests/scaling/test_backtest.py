"""The backtest: its cuts, what it may see, and whether it finds the law behind a table."""

import numpy as np
import pytest

from genlab.scaling.backtest import Backtest, _choose, backtest, cuts_of
from genlab.scaling.laws import CHINCHILLA, KAPLAN
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
