"""Sources: random access to examples, the protocol that `tfds.data_source` and Grain already have.

An example is a dict of NumPy arrays. Data in memory (or memory-mapped) adds `gather`, which makes a
whole batch at once. Data that are augmented at random add `gather_keyed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

Example = dict[str, np.ndarray]


@runtime_checkable
class Source(Protocol):
    """A finite list of examples; methods `gather` and `gather_keyed` are optional: see `gather_examples`."""

    def __len__(self) -> int:
        """The number of examples."""
        ...

    def __getitem__(self, index: int) -> Example:
        """One example as a dict of arrays."""
        ...


@dataclass(frozen=True)
class Splits:
    """What a data config loads: training and held-out examples, and facts for the run record.

    `description` is a JSON-able dict with at least `data_hash`. `files` holds by name the small
    files that a finished run needs beside its parameters to be used, such as a trained tokenizer.
    """

    train: Source
    held_out: Source
    description: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


def gather_examples(source: Source, indices: np.ndarray, keys: np.ndarray | None = None) -> Example:
    """The examples at `indices` (integers [n]) as one dict of arrays with leading axis n.

    Uses the source's own vectorised `gather(indices)` where it has one, and otherwise stacks `source[i]`. With
    `keys` (uint64 [n], genlab/data/draws.py), a source that is augmented gives `gather_keyed(indices, keys)`: row i
    is a pure function of its index and its key.
    """
    if keys is not None and hasattr(source, "gather_keyed"):
        return source.gather_keyed(indices, keys)
    if hasattr(source, "gather"):
        return source.gather(indices)
    examples = [source[int(i)] for i in indices]
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


class InMemory:
    """A source over arrays that share their leading axis: `InMemory(image=..., label=...)`."""

    def __init__(self, **arrays: np.ndarray):
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the arrays of a source must have one length, not {lengths}")
        self.arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: int) -> Example:
        return {name: array[index] for name, array in self.arrays.items()}

    def gather(self, indices: np.ndarray) -> Example:
        """Examples at `indices` [n], each array with leading axis n."""
        return {name: array[indices] for name, array in self.arrays.items()}


class TokenWindows:
    """A token stream [N] as examples {"tokens": [T + 1]} that overlap by one token.

    Window i holds tokens iT to (i + 1)T, so that every token but the first is a target exactly once.
    Where T does not divide N - 1, the last window is filled up with the stream's last token, in
    text a separator: nothing is lost, and fewer than T targets of an epoch are padding. Tokens keep
    the stream's (small, unsigned) dtype.
    """

    def __init__(self, tokens: np.ndarray, sequence_length: int):
        if len(tokens) < 2:
            raise ValueError(f"{len(tokens)} tokens are too few to predict one from another")
        tokens = np.asarray(tokens)  # of a memory map too: its own class makes indexing slower
        num_whole = (len(tokens) - 1) // sequence_length
        self._length = -(-(len(tokens) - 1) // sequence_length)
        last = tokens[(self._length - 1) * sequence_length :]
        self._last = np.pad(last, (0, sequence_length + 1 - len(last)), mode="edge")
        self._whole = self._last[None]  # stands in where there is no whole window
        if num_whole:
            windows = np.lib.stride_tricks.sliding_window_view(tokens, sequence_length + 1)
            self._whole = windows[::sequence_length]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._length:
            raise IndexError(f"there is no example {index} among {self._length}")
        return {"tokens": self.gather(np.array([index]))["tokens"][0]}

    def gather(self, indices: np.ndarray) -> Example:
        """Windows at `indices` [n] as {"tokens": [n, T + 1]}; copies whole rows."""
        if len(self._whole) == self._length:
            return {"tokens": self._whole[indices]}
        is_last = indices == self._length - 1
        tokens = self._whole[np.where(is_last, 0, indices)]
        tokens[is_last] = self._last
        return {"tokens": tokens}
