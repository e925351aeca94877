"""Random keys as pure functions of (seed, stream, step): never carried along, so resuming needs none."""

import jax

STREAMS = {"init": 0, "train": 1, "evaluate": 2, "sample": 3}


def stream_key(seed: jax.Array | int, stream: str, step: jax.Array | int = 0) -> jax.Array:
    """The key of one stream ("init", "train", "evaluate" or "sample") at one step; all may be traced."""
    key = jax.random.fold_in(jax.random.key(seed), STREAMS[stream])
    return jax.random.fold_in(key, step)
