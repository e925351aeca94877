"""ViT: sizes, bad hyper-parameters, and the flags that must not change its numbers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.models import ops
from genlab.models.representations import attention_map, attention_rollout, representations
from genlab.models.transformer import depth_rates, stack_blocks
from genlab.models.vit import ViT, vit

TINY = ViT(patch_size=4, image_size=12, width=16, depth=2, num_heads=2, channels=1, zero_head=False)


@functools.cache
def random_params(model):
    """Parameters of the right shapes, drawn by NumPy: an initialiser takes a second to compile."""
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images_of(model))["params"]
    return jax.tree.map(lambda s: rng.normal(0.1, 0.4, s.shape).astype(np.float32), shapes)


def images_of(model, batch=3):
    """Random images [batch, I, J, C]."""
    shape = (batch, model.image_size, model.image_size, model.channels)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def stack(params):
    """The parameters of an unrolled ViT as those of a scanned one."""
    return params | {"transformer": stack_blocks(params["transformer"])}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("Ti/16", 5_717_416),
        ("S/16", 22_050_664),
        ("B/16", 86_567_656),
        ("B/32", 88_224_232),
        ("L/16", 304_326_632),
        ("H/14", 632_045_800),
    ],
)
def test_sizes_have_the_published_numbers_of_parameters(name, published):
    model = vit(name, num_classes=1000, image_size=224, scan_layers=True)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == published


@pytest.mark.parametrize(("name", "millions"), [("g/14", 1011), ("G/14", 1843)])
def test_giant_trunks_have_the_numbers_of_table_2_of_zhai_2021(name, millions):
    model = vit(name, image_size=224, scan_layers=True)
    trunk = functools.partial(model.init, method="features")
    shapes = jax.eval_shape(trunk, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    assert round(sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e6) == millions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "image_size 30 is not divisible by patch_size 4: 28 would be"),
        ({"patch_size": 0}, "patch_size must be at least 1, not 0"),
        ({"num_heads": 3}, "width 16 is not divisible by num_heads 3"),
        ({"width": 18, "positions": "sincos2d"}, "width 18 is not divisible by 4"),
        ({"positions": "rotary"}, 'positions must be "learned" or "sincos2d", not "rotary"'),
        ({"pooling": "max"}, 'pooling must be "class_token", "mean" or "attention", not "max"'),
        ({"registers": -1}, "registers must not be negative, not -1"),
        ({"stochastic_depth": 1.0}, "stochastic_depth must be in"),
        ({"num_classes": 0}, "num_classes must be at least 1, not 0"),
    ],
)
def test_bad_hyper_parameters_are_one_line_errors(changes, message):
    model = dataclasses.replace(TINY, **changes)
    with pytest.raises(ValueError, match=message) as error:
        model.validate()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("XL/16", r'there is no ViT "XL/16": the sizes are Ti, S, B, L, H, g, G, with a patch size, as in B/16'),
        ("B", r'ViT "B" has no patch size: B/16 has patches'),
        ("B/x", r'ViT "B/x" has no patch size'),
    ],
)
def test_an_unknown_name_lists_the_right_ones(name, message):
    with pytest.raises(ValueError, match=message):
        vit(name)


def test_images_of_another_shape_are_a_one_line_error():
    colour = dataclasses.replace(TINY, channels=3)
    with pytest.raises(ValueError, match=r"reads images of 12 x 12 x 3 .*, not 12 x 12 x 1") as error:
        jax.eval_shape(colour.init, jax.random.key(0), images_of(TINY))
    assert "\n" not in str(error.value)


def test_scan_with_remat_gives_the_same_logits_and_gradients():
    model = dataclasses.replace(TINY, pooling="attention", registers=2)
    scanned = dataclasses.replace(model, scan_layers=True, remat="full")

    def gradients(model, params):
        def loss(params):
            return jnp.mean(jax.nn.log_softmax(model.apply({"params": params}, images_of(model), train=True))[..., 0])

        return jax.jit(jax.value_and_grad(loss))(params)

    params = random_params(model)
    assert jax.tree.map(np.shape, stack(params)) == jax.tree.map(np.shape, random_params(scanned))
    value, expected = gradients(model, params)
    other_value, other = gradients(scanned, stack(params))
    np.testing.assert_allclose(value, other_value, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), other, stack(expected))


def test_stochastic_depth_drops_whole_examples_and_keeps_the_mean():
    x = np.ones((4000, 2, 3), np.float32)
    out = np.asarray(ops.stochastic_depth(x, 0.2, jax.random.key(0)))
    assert set(np.unique(out)) == {0, np.float32(1.25)}
    assert np.all(out == out[:, :1, :1])
    np.testing.assert_allclose(out.mean(), 1, atol=0.03)
    np.testing.assert_allclose(depth_rates(0.3, 4), [0, 0.1, 0.2, 0.3], rtol=1e-6)


@pytest.mark.parametrize("scan_layers", [False, True])
def test_stochastic_depth_in_the_stack_keeps_the_first_block_and_drops_the_last_at_its_rate(scan_layers):
    params = jax.tree.map(np.copy, random_params(TINY))
    # With block 1's attention output at 0, the stream is either x or x + mlp / (1 - rate) after it.
    params["transformer"]["block_1"]["attention"]["output"] = jax.tree.map(
        np.zeros_like, params["transformer"]["block_1"]["attention"]["output"]
    )
    image = np.repeat(images_of(TINY, 1), 400, axis=0)
    _, exact = jax.jit(functools.partial(representations, TINY))({"params": params}, image[:1])
    before = exact["block_0/output_BTD"]
    kept = before + (exact["block_1/output_BTD"] - before) / 0.75

    model = dataclasses.replace(TINY, stochastic_depth=0.25, scan_layers=scan_layers)
    run = jax.jit(functools.partial(representations, model, train=True, rngs={"dropout": jax.random.key(0)}))
    _, drawn = run({"params": stack(params) if scan_layers else params}, image)
    np.testing.assert_allclose(drawn["block_0/output_BTD"], np.repeat(before, 400, axis=0), atol=1e-5)
    out = np.asarray(drawn["block_1/output_BTD"])
    is_kept = np.abs(out - kept).max(axis=(1, 2)) < 1e-4
    is_dropped = np.abs(out - before).max(axis=(1, 2)) < 1e-4
    assert np.all(is_kept ^ is_dropped)
    np.testing.assert_allclose(is_kept.mean(), 0.75, atol=0.07)


def test_bfloat16_computes_near_float32_and_keeps_float32_parameters_and_outputs():
    model = dataclasses.replace(TINY, dtype="bfloat16", registers=1)
    params, exact_model = random_params(model), dataclasses.replace(model, dtype="float32")
    logits, kept = jax.jit(functools.partial(representations, model))({"params": params}, images_of(model))
    exact = jax.jit(exact_model.apply)({"params": params}, images_of(model))
    assert {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), images_of(model)))} \
        == {jnp.dtype("float32")}
    assert (logits.dtype, kept["features_BD"].dtype) == (jnp.float32, jnp.float32)
    assert kept["block_0/output_BTD"].dtype == jnp.bfloat16
    assert 1e-4 < np.abs(logits - exact).max() < 0.05 * np.abs(exact).max()


def test_the_head_starts_at_zero_by_default():
    model = dataclasses.replace(TINY, zero_head=True, depth=1)
    key = jax.random.key(0, impl="rbg")
    variables = jax.jit(model.init)(key, images_of(model))
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], 0)
    assert np.std(variables["params"]["position_embedding"]) == pytest.approx(0.02, rel=0.2)


def test_positions_are_adapted_to_another_image_size():
    larger = dataclasses.replace(TINY, image_size=24)
    params = random_params(TINY)
    adapted = larger.adapt(params, TINY)
    assert jax.tree.map(np.shape, adapted) == jax.tree.map(np.shape, random_params(larger))
    np.testing.assert_array_equal(adapted["position_embedding"][0], params["position_embedding"][0])  # class token
    assert TINY.adapt(params, TINY) is params
    with pytest.raises(ValueError, match="with pooling=class_token do not fit one with pooling=mean"):
        dataclasses.replace(larger, pooling="mean").adapt(params, TINY)


def test_representations_have_the_same_names_scanned_and_unrolled():
    params = random_params(TINY)
    scanned = dataclasses.replace(TINY, scan_layers=True)
    output, named = jax.jit(functools.partial(representations, TINY))({"params": params}, images_of(TINY))
    logits, other = jax.jit(functools.partial(representations, scanned))({"params": stack(params)}, images_of(TINY))
    np.testing.assert_allclose(output, logits, atol=1e-5)
    assert set(named) == {
        "features_BD",
        *(f"block_{i}/{name}" for i in range(2) for name in ("output_BTD", "attention/weights_BHTS")),
    }
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), named, other)


def test_attention_rollout_is_the_product_of_layers_with_their_residuals():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(4), size=(3, 2, 2, 4)).astype(np.float32)  # 3 layers, B 2, H 2, T 4
    rollout = attention_rollout(list(weights))
    for b in range(2):
        first, second, third = (0.5 * np.eye(4) + 0.5 * weights[layer, b].mean(axis=0) for layer in range(3))
        np.testing.assert_allclose(rollout[b], third @ second @ first, atol=1e-6)


@pytest.mark.parametrize("pooling", ["class_token", "mean", "attention"])
def test_attention_maps_say_which_patches_are_read(pooling):
    model = dataclasses.replace(TINY, pooling=pooling, registers=1, depth=1)
    params, images = random_params(model), images_of(model)

    @jax.jit
    def run(variables, images):
        return attention_map(model, variables, images), representations(model, variables, images)[1]

    shares, named = jax.tree.map(np.asarray, run({"params": params}, images))
    assert shares.shape == (3, 3, 3)
    np.testing.assert_allclose(shares.sum(axis=(1, 2)), 1, rtol=1e-5)
    weights_BTS = named["block_0/attention/weights_BHTS"].mean(axis=1)
    first = model.prefix_tokens
    if pooling == "class_token":
        read_BP = weights_BTS[:, 0, first:]
    else:
        pool_BP = np.full((3, 9), 1 / 9)
        if pooling == "attention":
            pool_BP = named["attention_pooling/attention/weights_BHTS"].mean(axis=1)[:, 0]
        read_BP = pool_BP + np.einsum("bp,bps->bs", pool_BP, weights_BTS[:, first:, first:])
    np.testing.assert_allclose(shares.reshape(3, 9), read_BP / read_BP.sum(axis=1, keepdims=True), rtol=1e-4)
