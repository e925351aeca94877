"""Random numbers as pure functions of (seed, stream, step, example): never carried along, so resuming needs none.

What an example draws depends on its position in the whole batch, not on the device, host or micro-batch that it is
computed in. So every plan draws the same numbers, and no two devices draw the same ones.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

STREAMS = {"init": 0, "train": 1, "evaluate": 2, "sample": 3}


def stream_key(seed: jax.Array | int, stream: str, step: jax.Array | int = 0) -> jax.Array:
    """The key of one stream ("init", "train", "evaluate" or "sample") at one step; all may be traced."""
    key = jax.random.fold_in(jax.random.key(seed), STREAMS[stream])
    return jax.random.fold_in(key, step)


class Examples(NamedTuple):
    """Which examples of a batch a function sees.

    Attributes:
      position_B: their positions in the whole batch, int32 [B].
      count: examples of the whole batch.
    """

    position_B: jax.Array
    count: int


_PART: contextvars.ContextVar[Examples | None] = contextvars.ContextVar("part", default=None)


@contextlib.contextmanager
def part_of_batch(position_B: jax.Array, count: int) -> Iterator[None]:
    """Functions traced within see these examples of a batch of `count`; without it, they see whole batches."""
    token = _PART.set(Examples(position_B, count))
    try:
        yield
    finally:
        _PART.reset(token)


def examples(rows: int) -> Examples:
    """The examples that the caller's arrays of so many rows hold.

    Several rows of one example, such as its views, lie one run of all examples after another.
    """
    part = _PART.get()
    if part is None:
        return Examples(jnp.arange(rows, dtype=jnp.int32), rows)
    B = len(part.position_B)
    if rows == B:
        return part
    runs = rows // B
    if rows % B:
        raise ValueError(f"{rows} rows are no whole number of runs of {B} examples")
    position = jnp.arange(runs, dtype=jnp.int32)[:, None] * part.count + part.position_B
    return Examples(position.ravel(), runs * part.count)


def per_example(draw: Callable, key: jax.Array, shape: tuple[int, ...], **options) -> jax.Array:
    """Returns draw(key of the example, shape[1:], **options) of each of the shape[0] examples, stacked.

    Args:
      draw: a function of jax.random, such as `normal`.
      key: one for the whole batch.
      shape: of the result, [B, ...].
      options: of `draw`.
    """
    position_B = examples(shape[0]).position_B
    return jax.vmap(lambda i: draw(jax.random.fold_in(key, i), shape=shape[1:], **options))(position_B)
