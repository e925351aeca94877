"""Every task against what its words say, worked out anew; and which problems are held out."""

import dataclasses
import re
from collections import Counter
from random import Random

import pytest

from genlab.configuration import ConfigError, from_json, to_json
from genlab.data.tasks import (
    Addition,
    Bigrams,
    Brackets,
    Classification,
    Copying,
    Facts,
    Induction,
    ModularAddition,
    Multiplication,
    Parity,
    Reversal,
    Sorting,
    Subtraction,
    Transliteration,
    Unscrambling,
    Variables,
)
from genlab.data.tasks.problem import HELD_OUT_SHARE, check_tasks, side

TASKS = (
    Addition(3), Addition(3, reversed=True, tag="a"), Subtraction(3), Multiplication(2), ModularAddition(97),
    Copying(5), Reversal(5), Sorting(6), Unscrambling(5, words=30), Transliteration(5),
    Transliteration(5, pairs=True, tag="l"), Parity(10), Brackets(7), Variables(4), Facts(50), Bigrams(6),
    Induction(8), Classification(4),
)  # fmt: skip
BY_NAME = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def close(prompt):
    """What closes a string of brackets, by striking out pairs until none is left."""
    while (shorter := re.sub(r"\(\)|\[\]", "", prompt)) != prompt:
        prompt = shorter
    return prompt[::-1].translate(str.maketrans("([", ")]"))


def run_program(prompt):
    program, _, asked = prompt.partition("?")
    values = {}
    exec(program.replace(",", "\n"), {}, values)
    return str(values[asked])


def continued(prompt):
    """The letter that followed the last one before."""
    return prompt[prompt.index(prompt[-1]) + 1]


ANSWERS = {
    "addition_3": lambda p: str(eval(p)),
    "addition_3_reversed": lambda p: str(eval(p))[::-1],
    "subtraction_3": lambda p: str(eval(p)),
    "multiplication_2": lambda p: str(eval(p)),
    "modular_addition_97": lambda p: f"{(int(p[:2]) + int(p[3:])) % 97:02}",
    "copying_5": lambda p: p,
    "reversal_5": lambda p: "".join(reversed(p)),
    "sorting_6": lambda p: "".join(sorted(p)),
    "parity_10": lambda p: str(p.count("1") % 2),
    "brackets_7": close,
    "variables_4": run_program,
    "induction_8": continued,
    "classification_4": lambda p: p[p.index(p[-1]) + 1],
}


@BY_NAME
def test_answers_are_right_and_problems_are_of_their_side(task):
    sides = {split: task.problems(split, 200) for split in ("train", "held_out")}
    if task.name in ANSWERS:
        for problem in (*sides["train"], *sides["held_out"]):
            assert problem.answer == ANSWERS[task.name](problem.prompt), problem
    assert task.problems("train", 20) == sides["train"][:20]
    assert task.problems("train", 20, seed=1) != sides["train"][:20]
    contents = {split: {problem.content for problem in problems} for split, problems in sides.items()}
    if not task.recall:
        assert not contents["train"] & contents["held_out"]
        assert len(contents["held_out"]) == len(sides["held_out"])
    assert from_json(to_json(task)) == task


@BY_NAME
def test_what_a_prompt_asks_is_told_by_its_content_alone(task):
    """Two problems of one content have one prompt or, where order does not matter, the same characters in it."""
    random, by_content = Random(0), {}
    for _ in range(2_000):
        problem = task.problem(random)
        by_content.setdefault(problem.content, set()).add("".join(sorted(problem.prompt)))
    assert all(len(prompts) == 1 for prompts in by_content.values())


def test_commuted_pairs_and_sibling_formats_lie_on_one_side():
    """Among all sums of two digits: were the order or the format hashed, a fifth of the pairs would be torn apart."""
    held_out = {tuple(sorted(map(int, problem.prompt.split("+"))))
                for task in (Addition(2), Addition(2, reversed=True)) for problem in task.problems("held_out", 400)}
    trained = {tuple(sorted(map(int, problem.prompt.split("+"))))
               for task in (Addition(2), Addition(2, reversed=True)) for problem in task.problems("train", 8_000)}
    assert not held_out & trained and len(held_out) > 300
    held_out = {"".join(sorted(problem.prompt)) for problem in Sorting(3, symbols=8).problems("held_out", 100)}
    assert not held_out & {"".join(sorted(p.prompt)) for p in Sorting(3, symbols=8).problems("train", 2_000)}


def test_a_tenth_is_held_out_whatever_the_parity():
    """Of all 12-bit strings and of those of odd parity, within four standard errors."""
    strings = [f"{n:012b}" for n in range(4096)]
    for some in (strings, [s for s in strings if s.count("1") % 2]):
        share = sum(side(f"parity {s}") == "held_out" for s in some) / len(some)
        assert abs(share - HELD_OUT_SHARE) < 4 * (0.09 / len(some)) ** 0.5


def test_hidden_tables_are_of_their_seed_and_shared_by_no_two_tasks():
    words = {task: {p.answer for p in task.problems("train", 500)} for task in (
        Unscrambling(5, words=20), Unscrambling(5, words=20, list_seed=1), Unscrambling(5, words=21))}
    assert [len(found) for found in words.values()] == [20, 20, 21]
    first, other, larger = words.values()
    assert len(first & other) < 3 and len(first & larger) < 3
    facts = {p.prompt: p.answer for p in Facts(50).problems("train", 2_000)}
    assert all(facts[p.prompt] == p.answer for p in Facts(50).problems("held_out", 500))
    assert facts != {p.prompt: p.answer for p in Facts(50, table_seed=1).problems("train", 2_000)}
    table = {}
    for problem in Transliteration(6, pairs=True).problems("train", 500):
        for pair, letter in zip(zip(" " + problem.prompt, problem.prompt, strict=False), problem.answer, strict=True):
            assert table.setdefault(pair, letter) == letter


def test_facts_are_asked_by_zipf():
    asked = Counter(p.prompt for p in Facts(100, exponent=1.0).problems("train", 10_000)).most_common()
    for rank in (1, 2, 10):
        expected = 10_000 / rank / sum(1 / r for r in range(1, 101))
        assert asked[rank - 1][1] == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("task", [t for t in TASKS if t.equally_likely], ids=lambda task: task.name)
def test_equally_likely_answers_are(task):
    """A chi-squared statistic below its mean by five standard deviations more."""
    n, draws, random = task.equally_likely, 4_000, Random(1)
    counts = Counter(task.problem(random).answer for _ in range(draws))
    assert len(counts) == n
    assert sum((c - draws / n) ** 2 / (draws / n) for c in counts.values()) < n - 1 + 5 * (2 * (n - 1)) ** 0.5


def test_worked_steps():
    def steps(task, prompt):
        random = Random(0)
        return next(p for p in (task.problem(random) for _ in range(100_000)) if p.prompt == prompt).steps

    assert steps(Addition(2), "57+68") == "7+8=15,5+6+1=12"
    assert steps(Subtraction(2), "55-28") == "15-8=7,5-1-2=2"
    assert steps(Multiplication(2), "34*27") == "34*2=68,34*7=238"
    assert steps(Parity(4), "0110") == "0100"
    for problem in (*Addition(3).problems("train", 200), *Subtraction(3).problems("train", 200)):
        for line in problem.steps.split(","):
            work, _, value = line.partition("=")
            assert eval(work) == int(value) >= 0
        digits = "".join(line[-1] for line in problem.steps.split(","))[::-1]
        assert int(digits) == int(problem.answer) % 10 ** len(digits)
    program = Variables(4).problem(Random(0))
    assert f"{program.prompt[-1]}={program.answer}" in program.steps


@pytest.mark.parametrize("task", [Addition(2), Subtraction(2), Multiplication(2), ModularAddition(31)],
                         ids=lambda task: task.name)
def test_worked_steps_state_no_held_out_problem(task):
    """As prompts are written: an answer that a training problem's steps give away would be no held-out one."""
    given_away = {line.partition("=")[0] for problem in task.problems("train", 2_000)
                  for line in problem.steps.split(",")}
    assert not given_away & {problem.prompt for problem in task.problems("held_out", 500)}


def test_a_task_that_cannot_be_is_one_line():
    with pytest.raises(ConfigError, match="Addition.digits=0 must be from 1 to 100"):
        Addition(0)
    with pytest.raises(ConfigError, match="Brackets of depth 1 and an even length leave nothing open"):
        Brackets(length=4, depth=1)
    with pytest.raises(ConfigError, match="20000 facts are too many for subjects of 3 letters"):
        Facts(20_000)
    with pytest.raises(ConfigError, match="parity_1 has no held-out problem; make it harder"):
        Parity(1).problems("held_out", 10)
    with pytest.raises(ConfigError, match="addition_2 and addition_2 have one name"):
        check_tasks((Addition(2), dataclasses.replace(Addition(2), tag="b")))
    with pytest.raises(ConfigError, match="addition_2 and addition_3 have one tag, 'A', so that nothing tells them"):
        check_tasks((Addition(2), Addition(3)))
    with pytest.raises(ConfigError, match="there is no task; give at least one"):
        check_tasks(())
