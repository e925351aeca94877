"""Sources: random access to examples, the protocol that `tfds.data_source` and Grain already have.

An example is a dict of NumPy arrays. Data in memory (or memory-mapped) adds `gather`, which makes a whole batch at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

Example = dict[str, np.ndarray]


@runtime_checkable
class Source(Protocol):
    """A finite list of examples; `gather(indices)` is optional (see `gather_examples`)."""

    def __len__(self) -> int:
        """The number of examples."""
        ...

    def __getitem__(self, index: int) -> Example:
        """One example as a dict of arrays."""
        ...


@dataclass(frozen=True)
class Splits:
    """What a data config loads: training and held-out examples, and facts about them for the run record.

    `description` is a JSON-able dict with at least `data_hash`; `files` maps names to the small files that a finished
    run needs beside its parameters to be used again (such as a trained tokenizer).
    """

    train: Source
    held_out: Source
    description: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


def gather_examples(source: Source, indices: np.ndarray) -> Example:
    """The examples at `indices` (integers [n]) as one dict of arrays with leading axis n.

    Uses the source's own vectorised `gather` where it has one, and otherwise stacks `source[i]`.
    """
    if hasattr(source, "gather"):
        return source.gather(indices)
    examples = [source[int(i)] for i in indices]
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


class InMemory:
    """A source over arrays that share their leading axis: `InMemory(image=images, label=labels)`."""

    def __init__(self, **arrays: np.ndarray):
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"arrays of one source must have one length, not {lengths}")
        self.arrays = arrays
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        return {name: array[index] for name, array in self.arrays.items()}

    def gather(self, indices: np.ndarray) -> Example:
        """Examples at `indices` [n], each array with leading axis n."""
        return {name: array[indices] for name, array in self.arrays.items()}


class TokenWindows:
    """A token stream [N] as examples {"tokens": [T + 1]} that overlap by one token.

    Window i holds tokens iT to (i + 1)T, so every token but the first is a target exactly once. Where T does not divide
    N - 1, the last window is filled up with the stream's last token, a document separator: no text is lost, and fewer
    than T targets of an epoch are padding. Tokens keep the stream's (small, unsigned) dtype.
    """

    def __init__(self, tokens: np.ndarray, sequence_length: int):
        if len(tokens) < 2:
            raise ValueError(f"a token stream needs at least 2 tokens to predict one, not {len(tokens)}")
        self.tokens = np.asarray(tokens)  # a plain view: indexing the np.memmap subclass costs 3 times as much
        self.sequence_length = sequence_length
        self._length = -(-(len(tokens) - 1) // sequence_length)
        num_whole = (len(tokens) - 1) // sequence_length
        windows = np.lib.stride_tricks.sliding_window_view
        self._whole = windows(self.tokens, sequence_length + 1)[::sequence_length] if num_whole else None
        last = self.tokens[(self._length - 1) * sequence_length :]
        self._last = np.pad(last, (0, sequence_length + 1 - len(last)), mode="edge")

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        if not -self._length <= index < self._length:
            raise IndexError(f"example {index} of {self._length}")
        return {"tokens": self.gather(np.array([index % self._length]))["tokens"][0]}

    def gather(self, indices: np.ndarray) -> Example:
        """Windows at `indices` [n] (0 <= index < len) as {"tokens": [n, T + 1]}; one copy of whole rows."""
        if self._whole is not None and len(self._whole) == self._length:
            return {"tokens": self._whole[indices]}
        indices = np.asarray(indices)
        is_last = indices == self._length - 1
        if self._whole is None:
            return {"tokens": np.repeat(self._last[None], len(indices), axis=0)}
        tokens = self._whole[np.where(is_last, 0, indices)]
        tokens[is_last] = self._last
        return {"tokens": tokens}
