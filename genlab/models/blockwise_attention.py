"""Exact attention that never holds T x S weights: blocks of queries meet blocks of keys, one pair after another.

A softmax over keys is kept as its maximum, its sum and its weighted values, which a further block of keys updates
(Milakov and Gimelshein 2018, arXiv 1805.02867; Rabe and Staats 2021, arXiv 2112.05682); the backward pass computes
each pair's weights again from the maximum and the sum (Dao et al. 2022, arXiv 2205.14135, algorithm 4). Pairs that
causality or a window hide are left out, before compilation, so a causal pass costs little more than half.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from genlab.randomness import examples

MASKED_SCORE = jnp.finfo(jnp.float32).min  # as in ops.py


def kept(keys_B, rate, heads, query_T, key_S):
    """Returns which weights dropout keeps, boolean [B, H, T, S], for queries and keys at these positions.

    Each weight has a draw of its own, from its example's key, its head, its query and its key, so that any part of
    the weights can be drawn by itself. It takes as long as jax.random.bernoulli of the whole (16 ms for 2 million).
    """

    def row(key, query):
        return jax.vmap(lambda s: jax.random.key_data(jax.random.fold_in(key, s)).ravel()[0])(key_S) >= threshold

    threshold = np.uint32(round(rate * 2**32))
    heads_B = jax.vmap(lambda key: jax.vmap(lambda h: jax.random.fold_in(key, h))(jnp.arange(heads)))(keys_B)
    rows_BHT = jax.vmap(jax.vmap(lambda key: jax.vmap(lambda t: jax.random.fold_in(key, t))(query_T)))(heads_B)
    return jax.vmap(jax.vmap(jax.vmap(lambda key: row(key, None))))(rows_BHT)


def keys_of_examples(key, rows):
    """Returns the key [B] of each example, by its position in the whole batch (randomness.examples)."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(examples(rows).position_B)


def seen_causally(query, key, window=None):
    """Whether queries see keys, from their positions (integers that broadcast): none later, `window` in all."""
    seen = key <= query
    return seen if window is None else seen & (key > query - window)


def attention(
    q_BTHK, k_BSGK, v_BSGK, *, causal=False, mask=None, window=None, dropout_rate=0.0, dropout_key=None, block=512,
    query_block=None,
):
    """Returns scaled dot-product attention, [B, T, H, K]; arguments as in ops.attention.

    `block` keys meet `query_block` queries (as many by default) at a time. A query that sees no key at all reads the
    mean of values, as in ops.attention, but of those alone that its pairs hold. No forward mode (jax.jvp).
    """
    B, T, H, K = q_BTHK.shape
    S, G = k_BSGK.shape[1:3]
    drop = dropout_rate > 0 and dropout_key is not None
    keys_B = keys_of_examples(dropout_key, B) if drop else None
    sizes = min(query_block or block, T), min(block, S)
    shape = _Shape(T, S, H, sizes, causal, window, dropout_rate if drop else 0.0)
    q_NBGRTK = _blocks((q_BTHK * K**-0.5).reshape(B, T, G, H // G, K).transpose(0, 2, 3, 1, 4), 3, sizes[0])
    k_NBGSK, v_NBGSK = (_blocks(x.transpose(0, 2, 1, 3), 2, sizes[1]) for x in (k_BSGK, v_BSGK))
    if mask is not None:
        mask = jnp.asarray(mask).reshape((1,) * (4 - jnp.ndim(mask)) + jnp.shape(mask))
        for axis, size in zip((2, 3), sizes, strict=True):
            if mask.shape[axis] > 1:
                mask = _padded(mask, axis, size)
    out_NBGRTK = _attention(shape, q_NBGRTK, k_NBGSK, v_NBGSK, mask, keys_B)
    out_BGRTK = jnp.moveaxis(out_NBGRTK, 0, 3).reshape(B, G, H // G, -1, K)[:, :, :, :T]
    return out_BGRTK.transpose(0, 3, 1, 2, 4).reshape(B, T, H, K)


class _Shape:
    """What of a call is known before compilation."""

    def __init__(self, T, S, H, sizes, causal, window, dropout):
        self.T, self.S, self.H, self.sizes, self.causal, self.window, self.dropout = (
            T, S, H, sizes, causal, window, dropout)

    def pairs(self):
        """Returns the (block of queries, block of keys) pairs in which something is seen, int32 [P, 2]."""
        t, s = self.sizes
        i, j = np.meshgrid(np.arange(-(-self.T // t)), np.arange(-(-self.S // s)), indexing="ij")
        seen = np.ones(i.shape, bool)
        if self.causal:
            seen &= j * s <= np.minimum((i + 1) * t, self.T) - 1
        if self.window is not None:
            seen &= (j + 1) * s - 1 > i * t - self.window
        return np.stack([i[seen], j[seen]], axis=1).astype(np.int32)


def _padded(x, axis, size):
    """Returns x with zeros (False) behind it up to a multiple of `size` along an axis."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, -x.shape[axis] % size)
    return jnp.pad(x, widths)


def _blocks(x, axis, size):
    """Returns x cut into N blocks of `size` along an axis, the blocks' axis first."""
    x = _padded(x, axis, size)
    return jnp.moveaxis(x.reshape(*x.shape[:axis], -1, size, *x.shape[axis + 1 :]), axis, 0)


def _slot(x_N, i):
    return lax.dynamic_index_in_dim(x_N, i, keepdims=False)


def _put(x_N, i, value):
    return lax.dynamic_update_index_in_dim(x_N, value.astype(x_N.dtype), i, 0)


def _scores(shape, i, j, q_BGRTK, k_BGSK, mask):
    """Returns (scores [B, G, R, T, S] of a pair of blocks, which of its keys are no padding [S])."""
    scores = jnp.einsum("bgrtk,bgsk->bgrts", q_BGRTK, k_BGSK, preferred_element_type=jnp.float32)
    query_T, key_S = _positions(shape, i, j)
    real_S = key_S < shape.S
    if shape.causal:
        scores = jnp.where(seen_causally(query_T[:, None], key_S, shape.window), scores, MASKED_SCORE)
    if mask is not None:
        for axis, start, size in ((2, i * shape.sizes[0], shape.sizes[0]), (3, j * shape.sizes[1], shape.sizes[1])):
            if mask.shape[axis] > 1:
                mask = lax.dynamic_slice_in_dim(mask, start, size, axis)
        # [B, H, T, S] or 1 of each, with H = G R.
        G, R = scores.shape[1:3]
        heads = (G, R) if mask.shape[1] > 1 else (1, 1)
        scores = jnp.where(mask.reshape(mask.shape[0], *heads, *mask.shape[2:]), scores, MASKED_SCORE)
    return jnp.where(real_S, scores, MASKED_SCORE), real_S


def _positions(shape, i, j):
    t, s = shape.sizes
    return i * t + jnp.arange(t), j * s + jnp.arange(s)


def _dropout_scale(shape, i, j, keys_B, like):
    """Returns what dropout multiplies a pair's weights by, 0 or 1 / (1 - rate), shaped as they are; 1 without it."""
    if keys_B is None:
        return 1.0
    keep_BHTS = kept(keys_B, shape.dropout, shape.H, *_positions(shape, i, j))
    return keep_BHTS.reshape(like.shape) * np.float32(1 / (1 - shape.dropout))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(shape, q_NBGRTK, k_NBGSK, v_NBGSK, mask, keys_B):
    return _forward(shape, q_NBGRTK, k_NBGSK, v_NBGSK, mask, keys_B)[0]


def _forward(shape, q_NBGRTK, k_NBGSK, v_NBGSK, mask, keys_B):
    rows = (*q_NBGRTK.shape[:-1], 1)

    def step(carry, pair):
        largest_N, total_N, out_N = carry
        i, j = pair
        scores, real_S = _scores(shape, i, j, _slot(q_NBGRTK, i), _slot(k_NBGSK, j), mask)
        old = _slot(largest_N, i)
        largest = jnp.maximum(old, scores.max(axis=-1, keepdims=True))
        weights = jnp.where(real_S, jnp.exp(scores - largest), 0.0)
        shrink = jnp.exp(old - largest)
        total = _slot(total_N, i) * shrink + weights.sum(axis=-1, keepdims=True)
        weights = (weights * _dropout_scale(shape, i, j, keys_B, weights)).astype(v_NBGSK.dtype)
        values = jnp.einsum("bgrts,bgsk->bgrtk", weights, _slot(v_NBGSK, j), preferred_element_type=jnp.float32)
        out = _slot(out_N, i) * shrink + values
        return (_put(largest_N, i, largest), _put(total_N, i, total), _put(out_N, i, out)), None

    start = (jnp.full(rows, MASKED_SCORE), jnp.zeros(rows), jnp.zeros(q_NBGRTK.shape, jnp.float32))
    (largest, total, out), _ = lax.scan(step, start, tuple(shape.pairs().T))
    total = jnp.where(total > 0, total, 1.0)  # Rows of padding may have met nothing but padding.
    out = (out / total).astype(q_NBGRTK.dtype)
    return out, (q_NBGRTK, k_NBGSK, v_NBGSK, mask, keys_B, largest, total, out)


def _backward(shape, saved, g_NBGRTK):
    """With weights p and their dropout d: dv = (p d)^T g, ds = p (d g v^T - sum(g out))."""
    q_NBGRTK, k_NBGSK, v_NBGSK, mask, keys_B, largest_N, total_N, out_N = saved
    delta_N = (g_NBGRTK.astype(jnp.float32) * out_N.astype(jnp.float32)).sum(axis=-1, keepdims=True)
    dtype = q_NBGRTK.dtype

    def product(axes, *operands):
        return jnp.einsum(axes, *operands, preferred_element_type=jnp.float32)

    def step(carry, pair):
        dq_N, dk_N, dv_N = carry
        i, j = pair
        q, k, v, g = _slot(q_NBGRTK, i), _slot(k_NBGSK, j), _slot(v_NBGSK, j), _slot(g_NBGRTK, i)
        scores, real_S = _scores(shape, i, j, q, k, mask)
        p = jnp.where(real_S, jnp.exp(scores - _slot(largest_N, i)), 0.0) / _slot(total_N, i)
        scale = _dropout_scale(shape, i, j, keys_B, p)
        dv = product("bgrts,bgrtk->bgsk", (p * scale).astype(dtype), g)
        ds = p * (product("bgrtk,bgsk->bgrts", g, v) * scale - _slot(delta_N, i))
        # Where a score is masked, it is a constant.
        ds = jnp.where(scores > MASKED_SCORE, ds, 0.0).astype(dtype)
        dq = product("bgrts,bgsk->bgrtk", ds, k)
        dk = product("bgrts,bgrtk->bgsk", ds, q)
        return (_put(dq_N, i, _slot(dq_N, i) + dq), _put(dk_N, j, _slot(dk_N, j) + dk),
                _put(dv_N, j, _slot(dv_N, j) + dv)), None

    start = tuple(jnp.zeros(x.shape, jnp.float32) for x in (q_NBGRTK, k_NBGSK, v_NBGSK))
    gradients, _ = lax.scan(step, start, tuple(shape.pairs().T))
    return *(g.astype(x.dtype) for g, x in zip(gradients, saved[:3], strict=True)), None, None


_attention.defvjp(_forward, _backward)
