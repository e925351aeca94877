"""Rows that move a fit are named, alone or together; ordinary tables name none."""

import numpy as np
import pytest

from genlab.scaling import fit_law
from genlab.scaling.fitting.influence import influence, with_and_without

SETTINGS = {"loss": "squared", "starts": 2, "resamples": 60}


def moved(synthetic, rows, size=0.1, law="chinchilla", seed=0):
    runs = synthetic(law, noise=0.005, seed=seed)
    runs.frame.loc[rows, "loss"] *= np.exp(size)
    return runs


@pytest.mark.parametrize(
    ("law", "rows"),
    [("chinchilla", [5]), ("kaplan", [47]), ("chinchilla", [3, 4, 5]), ("kaplan", [41, 46, 47])],
)
def test_rows_that_move_an_exponent_are_named_also_where_they_hide_one_another(law, rows, synthetic):
    runs = moved(synthetic, rows, law=law)
    fit = fit_law(law, runs, **SETTINGS)
    found = influence(fit, runs, resamples=60)
    assert found.rows == rows
    assert list(np.flatnonzero(found.table["influential"])) == rows
    sides = with_and_without(law, runs, np.array(rows), **{**SETTINGS, "resamples": 0})
    assert (sides["with"]["rows"], sides["without"]["rows"]) == (48, 48 - len(rows))
    for name, (before, after) in found.moved.items():
        assert sides["with"]["parameters"][name] == pytest.approx(before, rel=1e-6)
        assert sides["without"]["parameters"][name] == pytest.approx(after, rel=1e-4)


@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_ordinary_tables_name_no_row(loss, synthetic):
    named = 0
    for seed in range(4):
        runs = synthetic("chinchilla", noise=0.01, seed=seed)
        fit = fit_law("chinchilla", runs, **{**SETTINGS, "loss": loss})
        named += len(influence(fit, runs, resamples=60).rows)
    assert named == 0  # 192 tables of 12 to 240 rows, normal and Student's t with 4 degrees: none named


def test_a_robust_fit_is_not_moved_by_one_wild_row(synthetic):
    runs = moved(synthetic, [5], size=0.3)
    fit = fit_law("chinchilla", runs, starts=2, resamples=60)
    assert influence(fit, runs, resamples=60).rows == []


def test_the_table_holds_the_refit_without_each_row(synthetic):
    runs = moved(synthetic, [5])
    fit = fit_law("chinchilla", runs, **SETTINGS)
    at = {"params": 1e10, "tokens": 1e12}
    found = influence(fit, runs, at=at, resamples=60)
    assert list(found.table["row"]) == runs.names and found.table["exact"].all()
    for row in (5, 20):
        kept = np.arange(len(runs)) != row
        without = fit_law("chinchilla", runs.take(kept), **{**SETTINGS, "resamples": 0})
        change = (without.parameters["alpha"] - fit.parameters["alpha"]) / fit.samples[:, 3].std()
        assert found.table["alpha"][row] == pytest.approx(change, abs=1e-4)
        told = np.log(without.predict(**at) / fit.predict(**at))
        assert found.table["prediction"][row] == pytest.approx(told, abs=1e-7)


def test_groups_are_left_out_as_wholes(synthetic):
    runs = moved(synthetic, [5, 11])
    runs.frame["size"] = np.arange(48) // 6
    fit = fit_law("chinchilla", runs, **SETTINGS)
    found = influence(fit, runs, by="size", resamples=60)
    assert list(found.table["row"]) == [str(k) for k in range(8)]
    without = fit_law("chinchilla", runs.where("size != 0"), **{**SETTINGS, "resamples": 0})
    change = (without.parameters["beta"] - fit.parameters["beta"]) / fit.samples[:, 4].std()
    assert found.table["beta"][0] == pytest.approx(change, abs=1e-3)


def test_bad_requests_are_refused(synthetic):
    runs = synthetic("chinchilla", noise=0.005)
    with pytest.raises(ValueError, match="has no row 99"):
        with_and_without("chinchilla", runs, np.array([99]))
    with pytest.raises(ValueError, match="nothing to compare"):
        with_and_without("chinchilla", runs, np.zeros(48, dtype=bool))
    fit = fit_law("chinchilla", runs, **{**SETTINGS, "resamples": 0})
    with pytest.raises(ValueError, match="no column 'group'"):
        influence(fit, runs, by="group", resamples=60)
    with pytest.raises(ValueError, match="is not what chinchilla was fitted to"):
        influence(fit, runs.take(np.arange(40)))
