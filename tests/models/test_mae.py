"""MAE: what is masked, what the encoder sees, and where predictions are put."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from genlab.models import images
from genlab.models.mae import MAE
from genlab.models.vit import ViT

ENCODER = ViT(patch_size=2, image_size=8, channels=1, width=8, depth=1, num_heads=2, num_classes=3)
MODEL = MAE(ENCODER, decoder_width=12, decoder_depth=1, decoder_num_heads=2)


def random_case(model, batch=5):
    """Random parameters of the right shapes, and images, float32."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(batch, 8, 8, 1)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), pixels)["params"]
    return jax.tree.map(lambda s: rng.normal(0.1, 0.4, s.shape).astype(np.float32), shapes), pixels


@functools.cache
def forward(model):
    """A compiled forward pass (params, pixels, key) -> (predictions, mask)."""
    return jax.jit(lambda params, pixels, key: model.apply({"params": params}, pixels, rngs={"mask": key}))


def predict(model, params, pixels, seed=0):
    """Predictions and mask as NumPy arrays."""
    return jax.tree.map(np.asarray, forward(model)(params, pixels, jax.random.key(seed)))


@pytest.mark.parametrize(("ratio", "visible"), [(0.75, 4), (0.5, 8), (0.6, 6)])
def test_the_share_of_masked_patches_is_exact_and_masks_differ_by_example_and_key(ratio, visible):
    model = dataclasses.replace(MODEL, mask_ratio=ratio)
    params, pixels = random_case(model, batch=64)
    predictions, mask = predict(model, params, pixels)
    assert predictions.shape == (64, 16, 4)
    assert np.all((~mask).sum(axis=1) == visible)
    assert len(np.unique(mask, axis=0)) > 50
    assert np.any(mask != predict(model, params, pixels, seed=1)[1])
    np.testing.assert_allclose(mask.mean(axis=0), 1 - visible / 16, atol=0.25)  # every place as often


def test_predictions_read_the_visible_patches_only():
    params, pixels = random_case(MODEL)
    predictions, mask = predict(MODEL, params, pixels)
    hidden = np.asarray(images.unpatchify(np.repeat(mask[..., None], 4, axis=-1), (4, 4), 2))
    other, _ = predict(MODEL, params, np.where(hidden, 9.0, pixels))
    np.testing.assert_allclose(other, predictions, atol=1e-6)
    other, _ = predict(MODEL, params, np.where(hidden, pixels, pixels + 0.5))
    assert np.all(np.abs(other - predictions).max(axis=-1) > 1e-4)  # every patch is predicted from them


@pytest.mark.parametrize("encoder", [ENCODER, dataclasses.replace(ENCODER, pooling="mean", registers=2)])
def test_each_place_gets_its_own_token_or_the_mask_token_and_its_position(encoder):
    """With blocks that add nothing, a prediction depends on its own patch alone, and NumPy can say how."""
    model = dataclasses.replace(MODEL, encoder=encoder)
    params, pixels = random_case(model)
    for stack in (params["encoder"]["transformer"], params["decoder"]):
        for part in (stack["block_0"]["attention"]["output"], stack["block_0"]["mlp"]["down"]):
            part.update(jax.tree.map(np.zeros_like, part))
    predictions, mask = predict(model, params, pixels)

    def linear(x, p):
        return x @ p["kernel"] + p["bias"]

    def normalise(x, p):
        x = x - x.mean(axis=-1, keepdims=True)
        return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]

    positions = params["encoder"]["position_embedding"][-16:]
    for b, p in np.ndindex(5, 16):
        x = params["mask_token"][0]
        if not mask[b, p]:
            i, j = divmod(p, 4)
            patch = pixels[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(-1)
            x = linear(patch, params["encoder"]["patch_embedding"]) + positions[p]
            x = linear(normalise(x, params["encoder"]["transformer"]["final_norm"]), params["decoder_embedding"])
        x = x + images.sincos_positions((4, 4), 12)[p]
        expected = linear(normalise(x, params["decoder"]["final_norm"]), params["pixels"])
        np.testing.assert_allclose(predictions[b, p], expected, atol=1e-4)


def test_the_encoder_is_a_vit_without_its_head():
    params, pixels = random_case(MODEL)
    vit = jax.eval_shape(ENCODER.init, jax.random.key(0), pixels)["params"]
    assert jax.tree.map(np.shape, {**params["encoder"], "head": None}) == jax.tree.map(np.shape, {**vit, "head": None})
    features = jax.jit(lambda p: MODEL.apply({"params": p}, pixels, method="features"))(params)
    expected = jax.jit(lambda p: ENCODER.apply({"params": p}, pixels, method="features"))(params["encoder"])
    np.testing.assert_array_equal(features, expected)


def test_a_scanned_stack_in_bfloat16_runs():
    encoder = dataclasses.replace(ENCODER, scan_layers=True, remat="full", dtype="bfloat16", stochastic_depth=0.5)
    params, pixels = random_case(dataclasses.replace(MODEL, encoder=encoder))
    predictions, _ = predict(dataclasses.replace(MODEL, encoder=encoder), params, pixels)
    assert predictions.dtype == np.float32
    assert np.all(np.isfinite(predictions))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_ratio": 1.0}, "mask_ratio 1.0 of 16 patches leaves 0 visible"),
        ({"mask_ratio": 0.0}, "mask_ratio 0.0 of 16 patches leaves 16 visible"),
        ({"decoder_width": 6, "decoder_num_heads": 2}, "decoder_width 6 is not divisible by 4"),
        ({"decoder_num_heads": 5}, "width 12 is not divisible by num_heads 5"),
        ({"encoder": dataclasses.replace(ENCODER, pooling="attention")}, "do not train attention pooling"),
        ({"encoder": dataclasses.replace(ENCODER, patch_size=3)}, "image_size 8 is not divisible by patch_size 3"),
    ],
)
def test_bad_hyper_parameters_are_one_line_errors(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        dataclasses.replace(MODEL, **changes).validate()
    assert "\n" not in str(error.value)
