"""Which calls of attention cuDNN's flash attention may serve: decided from data, without a GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from genlab.models import fast_ops, flash, ops, placement
from genlab.models.flash import Call, Device, obstacle

A100, H100 = Device("gpu", "NVIDIA A100-SXM4-80GB", (8, 0)), Device("gpu", "NVIDIA H100 80GB HBM3", (9, 0))
V100, B200 = Device("gpu", "Tesla V100-SXM2-16GB", (7, 0)), Device("gpu", "NVIDIA B200", (10, 0))
GPT2 = Call("bfloat16", 1024, 1024, 12, 12, 64, causal=True)


@pytest.fixture
def on_an_h100(monkeypatch):
    """Makes the choice as on an H100, and leaves no trace of it."""
    monkeypatch.setattr(flash, "local_device", lambda: H100)
    flash._choose.cache_clear()
    yield
    flash._choose.cache_clear()


@pytest.mark.parametrize("device", [A100, H100, B200])
@pytest.mark.parametrize("change", [
    {}, {"dtype": "float16"}, {"G": 4}, {"K": 128}, {"K": 8}, {"T": 197, "S": 197}, {"causal": False, "S": 77}])
def test_what_it_serves(device, change):
    assert obstacle(GPT2._replace(**change), device) is None


@pytest.mark.parametrize("device, change, reason", [
    (Device("cpu", "cpu"), {}, "cpu is no NVIDIA GPU"),
    (Device("tpu", "TPU v4"), {}, "TPU v4 is no NVIDIA GPU"),
    (Device("gpu", "AMD Instinct MI300X"), {}, "no NVIDIA GPU"),
    (V100, {}, "compute capability 7.0, below 8.0"),
    (A100, {"dtype": "float32"}, "not float32"),
    (A100, {"dtype": "bfloat16 and float32"}, "not bfloat16 and float32"),
    (A100, {"K": 60}, "multiple of 8"),
    (A100, {"K": 136}, "at most 128 here, not 136"),
    (B200, {"K": 256}, "at most 128 here, not 256"),
    (H100, {"K": 264}, "at most 256 here, not 264"),
    (A100, {"K": 128, "causal": False, "S": 77}, "odd number of keys (77) must be at most 120 wide here, not 128"),
    (A100, {"G": 5}, "12 query heads do not share 5"),
    (A100, {"T": 5}, "as many queries as keys"),
    (A100, {"masked": True}, "expand the mask"),
    (A100, {"dropout": True}, "dropout"),
    (A100, {"cut": True}, "devices share its positions"),
    (A100, {"T": 1, "causal": False}, "one query")])
def test_what_it_does_not_serve_and_why(device, change, reason):
    assert reason in obstacle(GPT2._replace(**change), device)


def test_wider_heads_on_hopper():
    assert obstacle(GPT2._replace(K=256), H100) is None


def test_the_choice_and_its_reason_are_logged_once_a_kind_of_call(on_an_h100, monkeypatch):
    lines = []
    monkeypatch.setattr(flash.logging, "info", lambda line, *values: lines.append(line % values))
    for B in (1, 2, 3):
        x = jax.ShapeDtypeStruct((B, 16, 4, 8), jnp.bfloat16)
        assert flash.eligible(x, x, x, causal=True)
        assert not flash.eligible(x, x, x, masked=True)
    assert len(lines) == 2
    assert "16 x 16 positions, 4 heads (4 of keys) of width 8, bfloat16, causal: cuDNN" in lines[0]
    assert lines[1].endswith("not cuDNN's flash attention, because it would expand the mask into T x S numbers")


def test_attention_takes_it_where_eligible(on_an_h100, monkeypatch):
    taken = []
    monkeypatch.setattr(flash, "attention", lambda q, k, v, **options: taken.append(options) or q)
    q, k = jnp.zeros((1, 16, 4, 8), jnp.bfloat16), jnp.zeros((1, 16, 2, 8), jnp.bfloat16)
    jax.eval_shape(lambda: ops.attention(q, k, k, causal=True))
    assert taken == [{"causal": True, "window": None}]
    jax.eval_shape(lambda: ops.attention(q, k, k, causal=True, window=3))
    assert taken.pop() == {"causal": True, "window": 3}
    jax.eval_shape(lambda: ops.attention(q, k, k, mask=np.ones((16, 16), bool)))
    jax.eval_shape(lambda: ops.attention(q, k, k, dropout_rate=0.1, dropout_key=jax.random.key(0)))
    jax.eval_shape(lambda: ops.attention(q.astype(jnp.float32), k, k))
    with fast_ops.disabled():
        jax.eval_shape(lambda: ops.attention(q, k, k, causal=True))
    assert len(taken) == 1


@pytest.mark.parametrize("cut, key_heads, served", [
    ("data", 2, True), ("sequence", 2, False), ("tensor", 2, True), ("tensor", 1, False)])
def test_positions_and_heads_that_devices_share(on_an_h100, cut, key_heads, served):
    """JAX partitions the call over examples, and over heads where those of queries and keys are cut alike."""
    mesh = jax.make_mesh((2,), (cut,), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    axes = {"B": ("data",), "T": ("sequence",), "H": ("tensor",), "G": ("tensor",)}
    q, k = (jax.ShapeDtypeStruct((2, 16, heads, 8), jnp.bfloat16) for heads in (4, key_heads))
    with placement.on(mesh, {letter: names for letter, names in axes.items() if cut in names}):
        assert flash.eligible(q, k, k) == served


@pytest.mark.parametrize("T, S, causal, window", [
    (7, 7, False, None), (4, 5, False, None), (5, 4, False, None), (7, 7, True, None), (7, 7, True, 3),
    (6, 6, False, None)])
def test_odd_lengths_are_padded_without_a_trace(monkeypatch, T, S, causal, window):
    """By XLA in cuDNN's place, which sees even lengths alone; values and gradients are those of plain operations."""
    seen, by_jax = [], jax.nn.dot_product_attention

    def in_its_place(q, k, v, implementation, **options):
        seen.extend((q.shape[1], k.shape[1]))
        return by_jax(q, k, v, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", in_its_place)
    random = np.random.default_rng(0)
    q, k, v, g = (jnp.asarray(random.normal(0, 3, (2, length, heads, 8)), jnp.float32)
                  for length, heads in ((T, 4), (S, 2), (S, 2), (T, 4)))
    out, pull = jax.vjp(lambda *qkv: flash.attention(*qkv, causal=causal, window=window), q, k, v)
    with fast_ops.disabled():
        expected, pull_expected = jax.vjp(lambda *qkv: ops.attention(*qkv, causal=causal, window=window), q, k, v)
    assert seen == [T + T % 2, S + S % 2]
    for ours, theirs in zip((out, *pull(g)), (expected, *pull_expected(g)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_jax_takes_the_gradient_at_odd_lengths(monkeypatch):
    """JAX's own checks for cuDNN, which are made without it."""
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91_000)
    x = jax.ShapeDtypeStruct((2, 197, 4, 64), jnp.bfloat16)
    found = jax.eval_shape(jax.grad(lambda q: flash.attention(q, q, q).astype(jnp.float32).sum()), x)
    assert found.shape == x.shape


def test_the_device_at_hand_is_described():
    assert flash.local_device() == Device("cpu", "cpu", None)
    x = jnp.zeros((1, 16, 4, 8), jnp.bfloat16)
    assert not flash.eligible(x, x, x)
