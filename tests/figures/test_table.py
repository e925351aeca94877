"""The table that figures draw from."""

import numpy as np
import pandas as pd
import pytest

from genlab.figures.table import learning_curve, loss_unit, measured, not_shown, run_table
from genlab.scaling.runs import read_runs


def test_somebody_elses_table_gets_what_it_lacks():
    table = run_table(pd.DataFrame({"params": [1e3, 2e3], "tokens": [1e5, "?"], "loss": [2.0, 3.0]}))
    assert table["name"].tolist() == ["run 0", "run 1"]
    assert table["status"].tolist() == ["finished"] * 2
    assert table["role"].tolist() == ["grid"] * 2
    assert table["flops"][0] == 6e8
    assert np.isnan(table["flops"][1])


def test_every_run_is_a_row_and_what_is_not_shown_is_said(table):
    rows = run_table(table)
    assert len(rows) == 23
    shown = measured(rows)
    assert len(shown) == 21
    assert not_shown(rows, shown) == "2 of 23 runs not shown: 1 diverged, 1 failed"
    assert not_shown(shown, shown) == ""


def test_runs_of_a_fit_will_do_too(table):
    assert len(run_table(read_runs(table))) == 21


def test_another_parameter_count_can_be_asked_for(table):
    counted = run_table(table, {"params": "params_non_embedding"})["params"]
    assert counted[0] == 11e3 - 320 * 16


def test_a_curve_is_in_flops_and_leaves_out_what_is_not_finite():
    run = pd.Series({"curve": "1:5.0 50:3.0 60:inf 100:nan", "steps": 100, "flops": 1e9})
    curve = learning_curve(run)
    assert curve.flops == pytest.approx([1e7, 5e8])
    assert curve.loss == pytest.approx([5.0, 3.0])


@pytest.mark.parametrize("cell", ["", None, float("nan")])
def test_a_run_without_a_curve_has_an_empty_one(cell):
    assert len(learning_curve(pd.Series({"curve": cell, "steps": 10, "flops": 1e9})).flops) == 0


def test_the_unit_is_nats_per_token_only_where_there_are_tokens(table):
    assert loss_unit(run_table(table)) == "nats per token"
    assert loss_unit(run_table(table.drop(columns="tokens"))) == ""
