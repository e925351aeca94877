"""Block-wise attention against the plain operations: outputs and gradients, all options together and each alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from genlab.models import blockwise_attention, flash, ops, placement
from genlab.models.gpt import GPT
from genlab.models.vit import ViT
from tests.models.fast_and_plain import normal, pull

B, T, H, K = 2, 13, 4, 6
RANDOM = np.random.default_rng(3)
DROPOUT = {"dropout_rate": 0.3, "dropout_key": jax.random.key(5)}
# Options, heads of keys, size of blocks (13 queries leave a block of 3, 6 or 1), shape of masks.
CASES = {
    "plain": ({}, 2, 5, (B, 1, 1, T)),
    "window": ({"causal": True, "window": 3}, 4, 7, (1, H, T, T)),
    "dropout": (DROPOUT, 4, 5, (B, 1, T, T)),
    "causal, dropout": ({"causal": True, **DROPOUT}, 2, 4, (T, T)),
    "window, dropout": ({"causal": True, "window": 6, **DROPOUT}, 1, 5, (B, 1, T, 1)),
}


def inputs(key_heads, S=T, dtype="float32"):
    """Queries, keys and values."""
    return [jnp.asarray(x, dtype) for x in (normal(B, T, H, K), normal(B, S, key_heads, K, seed=1),
                                            normal(B, S, key_heads, K, seed=2))]


def compiled(options, block=None):
    """A function of (mask, queries, keys, values) that gives attention's output and its gradients."""
    return jax.jit(lambda mask, *a: pull(lambda *x: ops.attention(*x, **options, mask=mask, block=block), a))


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_those_of_the_plain_operations(case):
    """With a mask that hides nothing, too, and without causality with one that hides all keys from some queries."""
    options, key_heads, block, shape = CASES[case]
    some = RANDOM.random(shape) < 0.7
    some[..., 0] = True
    rows = np.broadcast_to(RANDOM.random((*shape[:-1], 1)) < 0.5, shape) if "causal" not in options else some
    ours, plain = compiled(options, block), compiled(options)
    for mask in (some, np.ones(shape, bool), rows):
        for one, other in zip(ours(mask, *inputs(key_heads)), plain(mask, *inputs(key_heads)), strict=True):
            np.testing.assert_allclose(one, other, atol=3e-6)


@pytest.mark.parametrize(("options", "S"), [({"causal": True}, T), ({}, 8)])
def test_without_a_mask_and_with_other_numbers_of_keys(options, S):
    ours, plain = (compiled(options, block)(None, *inputs(2, S)) for block in (5, None))
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=3e-6)


def test_a_query_that_sees_no_key_is_finite_and_so_are_gradients():
    options, key_heads, block, shape = CASES["window"]
    assert all(np.isfinite(x).all() for x in compiled(options, block)(np.zeros(shape, bool), *inputs(key_heads)))


def test_bfloat16_is_as_near_to_float32_as_the_plain_operations_are():
    options = {"causal": True, "window": 6}
    exact, plain, ours = (compiled(options, block)(None, *inputs(2, dtype=dtype)) for dtype, block in (
        ("float32", None), ("bfloat16", None), ("bfloat16", 5)))
    for one, other, true in zip(ours, plain, exact, strict=True):
        assert one.dtype == jnp.bfloat16
        scale = float(jnp.abs(true).max())
        errors = [float(jnp.abs(x.astype(jnp.float32) - true).max()) / scale for x in (one, other)]
        assert errors[0] < 0.02 and errors[0] < 2 * errors[1]


def test_hidden_pairs_are_left_out():
    def pairs(causal, window):
        call = blockwise_attention._Call(64, 64, 1, 1, (8, 8), causal, window, 0.0)
        return len(call.pairs())

    assert [pairs(False, None), pairs(True, None), pairs(True, 9), pairs(True, 10)] == [64, 36, 15, 21]


def test_memory_grows_with_the_length_and_not_with_its_square():
    def temporary_bytes(length, block):
        x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
        gradient = jax.jit(jax.grad(lambda q, k, v: ops.attention(q, k, v, causal=True, block=block).sum(), (0, 1, 2)))
        return gradient.lower(x, x, x).compile().memory_analysis().temp_size_in_bytes

    short, long = (temporary_bytes(length, 32) for length in (256, 1024))
    array, pair = 4 * 1024 * 2 * 8, 4 * 32 * 32 * 2
    assert long < 4.5 * short and long < 16 * array + 16 * pair
    assert temporary_bytes(1024, None) > 4 * 2 * 1024**2  # a head's weights at least


def test_positions_that_devices_share_give_the_same():
    mesh = jax.make_mesh((2, 2), ("data", "sequence"), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:4])
    mask = RANDOM.random((B, 1, 16, 16)) < 0.7
    mask[..., 0] = True
    options = {"causal": True, "mask": mask}
    arguments = [normal(B, 16, heads, K, seed=seed) for seed, heads in enumerate((H, 2, 2))]

    def function(*arguments):
        return pull(lambda *x: ops.attention(*x, **options, block=3), arguments)

    alone = jax.jit(lambda *a: function(*a))(*arguments)
    with placement.on(mesh, {"B": ("data",), "T": ("sequence",)}):
        compiled = jax.jit(lambda *a: function(*a)).lower(*arguments).compile()
    for ours, expected in zip(compiled(*arguments), alone, strict=True):
        np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_models_take_it_and_have_no_weights_of_all_positions():
    gpt = GPT(vocab_size=11, context_length=12, width=8, depth=1, num_heads=2, dropout=0.2)
    vit = ViT(image_size=24, channels=1, patch_size=8, num_classes=3, width=8, depth=1, num_heads=2, pooling="mean")
    inputs = (gpt, jnp.zeros((1, 12), jnp.int32)), (vit, jnp.zeros((1, 24, 24, 1)))
    for model, x in inputs:
        for block in (None, 5):
            changed = dataclasses.replace(model, attention_block=block)
            params = jax.eval_shape(changed.init, jax.random.key(0), x)
            jaxpr = str(jax.make_jaxpr(lambda p, x, model=changed: model.apply(
                p, x, train=True, rngs={"dropout": jax.random.key(1)}))(params, x))
            assert (any(whole in jaxpr for whole in ("12,12]", "9,9]")), "5,5]" in jaxpr) == (block is None, block == 5)


def test_it_serves_where_asked_for_and_said_once(monkeypatch):
    lines, taken = [], []
    flash._choose.cache_clear()
    monkeypatch.setattr(flash.logging, "info", lambda line, *values: lines.append(line % values))
    monkeypatch.setattr(blockwise_attention, "attention", lambda q, *_, **options: taken.append(options["block"]) or q)
    x = jax.ShapeDtypeStruct((1, 16, 2, 8), jnp.float32)
    for block in (4, 4, 16, None):
        jax.eval_shape(lambda x, block=block: ops.attention(x, x, x, causal=True, block=block), x)
    one = jax.ShapeDtypeStruct((1, 1, 2, 8), jnp.float32)
    jax.eval_shape(lambda q, x: ops.attention(q, x, x, block=4), one, x)  # generation
    assert taken == [4, 4] and len(lines) == 1
    assert "causal: block-wise, 4 positions at a time, and not cuDNN's flash attention, because cpu is no" in lines[0]
    flash._choose.cache_clear()
