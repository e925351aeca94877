"""The hand-written backward passes against the plain operations: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.models import fast_ops, ops
from genlab.models.gpt import GPT
from tests.models.fast_and_plain import assert_parity, normal, pull


@pytest.mark.parametrize("shape", [(2, 5, 16, 3), (2, 5, 3, 16), (1, 1, 1, 1)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_dense(shape, with_bias):
    B, T, D, F = shape
    bias = (normal(F),) if with_bias else ()
    assert_parity(ops.dense, normal(B, T, D), normal(D, F), *bias)


@pytest.mark.parametrize("width", [1, 3, 64])
@pytest.mark.parametrize("with_bias", [False, True])
def test_layer_norm(width, with_bias):
    bias = (normal(width),) if with_bias else ()
    assert_parity(ops.layer_norm, normal(2, 5, width) + 3.0, normal(width), *bias, tolerance=1e-5)


def test_layer_norm_of_constant_rows_has_finite_gradients():
    assert_parity(ops.layer_norm, np.full((3, 8), 5.0, np.float32), normal(8))


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_gelu(scale, optimized):
    assert_parity(ops.gelu, normal(4, 33, scale=scale))


@pytest.mark.parametrize("causal, heads, scale", [
    (True, (1, 1), 1.0), (True, (4, 4), 20.0), (True, (6, 2), 1.0), (False, (4, 4), 1.0), (False, (4, 1), 20.0)])
def test_attention(causal, heads, scale):
    H, G = heads
    q, k, v = normal(2, 7, H, 5, scale=scale), normal(2, 7, G, 5, seed=1, scale=scale), normal(2, 7, G, 5, seed=2)
    # Scores of 2,000 lose three digits in any formulation.
    assert_parity(lambda *a: ops.attention(*a, causal=causal), q, k, v, tolerance=5e-6 * scale)


def test_cross_attention_has_its_own_source_length():
    q, k, v = normal(2, 3, 4, 5), normal(2, 11, 2, 5, seed=1), normal(2, 11, 2, 5, seed=2)
    assert_parity(ops.attention, q, k, v)


@pytest.mark.parametrize("scale, vocab_size", [(1.0, 1), (1.0, 50), (100.0, 3)])
def test_unembed_cross_entropy(scale, vocab_size):
    targets = np.random.default_rng(0).integers(vocab_size, size=(2, 9))
    assert_parity(lambda x, table: ops.unembed_cross_entropy(x, table, targets),
                  normal(2, 9, 8, scale=scale), normal(vocab_size, 8, seed=1), tolerance=1e-5)


def test_large_logits_stay_finite():
    x, table = np.full((1, 4), 1e4, np.float32), normal(6, 4, scale=100.0)
    assert all(np.isfinite(o).all() for o in pull(
        lambda x, table: ops.unembed_cross_entropy(x, table, np.array([2])), (x, table)))


def test_gpt_gradients():
    """With a tied head, whose table is read at both ends of the network."""
    model = GPT(vocab_size=11, context_length=8, width=12, depth=1, num_heads=3, use_bias=True, num_kv_heads=1)
    tokens = np.random.default_rng(0).integers(11, size=(2, 9))
    params = jax.jit(model.init)(jax.random.key(0), tokens[:, :-1])["params"]
    leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, params))

    def losses(*leaves):
        return model.apply({"params": jax.tree.unflatten(tree, leaves)}, tokens[:, :-1], tokens[:, 1:],
                           method="losses")

    assert_parity(losses, *leaves, tolerance=1e-5)


def test_bfloat16_masks_and_dropout_take_the_plain_path():
    q = normal(2, 7, 2, 4)
    mask = np.ones((2, 1, 1, 7), bool)
    cases = {
        "bfloat16": lambda: ops.attention(*3 * (jnp.asarray(q, jnp.bfloat16),), causal=True),
        "mask": lambda: ops.attention(q, q, q, mask=mask),
        "dropout": lambda: ops.attention(q, q, q, dropout_rate=0.5, dropout_key=jax.random.key(0)),
        "dense": lambda: ops.dense(jnp.asarray(q, jnp.bfloat16), normal(4, 3)),
        "gelu": lambda: ops.gelu(jnp.asarray(q, jnp.bfloat16)),
    }
    for name, case in cases.items():
        assert "optimization_barrier" not in str(jax.make_jaxpr(case)()), name
        assert name == "bfloat16" or "custom_vjp" not in str(jax.make_jaxpr(case)()), name


def test_forward_mode_derivatives_when_disabled():
    x, kernel = normal(3, 4), normal(4, 2)
    with fast_ops.disabled():
        _, tangent = jax.jvp(lambda x: ops.gelu(ops.dense(x, kernel)), (x,), (np.ones_like(x),))
    step = 1e-2
    difference = (jax.nn.gelu((x + step) @ kernel) - jax.nn.gelu((x - step) @ kernel)) / (2 * step)
    np.testing.assert_allclose(tangent, difference, atol=2e-3)
