"""ViT and Mixer forward passes against independent implementations in float64 NumPy, on random weights."""

import jax
import numpy as np
import pytest

from genlab.models.mixer import Mixer
from genlab.models.vit import ViT

SHAPE = {"patch_size": 4, "image_size": 12, "channels": 2, "num_classes": 5, "depth": 2, "zero_head": False}
VITS = {
    "class_token": ViT(**SHAPE, width=8, num_heads=2),
    "class_token_registers_sincos": ViT(**SHAPE, width=8, num_heads=4, positions="sincos2d", registers=3),
    "mean": ViT(**SHAPE, width=8, num_heads=2, pooling="mean", mlp_width=20),
    "mean_registers": ViT(**SHAPE, width=8, num_heads=2, pooling="mean", registers=2),
    "attention_registers": ViT(**SHAPE, width=8, num_heads=2, pooling="attention", registers=1),
}
MIXER = Mixer(**SHAPE, width=10, token_mlp_width=7, channel_mlp_width=13)


def random_case(model):
    """Random parameters (norms and biases too) and images, float32."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 12, 12, 2)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    return jax.tree.map(lambda s: rng.normal(0.1, 0.4, s.shape).astype(np.float32), shapes), images


def linear(x, p):
    """x kernel + bias."""
    return x @ p["kernel"] + p["bias"]


def normalise(x, p):
    """LayerNorm with epsilon 1e-6, from its definition."""
    x = x - np.mean(x, axis=-1, keepdims=True)
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def feed_forward(x, p):
    """Two linear layers with GELU by tanh between."""
    h = linear(x, p["up"])
    return linear(0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3))), p["down"])


def attend(q, k, v, num_heads):
    """Attention of queries [T, D] over keys and values [S, D], head by head."""
    heads = []
    for q_h, k_h, v_h in zip(*(np.split(x, num_heads, axis=-1) for x in (q, k, v)), strict=True):
        scores = np.exp(q_h @ k_h.T / np.sqrt(q_h.shape[-1]))
        heads.append(scores / scores.sum(axis=-1, keepdims=True) @ v_h)
    return np.concatenate(heads, axis=-1)


def embed_patches(image, p):
    """Embedded patches [P, D] of one image, cut out one by one, row by row."""
    corners = [(i, j) for i in range(0, 12, 4) for j in range(0, 12, 4)]
    return np.stack([linear(image[i : i + 4, j : j + 4].reshape(-1), p["patch_embedding"]) for i, j in corners])


def sines(i, j, width):
    """The fixed position of row i, column j, number by number."""
    vector = np.zeros(width)
    for k in range(width // 4):
        w = 10_000.0 ** (-k / (width / 4))
        for quarter, value in enumerate((np.sin(j * w), np.cos(j * w), np.sin(i * w), np.cos(i * w))):
            vector[quarter * width // 4 + k] = value
    return vector


def numpy_vit(params, image, model):
    """Logits of one image [I, J, C]."""
    x = embed_patches(image, params)
    if model.positions == "sincos2d":
        x = x + np.stack([sines(i, j, model.width) for i in range(3) for j in range(3)])
    if model.pooling == "class_token":
        x = np.concatenate([params["class_token"], x])
    if model.positions == "learned":
        x = x + params["position_embedding"]
    # Attention does not see order: registers may as well stand behind.
    x = np.concatenate([x, params.get("register_tokens", np.zeros((0, model.width)))])
    for i in range(model.depth):
        p = params["transformer"][f"block_{i}"]
        q, k, v = np.split(linear(normalise(x, p["attention_norm"]), p["attention"]["qkv"]), 3, axis=-1)
        x = x + linear(attend(q, k, v, model.num_heads), p["attention"]["output"])
        x = x + feed_forward(normalise(x, p["mlp_norm"]), p["mlp"])
    x = normalise(x, params["transformer"]["final_norm"])[: len(x) - model.registers]
    if model.pooling == "class_token":
        pooled = x[0]
    elif model.pooling == "mean":
        pooled = x.mean(axis=0)
    else:
        p = params["attention_pooling"]
        k, v = np.split(linear(x, p["attention"]["key_value"]), 2, axis=-1)
        h = linear(attend(linear(p["probe"], p["attention"]["query"]), k, v, model.num_heads), p["attention"]["output"])
        pooled = (h + feed_forward(normalise(h, p["mlp_norm"]), p["mlp"]))[0]
    return linear(pooled, params["head"])


def numpy_mixer(params, image, model):
    """Logits of one image [I, J, C]."""
    x = embed_patches(image, params)
    for i in range(model.depth):
        p = params[f"block_{i}"]
        x = x + feed_forward(normalise(x, p["token_norm"]).T, p["token_mlp"]).T
        x = x + feed_forward(normalise(x, p["channel_norm"]), p["channel_mlp"])
    return linear(normalise(x, params["final_norm"]).mean(axis=0), params["head"])


@pytest.mark.parametrize("name", [*VITS, "mixer"])
def test_logits_agree_to_1e_minus_4(name):
    model, reference = (MIXER, numpy_mixer) if name == "mixer" else (VITS[name], numpy_vit)
    params, images = random_case(model)
    logits = jax.jit(model.apply)({"params": params}, images)
    exact = jax.tree.map(lambda x: x.astype(np.float64), params)
    expected = np.stack([reference(exact, image, model) for image in images])
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
