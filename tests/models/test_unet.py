"""U-Nets: published sizes, labels, dropout, residual sums, what cannot be built (values: test_unet_numpy.py)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.models import fast_ops
from genlab.models.unet import UNet, unet
from genlab.models.unet_layers import groups, residual_sum

SMALL = {"image_size": 4, "channels": 1, "width": 8, "channel_multipliers": (1, 2), "blocks": 1,
         "attention_resolutions": (2,)}
SMALLEST = {"image_size": 2, "channels": 1, "width": 4, "channel_multipliers": (1,), "blocks": 1,
            "attention_resolutions": ()}
# DDPM: 35.7 million in Ho et al. 2020, appendix B; here to the last. The others: counted on the networks that
# github.com/yang-song/score_sde (JAX) builds from its configs of CIFAR-10 in continuous training, less the 128 fixed
# frequencies that NCSN++ keeps among its parameters.
PARAMETERS = {"ddpm": 35_746_307, "ddpm++": 61_804_419, "ddpm++deep": 106_632_579, "ncsn++": 62_758_787,
              "ncsn++deep": 107_586_947}


def shapes(model, batch=2):
    """(Parameter shapes, output shape and type), without computing anything."""
    x, level = jnp.zeros((batch, model.image_size, model.image_size, model.channels)), jnp.zeros(batch)
    with fast_ops.disabled():
        return jax.eval_shape(lambda key: model.init_with_output(key, x, level)[::-1], jax.random.key(0))


@functools.cache
def count(model):
    """Parameters."""
    return sum(a.size for a in jax.tree.leaves(shapes(model)[0]))


@pytest.mark.parametrize("name", PARAMETERS)
def test_named_sizes_have_the_published_numbers_of_parameters(name):
    """Counted with one and two blocks a level: each more adds as many."""
    model = unet(name)
    one, two = (count(dataclasses.replace(model, blocks=blocks)) for blocks in (1, 2))
    assert one + (model.blocks - 1) * (two - one) == PARAMETERS[name]


def test_edm_trains_ddpm_plus_plus_of_55_7_million():
    """Karras et al. 2022, arXiv 2206.00364, table 7."""
    assert round(count(unet("ddpm++", channel_multipliers=(2, 2, 2))) / 1e6, 1) == 55.7


@pytest.mark.parametrize("fields", [
    {"dtype": "bfloat16"}, {"channel_multipliers": (1,), "attention_resolutions": ()},
    {"channel_multipliers": (1, 1, 3), "attention_resolutions": (1, 4)}, {"attention_up": "each", "blocks": 2},
    {"width": 10}, {"progressive_input": "input_skip"}, {"progressive_output": "output_skip"}, {"skip_rescale": False},
    {"block": "ddpm", "progressive_input": "residual"}, {"block": "ddpm", "fir": True, "fir_kernel": (1, 1)},
], ids=str)
def test_outputs_are_like_inputs_whatever_the_options(fields):
    _, output = shapes(UNet(**{**SMALL, **fields}))
    assert (output.shape, output.dtype) == ((2, 4, 4, 1), jnp.float32)


@pytest.fixture(scope="module")
def case():
    """labels, key -> what a conditional network gives for them, for none, and in training."""
    model, rng = UNet(**SMALLEST, num_classes=3, dropout=0.5), np.random.default_rng(0)
    params = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), jnp.float32), shapes(model)[0])
    x, level = rng.normal(size=(2, 2, 2, 1)).astype(np.float32), jnp.array([10.0, 500.0])

    @jax.jit
    def outputs(labels, key):
        trained = model.apply(params, x, level, labels, True, rngs={"dropout": key})
        return model.apply(params, x, level, labels), model.apply(params, x, level), trained

    return outputs


def test_branches_and_output_start_near_zero():
    def last_layers(key):
        params = UNet(**SMALLEST).init(key, jnp.zeros((1, 2, 2, 1)), jnp.zeros(1))["params"]
        return (params["output"], params["middle_block_1"]["conv_2"], params["middle_attention"]["out"],
                params["middle_block_1"]["conv_1"])

    *last, inner = (np.abs(layer["kernel"]).max() for layer in jax.jit(last_layers)(jax.random.key(0)))
    assert min(last) > 0
    assert max(last) < 1e-4
    assert inner > 0.1


def test_no_label_is_the_null_label(case):
    null, none, _ = case(jnp.array([3, 3]), jax.random.key(0))
    np.testing.assert_allclose(none, null, atol=1e-5)
    other, _, _ = case(jnp.array([3, 1]), jax.random.key(0))
    np.testing.assert_allclose(other[0], null[0], atol=1e-5)
    assert np.abs(other[1] - null[1]).max() > 1e-2


def test_dropout_is_of_training_alone(case):
    labels = jnp.array([0, 1])
    first, second = (case(labels, jax.random.key(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(first[0], second[0])
    assert np.abs(first[2] - second[2]).max() > 1e-3
    assert np.abs(first[2] - first[0]).max() > 1e-3


def test_rescaled_sums_keep_the_variance():
    x, h = np.random.default_rng(0).normal(size=(2, 10_000))
    np.testing.assert_allclose(np.var(residual_sum(x, h, True)), 1, atol=0.05)
    np.testing.assert_allclose(residual_sum(x, h, True) * np.sqrt(2), residual_sum(x, h, False))


def test_groups_are_the_released_ones_and_always_divide():
    assert [groups(channels) for channels in (1, 8, 32, 96, 128, 256, 384)] == [1, 2, 8, 24, 32, 32, 32]
    assert groups(144) == 24  # 32 would not divide.


def test_forward_mode_derivatives_without_fast_operations():
    model = UNet(**SMALLEST)
    params, _ = shapes(model, 1)
    x = jnp.zeros((1, 2, 2, 1))

    def slope(params):
        return jax.jvp(lambda x: model.apply(params, x, jnp.zeros(1)), (x,), (x,))[1]

    with fast_ops.disabled():
        assert jax.eval_shape(slope, params).shape == (1, 2, 2, 1)


@pytest.mark.parametrize("fields, message", [
    ({"image_size": 30}, "image_size 30 is not divisible by 8, the down-sampling of 4 levels: 24 or 32 would be"),
    ({"image_size": 5}, "image_size 5 is not divisible by 8, the down-sampling of 4 levels: 8 would be"),
    ({"attention_resolutions": (16, 12)},
     "attention_resolutions has 12, but the levels of this network are 32, 16, 8, 4 pixels wide"),
    ({"block": "resnet"}, 'block must be one of "biggan", "ddpm", not "resnet"'),
    ({"progressive_input": "sum"}, 'progressive_input must be one of "none", "residual", "input_skip", not "sum"'),
    ({"progressive_output": "residual"}, 'progressive_output must be one of "none", "output_skip", not "residual"'),
    ({"attention_up": "all"}, 'attention_up must be one of "last", "each", not "all"'),
    ({"dtype": "float16"}, 'dtype must be one of "float32", "bfloat16", not "float16"'),
    ({"noise_embedding": "learned"}, 'noise_embedding must be "positional" or "fourier", not "learned"'),
    ({"fir_kernel": (1, 2, 1)}, "fir_kernel must be an even number of taps whose sum is not 0, as .* is; not .*"),
    ({"channel_multipliers": ()}, r"channel_multipliers must be whole numbers from 1, one a level; not \(\)"),
    ({"num_classes": -1}, r"num_classes must be at least 0 \(no labels\), not -1"),
    ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
    ({"blocks": 0}, "blocks must be at least 1, not 0"),
])
def test_what_cannot_be_built_is_said_in_one_line(fields, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        UNet(**fields).validate()


def test_unknown_names_and_images_of_other_sizes():
    with pytest.raises(ConfigError, match='^there is no U-Net "ddpm3"; there are: ddpm, ddpm[+][+], '):
        unet("ddpm3")
    with pytest.raises(ConfigError, match="^the model reads images of 4 x 4 x 1"):
        jax.eval_shape(UNet(**SMALL).init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)), jnp.zeros(1))
