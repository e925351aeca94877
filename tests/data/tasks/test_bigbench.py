"""Files in BIG-bench's format: what of them a model reads, and what is wrong with a file that is not one."""

import json

import pytest

from genlab.configuration import ConfigError
from genlab.data import Bytes
from genlab.data.tasks import BigBench, Template
from genlab.data.tasks.rows import Writer

CHOICES = {"input": "2 + 2", "target_scores": {"3": 0, "4": 1, "four": 1, "5": 0.2}}
TASK = {"name": "sums", "task_prefix": "Add.\n", "example_input_prefix": "\nS: ", "example_output_prefix": "\nT: ",
        "metrics": ["multiple_choice_grade"], "preferred_score": "multiple_choice_grade",
        "examples": [CHOICES, {"input": "1 + 1", "target": ["2", "two"]}, {"input": "1 + 1", "target": "2"}]}


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return BigBench(str(path))


def test_a_task_file_is_asked_as_it_says(tmp_path):
    task = write(tmp_path / "sums" / "task.json", TASK)
    assert task.name == "sums"
    chosen, written = sorted(task.problems("held_out", 10), key=lambda problem: len(problem.choices), reverse=True)
    assert set(chosen.choices) == {"3", "4", "four", "5"}
    assert dict(zip(chosen.choices, chosen.worth, strict=True)) == {"3": 0, "4": 1, "four": 1, "5": 0.2}
    assert {chosen.answer, *chosen.also} == {"4", "four"}
    assert (written.answer, written.also, written.choices) == ("2", ("two",), ())
    text = "".join(text for text, _ in Writer(task, Template(), Bytes()).pieces(written, shots=[chosen]))
    listed = chosen.prompt.removeprefix("2 + 2")
    assert sorted(listed.split("\n  choice: ")[1:]) == ["3", "4", "5", "four"]
    assert text == f"Add.\n\nS: 2 + 2{listed}\nT: {chosen.answer}\n\nS: 1 + 1\nT: 2\n"


def test_lines_are_examples_and_need_no_header(tmp_path):
    task = write(tmp_path / "lines.jsonl", "\n".join(map(json.dumps, TASK["examples"])) + "\n\n")
    assert task.name == "lines" and len(task.problems("held_out", 10)) == 2
    assert Writer(task, Template(), Bytes()).template.question == "\nQ: {prompt}\nA: "


def test_only_a_task_that_may_be_trained_on_has_training_problems(tmp_path):
    many = {"examples": [{"input": f"{n}", "target": "x"} for n in range(300)]}
    closed = write(tmp_path / "many" / "task.json", many)
    assert len(closed.problems("held_out", 1_000)) == 300
    with pytest.raises(ConfigError, match="many has no train problem, as trained_on is off"):
        closed.problems("train", 10)
    opened = BigBench(closed.path, trained_on=True)
    train, held_out = (opened.problems(split, 1_000) for split in ("train", "held_out"))
    assert len(train) + len(held_out) == 300 and 10 < len(held_out) < 60
    assert not {p.content for p in train} & {p.content for p in held_out}


@pytest.mark.parametrize("content, message", [
    ("{", "is no JSON"),
    ({"name": "empty"}, 'is no BIG-bench task: it has no "examples"'),
    ({"examples": [{"target": "x"}]}, 'example 1 has no text as its "input"'),
    ({"examples": [{"input": "x"}]}, 'example 1 has neither a "target" nor "target_scores"'),
    ({"examples": [{"input": "x", "target_scores": {"a": 0, "b": 0}}]}, "no choice .* is worth more than 0"),
    ({"examples": [{"input": "x", "target_scores": {"a": 1}}]}, '"target_scores" must have two choices or more'),
])
def test_a_file_that_is_no_task_is_one_line(tmp_path, content, message):
    with pytest.raises(ConfigError, match=message):
        write(tmp_path / "bad" / "task.json", content).problems("held_out", 1)
    with pytest.raises(ConfigError, match="there is no task file /nowhere.json"):
        BigBench("/nowhere.json").problems("held_out", 1)
