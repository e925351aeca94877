"""Batches as a pure function of (seed, step): resuming needs no data state beyond the step.

Position p = step * batch_size + row counts the examples of a run; epoch e = p // n draws its own permutation of the n
examples, and row p takes the one at p - e n. Batches may straddle epochs, so no example is dropped; processes make only
their own rows, so the global batch does not depend on how many there are.
"""

from collections.abc import Iterator

import numpy as np

from genlab.data.shuffle import shuffled
from genlab.data.sources import Example, Source, gather_examples

KEPT_PERMUTATION = 1 << 22  # examples: up to here an epoch's order is kept (int32, 16 MB), above it is computed per batch


class Batches:
    """Endless training batches of a source: `batches[step]` is a dict of arrays [batch_size / process_count, ...].

    Errors: `batch_size` larger than the source or not divisible by `process_count`.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        process_index: int = 0,
        process_count: int = 1,
    ):
        if not 1 <= batch_size <= len(source):
            raise ValueError(f"batch_size must be from 1 to the {len(source)} training examples, not {batch_size}")
        if batch_size % process_count:
            raise ValueError(f"batch_size {batch_size} is not divisible by the {process_count} processes")
        if not 0 <= process_index < process_count:
            raise ValueError(f"process_index must be from 0 to {process_count - 1}, not {process_index}")
        self.source = source
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        rows = batch_size // process_count
        self._rows = np.arange(process_index * rows, (process_index + 1) * rows)
        self._kept: dict[int, np.ndarray] = {}

    def __getitem__(self, step: int) -> Example:
        return gather_examples(self.source, self.indices(step, step + 1)[0])

    def stack(self, start: int, stop: int) -> Example:
        """The batches of steps start to stop - 1 from one gather: a dict of arrays [stop - start, rows, ...]."""
        indices = self.indices(start, stop)
        flat = gather_examples(self.source, indices.reshape(-1))
        return {name: array.reshape(*indices.shape, *array.shape[1:]) for name, array in flat.items()}

    def indices(self, start: int, stop: int) -> np.ndarray:
        """Which examples this process's rows of steps start to stop - 1 hold: integers [stop - start, rows]."""
        positions = np.arange(start, stop)[:, None] * self.batch_size + self._rows
        length = len(self.source)
        first_epoch, last_epoch = int(positions[0, 0]) // length, int(positions[-1, -1]) // length
        if not self.shuffle:
            return positions % length
        if first_epoch == last_epoch:
            return self._order(first_epoch, positions - first_epoch * length)
        epochs = positions // length
        indices = np.empty_like(positions)
        for epoch in range(first_epoch, last_epoch + 1):
            inside = epochs == epoch
            indices[inside] = self._order(epoch, positions[inside] - epoch * length)
        return indices

    def _order(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """The examples at `positions` of the epoch's order."""
        length = len(self.source)
        if length > KEPT_PERMUTATION:
            return shuffled(positions.reshape(-1), length, self.seed, epoch).reshape(positions.shape)
        if epoch not in self._kept:
            newest = dict(list(self._kept.items())[-1:])  # a batch straddles two epochs: keep no more than these
            self._kept = newest | {epoch: shuffled(np.arange(length), length, self.seed, epoch).astype(np.int32)}
        return self._kept[epoch][positions]

    def epoch(self, step: int) -> float:
        """Passes over the source that `step` steps have made."""
        return self.examples_seen(step) / len(self.source)

    def examples_seen(self, step: int) -> int:
        """Examples that `step` steps have consumed, repeats included."""
        return step * self.batch_size

    def unique_examples(self, step: int) -> int:
        """Different examples that `step` steps have consumed."""
        return min(self.examples_seen(step), len(self.source))


def sequential_batches(
    source: Source,
    batch_size: int,
    limit: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Example]:
    """Batches for evaluation: each example exactly once, in order, with "example_weight" float32 [rows].

    The last batch is padded with repeated examples of weight 0, so all batches have one shape. `limit` takes that many
    examples evenly spaced over the source (neighbours are alike, so the first ones would be a poor sample).
    """
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(f"batch_size {batch_size} is not a positive multiple of the {process_count} processes")
    length = len(source)
    count = length if limit is None else min(limit, length)
    chosen = np.arange(count) * length // count
    rows = batch_size // process_count
    for start in range(0, count, batch_size):
        positions = start + process_index * rows + np.arange(rows)
        weight = (positions < count).astype(np.float32)
        example = gather_examples(source, chosen[np.minimum(positions, count - 1)])
        yield example | {"example_weight": weight}
