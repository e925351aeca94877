"""The counter against matmuls counted by hand, XLA's own analysis, and the textbook."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.scaling.counting import conventions
from genlab.scaling.counting.compute import count_flops
from genlab.scaling.counting.conventions import DecoderShape


def shape(*dimensions):
    return jax.ShapeDtypeStruct(dimensions, jnp.float32)


def xla_flops(function, *args):
    """What XLA's cost analysis counts of the compiled function, elementwise operations included."""
    return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]


@pytest.mark.parametrize(
    "equation, shapes, multiply_adds",
    [
        ("ij,jk->ik", [(3, 5), (5, 7)], 3 * 5 * 7),
        ("bij,bjk->bik", [(2, 3, 5), (2, 5, 7)], 2 * 3 * 5 * 7),
        ("bthk,bshk->bhts", [(2, 4, 3, 5), (2, 6, 3, 5)], 2 * 3 * 4 * 6 * 5),
        ("ij,ij->", [(3, 5), (3, 5)], 3 * 5),
        ("i,j->ij", [(3,), (5,)], 3 * 5),
    ],
)
def test_a_matmul_is_two_flops_a_multiply_add(equation, shapes, multiply_adds):
    count = count_flops(lambda *xs: jnp.einsum(equation, *xs), *(shape(*s) for s in shapes))
    assert count.flops == count.of("matmul") == 2 * multiply_adds


def test_operations_say_what_was_counted():
    count = count_flops(lambda w, x: jnp.tanh(x @ w) @ w, shape(8, 8), shape(4, 8))
    (operation,) = count.operations
    assert (operation.kind, operation.shapes, operation.times) == ("matmul", "4 x 8 x 8", 2)
    assert operation.flops == 2 * 2 * 4 * 8 * 8
    assert not count.notes


def test_a_scan_multiplies_by_its_length_nested_too():
    def layers(w, x):
        def inner(x, _):
            return x @ w, None

        def outer(x, _):
            return jax.lax.scan(inner, x, None, length=3)[0], None

        return jax.lax.scan(outer, x, None, length=5)[0]

    assert count_flops(layers, shape(8, 8), shape(4, 8)).flops == 15 * 2 * 4 * 8 * 8


def test_cond_counts_its_most_expensive_branch_and_while_its_body_once():
    def branches(w, x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ w, lambda x: x @ w @ w @ w, x)

    def loop(w, x):
        return jax.lax.while_loop(lambda x: x.sum() < 1, lambda x: x @ w, x)

    assert count_flops(branches, shape(8, 8), shape(4, 8)).flops == 3 * 2 * 4 * 8 * 8
    count = count_flops(loop, shape(8, 8), shape(4, 8))
    assert count.flops == 2 * 4 * 8 * 8
    assert "while" in count.notes[0]


def test_a_custom_gradient_is_counted_by_what_it_runs():
    @jax.custom_vjp
    def double_product(x):
        return x @ x

    double_product.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x @ x @ x,))
    product = 2 * 8**3
    assert count_flops(double_product, shape(8, 8)).flops == product
    both = count_flops(jax.value_and_grad(lambda x: double_product(x).sum()), shape(8, 8))
    assert both.flops == 4 * product


def test_unused_work_is_not_counted():
    def step(x):
        unused = x @ x  # noqa: F841
        return x @ x.T

    assert count_flops(jax.jit(step), shape(8, 8)).flops == 2 * 8**3


def test_remat_counts_its_recomputation():
    """tanh(tanh(x w1) w2): 2 products forward, 3 backward (none for x), and 2 more under remat."""

    def block(ws, x):
        return jnp.tanh(jnp.tanh(x @ ws[0]) @ ws[1]).sum()

    ws, x = [shape(8, 8), shape(8, 8)], shape(4, 8)
    product = 2 * 4 * 8 * 8
    assert count_flops(jax.value_and_grad(block), ws, x).flops == 5 * product
    assert count_flops(jax.value_and_grad(jax.checkpoint(block)), ws, x).flops == 7 * product


def test_every_device_is_counted():
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    spec = PartitionSpec(("data", "model"))
    sharded = jax.shard_map(
        lambda x: x @ x.swapaxes(1, 2), mesh=mesh, in_specs=spec, out_specs=spec
    )
    expected = 8 * 2 * 4 * 4 * 6
    assert count_flops(sharded, shape(8, 4, 6)).flops == expected
    assert count_flops(jax.pmap(lambda x: x @ x.T), shape(8, 4, 6)).flops == expected


def test_a_ragged_product_and_its_gradients():
    """Mixture of experts: each of 6 rows meets one of 3 matrices, whatever the group sizes."""
    sizes = jax.ShapeDtypeStruct((3,), jnp.int32)
    product = 2 * 6 * 4 * 5
    assert count_flops(jax.lax.ragged_dot, shape(6, 4), shape(3, 4, 5), sizes).flops == product
    gradient = jax.grad(lambda x, w, n: jnp.sin(jax.lax.ragged_dot(x, w, n)).sum(), argnums=(0, 1))
    assert count_flops(gradient, shape(6, 4), shape(3, 4, 5), sizes).flops == 3 * product


def test_a_hidden_kernel_is_noted_not_forgotten():
    def callback(x):
        return jax.pure_callback(lambda x: np.asarray(x) @ np.asarray(x), shape(8, 8), x)

    assert "hides its arithmetic" in count_flops(callback, shape(8, 8)).notes[0]


CONVOLUTIONS = {
    "plain": {"x": (2, 8, 8, 3), "w": (3, 3, 3, 5), "padding": "VALID"},
    "same": {"x": (2, 8, 8, 3), "w": (3, 3, 3, 5), "padding": "SAME"},
    "strided": {"x": (2, 9, 8, 3), "w": (3, 3, 3, 5), "padding": "SAME", "window_strides": (2, 2)},
    "patches": {"x": (2, 8, 8, 3), "w": (4, 4, 3, 5), "padding": "VALID", "window_strides": (4, 4)},
    "dilated": {"x": (2, 9, 9, 3), "w": (3, 3, 3, 5), "padding": "SAME", "rhs_dilation": (2, 2)},
    "transposed": {
        "x": (2, 5, 5, 3),
        "w": (3, 3, 3, 5),
        "padding": ((1, 2), (1, 2)),
        "lhs_dilation": (2, 2),
    },
    "grouped": {"x": (2, 8, 8, 6), "w": (3, 3, 2, 9), "padding": "SAME", "feature_group_count": 3},
    "depthwise": {
        "x": (2, 8, 8, 6),
        "w": (3, 3, 1, 6),
        "padding": "SAME",
        "feature_group_count": 6,
    },
    "batched": {"x": (6, 8, 8, 2), "w": (3, 3, 2, 9), "padding": "SAME", "batch_group_count": 3},
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_against_counting_its_terms(name):
    """Ones everywhere: the sum of the output is the number of multiply-adds that are in bounds."""
    options = {"window_strides": (1, 1), **CONVOLUTIONS[name]}
    x, w = options.pop("x"), options.pop("w")

    def convolve(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, w, dimension_numbers=numbers, **options)

    multiply_adds = convolve(jnp.ones(x), jnp.ones(w)).sum()
    count = count_flops(convolve, shape(*x), shape(*w))
    assert count.flops == count.of("convolution") == 2 * multiply_adds
    # Its two gradients, for the input and for the kernel, are convolutions of the same cost.
    gradient = jax.grad(lambda x, w: (convolve(x, w) ** 2).sum(), argnums=(0, 1))
    assert count_flops(gradient, shape(*x), shape(*w)).flops == 3 * 2 * multiply_adds


def decoder_loss(params, tokens):
    """An unrolled 2-layer decoder written out plainly: 4 heads, width 64, full attention square."""
    x = params["embedding"][tokens]
    b, t, d = x.shape
    for layer in params["layers"]:
        q, k, v = jnp.split((x @ layer["qkv"]).reshape(b, t, 4, -1), 3, axis=-1)
        scores = jnp.einsum("bthk,bshk->bhts", q, k)
        mixed = jnp.einsum("bhts,bshk->bthk", jax.nn.softmax(scores), v)
        x = x + mixed.reshape(b, t, d) @ layer["out"]
        x = x + jnp.maximum(x @ layer["up"], 0) @ layer["down"]
    logits = x @ params["head"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], -1).mean()


def decoder_shapes(width=64, depth=2, vocab=128):
    layer = {
        "qkv": shape(width, 3 * width),
        "out": shape(width, width),
        "up": shape(width, 4 * width),
        "down": shape(4 * width, width),
    }
    params = {"embedding": shape(vocab, width), "head": shape(width, vocab)}
    return {**params, "layers": [layer] * depth}


def test_a_decoder_step_against_the_formula_written_out():
    tokens = jax.ShapeDtypeStruct((8, 32), jnp.int32)
    count = count_flops(jax.value_and_grad(decoder_loss), decoder_shapes(), tokens)
    per_token = 6 * (2 * 12 * 64**2 + 128 * 64) + 12 * 2 * 32 * 64
    assert count.flops == 8 * 32 * per_token
    numbers = DecoderShape(
        params=2 * 12 * 64**2 + 2 * 128 * 64,
        params_non_embedding=2 * 12 * 64**2,
        depth=2,
        width=64,
        sequence_length=32,
        vocab_size=128,
    )
    assert per_token == conventions.flops_6n_attention_head(numbers)


def test_a_decoder_step_against_xla():
    """XLA counts elementwise work too; at width 256 that is less than 1 % of the matmuls."""
    tokens = jax.ShapeDtypeStruct((2, 64), jnp.int32)
    params = decoder_shapes(width=256, vocab=256)
    step = jax.value_and_grad(decoder_loss)
    assert count_flops(step, params, tokens).flops == pytest.approx(
        xla_flops(step, params, tokens), rel=0.01
    )


def gpt_step(**options):
    """The gradient of a GPT's loss, which a training step spends its time on, and its shapes."""
    objective = NextToken(GPT(depth=2, num_heads=8, context_length=32, vocab_size=128, **options))
    params = jax.eval_shape(objective.init, jax.random.key(0))["params"]

    def step(params, batch):
        return jax.value_and_grad(
            lambda params: objective.loss({"params": params}, batch, jax.random.key(0), train=True)[:2],
            has_aux=True,
        )(params)

    return step, params, objective.dummy_batch(4)


def test_the_gpt_step_against_xla_and_the_formula():
    """XLA adds the elementwise operations: 0.6 % at width 512 and falling with the width."""
    step, params, batch = gpt_step(width=512)
    count = count_flops(step, params, batch)
    assert count.flops == 4 * 32 * (6 * (2 * 12 * 512**2 + 128 * 512) + 12 * 2 * 32 * 512)
    assert count.flops == pytest.approx(xla_flops(step, params, batch), rel=0.01)


def test_the_gpt_step_counts_the_same_scanned_and_more_rematerialised():
    plain, scanned, full, linear, dots = (
        count_flops(*gpt_step(width=64, **options)).flops
        for options in ({}, {"scan_layers": True}, {"remat": "full"}, {"remat": "dots_no_batch"}, {"remat": "dots"})
    )
    assert scanned == plain == dots
    assert 1.1 * plain < full < 4 / 3 * plain
    attention = 2 * (2 * 4 * 32 * 32 * 64)  # scores and their product with the values, of each of two layers
    assert linear == plain + 2 * attention
