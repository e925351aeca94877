"""MLP-Mixer: sizes, bad hyper-parameters, stochastic depth, types."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.models.mixer import Mixer, mixer
from genlab.models.representations import representations

TINY = Mixer(patch_size=4, image_size=12, width=16, depth=2, channels=1, zero_head=False)


@functools.cache
def random_params(model):
    """Parameters of the right shapes, drawn by NumPy."""
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images_of(model))["params"]
    return jax.tree.map(lambda s: rng.normal(0.1, 0.3, s.shape).astype(np.float32), shapes)


def images_of(model, batch=3):
    """Random images [batch, I, J, C]."""
    shape = (batch, model.image_size, model.image_size, model.channels)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "published", "tolerance"),
    [
        ("S/32", 19.1e6, 0.01),
        ("S/16", 18_528_264, 0),
        ("B/32", 60.3e6, 0.01),
        ("B/16", 59_880_472, 0),
        ("L/32", 206e6, 0.01),
        ("L/16", 208_196_168, 0),
        ("H/14", 432.35e6, 0.01),
    ],
)
def test_sizes_have_the_published_numbers_of_parameters(name, published, tolerance):
    model = mixer(name, num_classes=1000, image_size=224)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert abs(count - published) <= tolerance * published


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "image_size 30 is not divisible by patch_size 4: 28 would be"),
        ({"token_mlp_width": 0}, "token_mlp_width must be at least 1, not 0"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"stochastic_depth": -0.1}, "stochastic_depth must be in"),
        ({"dtype": "float16"}, 'dtype must be "float32" or "bfloat16", not "float16"'),
    ],
)
def test_bad_hyper_parameters_are_one_line_errors(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        dataclasses.replace(TINY, **changes).validate()
    assert "\n" not in str(error.value)


def test_an_unknown_name_lists_the_right_ones():
    with pytest.raises(ValueError, match=r'there is no Mixer "Ti/16": the sizes are S, B, L, H'):
        mixer("Ti/16")


def test_stochastic_depth_keeps_the_first_block_and_drops_the_last_at_its_rate():
    params = jax.tree.map(np.copy, random_params(TINY))
    params["block_1"]["token_mlp"]["down"] = jax.tree.map(np.zeros_like, params["block_1"]["token_mlp"]["down"])
    image = np.repeat(images_of(TINY, 1), 400, axis=0)
    _, exact = jax.jit(functools.partial(representations, TINY))({"params": params}, image[:1])
    before = exact["block_0/output_BPD"]
    kept = before + (exact["block_1/output_BPD"] - before) / 0.75
    model = dataclasses.replace(TINY, stochastic_depth=0.25)
    run = jax.jit(functools.partial(representations, model, train=True, rngs={"dropout": jax.random.key(0)}))
    out = np.asarray(run({"params": params}, image)[1]["block_1/output_BPD"])
    is_kept = np.abs(out - kept).max(axis=(1, 2)) < 1e-4
    is_dropped = np.abs(out - before).max(axis=(1, 2)) < 1e-4
    assert np.all(is_kept ^ is_dropped)
    np.testing.assert_allclose(is_kept.mean(), 0.75, atol=0.07)


def test_bfloat16_computes_near_float32_and_gives_float32_logits():
    model, params = dataclasses.replace(TINY, dtype="bfloat16"), random_params(TINY)
    logits, named = jax.jit(functools.partial(representations, model))({"params": params}, images_of(model))
    exact = jax.jit(TINY.apply)({"params": params}, images_of(model))
    assert (logits.dtype, named["block_1/output_BPD"].dtype) == (jnp.float32, jnp.bfloat16)
    assert 1e-4 < np.abs(logits - exact).max() < 0.05 * np.abs(exact).max()
