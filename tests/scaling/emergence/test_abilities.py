"""Any table becomes one long table of abilities; what cannot be used is one line."""

import json

import numpy as np
import pandas as pd
import pytest

from genlab.scaling.emergence.abilities import questions, read_abilities

COLUMNS = "flops=C (1e21)*1e21,family=Family,run=Model"
TASKS = "words_*,acc_quiz,rank/accuracy=Percent*0.01"


def test_run_records_with_histories(records):
    found = read_abilities(records)
    assert found.tasks == ["copy", "facts", "parity"] and found.metrics("copy") == [
        "exact_match", "log_probability", "token_accuracy"]  # fmt: skip
    rows = found.of("copy", "exact_match")
    assert len(rows) == 30 and set(rows["examples"]) == {1000} and set(rows["answer_length"]) == {5}
    assert rows["flops"].is_monotonic_increasing and rows["flops"].nunique() == 10
    assert set(rows["loss"].round(1)) == {round(3 - 0.1 * i, 1) for i in range(10)}
    assert [row.reason for row in found.left_out] == ["not finished"]


def test_final_metrics_of_a_table_without_histories(records):
    table = records[records["status"] == "finished"].drop(columns="evaluations")
    table["flops"] = [1e15, 3e15, 9e15]
    found = read_abilities(table, tasks="f*")
    assert found.tasks == ["facts"] and len(found.of("facts", "exact_match")) == 3


def test_tasks_of_records_are_in_the_order_of_the_numbers_in_their_names(records):
    table = records[records["status"] == "finished"].drop(columns="evaluations").assign(flops=[1e15, 3e15, 9e15])
    names = ("copy_10shot", "copy_2shot", "copy_11shot")
    table["metrics"] = [json.dumps({f"{name}/exact_match": 0.5 for name in names})] * 3
    assert read_abilities(table, chance="*=0").tasks == ["copy_2shot", "copy_10shot", "copy_11shot"]


def test_a_wide_table_with_factors_families_and_inferred_questions(wide):
    found = read_abilities(wide, COLUMNS, TASKS, chance="quiz=0.25,rank=0.25,*=0", hold_out="flops > 1e23")
    assert found.tasks == ["words", "quiz", "rank"] and found.metrics("words") == ["exact_match", "bleu"]
    words = found.of("words", "exact_match")
    assert set(words["examples"]) == {2000} and list(words["family"][:3]) == ["a", "b", "c"]
    assert words["flops"].min() == pytest.approx(1e20)
    assert (words["role"] == "held_out").sum() == 8 == len(found.held_out.of("words", "exact_match"))
    assert found.of("words", "bleu")["share"].max() == pytest.approx(wide["words_bleu"].max() / 100)
    assert found.of("rank", "accuracy")["value"].max() <= 1
    assert any("compute is not known" in row.reason for row in found.left_out)


def test_a_long_table_is_the_same(wide):
    pieces = [wide.assign(task="words", metric=name, value=wide[f"words_{name}"]) for name in ("exact_match", "bleu")]
    long = read_abilities(pd.concat(pieces), COLUMNS, chance="0")
    other = read_abilities(wide, COLUMNS, "words_*", "0")
    assert np.allclose(long.of("words", "bleu")["share"], other.of("words", "bleu")["share"])


def test_shares_go_from_chance_to_always_right_whichever_way_is_better():
    table = pd.DataFrame({"flops": [1.0, 2.0, 4.0], "t/edit_distance": [6.0, 3.0, 0.0], "t/accuracy": [0.25, 0.5, 1.0]})
    found = read_abilities(table, tasks="t/*", chance="t/edit_distance=6,t/accuracy=0.25")
    assert found.of("t", "edit_distance")["share"].tolist() == [0, 0.5, 1]
    assert found.of("t", "accuracy")["share"].tolist() == pytest.approx([0, 1 / 3, 1])


@pytest.mark.parametrize("count", [32, 230, 1003, 10_042, 38_160])
def test_scores_tell_of_how_many_questions_they_are(count):
    values = np.random.default_rng(count).binomial(count, 0.3, 60) / count
    assert questions(values.round(6)) == count


def test_means_over_subjects_tell_nothing():
    assert questions(np.random.default_rng(0).uniform(0.2, 0.3, 60).round(6)) == 0
    assert questions(np.random.default_rng(0).uniform(0.2, 0.3, 60).round(4)) == 0
    assert questions(np.array([0.213751, 0.317891])) == 0  # a large n meets two numbers by luck


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chance": "quiz=0.25"}, "words/exact_match has no chance level"),
        ({"columns": "run=Model"}, "the compute of its runs is not known"),
        ({"columns": "flops=C (1e21)", "where": "Model == 'model 3'"}, "1 scale (0.259294 FLOPs): ability against"),
        ({"columns": "flops=C (1e22)"}, "no column 'C (1e22)'; did you mean 'C (1e21)'?"),
        ({"tasks": "word_exact_match"}, "no column 'word_exact_match'; did you mean 'words_exact_match'?"),
        ({"tasks": ""}, "a table with a column a task: name them"),
        ({"tasks": ""}, "a pattern such as acc_*; there are: Model, Family"),
        ({"tasks": "rank/accuracy=Percent", "chance": ""}, "it must be a share between 0 and 1 (percent: COLUMN*0.01)"),
        ({"tasks": "Percent*0.O1"}, "'0.O1' is not a number; a column and a factor are NAME*1e21"),
        ({"chance": "a lot"}, "--chance: 'a lot' is not TASK=NUMBER"),
        ({"chance": "1"}, "the chance level of words/exact_match is 1, as good as can be"),
        ({"where": "C > 3"}, "cannot evaluate the expression 'C > 3'"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(wide, arguments, message):
    with pytest.raises(ValueError, match="^[^\n]+$") as caught:
        read_abilities(wide, **{"columns": COLUMNS, "tasks": TASKS, "chance": "0"} | arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("columns, tasks, message", [
    ("flops=C (1e21)*1e21", "words_exact_match", "the values of words: '0.5%' is not a number; write it without"),
    ("flops=C (1e21)*1e21", "words/accuracy=words_exact_match*0.01", "'words_exact_match': '0.5%' is not a number"),
    ("flops=words_exact_match", "acc_quiz", "flops: '0.5%' is not a number"),
])
def test_numbers_with_units_are_one_line(wide, columns, tasks, message):
    wide["words_exact_match"] = "0.5%"
    with pytest.raises(ValueError, match="^[^\n]+$") as caught:
        read_abilities(wide, columns, tasks, "0")
    assert message in str(caught.value)


def test_runs_of_one_name_are_told_apart_by_their_seeds():
    table = pd.DataFrame({"task": "quiz [hard]/accuracy", "value": 0.5, "run": ["small", "small", "large"] * 3,
                          "seed": [0, 1, 0] * 3, "flops": np.repeat([1e18, 1e19, 1e20], 3)})  # fmt: skip
    found = read_abilities(table, chance="quiz [hard]=0.25").frame
    assert list(found["run"][:3]) == ["small, seed 0", "small, seed 1", "large"] and set(found["chance"]) == {0.25}


def test_an_overflowed_compute_is_called_by_its_name(wide):
    wide["C (1e21)"] = -5.0
    with pytest.raises(ValueError, match="must be positive .an integer that overflowed"):
        read_abilities(wide, COLUMNS, TASKS, "0")


def test_unknown_metrics_and_tasks_of_records_have_nearest_names(records, wide):
    with pytest.raises(ValueError, match="no task 'fact'; did you mean 'facts'"):
        read_abilities(records, tasks="fact")
    long = wide.assign(task="words", metric="exact_mtch", value=0.5)
    with pytest.raises(ValueError, match="no metric is called 'exact_mtch'; did you mean 'exact_match'"):
        read_abilities(long, COLUMNS, chance="0")
