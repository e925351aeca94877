"""Attention and the stack apart from GPT: masks, cross attention, grouped heads, dropout."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.models import ops
from genlab.models.attention import padding_mask
from genlab.models.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(width=8, depth=2, num_heads=2, mlp_width=16)
# Compiled once per shape: eager JAX compiles every operation on its own, ten times slower.
attention = jax.jit(ops.attention, static_argnames=("causal", "dropout_rate"))


def normal(*shape, seed=0):
    """Standard normal numbers, float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_params(model, *args, **kwargs):
    """Parameters of the right shapes, drawn by NumPy: an initialiser takes a second to compile."""
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *args, **kwargs))
    return jax.tree.map(lambda s: rng.normal(0, 0.5, s.shape).astype(np.float32), shapes)


def test_attention_is_softmax_of_scaled_products_for_each_group_of_heads():
    B, T, S, H, G, K = 2, 3, 5, 4, 2, 6
    q, k, v = normal(B, T, H, K), normal(B, S, G, K, seed=1), normal(B, S, G, K, seed=2)
    mask = np.random.default_rng(3).random((B, H, T, S)) < 0.7
    mask[..., 0] = True
    out = attention(q, k, v, mask=mask)
    for b, t, h in np.ndindex(B, T, H):
        seen = mask[b, h, t]
        scores = k[b, seen, h // 2] @ q[b, t, h] / np.sqrt(K)
        weights = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(out[b, t, h], weights @ v[b, seen, h // 2], atol=1e-5)


def test_attention_dropout_keeps_the_mean_and_only_scales_or_drops():
    q, k = normal(1, 2, 1, 3), normal(1, 3, 1, 3, seed=1)
    v = np.eye(3, dtype=np.float32)[None, :, None, :]  # so that the output is the weights
    exact = attention(q, k, v)
    keys = jax.random.split(jax.random.key(0), 4000)

    def drop(key):
        return ops.attention(q, k, v, dropout_rate=0.25, dropout_key=key)

    draw = jax.jit(jax.vmap(drop))(keys)
    assert np.all((draw == 0) | np.isclose(draw, exact / 0.75, rtol=1e-5))
    np.testing.assert_allclose(np.mean(draw == 0), 0.25, atol=0.01)
    np.testing.assert_allclose(draw.mean(axis=0), exact, atol=0.02)


def test_a_fully_masked_row_is_finite_and_so_are_its_gradients():
    def total(q):
        mask = np.zeros((1, 1, 2, 3), bool)
        return ops.attention(q, normal(1, 3, 1, 4), normal(1, 3, 1, 4, seed=1), mask=mask).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(normal(1, 2, 1, 4, seed=2))
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_bidirectional_stack_sees_everything_but_the_padding():
    model = Transformer(CONFIG)
    x = normal(2, 5, 8)
    valid = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    params = random_params(model, x)
    run = jax.jit(lambda x, valid: model.apply(params, x, mask=padding_mask(valid)))
    out = run(x, valid)
    other = x.copy()
    other[0, 3:] = 7.0
    np.testing.assert_allclose(run(other, valid)[0, :3], out[0, :3], atol=1e-6)
    alone = run(x[:1, :3], valid[:1, :3])
    np.testing.assert_allclose(alone[0], out[0, :3], atol=1e-5)
    other = x.copy()
    other[1, 4] = 7.0
    assert np.all(np.abs(run(other, valid)[1] - out[1]).max(axis=-1) > 1e-3)  # the last is seen by all


def test_cross_attention_reads_the_source_through_its_mask():
    model = Transformer(
        TransformerConfig(width=8, depth=1, num_heads=2, mlp_width=16, causal=True, cross_attention=True)
    )
    x, source = normal(2, 4, 8), normal(2, 6, 10, seed=1)
    valid = np.array([[1] * 6, [1, 1, 0, 0, 0, 0]])
    params = random_params(model, x, source_BSD=source)

    @jax.jit
    def run(x, source, valid):
        return model.apply(params, x, source_BSD=source, source_mask=padding_mask(valid))

    out = run(x, source, valid)
    other = source.copy()
    other[:, 2:] = 3.0
    changed = np.abs(run(x, other, valid) - out).max(axis=-1)
    assert np.all(changed[0] > 1e-3)
    np.testing.assert_allclose(changed[1], 0, atol=1e-6)
    short = run(x[1:], source[1:, :2], valid[1:, :2])
    np.testing.assert_allclose(short[0], out[1], atol=1e-5)


def test_rotary_attention_depends_on_distances_only():
    model = Transformer(dataclasses.replace(CONFIG, width=16, depth=1, rotary_base=100.0))
    x = normal(2, 5, 16)
    params = random_params(model, x)
    run = jax.jit(lambda positions: model.apply(params, x, positions_BT=positions))
    positions = np.arange(5)[None]
    np.testing.assert_allclose(run(positions + 9), run(positions), atol=1e-5)
    assert np.abs(run(2 * positions) - run(positions)).max() > 1e-2


def test_a_stack_without_its_source_or_a_cache_without_causality_is_an_error():
    x = jnp.zeros((1, 2, 8))
    with pytest.raises(ValueError, match="needs source_BSD"):
        jax.eval_shape(
            Transformer(TransformerConfig(8, 1, 2, 16, cross_attention=True)).init, jax.random.key(0), x
        )
    with pytest.raises(ValueError, match="needs causal attention"):
        jax.eval_shape(
            lambda x: Transformer(CONFIG).init(jax.random.key(0), x, cache=CONFIG.empty_cache(1, 4)), x
        )
