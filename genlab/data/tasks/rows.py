"""Problems as rows of tokens, each token with the part of its row that it belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from genlab.configuration import ConfigError
from genlab.data.tasks.problem import Problem, Task
from genlab.data.tasks.template import Template
from genlab.data.tokenizers import Tokenizer

# Parts of a row: everything that is given, worked steps, the answer, and the end of the answer.
GIVEN, STEPS, ANSWER, END = range(4)


class Rows(NamedTuple):
    """Rows of tokens, filled up with separators.

    Attributes:
      tokens: [N, T + 1], the first a separator.
      part: uint8 [N, T + 1], of each token.
    """

    tokens: np.ndarray
    part: np.ndarray


@dataclass(frozen=True)
class Writer:
    """Writes a task's problems as rows.

    Attributes:
      task: whose problems they are.
      template: the text around them; the task's own comes before it.
      tokenizer: ready for use.
    """

    task: Task
    template: Template
    tokenizer: Tokenizer

    def __post_init__(self):
        object.__setattr__(self, "template", self.task.format(self.template))

    def pieces(self, problem: Problem, answer: str | None = None, shots: Sequence[Problem] = (),
               learn_shots: bool = False) -> list[tuple[str, int]]:
        """The row of a problem as (text, part) pieces.

        Args:
          problem: which is asked.
          answer: in place of the right one.
          shots: solved problems to stand before it.
          learn_shots: whether their answers count as answers; otherwise they are given.
        """
        pieces = [(self.template.prefix, GIVEN)]
        for shot in shots:
            solved = self._solved(shot, shot.answer)
            pieces += solved if learn_shots else [(text, GIVEN) for text, _ in solved]
        return pieces + self._solved(problem, problem.answer if answer is None else answer)

    def _solved(self, problem: Problem, answer: str) -> list[tuple[str, int]]:
        return [(self.template.asked(self.task.tag, problem.prompt), GIVEN),
                (self.template.worked(problem.steps), STEPS), (answer, ANSWER), (self.template.end, END)]

    def rows(self, written: Sequence[list[tuple[str, int]]], sequence_length: int | None = None) -> Rows:
        """Rows of so many targets each, by default of as many as the longest has.

        Raises:
          ConfigError: a row that is longer.
        """
        ids, lengths, parts = self._encode(written)
        row_lengths = lengths.reshape(len(written), -1).sum(axis=1)
        longest = int(row_lengths.max())
        T = longest if sequence_length is None else sequence_length
        if longest > T:
            example = "".join(text for text, _ in written[int(row_lengths.argmax())])
            raise ConfigError(f"{self.task.name} does not fit: {_shortened(example)} has {longest} tokens, but there "
                              f"is room for {T}; raise the sequence length and the model's context_length, or make "
                              "the task easier")
        filled = np.arange(T) < row_lengths[:, None]
        separator = self.tokenizer.separator
        rows = Rows(np.full((len(written), T + 1), separator, ids.dtype), np.zeros((len(written), T + 1), np.uint8))
        rows.tokens[:, 1:][filled] = ids
        rows.part[:, 1:][filled] = np.repeat(parts, lengths)
        return rows

    def _encode(self, written) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(all tokens, tokens of each piece, parts of each piece); a row has as many pieces as any other."""
        texts = [text for pieces in written for text, _ in pieces]
        parts = np.array([part for pieces in written for _, part in pieces], np.uint8)
        lengths = np.array([len(text) for text in texts])
        ids = self.tokenizer.encode("".join(texts))
        if len(ids) == lengths.sum():  # A token a character: ten times as fast as text by text.
            return ids, lengths, parts
        encoded = [self.tokenizer.encode(text) for text in texts]
        return np.concatenate(encoded), np.array([len(piece) for piece in encoded]), parts


def joined(rows: Sequence[Rows]) -> Rows:
    """Rows one after another, all as long as the longest."""
    T = max(r.tokens.shape[1] for r in rows)

    def padded(array: np.ndarray, fill: np.ndarray) -> np.ndarray:
        return np.concatenate([array, np.repeat(fill, T - array.shape[1], axis=1)], axis=1)

    # The first token of a row is a separator, and so is what fills it up.
    return Rows(np.concatenate([padded(r.tokens, r.tokens[:, :1]) for r in rows]),
                np.concatenate([padded(r.part, np.zeros_like(r.part[:, :1])) for r in rows]))


def draw_shots(task: Task, problems: Sequence[Problem], shots: int, seed: int) -> list[list[Problem]]:
    """Solved training problems for each problem; of a task that is not trained on, other ones of the same."""
    if not shots:
        return [[] for _ in problems]
    if getattr(task, "trained_on", True):
        pool = task.problems("train", shots * len(problems), seed)
        return [[pool[(i * shots + j) % len(pool)] for j in range(shots)] for i in range(len(problems))]
    if len(problems) <= shots:
        raise ConfigError(f"{task.name} has {len(problems)} problems, too few for {shots} shots of other ones")
    return [[problems[(i + j) % len(problems)] for j in range(1, shots + 1)] for i in range(len(problems))]


def _shortened(text: str) -> str:
    return repr(text) if len(text) <= 60 else repr(f"{text[:40]}...{text[-15:]}")


