"""Tasks with a known answer: what a problem is, and on which side of the split it lies.

The side of a problem is a hash of its content, which is what it asks, whatever the order or the format: a + b and
b + a, written plainly or reversed, in this task or in another one, in training or in an evaluation, are held out
together or not at all. So no config can bring a held-out problem into training. Worked steps state no problem of their
own task; of an easier one they may: those of sums of three digits state sums of one.
"""

import abc
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, NamedTuple

from genlab.configuration import ConfigError
from genlab.data.corpora import Split
from genlab.data.tasks.template import Template

HELD_OUT_SHARE = 0.1  # of all contents
# Draws without a new problem, over those found (and ten): a task of so few that are as likely has no more, but for 5 %.
_PATIENCE = 30


class Problem(NamedTuple):
    """A question and what there is to know of its answer.

    Attributes:
      prompt: the question.
      answer: the right answer.
      content: what is asked; problems of equal content are one problem in two formats.
      steps: worked intermediate steps, empty where a task has none.
      choices: answers to choose among, the right one with them; empty where the task leaves that to others.
      worth: what each choice is worth, 0 to 1; empty for 1 of the right answer and 0 of the others.
      also: further right answers.
    """

    prompt: str
    answer: str
    content: str
    steps: str = ""
    choices: tuple[str, ...] = ()
    worth: tuple[float, ...] = ()
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task(abc.ABC):
    """A frozen config of a distribution over problems.

    A subclass has its difficulty as fields, and last of them a `tag` of its own: the character by which a model of many
    tasks knows what is asked.
    """

    # Of a task of pure memory, what is asked has been seen: nobody could know it otherwise.
    recall: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """In records; it tells the difficulty."""

    @abc.abstractmethod
    def problem(self, random: Random) -> Problem:
        """A problem, whatever its side."""

    @property
    def equally_likely(self) -> int | None:
        """How many answers there are, if none is likelier than another; else None."""
        return None

    def format(self, template: Template) -> Template:
        """The template that this task's problems are written by."""
        return template

    def problems(self, split: Split, count: int, seed: int = 0) -> list[Problem]:
        """So many problems of a side, in the order of their draws; a smaller count gives the first of them.

        Training problems are draws, repeats included. Held-out ones are of different contents, and as many as are
        found; of a task of memory they are draws like the others.
        """
        random, found, contents = Random(f"{self.name} {split} {seed}"), [], set()
        in_vain = 0
        while len(found) < count and in_vain < _PATIENCE * (len(found) + 10):
            problem = self.problem(random)
            in_vain += 1
            if not self.recall:
                if side(problem.content) != split or problem.content in contents:
                    continue
                if split == "held_out":
                    contents.add(problem.content)
            in_vain = 0
            found.append(problem)
        if not found:
            raise ConfigError(f"{self.name} has no {split.replace('_', '-')} problem; make it harder")
        return found


def side(content: str) -> Split:
    """The side of the split that a content is on, by 64 bits of BLAKE2: parity is a task, so no linear hash."""
    number = int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "big")
    return "held_out" if number < HELD_OUT_SHARE * 2**64 else "train"


def check_range(task: Task, **limits: tuple[int, int]) -> None:
    """Raises ConfigError for a field of a task outside of (least, most)."""
    for field, (least, most) in limits.items():
        if not least <= getattr(task, field) <= most:
            raise ConfigError(f"{type(task).__name__}.{field}={getattr(task, field)} must be from {least} to {most}")


def check_tasks(tasks: Sequence[Task]) -> None:
    """Raises ConfigError unless there are tasks, each with a name of its own and a tag of its own, if any."""
    if not tasks:
        raise ConfigError("there is no task; give at least one")
    for what in ("name", "tag"):
        owners: dict[str, Task] = {}
        for task in tasks:
            value = getattr(task, what)
            other = owners.setdefault(value, task)
            if value and other is not task:
                raise ConfigError(f"{other.name} and {task.name} have one {what}, {value!r}, so that nothing tells "
                                  "them apart; give each its own")
