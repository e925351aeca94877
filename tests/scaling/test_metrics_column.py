"""The record's metrics as columns: by name, in the way of nothing, and harmless where they are something else."""

import pandas as pd
import pytest

from genlab.scaling import read_runs
from genlab.scaling.metrics_column import with_metrics

RUNS = pd.DataFrame({
    "params": [1e4, 2e4, 4e4],
    "loss": [2.0, 1.5, 1.2],
    "status": ["finished", "failed", "finished"],
    "error": [None, "out of memory", None],
    "metrics": ['{"error": 0.5, "error_se": 0.01}', "", '{"error": 0.25, "accuracy": 0.75, "loss": 9.0}'],
})  # fmt: skip


def test_entries_are_columns_by_name_and_an_error_rate_is_no_message():
    runs = read_runs(RUNS, needed=("params", "loss"))
    assert list(runs.column("error")) == [0.5, 0.25]
    assert list(runs.where("error < 0.4").names) == [2]
    assert list(runs.require(("accuracy",)).column("accuracy")) == [0.75]
    assert list(runs.column("loss")) == [2.0, 1.2]  # what holds numbers is left


def test_an_expression_can_speak_of_them():
    assert read_runs(RUNS, where="error < 0.4", needed=("params", "loss")).names == [2]


@pytest.mark.parametrize("cell", ["", "a cat", "[1, 2]", '{"error": "none"}', None, 3.0])
def test_a_column_of_something_else_changes_nothing(cell):
    table = RUNS.assign(metrics=[cell] * 3)
    pd.testing.assert_frame_equal(with_metrics(table), table)
