"""The hand-written backward passes against the plain operations: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.models import fast_ops, ops
from genlab.models.gpt import GPT


def normal(*shape, seed=0, scale=1.0):
    """Returns float32 normal numbers."""
    return (scale * np.random.default_rng([seed, *shape]).normal(size=shape)).astype(np.float32)


def pull(function, arguments):
    """Returns the outputs of function and the gradients of a random weighting of them."""

    def weighted(*arguments):
        outputs = jax.tree.leaves(function(*arguments))
        total = sum(jnp.sum(jnp.asarray(normal(*o.shape, seed=i + 7)) * o) for i, o in enumerate(outputs))
        return total, outputs

    (_, outputs), gradients = jax.value_and_grad(
        weighted, argnums=tuple(range(len(arguments))), has_aux=True)(*arguments)
    return [*outputs, *gradients]


def assert_parity(function, *arguments, tolerance=3e-6):
    """Asserts that function computes the same with fast operations as without, and that these are used."""
    # Two functions: jit keeps one trace a function, whatever is disabled.
    fast = jax.jit(lambda *a: pull(function, a))
    plain = jax.jit(lambda *a: pull(function, a))
    fast_jaxpr = str(jax.make_jaxpr(lambda *a: function(*a))(*arguments))
    with fast_ops.disabled():
        plain_jaxpr = str(jax.make_jaxpr(lambda *a: function(*a))(*arguments))
        expected = plain(*arguments)
    assert "custom_vjp" in fast_jaxpr
    assert "custom_vjp" not in plain_jaxpr
    for ours, exact in zip(fast(*arguments), expected, strict=True):
        assert ours.shape == exact.shape
        assert ours.dtype == exact.dtype
        # A saturated softmax has no gradient but the rounding of its terms, which are of order one.
        scale = max(1.0, float(np.abs(exact).max()))
        np.testing.assert_allclose(ours / scale, exact / scale, atol=tolerance)


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


@pytest.mark.parametrize("norm", [ops.group_norm, ops.group_norm_silu])
@pytest.mark.parametrize("groups", [1, 3])
def test_group_norm(norm, groups):
    x = normal(3, 5, 4, 6) * np.arange(1, 7, dtype=np.float32) + 3.0
    assert_parity(lambda x, scale, bias: norm(x, scale, bias, groups, 1e-6), x, normal(6), normal(6, seed=1),
                  tolerance=1e-5)


def test_group_norm_of_constant_images_has_finite_gradients():
    assert_parity(lambda x, scale, bias: ops.group_norm_silu(x, scale, bias, 2), np.full((2, 3, 3, 4), 5.0, np.float32),
                  normal(4), normal(4, seed=1))


@pytest.mark.parametrize("channels, features", [(3, 32), (32, 3)])
@pytest.mark.parametrize("kernel_size, padding", [(3, 1), (3, 3), (4, 1)])
def test_convolution_of_stride_1(kernel_size, padding, channels, features):
    """Wide kernels' gradients are convolutions of either side, but for padding beyond the kernel."""
    assert_parity(lambda x, kernel: ops.convolution(x, kernel, 1, padding), normal(2, 6, 7, channels),
                  normal(kernel_size, kernel_size, channels, features), tolerance=1e-5)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_gelu(scale):
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


@pytest.mark.parametrize("kernel_size, stride, padding",
                         [(3, 1, 1), (3, 2, 1), (3, 2, 0), (1, 2, 1), (5, 3, 2), (4, 4, 0)])
@pytest.mark.parametrize("places", [1, 100, 10_000])
def test_convolution(kernel_size, stride, padding, places, monkeypatch):
    """Height 9 and width 10 leave other pixels over at stride 2; kernel gradients in parts of 1, some, all images."""
    monkeypatch.setattr(fast_ops, "_PLACES", places)
    assert_parity(lambda x, kernel: ops.convolution(x, kernel, stride, padding), normal(4, 9, 10, 3),
                  normal(kernel_size, kernel_size, 3, 5), tolerance=1e-5)


@pytest.mark.parametrize("scale, vocab_size", [(1.0, 1), (1.0, 50), (100.0, 3)])
def test_unembed_cross_entropy(scale, vocab_size):
    targets = np.random.default_rng(0).integers(vocab_size, size=(2, 9))
    assert_parity(lambda x, table: ops.unembed_cross_entropy(x, table, targets),
                  normal(2, 9, 8, scale=scale), normal(vocab_size, 8, seed=1), tolerance=1e-5)


def test_large_logits_stay_finite():
    x, table = np.full((1, 4), 1e4, np.float32), normal(6, 4, scale=100.0)
    assert all(np.isfinite(o).all() for o in pull(
        lambda x, table: ops.unembed_cross_entropy(x, table, np.array([2])), (x, table)))


@pytest.mark.parametrize("tied_head", [True, False])
def test_gpt_gradients(tied_head):
    model = GPT(vocab_size=11, context_length=8, width=12, depth=2, num_heads=3, use_bias=True,
                num_kv_heads=1, tied_head=tied_head)
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
        assert "custom_vjp" not in str(jax.make_jaxpr(case)()), name


def test_forward_mode_derivatives_when_disabled():
    x, kernel = normal(3, 4), normal(4, 2)
    with fast_ops.disabled():
        _, tangent = jax.jvp(lambda x: ops.gelu(ops.dense(x, kernel)), (x,), (np.ones_like(x),))
    step = 1e-2
    difference = (jax.nn.gelu((x + step) @ kernel) - jax.nn.gelu((x - step) @ kernel)) / (2 * step)
    np.testing.assert_allclose(tangent, difference, atol=2e-3)
