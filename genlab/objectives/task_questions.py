"""What a model is asked about its tasks, as rows of tokens made once: answers to weigh, prompts to go on from."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import numpy as np

from genlab.data.sources import InMemory
from genlab.data.tasks.chance import PROBLEMS, chance_levels, choice_chance
from genlab.data.tasks.problem import Problem, Task
from genlab.data.tasks.rows import ANSWER, GIVEN, Rows, Writer, draw_shots, joined
from genlab.data.tasks.template import Template
from genlab.data.tokenizers import Tokenizer


@dataclass(frozen=True)
class Asking:
    """How tasks are asked about; see `TaskScores`. The tokenizer is ready for use; 0 choices are none."""

    template: Template
    tokenizer: Tokenizer
    shots: int
    examples: int
    detailed_examples: int
    choices: int
    seed: int


class TaskQuestions(NamedTuple):
    """One task's problems, and its candidate answers, which are rows of the source that all tasks share.

    Attributes:
      writer: of the task.
      problems: that are asked, N of them.
      rows: the candidates' rows in the source, R of them, those of a problem one after another.
      owner_R: which problem each belongs to.
      right_R: whether each is a right answer.
      worth_R: what each is worth as a choice; NaN if it is none. The first `detailed` problems have choices, if any.
      prompts: the rows of the first `detailed` problems in the source of prompts.
      detailed: how many problems have choices and prompts.
      chance: by metric.
      answer_length: mean, in tokens.
    """

    writer: Writer
    problems: list[Problem]
    rows: slice
    owner_R: np.ndarray
    right_R: np.ndarray
    worth_R: np.ndarray
    prompts: slice
    detailed: int
    chance: dict[str, float]
    answer_length: float


class Questions(NamedTuple):
    """All tasks' questions.

    Attributes:
      tasks: one entry a task.
      candidates: source of {"tokens": [T + 1]}, a candidate answer each, and the rows' parts, uint8 [all rows, T + 1].
      part: see `candidates`.
      prompts: source of {"prompt": [P], "start": first place of it, the rest on the left being padding}.
      room: tokens of the longest answer with its steps and end.
    """

    tasks: list[TaskQuestions]
    candidates: InMemory
    part: np.ndarray
    prompts: InMemory
    room: int


@functools.lru_cache(maxsize=8)
def ask(tasks: tuple[Task, ...], how: Asking) -> Questions:
    """The questions of some tasks; made once in a process.

    Raises:
      ConfigError: a task without held-out problems, or with too few for its shots.
    """
    asked, rows, prompts = [], [], []
    for task in tasks:
        writer = Writer(task, how.template, how.tokenizer)
        found, candidates = _ask_one(writer, how, sum(len(r.tokens) for r in rows), sum(map(len, prompts)))
        asked.append(found)
        rows.append(candidates)
        first = np.unique(found.owner_R, return_index=True)[1][: found.detailed]
        prompts.append([_given(candidates.tokens[i], candidates.part[i]) for i in first])
    everything = joined(rows)
    candidates = InMemory(tokens=everything.tokens)
    flat = [prompt for group in prompts for prompt in group]
    room = max(int((r.part > GIVEN).sum(axis=1).max()) for r in rows)
    return Questions(asked, candidates, everything.part, _left_padded(flat, how.tokenizer.separator), room)


def _ask_one(writer: Writer, how: Asking, first_row: int, first_prompt: int) -> tuple[TaskQuestions, Rows]:
    task = writer.task
    problems = task.problems("held_out", how.examples, how.seed)
    shots = draw_shots(task, problems, how.shots, how.seed)
    known = task.problems("train" if getattr(task, "trained_on", True) else "held_out", PROBLEMS, how.seed)
    detailed = min(how.detailed_examples, len(problems))
    random, others = Random(f"choices {task.name} {how.seed}"), [problem.answer for problem in known]
    written, owner, right, worth = [], [], [], []
    for number, (problem, before) in enumerate(zip(problems, shots, strict=True)):
        choices = _choices(problem, others, how.choices, random) if how.choices and number < detailed else {}
        answers = (problem.answer, *problem.also)
        for answer in dict.fromkeys([*answers, *choices]):
            written.append(writer.pieces(problem, answer, before))
            owner.append(number)
            right.append(answer in answers)
            worth.append(choices.get(answer, np.nan))
    rows = writer.rows(written)
    owner_R, worth_R = np.array(owner), np.array(worth)
    chance = chance_levels(task, writer.tokenizer, known)
    if how.choices:
        chance |= choice_chance([worth_R[(owner_R == i) & ~np.isnan(worth_R)] for i in range(detailed)])
    lengths = (rows.part == ANSWER).sum(axis=1)[np.unique(owner_R, return_index=True)[1]]
    return TaskQuestions(
        writer, problems, slice(first_row, first_row + len(written)), owner_R, np.array(right), worth_R,
        slice(first_prompt, first_prompt + detailed), detailed, chance, float(lengths.mean())), rows


def _choices(problem: Problem, others: Sequence[str], count: int, random: Random) -> dict[str, float]:
    """Choices and what each is worth: the problem's own, or the right answer and those of other problems."""
    if problem.choices:
        worth = problem.worth or tuple(float(choice == problem.answer) for choice in problem.choices)
        return dict(zip(problem.choices, worth, strict=True))
    found = {problem.answer: 1.0}
    for answer in random.choices(others, k=8 * count):
        if len(found) == count:
            break
        if answer not in problem.also:
            found.setdefault(answer, 0.0)
    return found


def _given(tokens: np.ndarray, part: np.ndarray) -> np.ndarray:
    """A row's tokens up to where the last problem's steps or answer begin."""
    return tokens[: int((part > GIVEN).argmax())]


def _left_padded(prompts: Sequence[np.ndarray], separator: int) -> InMemory:
    longest = max(map(len, prompts), default=1)
    padded = np.full((len(prompts), longest), separator, np.int32)
    for row, prompt in zip(padded, prompts, strict=True):
        row[longest - len(prompt) :] = prompt
    return InMemory(prompt=padded, start=np.array([longest - len(prompt) for prompt in prompts], np.int32))
