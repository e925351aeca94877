"""Memory estimates against bytes counted by hand and XLA's own analysis."""

import jax
import jax.numpy as jnp
import pytest

from genlab.scaling.counting.memory import estimate_memory, peak_live_bytes, tree_bytes


def shape(*dimensions, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dimensions, dtype)


def loss(weights, x):
    for weight in weights:
        x = jnp.tanh(x @ weight)
    return x.sum()


def test_a_tree_has_the_bytes_of_its_leaves():
    assert tree_bytes({"a": shape(3, 5), "b": [shape(7, dtype=jnp.bfloat16), shape()]}) == 78


def test_values_are_freed_after_their_last_use():
    """A chain holds two values at a time, one if it is elementwise; a sum over all of them holds all."""
    chain = peak_live_bytes(lambda x: jnp.cumsum(jnp.cumsum(jnp.cumsum(x))), shape(256))
    assert chain == 2 * 1024
    assert peak_live_bytes(lambda x: jnp.tanh(jnp.sin(jnp.cos(jnp.exp(x)))), shape(256)) == 1024

    def fan(x):
        a, b, c = jnp.sin(x), jnp.cos(x), jnp.exp(x)
        return a @ b + b @ c + c @ a

    assert 3 * 1024 <= peak_live_bytes(fan, shape(256)) <= 3 * 1024 + 16


def test_a_scan_keeps_what_it_stacks():
    def stacked(x):
        return jax.lax.scan(lambda x, _: (jnp.sin(x), x), x, None, length=10)[1]

    assert 10 * 1024 <= peak_live_bytes(stacked, shape(256)) <= 13 * 1024


def test_an_estimate_for_training_near_what_xla_allocates():
    weights, x = [shape(256, 256)] * 4, shape(512, 256)
    memory = estimate_memory(loss, weights, [weights, weights], x)
    assert memory.parameters == memory.gradients == 4 * 256**2 * 4
    assert memory.optimizer == 2 * memory.parameters
    analysis = jax.jit(jax.grad(loss)).lower(weights, x).compile().memory_analysis()
    needed = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    assert memory.gradients + memory.activations == pytest.approx(needed, rel=0.3)


def test_remat_lowers_the_activations():
    weights, x = [shape(64, 64)] * 8, shape(512, 64)

    def rematerialised(weights, x):
        layer = jax.checkpoint(lambda x, w: jnp.tanh(jnp.sin(jnp.tanh(x @ w)) @ w))
        for weight in weights:
            x = layer(x, weight)
        return x.sum()

    def plain(weights, x):
        for weight in weights:
            x = jnp.tanh(jnp.sin(jnp.tanh(x @ weight)) @ weight)
        return x.sum()

    saved = estimate_memory(rematerialised, weights, [], x).activations
    assert saved < 0.6 * estimate_memory(plain, weights, [], x).activations


def test_a_view_keeps_what_it_shows():
    def through_a_view(x):
        view = jnp.sin(x).reshape(10, 100)
        other = jnp.cos(x)
        return (other.reshape(10, 100) * view).sum()

    # At the product: sine and cosine, though they are only there as views; the product takes one's place.
    assert peak_live_bytes(through_a_view, jnp.ones(1000)) == 2 * 4000


def test_a_mask_is_computed_where_it_is_consumed():
    def masked(x):
        seen = jnp.arange(16)[:, None] >= jnp.arange(16)
        return jnp.where(seen, x @ x, 0.0) @ x

    # The product of x with itself, masked in its place, and the result.
    assert peak_live_bytes(masked, shape(16, 16)) == pytest.approx(2 * 1024, abs=200)
