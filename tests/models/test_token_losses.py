"""Losses in chunks of positions against those of all at once: values, gradients, memory and compute."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from genlab.models import fast_ops, placement
from genlab.models.token_losses import token_losses
from genlab.scaling.counting.compute import count_flops
from tests.models.fast_and_plain import normal, pull

B, T, D, V = 2, 13, 8, 11
TARGETS = np.random.default_rng(0).integers(V, size=(B, T))


def pulled(chunk, dtype, accuracy=False):
    """A compiled function of (states, head): loss, log Z, [correctness,] and a weighting of them's gradients."""
    def losses(x, head):
        loss, log_z, correct = token_losses(x.astype(dtype), head, TARGETS, chunk, accuracy)
        return (loss, log_z) if correct is None else (loss, log_z, correct)

    return jax.jit(lambda *arguments: pull(losses, arguments))


# 5, 5 and 3 positions and two of padding; one by one.
@pytest.mark.parametrize(("dtype", "chunk"), [("float32", 5), ("bfloat16", 5), ("float32", 1)])
def test_chunks_give_the_losses_and_gradients_of_all_at_once(dtype, chunk):
    arguments = normal(B, T, D), normal(V, D, seed=1)
    for ours, whole in zip(pulled(chunk, dtype)(*arguments), pulled(None, dtype)(*arguments), strict=True):
        assert ours.dtype == whole.dtype == jnp.float32
        np.testing.assert_allclose(ours, whole, atol=2e-6)


def test_correctness_is_told_where_asked_for():
    arguments = normal(B, T, D), normal(V, D, seed=1)
    with fast_ops.disabled():
        found = [jax.jit(lambda x, head, chunk=chunk: token_losses(x, head, TARGETS, chunk, True))(*arguments)
                 for chunk in (4, None)]
    for ours, whole in zip(*found, strict=True):
        np.testing.assert_allclose(ours, whole, atol=2e-6)
    np.testing.assert_array_equal(found[0].correct_BT, (arguments[0] @ arguments[1].T).argmax(-1) == TARGETS)


def test_devices_meet_before_and_after_the_chunks_and_not_in_each():
    mesh = jax.make_mesh((2, 2), ("fsdp", "sequence"), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:4])
    cut = [NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("fsdp", "sequence"), ("fsdp", None))]
    arguments = normal(B, 12, D), normal(12, D, seed=1)

    def both(x, head):
        return pull(lambda x, head: token_losses(x, head, TARGETS[:, :12], 2)[:2], (x, head))

    with placement.on(mesh, {"B": ("fsdp",), "T": ("sequence",)}):
        compiled = jax.jit(lambda *a: both(*a), in_shardings=tuple(cut)).lower(*arguments).compile()
    for ours, whole in zip(compiled(*map(jax.device_put, arguments, cut)), jax.jit(both)(*arguments), strict=True):
        np.testing.assert_allclose(ours, whole, atol=2e-6)
    communication = [line for line in compiled.as_text().splitlines() if re.search(r" all-\w+\(", line)]
    assert communication and not any("while/body" in line for line in communication)


def gradient(chunk, length=256, vocab=512):
    """A mean loss with its gradient, and its arguments' shapes."""
    x, head = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, length, 8), (vocab, 8)))
    targets = jnp.zeros((2, length), jnp.int32)
    return jax.value_and_grad(lambda x, head: token_losses(x, head, targets, chunk).loss_BT.mean(), (0, 1)), x, head


def test_the_logits_of_a_chunk_are_all_that_there_are():
    """Of [2, 256, 512] logits a chunk of 32 positions has an eighth: so much less memory, and no array of them all."""
    logits = 4 * 2 * 256 * 512
    (whole, jaxpr), (chunks, in_chunks) = (
        (jax.jit(function).lower(*shapes).compile().memory_analysis().temp_size_in_bytes,
         str(jax.make_jaxpr(function)(*shapes))) for function, *shapes in (gradient(None), gradient(32)))
    assert whole > logits and chunks == pytest.approx(whole / 8, rel=0.5)
    assert "512,512]" in jaxpr and "512,512]" not in in_chunks and "64,512]" in in_chunks


def test_the_counter_sees_the_logits_computed_again():
    """Three products of 2 N V D each, forward, to the states and to the head; and the first of them again."""
    product = 2 * (2 * 256) * 512 * 8
    assert [count_flops(*gradient(chunk)).flops / product for chunk in (None, 32, 64)] == [3, 4, 4]
    assert count_flops(*gradient(100)).flops / product == 4 * (3 * 86) / 256  # two positions of padding
