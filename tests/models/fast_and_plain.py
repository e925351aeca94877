"""What tests of hand-written backward passes share: an operation of ops.py with and without them."""

import jax
import jax.numpy as jnp
import numpy as np

from genlab.models import fast_ops


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
