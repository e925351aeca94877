"""Operations that differ between float32 and bfloat16 compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.models import fast_ops, ops


@pytest.mark.parametrize("norm", [ops.layer_norm, ops.rms_norm])
def test_norms_have_float32_statistics_in_bfloat16(norm):
    x = (100 + np.random.default_rng(0).normal(size=(4, 64))).astype(jnp.bfloat16)
    scale = np.ones(64, np.float32)
    exact = jax.jit(norm)(np.asarray(x, np.float32), scale)
    rounded = np.asarray(jax.jit(norm)(x, scale), np.float32)
    np.testing.assert_allclose(rounded, exact, rtol=1e-2, atol=1e-2)


def test_bfloat16_logits_are_float32_and_their_gradients_near_exact():
    rng = np.random.default_rng(0)
    x, table, g = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 16), (11, 16), (2, 3, 11)))

    @jax.jit
    def pull(x, table):
        logits, back = jax.vjp(ops.unembed, x, table)
        return logits, *back(jnp.asarray(g, logits.dtype))

    logits, x_gradient, table_gradient = pull(x.astype(jnp.bfloat16), table)
    assert (logits.dtype, x_gradient.dtype, table_gradient.dtype) == (jnp.float32, jnp.bfloat16, jnp.float32)
    expected = x @ table.T, g @ table, np.einsum("btv,btd->vd", g, x)
    for ours, exact in zip((logits, x_gradient, table_gradient), expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours, np.float32), exact, atol=0.02 * np.abs(exact).max())


def test_no_product_of_a_bfloat16_step_mixes_types():
    """A float32 operand would take the product off the fast units of an accelerator."""
    x, table = jnp.zeros((2, 3, 16), jnp.bfloat16), jnp.zeros((11, 16))
    step = jax.make_jaxpr(jax.grad(lambda x, table: jnp.sin(ops.unembed(x, table)).sum(), (0, 1)))(x, table)
    products = [eqn for eqn in step.eqns if eqn.primitive.name == "dot_general"]
    assert len(products) >= 2
    assert all(operand.aval.dtype == jnp.bfloat16 for eqn in products for operand in eqn.invars)


def test_cross_entropy_and_its_gradient_are_the_plain_ones():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 5, (2, 3, 11)).astype(np.float32)
    logits[0, 1, 4] = -np.inf  # A class that cannot be; it is no target.
    targets = np.array([[0, 3, 10], [2, 2, 5]])
    gradients = tuple(rng.normal(size=(2, 2, 3)).astype(np.float32))

    def traced():
        def pull(logits):
            found, back = jax.vjp(lambda logits: ops.cross_entropy(logits, targets), logits)
            return *found, *back(gradients)

        return jax.jit(pull).trace(logits)

    ours = traced()
    with fast_ops.disabled():
        plain = traced()
    for one, other in zip(*(trace.lower().compile()(logits) for trace in (ours, plain)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    # What it is for: no gradient of the logits is scattered into zeros.
    assert "scatter" in str(plain.jaxpr) and "scatter" not in str(ours.jaxpr)
