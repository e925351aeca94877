"""bfloat16 compute: what stays float32 in a whole training step, by the types in its jaxpr."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from genlab.models.dit import DiT
from genlab.models.gpt import GPT
from genlab.models.vit import ViT
from genlab.objectives.classification import Classification
from genlab.objectives.diffusion import ImageDiffusion
from genlab.objectives.next_token import NextToken
from genlab.training.optimizers import AdamW
from genlab.training.step import initial_state, make_train_step

STACK = {"width": 8, "depth": 1, "num_heads": 2, "dropout": 0.1, "dtype": "bfloat16"}
TEXT = {"vocab_size": 11, "context_length": 12}
IMAGES = {"image_size": 4, "channels": 1, "patch_size": 2, "num_classes": 3}
OBJECTIVES = {
    "gpt": NextToken(model=GPT(**TEXT, positions="rotary", qk_norm=True, use_bias=True, **STACK), z_loss=1e-3),
    "gpt in blocks": NextToken(model=GPT(**TEXT, norm="rmsnorm", mlp="swiglu", remat="full", attention_block=3,
                                         scan_layers=True, **STACK), loss_chunk=4),
    "vit": Classification(model=ViT(pooling="attention", **IMAGES, **STACK)),
    "dit": ImageDiffusion(model=DiT(**IMAGES, **STACK)),
}
SCORES = {"gpt": 12, "gpt in blocks": 3}  # queries and keys of theirs
# Softmax and its logarithm, norms, the optimizer's root.
EXACT = ("exp", "log", "reduce_max", "rsqrt", "sqrt")


def equations(jaxpr):
    """Yields every equation, those of inner functions too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in core.jaxprs_in_params(equation.params):
            yield from equations(inner)


def types(variables):
    """The types of floating-point arrays among variables."""
    return {str(v.aval.dtype) for v in variables if jnp.issubdtype(v.aval.dtype, jnp.floating)}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_softmax_norms_loss_and_optimizer_are_float32_and_no_product_mixes_types(name):
    """A float32 operand would take a product off the fast units of an accelerator."""
    objective, optimizer = OBJECTIVES[name], AdamW()
    state = jax.eval_shape(lambda seed: initial_state(objective, optimizer, seed, optimizer.hyperparameters(9), True),
                           np.uint32(0))
    step = jax.make_jaxpr(make_train_step(objective, optimizer, ema_decay=0.9), return_shape=True)
    jaxpr, (after, metrics) = step(state, objective.dummy_batch(2))
    assert {str(x.dtype) for x in jax.tree.leaves((after, metrics)) if jnp.issubdtype(x.dtype, jnp.floating)} == {
        "float32"}
    products, scores = [], set()
    for equation in equations(jaxpr.jaxpr):
        kind = equation.primitive.name
        if kind in EXACT:
            assert types(equation.invars) == types(equation.outvars) == {"float32"}, (kind, equation)
        if kind == "dot_general":
            products.append(types(equation.invars))
            if equation.outvars[0].aval.shape.count(SCORES.get(name)) == 2:
                scores |= types(equation.outvars)
    assert all(len(operands) == 1 for operands in products)
    assert "float32" in scores or name not in SCORES  # never rounded on their way to the softmax
    # What the image models compute in float32 are their heads' and conditions' small products.
    assert products.count({"bfloat16"}) > 0.7 * len(products)
