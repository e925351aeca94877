"""Sequences that repeat themselves: what an induction head is good for, and nothing else is."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters, digits
from typing import Any

import numpy as np

from genlab.configuration import ConfigError, to_json
from genlab.data.characters import Characters
from genlab.data.draws import row_keys, stream_keys, uniforms
from genlab.data.sources import Example, Splits
from genlab.data.tokenizers import Tokenizer


@dataclass(frozen=True)
class Patterns:
    """Random patterns of letters, each repeated to the end of its sequence: {"tokens": [sequence_length + 1]}.

    Nothing but the sequence itself tells how it goes on (Olsson et al. 2022, arXiv 2209.11895, "repeated random
    tokens"), unless there are `successors`: then a pattern is a walk by one hidden table of what follows what, the same
    for all sequences, as the bigrams of a language (Bietti et al. 2023, arXiv 2306.00802). A pattern's length is drawn
    for each sequence, so that no fixed distance tells a repetition.

    Attributes:
      alphabet: the letters; a sequence begins with a separator, as texts do.
      sequence_length: targets in an example.
      shortest, longest: of a pattern, evenly; a longer one than the sequence is not repeated in it.
      successors: about how many letters often follow one; the table's rows have a Dirichlet distribution with that sum.
        None for letters that are all alike.
      examples, held_out_examples: how many sequences; so many training sequences that no run sees one twice.
      seed: of the table and the draws; held-out sequences are of another stream.
    """

    alphabet: str = ascii_letters + digits
    sequence_length: int = 64
    shortest: int = 8
    longest: int = 32
    successors: float | None = None
    examples: int = 1_000_000_000
    held_out_examples: int = 4_096
    seed: int = 0

    def __post_init__(self):
        if len(Characters(self.alphabet).alphabet) < 2:
            raise ConfigError(f"alphabet {self.alphabet!r} must have at least 2 letters")
        for name in ("sequence_length", "shortest"):
            if getattr(self, name) < 2:
                raise ConfigError(f"{name} {getattr(self, name)} must be at least 2")
        if self.longest < self.shortest:
            raise ConfigError(f"longest {self.longest} must be at least shortest, {self.shortest}")
        if self.successors is not None and not self.successors > 0:
            raise ConfigError(f"successors {self.successors} must be above 0, or none")
        for name in ("examples", "held_out_examples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} must be at least 1")

    @property
    def vocab_size(self) -> int:
        """The letters and the separator."""
        return len(self.alphabet) + 1

    @property
    def tokens_per_example(self) -> int:
        """Targets in an example."""
        return self.sequence_length

    @property
    def num_classes(self) -> int:
        """0: sequences have no labels."""
        return 0

    def table(self) -> np.ndarray:
        """The probability of each letter after each, [A, A], rows that sum to 1."""
        letters = len(self.alphabet)
        if self.successors is None:
            return np.full((letters, letters), 1 / letters)
        return np.random.default_rng(self.seed).dirichlet(np.full(letters, self.successors / letters), letters)

    def load_tokenizer(self, folder: Path | None = None) -> Tokenizer:
        """The tokenizer, one token a letter."""
        return Characters(self.alphabet)

    def load(self) -> Splits:
        """The splits."""
        counts = {"train": self.examples, "held_out": self.held_out_examples}
        table = self.table()
        splits = {name: _Sequences(self, table, name, count) for name, count in counts.items()}
        digest = hashlib.sha256(repr(to_json(self)).encode() + table.tobytes())
        description: dict[str, Any] = {"data_hash": digest.hexdigest(), "vocab_size": self.vocab_size,
                                       "sequence_length": self.sequence_length}
        description |= {f"{name}_examples": count for name, count in counts.items()}
        return Splits(**splits, description=description | {"train_tokens": self.examples * self.sequence_length})


class _Sequences:
    """One split of `Patterns`: a source whose examples are made when they are asked for."""

    def __init__(self, data: Patterns, table_AA: np.ndarray, split: str, count: int):
        self._data, self._split, self._count = data, split, count
        self._cumulative_AA = np.cumsum(table_AA, axis=1)[:, :-1]  # The last is 1 and decides nothing.

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._count:
            raise IndexError(f"there is no example {index} among {self._count}")
        return {name: array[0] for name, array in self.gather(np.array([index])).items()}

    def gather(self, indices: np.ndarray) -> Example:
        """Sequences at `indices` [n]."""
        data = self._data
        keys = stream_keys(row_keys(data.seed, indices), self._split)
        (share_N,) = uniforms(stream_keys(keys, "length"), 1)
        lengths_N = data.shortest + (share_N * (data.longest - data.shortest + 1)).astype(int)
        walk_KN = self._walk(uniforms(stream_keys(keys, "walk"), int(lengths_N.max())))
        place_NT = np.arange(data.sequence_length) % lengths_N[:, None]
        letters_NT = np.take_along_axis(walk_KN.T, place_NT, axis=1)
        return {"tokens": np.pad(letters_NT + 1, ((0, 0), (1, 0)))}  # Token 0 is the separator.

    def _walk(self, uniforms_KN: np.ndarray) -> np.ndarray:
        """Letters that follow one another by the table, int32 [K, N]; the first is any."""
        letters = [(uniforms_KN[0] * len(self._data.alphabet)).astype(np.int32)]
        for uniform_N in uniforms_KN[1:]:
            letters.append((uniform_N[:, None] >= self._cumulative_AA[letters[-1]]).sum(axis=1, dtype=np.int32))
        return np.stack(letters)
