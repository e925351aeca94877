"""Row weights count by their ratios alone; groups are resampled as wholes."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling import fit_law
from genlab.scaling.fitting.bootstrap import draw_resamples
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.fitting.rows import table_of
from genlab.scaling.fitting.weighting import row_groups, row_weights
from genlab.scaling.laws import get_law
from genlab.scaling.runs import Runs


@pytest.fixture
def runs(synthetic):
    found = synthetic("kaplan", noise=0.01, seed=5)
    found.frame["std"] = np.linspace(0.5, 2.0, len(found))
    found.frame["seed"] = np.arange(len(found)) % 4
    return found


@pytest.mark.parametrize("weights", ["1 / std**2", None])
def test_sum_or_mean_of_the_objective_give_one_fit(runs, weights):
    plain = np.ones(len(runs)) if weights is None else 1 / runs.frame["std"].to_numpy() ** 2
    fits = [
        fit_law("kaplan", runs, delta=0.01, starts=4, resamples=30, weights=w)
        for w in (weights, plain, plain / len(runs), 3e7 * plain)
    ]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.values, fits[0].values, rtol=1e-10)
        np.testing.assert_allclose(fit.samples, fits[0].samples, rtol=1e-5)
        assert fit.objective == pytest.approx(fits[0].objective, rel=1e-12)
        for name, value in fits[0].certificate.items():
            if name not in ("gradient_norm", "newton_decrement"):  # of rounding alone
                assert fit.certificate[name] == pytest.approx(value, rel=1e-6)
        assert fit.certificate["gradient_norm"] < 1e-11


def test_an_integer_weight_is_as_many_copies_of_the_row(runs):
    times = np.where(np.arange(len(runs)) % 3 == 0, 3, 1)
    weighted = fit_law("kaplan", runs, starts=4, resamples=0, weights=times)
    copies = Runs(runs.frame.loc[np.repeat(runs.frame.index, times)].reset_index(drop=True))
    repeated = fit_law("kaplan", copies, starts=4, resamples=0)
    np.testing.assert_allclose(weighted.values, repeated.values, rtol=1e-9)
    assert weighted.objective * times.mean() == pytest.approx(repeated.objective, rel=1e-10)


def test_weights_stay_with_their_rows_when_others_are_left_out(runs):
    runs.frame.loc[7, "loss"] = np.nan
    weights = np.linspace(1.0, 5.0, len(runs))
    fit = fit_law("kaplan", runs, starts=4, resamples=0, weights=weights)
    kept = np.delete(weights, 7)
    np.testing.assert_allclose(fit.weights, kept / kept.mean())
    again = Fit.from_json(fit.to_json())
    np.testing.assert_array_equal(again.weights, fit.weights)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("std - 0.5", "the weight 'std - 0.5' of row 0 is 0; weights must be positive and finite"),
        (np.full(48, np.nan), "the weight of row 0 is nan"),
        (np.ones(3), "not one for each of 48 rows"),
        ("1 / stdd", "cannot evaluate the weights '1 / stdd'"),
        ("std > 1", "are not a number for each row"),
    ],
)
def test_bad_weights_are_refused(runs, weights, message):
    with pytest.raises(ValueError, match=message.replace("(", "\\(")) as error:
        fit_law("kaplan", runs, weights=weights)
    assert "\n" not in str(error.value)


def test_a_column_is_a_weight(runs):
    np.testing.assert_allclose(row_weights(runs, "std"), runs.frame["std"] / runs.frame["std"].mean())
    assert row_weights(runs, None) is None


def test_whole_groups_are_drawn(runs):
    members = row_groups(runs, "seed")
    table = table_of(get_law("kaplan"), runs)
    drawn, _ = draw_resamples(np.random.default_rng(0), table, 200, 4, members)
    for group in range(4):
        part = drawn[:, members == group]
        assert (part == part[:, :1]).all()
    assert (drawn[:, :4].sum(axis=1) == 4).all()  # as many groups as there are
    assert drawn[:, 0].mean() == pytest.approx(1.0, abs=0.2)


def test_runs_of_one_group_that_err_together_widen_the_intervals(synthetic):
    runs = synthetic("kaplan", noise=0.001, seed=6)
    group = np.arange(len(runs)) % 12
    runs.frame["batch"] = group
    runs.frame["loss"] *= np.exp(0.01 * np.random.default_rng(1).standard_normal(12))[group]
    copies = Runs(pd.concat([runs.frame] * 4, ignore_index=True))  # four times the rows, no new information
    rows, groups = (
        fit_law("kaplan", copies, loss="squared", starts=4, resamples=100, groups=by) for by in ("", "batch")
    )
    width = [np.ptp(fit.interval("alpha_N")) for fit in (rows, groups)]
    assert width[1] > 1.4 * width[0]
    assert groups.groups == "batch" == Fit.from_json(groups.to_json()).groups
    assert any("only 12 groups of batch" in warning for warning in groups.warnings)
    assert not any("groups" in warning for warning in rows.warnings)


def test_columns_together_make_a_group_and_few_groups_are_said(runs):
    runs.frame["name"] = [f"run{i // 4}" for i in range(len(runs))]
    assert row_groups(runs, "name,seed").max() == len(runs) - 1
    assert row_groups(runs, "") is None
    fit = fit_law("kaplan", runs, starts=2, resamples=20, groups="seed")
    assert any("only 4 groups of seed" in warning for warning in fit.warnings)


@pytest.mark.parametrize(
    ("groups", "message"),
    [("sed", "no column 'sed'"), ("half", "makes 2 groups of 48 rows"), ("gap", "row 3 has no gap")],
)
def test_groups_that_cannot_be_resampled_are_refused(runs, groups, message):
    runs.frame["half"] = np.arange(len(runs)) % 2
    runs.frame["gap"] = np.where(np.arange(len(runs)) == 3, np.nan, 1.0)
    with pytest.raises(ValueError, match=message) as error:
        fit_law("kaplan", runs, groups=groups)
    assert "\n" not in str(error.value)
