"""Tasks on strings of letters: copying, reversal, sorting, unscrambling, transliteration."""

import functools
import math
from dataclasses import dataclass
from random import Random
from string import ascii_lowercase, ascii_uppercase

from genlab.data.tasks.problem import Problem, Task, check_range


@dataclass(frozen=True)
class Letters(Task):
    """A string of letters, drawn from the first so many of the alphabet, and what becomes of it."""

    length: int = 6
    symbols: int = 26

    def __post_init__(self):
        check_range(self, length=(1, 1_000), symbols=(2, 26))

    @property
    def name(self) -> str:
        """As "copying_6"."""
        return f"{type(self).__name__.lower()}_{self.length}"

    def letters(self, random: Random) -> str:
        """A string."""
        return "".join(random.choices(ascii_lowercase[: self.symbols], k=self.length))


@dataclass(frozen=True)
class Copying(Letters):
    """The string itself."""

    tag: str = "C"

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        text = self.letters(random)
        return Problem(text, text, f"copying {text}")


@dataclass(frozen=True)
class Reversal(Letters):
    """The string from its end on."""

    tag: str = "R"

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        text = self.letters(random)
        return Problem(text, text[::-1], f"reversal {text}")


@dataclass(frozen=True)
class Sorting(Letters):
    """The letters in the order of the alphabet. All orders of the same letters lie on one side of the split."""

    length: int = 8
    tag: str = "T"

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        text = self.letters(random)
        answer = "".join(sorted(text))
        return Problem(text, answer, f"sorting {answer}")


@dataclass(frozen=True)
class Unscrambling(Letters):
    """The word whose letters these are, of a hidden list of words in which no two have the same letters.

    Words are to be learnt, and an order of their letters that is asked for has never been shown. The step is the
    letters in alphabetical order.

    Attributes:
      words: how many there are in the list.
      list_seed: of the list.
    """

    words: int = 200
    list_seed: int = 0
    tag: str = "U"

    def __post_init__(self):
        super().__post_init__()
        check_range(self, length=(3, self.symbols), words=(1, max(1, math.comb(self.symbols, self.length) // 2)))

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        word = random.choice(word_list(self))
        scrambled = "".join(random.sample(word, len(word)))
        while scrambled == word:
            scrambled = "".join(random.sample(word, len(word)))
        return Problem(scrambled, word, f"unscrambling {scrambled} {self.list_seed}", "".join(sorted(word)))


@dataclass(frozen=True)
class Transliteration(Letters):
    """Each letter as another alphabet's by a hidden table, by itself or with the letter before it.

    Attributes:
      pairs: whether what becomes of a letter depends on the one before it: a table of pairs.
      table_seed: of the table.
    """

    pairs: bool = False
    table_seed: int = 0
    tag: str = "L"

    @property
    def name(self) -> str:
        """As "transliteration_6" or "transliteration_6_pairs"."""
        return f"{super().name}{'_pairs' if self.pairs else ''}"

    def problem(self, random: Random) -> Problem:
        """See `Task`."""
        text, table = self.letters(random), letter_table(self)
        before = " " + text if self.pairs else " " * len(text)
        answer = "".join(table[pair] for pair in zip(before, text, strict=False))
        return Problem(text, answer, f"transliteration {text} {self.pairs} {self.table_seed}")


@functools.lru_cache(maxsize=64)
def word_list(task: Unscrambling) -> tuple[str, ...]:
    """The hidden words: of different letters each, so that there is something to unscramble."""
    random = Random(f"words {task.symbols} {task.length} {task.words} {task.list_seed}")
    words: dict[str, str] = {}  # by their letters in alphabetical order
    while len(words) < task.words:
        word = "".join(random.sample(ascii_lowercase[: task.symbols], task.length))
        words.setdefault("".join(sorted(word)), word)
    return tuple(words.values())


@functools.lru_cache(maxsize=64)
def letter_table(task: Transliteration) -> dict[tuple[str, str], str]:
    """What becomes of (the letter before, a letter): another alphabet's letters, each of a row once."""
    random = Random(f"letters {task.symbols} {task.pairs} {task.table_seed}")
    letters, others = ascii_lowercase[: task.symbols], ascii_uppercase[: task.symbols]
    rows = " " + letters if task.pairs else " "
    return {(row, letter): other for row in rows
            for letter, other in zip(letters, random.sample(others, task.symbols), strict=True)}
