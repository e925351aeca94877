"""Reading tables: columns by other names, rows left out with a reason, one-line refusals."""

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.runs import Runs, parse_columns, read_runs


def frame(**columns):
    rows = {"params": [1e6, 2e6, 4e6], "tokens": [1e8, 2e8, 4e8], "loss": [4.0, 3.5, 3.0]}
    return pd.DataFrame({**rows, **columns})


def test_a_csv_with_other_names_keeps_its_own_columns(tmp_path):
    path = tmp_path / "other.csv"
    pd.DataFrame({"N": [1, 2], "D": [30, 40], "l": [2.5, 2.25], "keep": [1, 0]}).to_csv(path, index=False)
    runs = read_runs(path, "params=N, tokens=D,loss=l", where="keep == 1 and N < 5")
    assert runs.column("tokens").tolist() == [30.0]
    assert runs.column("flops").tolist() == [180.0]  # 6 N D
    assert runs.left_out == ((1, "not (keep == 1 and N < 5)"),)
    assert runs.names == [0]


def test_columns_may_swap_names():
    runs = read_runs(frame(), {"params": "tokens", "tokens": "params"})
    assert runs.column("params").tolist() == [1e8, 2e8, 4e8]
    assert runs.column("tokens").tolist() == [1e6, 2e6, 4e6]


def test_rows_without_a_value_or_not_finished_are_left_out_by_name():
    table = frame(
        loss=[4.0, np.nan, 3.0], name=["a", "b", "c"], status=["finished", "finished", "diverged"]
    )
    runs = read_runs(table)
    assert runs.names == ["a"]
    assert dict(runs.left_out) == {"b": "no finite value of loss", "c": "status is diverged, not finished"}
    table["status"] = ["finished", None, "preempted"]
    assert {reason for _, reason in read_runs(table).left_out} == {
        "status is missing, not finished",
        "status is preempted, not finished",
    }


def test_roles_tell_the_grid_from_held_out_runs():
    runs = read_runs(frame(role=["grid", "grid", "held_out"]))
    assert (len(runs.grid), len(runs.held_out)) == (2, 1)
    assert runs.grid.left_out == ((2, "held out"),)
    assert (len(read_runs(frame()).grid), len(read_runs(frame()).held_out)) == (3, 0)


def test_an_expression_can_hold_runs_out():
    runs = read_runs(frame(role=["held_out", "grid", "grid"])).hold_out("params > 3e6")
    assert runs.grid.names == [0, 1] and runs.held_out.names == [2]
    assert runs.grid.left_out == ((2, "held out"),)


def test_what_a_filter_left_out_comes_back_for_comparison_but_never_what_is_held_out():
    runs = read_runs(frame(bad=[1, 0, 1]), where="bad == 0")
    assert runs.names == [1] and runs.unfiltered.names == [0, 1, 2]
    runs = read_runs(frame(bad=[1, 0, 0]), where="bad == 0").hold_out("tokens > 3e8")
    assert runs.grid.unfiltered.grid.names == [0, 1]
    runs = read_runs(frame(bad=[1, 0, 0], role=["held_out", "grid", "grid"]), where="bad == 0")
    assert runs.unfiltered.names == [1, 2]
    failed = frame(bad=[1, 0, 0], status=["diverged", "finished", "finished"])
    assert read_runs(failed, where="bad == 0").unfiltered.names == [1, 2]


def test_measured_flops_are_kept_and_missing_ones_stay_missing():
    assert read_runs(frame(flops=[1.0, 2.0, 3.0])).column("flops").tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(read_runs(frame(flops=[1.0, None, 3.0])).column("flops")[1])
    assert read_runs(frame(flops=[None] * 3)).column("flops")[0] == 6e14


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (frame(loss=[4.0, -1.0, 3.0]), "row 1: loss is -1; it must be positive"),
        (frame(loss=[0.0, 1.0, 3.0]), "row 0: loss is 0; it must be positive"),
        (frame(tokens=[1.0, 1.0, 0.0]), "row 2: tokens is 0; it must be positive"),
        (frame(loss=["4.0", "three", "3.0"]), "row 1: loss is 'three', which is not a number"),
        (frame().drop(columns="loss"), "no column 'loss'; name it with columns, e.g. loss=NAME"),
        (frame().iloc[:0], "no usable row"),
        (frame(loss=[np.nan] * 3), "no usable row .first reason: no finite value of loss"),
        (frame(status="failed"), "no usable row .first reason: status is failed"),
    ],
)
def test_unusable_tables_are_refused_in_one_line(table, message):
    with pytest.raises(ValueError, match=message) as error:
        read_runs(table)
    assert "\n" not in str(error.value)


def test_a_row_excluded_by_where_may_be_bad():
    runs = read_runs(frame(loss=[4.0, -1.0, 3.0]), where="loss > 0")
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("lss > 1", "name 'lss' is not defined; there are: params, tokens, loss"),
        ("loss >", "cannot evaluate"),
        ("loss", "not true or false for each row"),
        ("__import__('os').getcwd() == 1", "cannot evaluate"),
        ("loss > 'a'", "cannot evaluate"),
        ("@expression == @expression", "cannot evaluate"),  # no variable of the program is in reach
    ],
)
def test_bad_expressions_are_refused_in_one_line(expression, message):
    with pytest.raises(ValueError, match=message) as error:
        read_runs(frame()).where(expression)
    assert "\n" not in str(error.value)


def test_a_hold_out_of_no_row_or_every_row_is_refused():
    with pytest.raises(ValueError, match="matches no row"):
        read_runs(frame()).hold_out("loss > 100")
    with pytest.raises(ValueError, match="matches every row"):
        read_runs(frame()).hold_out("loss > 0")


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match="no table"):
        read_runs(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match="is a folder"):
        read_runs(tmp_path)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="is empty"):
        read_runs(tmp_path / "empty.csv")
    (tmp_path / "torn.csv").write_text('params,tokens,loss\n1,2,"3\n4,5,6\n')
    with pytest.raises(ValueError, match="not a CSV table"):
        read_runs(tmp_path / "torn.csv")


def test_column_specifications():
    assert parse_columns("params=N,tokens=D") == {"params": "N", "tokens": "D"}
    assert parse_columns(None) == {} and parse_columns("") == {}
    for bad in ("params", "params=", "=N", "params=N,params=M"):
        with pytest.raises(ValueError, match="not of the form"):
            parse_columns(bad)
    with pytest.raises(ValueError, match="no column 'M'"):
        read_runs(frame(), "params=M")


def test_require_refuses_a_column_that_is_not_there():
    with pytest.raises(ValueError, match="no column 'epochs'"):
        Runs(frame()).require(("epochs",))


def test_identities_do_not_change_with_a_filter():
    frame = pd.DataFrame({"name": ["a", "a", "b", "c"], "params": [1e7, 1e7, 1e8, 1e9], "tokens": 1e9,
                          "loss": [3.0, 2.9, 2.5, 2.0], "steps": [1, 2, 2, 2]})  # fmt: skip
    runs = read_runs(frame, where="steps == 2")
    assert runs.names == [1, 2, 3] and runs.unfiltered.names == [0, 1, 2, 3]
    assert read_runs(frame.iloc[1:]).names == ["a", "b", "c"]
