"""Exact attention that never holds T x S weights: blocks of queries meet blocks of keys, one pair after another.

A softmax over keys is kept as its maximum, its sum and its weighted values, which a further block of keys updates
(Milakov and Gimelshein 2018, arXiv 1805.02867; Rabe and Staats 2021, arXiv 2112.05682); the backward pass computes
each pair's weights again from the maximum and the sum (Dao et al. 2022, arXiv 2205.14135, algorithm 4). Pairs that
causality or a window hide are left out before compilation, so a causal pass multiplies little more than half of the
square. Where devices share the positions, each meets all keys with its own queries.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from genlab.models import placement, weight_masks
from genlab.models.weight_masks import MASKED_SCORE


class _Call(NamedTuple):
    """What of a call is known before compilation: queries of each of the parts, keys, heads, sizes of the blocks."""

    T: int
    S: int
    H: int
    parts: int
    sizes: tuple[int, int]
    causal: bool
    window: int | None
    dropout: float

    def pairs(self) -> np.ndarray:
        """Returns the (block of queries, block of keys) pairs in which a part sees something, int32 [pairs, 2]."""
        t, s = self.sizes
        i, j = np.meshgrid(np.arange(-(-self.T // t)), np.arange(-(-self.S // s)), indexing="ij")
        seen = np.zeros(i.shape, bool)
        for start in self.T * np.arange(self.parts):
            first, last = start + i * t, start + np.minimum((i + 1) * t, self.T) - 1
            until = j * s <= last if self.causal else True
            since = True if self.window is None else (j + 1) * s - 1 > first - self.window
            seen |= until & since
        return np.stack([i[seen], j[seen]], axis=1).astype(np.int32)


def attention(
    q_BTHK, k_BSGK, v_BSGK, *, causal=False, mask=None, window=None, dropout_rate=0.0, dropout_key=None, block=512
):
    """Returns scaled dot-product attention, [B, T, H, K]; arguments as in ops.attention.

    `block` queries meet as many keys at a time. A query that sees no key at all reads a mean of values, as in
    ops.attention, but of those alone that its pairs hold. No forward mode (jax.jvp).
    """
    B, T, H, K = q_BTHK.shape
    S, G = k_BSGK.shape[1:3]
    drop = dropout_rate > 0 and dropout_key is not None
    keys_B = weight_masks.keys_of_examples(dropout_key, B) if drop else None
    P = placement.parts("T", T)
    sizes = min(block, T // P), min(block, S)
    call = _Call(T // P, S, H, P, sizes, causal, window, dropout_rate if drop else 0.0)
    q_PBGRTK = (q_BTHK * K**-0.5).reshape(B, P, T // P, G, H // G, K).transpose(1, 0, 3, 4, 2, 5)
    q_PNBGRTK = _blocks(placement.place(q_PBGRTK, "TBG---"), 4, sizes[0], first=1)
    k_NBGSK, v_NBGSK = (_blocks(x.transpose(0, 2, 1, 3), 2, sizes[1]) for x in (k_BSGK, v_BSGK))
    if mask is not None:
        mask = jnp.asarray(mask).reshape((1,) * (4 - jnp.ndim(mask)) + jnp.shape(mask))
        # Beyond the last query and key, so that no block's slice begins elsewhere than where it should.
        beyond = [size if length > 1 else 0 for length, size in zip(mask.shape[2:], sizes, strict=True)]
        mask = jnp.pad(mask, ((0, 0), (0, 0), *((0, size) for size in beyond)))
    meet = functools.partial(_attention, call)
    if P == 1:
        out_PNBGRTK = meet(q_PNBGRTK[0], k_NBGSK, v_NBGSK, mask, keys_B, 0)[None]
    else:
        starts_P = T // P * jnp.arange(P)
        out_PNBGRTK = jax.vmap(meet, (0, None, None, None, None, 0))(
            q_PNBGRTK, k_NBGSK, v_NBGSK, mask, keys_B, starts_P)
    out_PBGRTK = jnp.moveaxis(out_PNBGRTK, 1, 4).reshape(P, B, G, H // G, -1, K)[..., : T // P, :]
    return out_PBGRTK.transpose(1, 0, 4, 2, 3, 5).reshape(B, T, H, K)


def _blocks(x, axis, size, first=0):
    """Returns x cut into N blocks of `size` along an axis (zeros behind it), the blocks' axis at `first`."""
    x = jnp.pad(x, [(0, -x.shape[axis] % size if a == axis else 0) for a in range(x.ndim)])
    return jnp.moveaxis(x.reshape(*x.shape[:axis], -1, size, *x.shape[axis + 1 :]), axis, first)


def _slot(x_N, i):
    return lax.dynamic_index_in_dim(x_N, i, keepdims=False)


def _put(x_N, i, value):
    return lax.dynamic_update_index_in_dim(x_N, value.astype(x_N.dtype), i, 0)


def _product(axes, *operands):
    return jnp.einsum(axes, *operands, preferred_element_type=jnp.float32)


def _pair(call, pair, q_BGRTK, k_BGSK, mask, keys_B, start):
    """Returns a pair of blocks' (scores, which of its keys are no padding [S], what dropout multiplies weights by).

    Scores are [B, G, R, T, S], float32; dropout's factors are 0 or 1 / (1 - rate), or 1.0 without it.
    """
    (i, j), (t, s) = pair, call.sizes
    first = start + i * t
    query_T, key_S = first + jnp.arange(t), j * s + jnp.arange(s)
    scores = _product("bgrtk,bgsk->bgrts", q_BGRTK, k_BGSK)
    if call.causal:
        scores = jnp.where(weight_masks.causally_seen(query_T[:, None], key_S, call.window), scores, MASKED_SCORE)
    if mask is not None:
        for axis, at, size in ((2, first, t), (3, j * s, s)):
            if mask.shape[axis] > 1:
                mask = lax.dynamic_slice_in_dim(mask, at, size, axis)
        heads = scores.shape[1:3] if mask.shape[1] > 1 else (1, 1)
        scores = jnp.where(mask.reshape(mask.shape[0], *heads, *mask.shape[2:]), scores, MASKED_SCORE)
    real_S = key_S < call.S
    factors = 1.0
    if keys_B is not None:
        kept_BHTS = weight_masks.kept(keys_B, call.dropout, call.H, query_T, key_S)
        factors = kept_BHTS.reshape(scores.shape) * np.float32(1 / (1 - call.dropout))
    return jnp.where(real_S, scores, MASKED_SCORE), real_S, factors


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(call, q_NBGRTK, k_NBGSK, v_NBGSK, mask, keys_B, start):
    """Returns the attention of one part's queries, the first of them at `start`, as blocks [N, B, G, R, T, K]."""
    return _forward(call, q_NBGRTK, k_NBGSK, v_NBGSK, mask, keys_B, start)[0]


def _forward(call, q_NBGRTK, k_NBGSK, v_NBGSK, mask, keys_B, start):
    def step(carry, pair):
        (largest_N, total_N, out_N), (i, j) = carry, pair
        scores, real_S, factors = _pair(call, pair, _slot(q_NBGRTK, i), _slot(k_NBGSK, j), mask, keys_B, start)
        old = _slot(largest_N, i)
        largest = jnp.maximum(old, scores.max(axis=-1, keepdims=True))
        weights, shrink = jnp.where(real_S, jnp.exp(scores - largest), 0.0), jnp.exp(old - largest)
        total = _slot(total_N, i) * shrink + weights.sum(axis=-1, keepdims=True)
        values = _product("bgrts,bgsk->bgrtk", (weights * factors).astype(v_NBGSK.dtype), _slot(v_NBGSK, j))
        out = _slot(out_N, i) * shrink + values
        return (_put(largest_N, i, largest), _put(total_N, i, total), _put(out_N, i, out)), None

    rows = (*q_NBGRTK.shape[:-1], 1)
    empty = (jnp.full(rows, MASKED_SCORE), jnp.zeros(rows), jnp.zeros(q_NBGRTK.shape, jnp.float32))
    (largest, total, out), _ = lax.scan(step, empty, tuple(call.pairs().T))
    out = (out / total).astype(q_NBGRTK.dtype)
    return out, (q_NBGRTK, k_NBGSK, v_NBGSK, mask, keys_B, start, largest, total, out)


def _backward(call, saved, g_NBGRTK):
    """With weights p and dropout's factors d: dv = (p d)^T g, ds = p (d g v^T - sum(g out))."""
    q_NBGRTK, k_NBGSK, v_NBGSK, mask, keys_B, start, largest_N, total_N, out_N = saved
    delta_N = (g_NBGRTK.astype(jnp.float32) * out_N.astype(jnp.float32)).sum(axis=-1, keepdims=True)
    dtype = q_NBGRTK.dtype

    def step(carry, pair):
        (dq_N, dk_N, dv_N), (i, j) = carry, pair
        q, k, v, g = _slot(q_NBGRTK, i), _slot(k_NBGSK, j), _slot(v_NBGSK, j), _slot(g_NBGRTK, i)
        scores, real_S, factors = _pair(call, pair, q, k, mask, keys_B, start)
        p = jnp.where(real_S, jnp.exp(scores - _slot(largest_N, i)), 0.0) / _slot(total_N, i)
        dv = _product("bgrts,bgrtk->bgsk", (p * factors).astype(dtype), g)
        ds = p * (_product("bgrtk,bgsk->bgrts", g, v) * factors - _slot(delta_N, i))
        ds = jnp.where(scores > MASKED_SCORE, ds, 0.0).astype(dtype)  # A masked score is a constant.
        dq, dk = _product("bgrts,bgsk->bgrtk", ds, k), _product("bgrts,bgrtk->bgsk", ds, q)
        return tuple(_put(x_N, at, _slot(x_N, at) + dx) for x_N, at, dx in (
            (dq_N, i, dq), (dk_N, j, dk), (dv_N, j, dv))), None

    zeros = tuple(jnp.zeros(x.shape, jnp.float32) for x in saved[:3])
    gradients, _ = lax.scan(step, zeros, tuple(call.pairs().T))
    return *(g.astype(x.dtype) for g, x in zip(gradients, saved[:3], strict=True)), None, None, None


_attention.defvjp(_forward, _backward)
