"""DiT against an independent implementation in float64 NumPy, on random weights in place of those that start at 0."""

import jax
import numpy as np
import pytest

from genlab.models.dit import DiT

DITS = {
    "conditional": DiT(image_size=6, channels=2, num_classes=3, patch_size=2, width=8, depth=2, num_heads=2),
    "unconditional": DiT(image_size=4, channels=1, patch_size=1, width=12, depth=1, num_heads=3, mlp_width=10),
}
LEVELS = np.array([0.3, 999.0, -1.1], np.float32)
LABELS = np.array([2, 3, 0], np.int32)  # 3: no class


def random_case(model):
    """Random parameters and images, float32."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, model.image_size, model.image_size, model.channels)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images, LEVELS)["params"]
    return jax.tree.map(lambda s: rng.normal(0, s.shape[0] ** -0.5, s.shape).astype(np.float32), shapes), images


def linear(x, p):
    """x kernel + bias."""
    return x @ p["kernel"] + p["bias"]


def silu(x):
    """x sigmoid(x)."""
    return x / (1 + np.exp(-x))


def modulated(x, condition, p, parts):
    """LayerNorm (epsilon 1e-6) times 1 + scale plus shift, then the gate if there is one; of x [P, D]."""
    shift, scale, *gate = np.split(linear(silu(condition), p["modulation"]), parts)
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * (1 + scale) + shift, *gate


def attend(x, p, num_heads):
    """Self-attention of x [P, D], head by head."""
    heads = []
    q, k, v = (np.split(part, num_heads, axis=-1) for part in np.split(linear(x, p["qkv"]), 3, axis=-1))
    for q_h, k_h, v_h in zip(q, k, v, strict=True):
        scores = np.exp(q_h @ k_h.T / np.sqrt(q_h.shape[-1]))
        heads.append(scores / scores.sum(axis=-1, keepdims=True) @ v_h)
    return linear(np.concatenate(heads, axis=-1), p["output"])


def feed_forward(x, p):
    """Two linear layers with GELU by tanh between."""
    h = linear(x, p["up"])
    return linear(0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3))), p["down"])


def position(i, j, width):
    """The fixed position of row i, column j, number by number."""
    waves = [10_000.0 ** (-4 * k / width) for k in range(width // 4)]
    quarters = (np.sin, j), (np.cos, j), (np.sin, i), (np.cos, i)
    return np.array([function(place * w) for function, place in quarters for w in waves])


def numpy_dit(params, image, level, label, model):
    """The output [I, J, C] for one image [I, J, C]."""
    p, size = model.patch_size, model.image_size
    angles = np.array([level * 10_000.0 ** (-k / 127) for k in range(128)])
    condition = silu(linear(np.concatenate([np.sin(angles), np.cos(angles)]), params["noise_up"]))
    condition = linear(condition, params["noise_down"])
    if model.num_classes:
        condition = condition + params["label_embedding"][label]
    corners = [(i, j) for i in range(0, size, p) for j in range(0, size, p)]
    x = np.stack([linear(image[i : i + p, j : j + p].reshape(-1), params["patch_embedding"]) for i, j in corners])
    x = x + np.stack([position(i // p, j // p, model.width) for i, j in corners])
    for n in range(model.depth):
        block = params["transformer"][f"block_{n}"]
        h, gate = modulated(x, condition, block["attention_norm"], 3)
        x = x + gate * attend(h, block["attention"], model.num_heads)
        h, gate = modulated(x, condition, block["mlp_norm"], 3)
        x = x + gate * feed_forward(h, block["mlp"])
    x = linear(modulated(x, condition, params["transformer"]["final_norm"], 2)[0], params["pixels"])
    output = np.zeros_like(image)
    for (i, j), patch in zip(corners, x, strict=True):
        output[i : i + p, j : j + p] = patch.reshape(p, p, -1)
    return output


@pytest.mark.parametrize("name", DITS)
def test_outputs_agree_to_1e_minus_4(name):
    model = DITS[name]
    params, images = random_case(model)
    outputs = jax.jit(model.apply)({"params": params}, images, LEVELS, LABELS)
    exact = jax.tree.map(lambda x: x.astype(np.float64), params)
    cases = zip(images.astype(np.float64), LEVELS.astype(np.float64), LABELS, strict=True)
    expected = np.stack([numpy_dit(exact, *case, model) for case in cases])
    assert outputs.dtype == np.float32
    assert expected.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(outputs, expected, atol=1e-4 * np.abs(expected).max())
