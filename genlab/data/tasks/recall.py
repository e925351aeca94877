"""Tasks of pure memory: facts of very different frequencies, and a table of pairs.

What is asked has been seen in training, as nobody could know it otherwise: these measure how much a model holds.
"""

import functools
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from string import ascii_lowercase
from typing import ClassVar

from genlab.configuration import ConfigError
from genlab.data.tasks.problem import Problem, Task, check_range


@dataclass(frozen=True)
class Facts(Task):
    """An object for each subject, both of random letters; the r-th subject is asked for in proportion to r^-exponent.

    Attributes:
      facts: how many.
      exponent: of their frequencies (Zipf); 0 for equal ones.
      subject_length, object_length: in letters.
      table_seed: of the facts.
    """

    facts: int = 500
    exponent: float = 1.0
    subject_length: int = 3
    object_length: int = 2
    table_seed: int = 0
    tag: str = "F"

    recall: ClassVar[bool] = True

    def __post_init__(self):
        check_range(self, subject_length=(1, 100), object_length=(1, 100))
        if not 1 <= self.facts <= 26**self.subject_length // 2:
            raise ConfigError(f"{self.facts} facts are too many for subjects of {self.subject_length} letters")

    @property
    def name(self) -> str:
        """As "facts_500"."""
        return f"facts_{self.facts}"

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        subjects, objects, shares = fact_table(self)
        (rank,) = random.choices(range(self.facts), cum_weights=shares)
        return Problem(subjects[rank], objects[rank], f"facts {subjects[rank]} {self.table_seed}")


@dataclass(frozen=True)
class Bigrams(Task):
    """A symbol for each pair of symbols, by a hidden table.

    Attributes:
      symbols: their number; the table has its square of entries.
      table_seed: of the table.
    """

    symbols: int = 16
    table_seed: int = 0
    tag: str = "B"

    recall: ClassVar[bool] = True

    def __post_init__(self):
        check_range(self, symbols=(2, 26))

    @property
    def name(self) -> str:
        """As "bigrams_16"."""
        return f"bigrams_{self.symbols}"

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        a, b = random.randrange(self.symbols), random.randrange(self.symbols)
        pair = ascii_lowercase[a] + ascii_lowercase[b]
        return Problem(pair, pair_table(self)[a * self.symbols + b], f"bigrams {pair} {self.table_seed}")


@functools.lru_cache(maxsize=64)
def fact_table(task: Facts) -> tuple[list[str], list[str], list[float]]:
    """(subjects, objects, cumulative frequencies) by rank; no two subjects are the same."""
    random = Random(f"facts {task.facts} {task.subject_length} {task.object_length} {task.table_seed}")

    def letters(length: int) -> str:
        return "".join(random.choices(ascii_lowercase, k=length))

    subjects: dict[str, None] = {}
    while len(subjects) < task.facts:
        subjects[letters(task.subject_length)] = None
    objects = [letters(task.object_length) for _ in subjects]
    return list(subjects), objects, list(accumulate(rank**-task.exponent for rank in range(1, task.facts + 1)))


@functools.lru_cache(maxsize=64)
def pair_table(task: Bigrams) -> list[str]:
    """The symbol of each pair, by rows."""
    random = Random(f"pairs {task.symbols} {task.table_seed}")
    return random.choices(ascii_lowercase[: task.symbols], k=task.symbols**2)
