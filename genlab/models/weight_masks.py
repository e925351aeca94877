"""Which attention weights are seen and which are kept by dropout, from positions: the same for any part of them."""

import jax
import jax.numpy as jnp
import numpy as np

from genlab.randomness import examples

# Masked scores: finite, so that a row with nothing to attend to (padding) is uniform and not NaN.
MASKED_SCORE = jnp.finfo(jnp.float32).min


def causally_seen(query, key, window=None):
    """Whether queries see keys, from their positions (integers that broadcast): none later, `window` in all."""
    seen = key <= query
    return seen if window is None else seen & (key > query - window)


def keys_of_examples(key, rows: int):
    """Returns a key for each example's weights, [B], by its position in the whole batch (randomness.examples)."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(examples(rows).position_B)


def kept(keys_B, rate: float, heads: int, query_T, key_S):
    """Returns which weights dropout at `rate` keeps, boolean [B, H, T, S], for queries and keys at these positions.

    Each weight has a draw of its own, from its example's key, its head, its query and its key: one hash a weight, as
    jax.random.bernoulli takes.
    """
    fold = jax.random.fold_in
    threshold = np.uint32(min(round(rate * 2**32), 2**32 - 1))
    keys_BH = jax.vmap(lambda key: jax.vmap(lambda h: fold(key, h))(jnp.arange(heads)))(keys_B)
    keys_BHT = jax.vmap(jax.vmap(lambda key: jax.vmap(lambda t: fold(key, t))(query_T)))(keys_BH)
    draw = jax.vmap(lambda key: jax.vmap(lambda s: jax.random.key_data(fold(key, s))[0])(key_S))
    return jax.vmap(jax.vmap(draw))(keys_BHT) >= threshold
