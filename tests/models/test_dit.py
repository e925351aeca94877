"""DiT: sizes, bad hyper-parameters, how it starts, what it reads, and the flags that must not change its numbers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.models import fast_ops
from genlab.models.dit import DiT, dit
from genlab.models.layers import AdaptiveNorm
from genlab.models.transformer import Transformer, TransformerConfig, stack_blocks

TINY = DiT(image_size=8, channels=1, num_classes=3, patch_size=2, width=16, depth=2, num_heads=2)
UNCONDITIONAL = dataclasses.replace(TINY, num_classes=0)
IMAGES = np.random.default_rng(1).normal(size=(3, 8, 8, 1)).astype(np.float32)
LEVELS = np.array([0.5, 20.0, 700.0], np.float32)
LABELS = np.array([0, 2, 1], np.int32)


@functools.cache
def random_params(model):
    """Parameters of the right shapes, drawn by NumPy, none of them zero."""
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES, LEVELS)["params"]
    return jax.tree.map(lambda s: rng.normal(0, s.shape[0] ** -0.5, s.shape).astype(np.float32), shapes)


@functools.cache
def forward(model):
    """The compiled forward pass: (params, images, levels, labels) -> images."""
    return jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs))


def stack(params):
    """The parameters of an unrolled DiT as those of a scanned one."""
    return params | {"transformer": stack_blocks(params["transformer"])}


@pytest.mark.parametrize(("name", "millions"), [("S/2", 33), ("B/2", 130), ("L/2", 458), ("XL/2", 675)])
def test_sizes_have_the_published_numbers_of_parameters(name, millions):
    """On 32 x 32 x 4 latents and with the half of the last layer that predicts variances, which this one has not."""
    model = dit(name, channels=4, num_classes=1000, scan_layers=True)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 4)), jnp.zeros(1))["params"]
    variances = sum(leaf.size for leaf in jax.tree.leaves(shapes["pixels"]))
    assert variances == 2 * 2 * 4 * (model.width + 1)
    assert round((sum(leaf.size for leaf in jax.tree.leaves(shapes)) + variances) / 1e6) == millions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 9}, "image_size 9 is not divisible by patch_size 2: 8 would be"),
        ({"image_size": 0}, "image_size must be at least 1, not 0"),
        ({"patch_size": 0}, "patch_size must be at least 1, not 0"),
        ({"channels": 0}, "channels must be at least 1, not 0"),
        ({"num_classes": -1}, r"num_classes must be at least 0 \(no labels\), not -1"),
        ({"width": 18}, "width 18 is not divisible by 4"),
        ({"num_heads": 3}, "width 16 is not divisible by num_heads 3"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"dtype": "float16"}, 'dtype must be "float32" or "bfloat16", not "float16"'),
    ],
)
def test_bad_hyper_parameters_are_one_line_errors(changes, message):
    with pytest.raises(ConfigError, match=message) as error:
        dataclasses.replace(TINY, **changes).validate()
    assert "\n" not in str(error.value)


def test_an_unknown_name_lists_the_right_ones():
    with pytest.raises(ConfigError, match=r'there is no DiT "H/2": the sizes are S, B, L, XL, with a patch size'):
        dit("H/2")


def test_images_of_another_shape_are_a_one_line_error():
    with pytest.raises(ConfigError, match=r"reads images of 8 x 8 x 1 .*, not 6 x 8 x 1"):
        jax.eval_shape(TINY.init, jax.random.key(0), IMAGES[:, :6], LEVELS)


def test_blocks_start_as_the_identity_and_the_output_at_zero():
    variables = jax.jit(TINY.init)(jax.random.key(0), IMAGES, LEVELS)

    @jax.jit
    def read(params):
        return TINY.apply({"params": params}, IMAGES, LEVELS, LABELS, mutable="intermediates")

    output, state = read(variables["params"])
    np.testing.assert_array_equal(output, np.zeros_like(IMAGES))
    blocks = state["intermediates"]["transformer"]
    first, last = (blocks[name]["output_BTD"][0] for name in ("block_0", "block_1"))
    assert np.std(first) > 0.1
    np.testing.assert_array_equal(first, last)
    # Embeddings and branches do not start at zero: only modulations and the last layer do.
    zero = {path[-2].key for path, leaf in jax.tree.leaves_with_path(variables["params"])
            if path[-1].key == "kernel" and not leaf.any()}
    assert zero == {"modulation", "pixels"}
    assert np.std(variables["params"]["label_embedding"]) == pytest.approx(0.02, rel=0.3)


def test_scan_with_remat_gives_the_same_outputs_and_gradients():
    scanned = dataclasses.replace(TINY, scan_layers=True, remat="full")

    def gradients(model, params):
        def loss(params):
            return jnp.mean(jnp.sin(model.apply({"params": params}, IMAGES, LEVELS, LABELS, train=True)))

        return jax.jit(jax.value_and_grad(loss))(params)

    params = random_params(TINY)
    assert jax.tree.map(np.shape, stack(params)) == jax.tree.map(np.shape, random_params(scanned))
    programs = [str(jax.make_jaxpr(forward(m))(p, IMAGES, LEVELS, LABELS))
                for m, p in ((TINY, params), (scanned, stack(params)))]
    assert [("scan[" in program, "remat" in program) for program in programs] == [(False, False), (True, True)]
    value, expected = gradients(TINY, params)
    other_value, other = gradients(scanned, stack(params))
    np.testing.assert_allclose(value, other_value, rtol=1e-5)
    assert all(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), other, stack(expected))


def test_fast_norms_have_the_gradients_of_plain_ones():
    rng = np.random.default_rng(3)
    x_BTD, condition_BD = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 5, 8), (2, 8)))
    norm = AdaptiveNorm(gated=False)
    kernel, bias = rng.normal(size=(8, 16)).astype(np.float32), rng.normal(size=16).astype(np.float32)

    def gradients():
        def loss(*inputs):
            x_BTD, condition_BD, kernel = inputs
            params = {"modulation": {"kernel": kernel, "bias": bias}}
            return jnp.sum(jnp.sin(norm.apply({"params": params}, x_BTD, condition_BD)[0]))

        return jax.jit(jax.grad(loss, (0, 1, 2)))(x_BTD, condition_BD, kernel)

    fast = gradients()
    with fast_ops.disabled():
        plain = gradients()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), fast, plain)


def test_no_label_is_the_label_after_the_last():
    params, none = random_params(TINY), np.full(3, 3, np.int32)
    without = forward(TINY)(params, IMAGES, LEVELS, None)
    np.testing.assert_array_equal(without, forward(TINY)(params, IMAGES, LEVELS, none))
    assert np.abs(without - forward(TINY)(params, IMAGES, LEVELS, LABELS)).max(axis=(1, 2, 3)).min() > 1e-2
    assert params["label_embedding"].shape == (4, 16)


def test_an_unconditional_network_ignores_labels():
    params = random_params(UNCONDITIONAL)
    assert "label_embedding" not in params
    apply = forward(UNCONDITIONAL)
    np.testing.assert_array_equal(apply(params, IMAGES, LEVELS, LABELS), apply(params, IMAGES, LEVELS, None))


def test_each_example_reads_its_own_level_and_label():
    params, apply = random_params(TINY), forward(TINY)
    outputs = apply(params, IMAGES, LEVELS, LABELS)
    changed = apply(params, IMAGES, np.where([False, True, False], LEVELS + 1, LEVELS), LABELS)
    difference = np.abs(outputs - changed).max(axis=(1, 2, 3))
    assert difference[1] > 1e-3 and difference[0] == difference[2] == 0
    swapped = apply(params, IMAGES[::-1], LEVELS[::-1], LABELS[::-1])
    np.testing.assert_allclose(outputs, swapped[::-1], atol=1e-5)


@pytest.mark.parametrize("rate", [{"dropout": 0.1}, {"stochastic_depth": 0.5}])
def test_dropout_and_stochastic_depth_only_while_training(rate):
    model = dataclasses.replace(TINY, **rate, scan_layers=True)
    params = stack(random_params(TINY))

    @jax.jit
    def drawn(key):
        return model.apply({"params": params}, IMAGES, LEVELS, LABELS, train=True, rngs={"dropout": key})

    plain, evaluated = (jax.make_jaxpr(forward(m))(params, IMAGES, LEVELS, LABELS)
                        for m in (dataclasses.replace(TINY, scan_layers=True), model))
    assert str(plain) == str(evaluated)
    one, same, other = (drawn(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-2


def test_bfloat16_norms_give_bfloat16():
    """A float32 output would take the matmuls that read it off the fast units of an accelerator."""
    x_BTD, condition_BD = jnp.zeros((2, 5, 8), jnp.bfloat16), jnp.zeros((2, 8), jnp.bfloat16)
    (h_BTD, gate), _ = jax.eval_shape(AdaptiveNorm().init_with_output, jax.random.key(0), x_BTD, condition_BD)
    assert (h_BTD.dtype, gate.dtype, gate.shape) == (jnp.bfloat16, jnp.bfloat16, (2, 1, 8))


def test_bfloat16_is_near_float32():
    rounded = forward(dataclasses.replace(TINY, dtype="bfloat16"))(random_params(TINY), IMAGES, LEVELS, LABELS)
    exact = forward(TINY)(random_params(TINY), IMAGES, LEVELS, LABELS)
    assert rounded.dtype == jnp.float32
    assert 1e-5 < np.sqrt(np.mean((rounded - exact) ** 2)) < 0.03 * np.std(exact)


def test_shut_gates_leave_every_norm_of_a_stack_of_any_kind_with_its_input():
    """Cross attention has a gate too, and RMSNorm is modulated as LayerNorm is."""
    model = Transformer(TransformerConfig(width=8, depth=1, num_heads=2, mlp_width=16, norm="rmsnorm", mlp="swiglu",
                                          cross_attention=True, adaptive_norm=True))
    rng = np.random.default_rng(2)
    x_BTD, source_BSD, condition_BD = (
        rng.normal(size=shape).astype(np.float32) for shape in ((2, 5, 8), (2, 3, 8), (2, 8)))

    @jax.jit
    def apply(params, source_BSD, condition_BD):
        return model.apply({"params": params}, x_BTD, source_BSD=source_BSD, condition_BD=condition_BD,
                           capture_intermediates=lambda module, _: isinstance(module, AdaptiveNorm))

    init = functools.partial(model.init, source_BSD=source_BSD, condition_BD=condition_BD)
    shapes = jax.eval_shape(init, jax.random.key(0), x_BTD)["params"]
    params = jax.tree.map(lambda s: rng.normal(0, 0.3, s.shape).astype(np.float32), shapes)
    shut = jax.tree.map_with_path(lambda path, a: a * (path[-2].key != "modulation"), params)
    seen = apply(shut, source_BSD, condition_BD)[1]["intermediates"]
    norms = [seen["block_0"][f"{branch}_norm"] for branch in ("attention", "cross_attention", "mlp")]
    expected = x_BTD / np.sqrt(np.mean(x_BTD**2, axis=-1, keepdims=True) + 1e-6)
    for norm in (*norms, seen["final_norm"]):
        np.testing.assert_allclose(norm["__call__"][0][0], expected, rtol=1e-5)
    output = apply(params, source_BSD, condition_BD)[0]
    for changed in (apply(params, -source_BSD, condition_BD), apply(params, source_BSD, -condition_BD)):
        assert np.abs(output - changed[0]).max() > 1e-2


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_condition_is_given_exactly_where_norms_read_it(adaptive):
    config = TransformerConfig(width=8, depth=1, num_heads=2, mlp_width=16, adaptive_norm=adaptive)
    condition_BD = None if adaptive else jnp.zeros((2, 8))
    with pytest.raises(ValueError, match="a stack with adaptive_norm needs condition_BD"):
        jax.eval_shape(functools.partial(Transformer(config).init, condition_BD=condition_BD), jax.random.key(0),
                       jnp.zeros((2, 5, 8)))
