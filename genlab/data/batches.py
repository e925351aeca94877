"""Batches as a pure function of (seed, step): resuming needs no data state beyond the step.

Position p = step * batch_size + row counts the examples of a run; epoch e = p // n draws its own
permutation of the n examples, and row p takes the one at p - e n. Batches may straddle epochs, so no
example is dropped; processes make only the rows that their devices hold, so the global batch does not
depend on how many there are. Augmentation hangs on p as well: each row gets a key that is a hash of (seed, p).
"""

import functools
from collections.abc import Iterator

import numpy as np

from genlab.configuration import ConfigError
from genlab.data.draws import row_keys
from genlab.data.shuffle import shuffled
from genlab.data.sources import Example, Source, gather_examples

# Indices are made for so many examples at once: alone, a batch of 32 would pay 300 us for the
# shuffle's 300 NumPy calls; a block of this size takes 2 ms, 4 us for each of its batches of 32.
BLOCK_EXAMPLES = 16_384


class Batches:
    """Endless training batches: `batches[step]` is a dict of arrays [rows, ...].

    Args:
      source: of examples.
      batch_size: examples a step, in all processes.
      seed: of the order and of augmentation.
      shuffle: or the source's own order.
      rows: those of a batch that this process makes; by default all.

    Raises:
      ConfigError: `batch_size` is larger than the source.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        rows: np.ndarray | None = None,
    ):
        if not 1 <= batch_size <= len(source):
            raise ConfigError(f"batch_size {batch_size} is not between 1 and the {len(source)} training examples")
        self._rows = np.arange(batch_size) if rows is None else np.asarray(rows)
        self.source = source
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self._steps_per_block = max(1, BLOCK_EXAMPLES // len(self._rows))
        self._block = functools.lru_cache(maxsize=2)(self._make_block)

    def __getitem__(self, step: int) -> Example:
        return {name: array[0] for name, array in self.stack(step, step + 1).items()}

    def stack(self, start: int, stop: int) -> Example:
        """Batches of steps start to stop - 1, one gather: a dict of [stop - start, rows, ...]."""
        indices = self.indices(start, stop)
        keys = row_keys(self.seed, self._positions(start, stop)) if hasattr(self.source, "gather_keyed") else None
        flat = gather_examples(self.source, indices.reshape(-1), keys)
        return {name: a.reshape(*indices.shape, *a.shape[1:]) for name, a in flat.items()}

    def indices(self, start: int, stop: int) -> np.ndarray:
        """The examples in this process's rows of steps start to stop - 1: [stop - start, rows]."""
        if not 0 <= start < stop:
            raise IndexError(f"steps {start} to {stop} are no range of steps")
        first, last = start // self._steps_per_block, (stop - 1) // self._steps_per_block
        blocks = [self._block(block) for block in range(first, last + 1)]
        joined = blocks[0] if first == last else np.concatenate(blocks)
        offset = first * self._steps_per_block
        return joined[start - offset : stop - offset]

    def _make_block(self, block: int) -> np.ndarray:
        """The indices of a block of steps: [steps_per_block, rows]."""
        first = block * self._steps_per_block
        positions = self._positions(first, first + self._steps_per_block)
        order = shuffled(positions, len(self.source), self.seed) if self.shuffle else positions % len(self.source)
        return order.reshape(self._steps_per_block, len(self._rows))

    def _positions(self, start: int, stop: int) -> np.ndarray:
        """The positions in the run of this process's rows of steps start to stop - 1: [(stop - start) rows]."""
        return (np.arange(start, stop)[:, None] * self.batch_size + self._rows).reshape(-1)

    def epoch(self, step: int) -> float:
        """Passes over the source that `step` steps have made."""
        return self.examples_seen(step) / len(self.source)

    def examples_seen(self, step: int) -> int:
        """Examples that `step` steps have consumed, repeats included, in all processes."""
        return step * self.batch_size

    def unique_examples(self, step: int) -> int:
        """Different examples that `step` steps have consumed, in all processes."""
        return min(self.examples_seen(step), len(self.source))


def sequential_batches(
    source: Source,
    batch_size: int,
    limit: int | None = None,
    rows: np.ndarray | None = None,
    augment_seed: int | None = None,
) -> Iterator[Example]:
    """Batches for evaluation: each example once, in order, with its "index" and "example_weight" float32 [rows].

    The last batch is padded with examples of weight 0, so that all have one shape. `limit` takes
    that many examples evenly spaced over the source: neighbours are alike, and the first ones would
    be a poor sample of the rest. `rows` are those of a batch that this process makes, by default all. With an
    `augment_seed`, a source that is augmented is so here as well: an example always in the same way, for
    losses that need its views.
    """
    rows = np.arange(batch_size) if rows is None else np.asarray(rows)
    count = len(source) if limit is None else min(limit, len(source))
    if count < 1:
        raise ValueError(f"evaluation needs at least 1 example; limit is {limit}")
    chosen = np.arange(count) * len(source) // count
    for start in range(0, count, batch_size):
        positions = start + rows
        indices = chosen[np.minimum(positions, count - 1)]
        keys = None if augment_seed is None else row_keys(augment_seed, indices)
        examples = gather_examples(source, indices, keys)
        yield examples | {"index": indices.astype(np.int32), "example_weight": (positions < count).astype(np.float32)}
