"""U-Nets against an independent NumPy network in float64: outputs on random parameters to 1e-4, for every option."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.models.noise_embedding import fourier
from genlab.models.unet import unet
from tests.models.numpy_convolution import convolve, linear, pad

SMALL = {"image_size": 4, "channels": 2, "width": 8, "channel_multipliers": (1, 2), "blocks": 1,
         "attention_resolutions": (2,)}
CASES = {
    "ddpm++": unet("ddpm++", **SMALL, num_classes=3),
    "ncsn++": unet("ncsn++", **SMALL),
    "ddpm": unet("ddpm", **SMALL),
    "skips, and a lopsided filter": unet("ddpm", **SMALL, fir=True, fir_kernel=(1, 2, 4, 1),
                                         progressive_input="input_skip", progressive_output="output_skip"),
}


def silu(x):
    """x sigmoid(x)."""
    return x / (1 + np.exp(-x))


def norm(x, p):
    """Groups of four channels at least, 32 at most."""
    groups = min(x.shape[-1] // 4, 32)
    grouped = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    centred = grouped - grouped.mean(axis=(1, 3), keepdims=True)
    y = centred / np.sqrt((centred**2).mean(axis=(1, 3), keepdims=True) + 1e-6)
    return y.reshape(x.shape) * p["scale"] + p["bias"]


def fir(x, kernel, before, after, up=False, down=False):
    """Zeros between pixels, zeros around, np.convolve along each axis, every other pixel."""
    taps = np.array(kernel) / np.sum(kernel)

    def line(v):
        if up:
            v = 2 * np.stack([v, 0 * v], axis=-1).ravel()
        v = np.convolve(np.pad(v, (before, after)), taps, "valid")
        return v[::2] if down else v

    return np.apply_along_axis(line, 2, np.apply_along_axis(line, 1, x))


def upsample(x, model):
    """Twice the size."""
    if model.fir:
        return fir(x, model.fir_kernel, 2, 1, up=True)
    return x.repeat(2, axis=1).repeat(2, axis=2)


def downsample(x, model):
    """Half the size."""
    if model.fir:
        return fir(x, model.fir_kernel, 1, 1, down=True)
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def strided(x, p, model):
    """Half the size by a convolution."""
    x = fir(x, model.fir_kernel, 2, 2) if model.fir else pad(x, 0, 1, 0.0)
    return convolve(x, p["conv"], stride=2, padding=0)


def add(x, h, model):
    """Residual sum."""
    return (x + h) / np.sqrt(2) if model.skip_rescale else x + h


def block(x, p, condition, model, resize=None):
    """Residual block."""
    h = silu(norm(x, p["norm_1"]))
    if resize:
        h, x = resize(h, model), resize(x, model)
    h = convolve(h, p["conv_1"]) + linear(condition, p["condition"])[:, None, None]
    h = convolve(silu(norm(h, p["norm_2"])), p["conv_2"])
    return add(linear(x, p["shortcut"]) if "shortcut" in p else x, h, model)


def attention(x, p, model):
    """Pixel by pixel."""
    B, I, J, C = x.shape
    q, k, v = np.split(linear(norm(x, p["norm"]), p["qkv"]).reshape(B, I * J, 3 * C), 3, axis=-1)
    h = np.empty_like(q)
    for b in range(B):
        for t in range(I * J):
            scores = k[b] @ q[b, t] / np.sqrt(C)
            weights = np.exp(scores - scores.max())
            h[b, t] = weights @ v[b] / weights.sum()
    return add(x, linear(h, p["out"]).reshape(x.shape), model)


def embed(p, level, label, model):
    """Noise level and class."""
    half = model.width // 2
    if model.noise_embedding == "fourier":
        waves = np.float64(fourier(level[:, None], 2 * model.width, model.fourier_scale))
    else:
        angles = np.float64(level)[:, None] * 10_000.0 ** (-np.arange(half) / (half - 1))
        waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    e = linear(silu(linear(waves, p["up"])), p["down"])
    return silu(e + p["label_embedding"][label] if model.num_classes else e)


def network(p, x, level, label, model):
    """Two levels, one block each on the way down."""
    condition = embed(p["embedding"], level, label, model)
    biggan = model.block == "biggan"
    big = convolve(x, p["input"])
    big_1 = block(big, p["down_1_block_1"], condition, model)
    resample = p["down_1_resample"]
    small = block(big_1, resample, condition, model, downsample) if biggan else strided(big_1, resample, model)
    if model.progressive_input == "residual":
        small = add(strided(x, p["down_1_input"], model), small, model)
    if model.progressive_input == "input_skip":
        small = small + linear(downsample(x, model), p["down_1_input"])
    small_1 = attention(block(small, p["down_2_block_1"], condition, model), p["down_2_attention_1"], model)
    h = block(small_1, p["middle_block_1"], condition, model)
    h = block(attention(h, p["middle_attention"], model), p["middle_block_2"], condition, model)
    h = block(np.concatenate([h, small_1], axis=-1), p["up_2_block_1"], condition, model)
    h = attention(h, p["up_2_attention_1"], model) if model.attention_up == "each" else h
    h = block(np.concatenate([h, small], axis=-1), p["up_2_block_2"], condition, model)
    h = attention(h, p["up_2_attention_2"], model)
    total = 0
    if model.progressive_output == "output_skip":
        total = upsample(convolve(silu(norm(h, p["up_2_output_norm"])), p["up_2_output"]), model)
    if biggan:
        h = block(h, p["up_2_resample"], condition, model, upsample)
    else:
        h = convolve(upsample(h, model), p["up_2_resample"]["conv"])
    h = block(np.concatenate([h, big_1], axis=-1), p["up_1_block_1"], condition, model)
    h = block(np.concatenate([h, big], axis=-1), p["up_1_block_2"], condition, model)
    name = "output" if model.progressive_output == "none" else "up_1_output"
    return total + convolve(silu(norm(h, p[f"{name}_norm"])), p[name])


def random_params(model, x, level):
    """Parameters with nothing at 0 or 1, in a scale that neither grows nor dies with depth."""
    rng = np.random.default_rng(0)

    def draw(path, shape):
        if path[-1].key == "kernel":
            return rng.normal(0, np.prod(shape.shape[:-1]) ** -0.5, shape.shape)
        return rng.uniform(0.5, 1.5, shape.shape) if path[-1].key == "scale" else rng.normal(0, 0.5, shape.shape)

    shapes = jax.eval_shape(model.init, jax.random.key(0), x, level)["params"]
    return jax.tree.map(lambda a: a.astype(np.float32), jax.tree.map_with_path(draw, shapes))


@pytest.mark.parametrize("case", CASES)
def test_output_agrees_with_numpy(case):
    model, rng = CASES[case], np.random.default_rng(1)
    x = rng.normal(size=(2, 4, 4, 2)).astype(np.float32)
    level = np.array([0.7, -1.3] if model.noise_embedding == "fourier" else [20.0, 900.0], np.float32)
    label = np.array([2, 3])
    params = random_params(model, x, level)
    apply = jax.jit(model.apply, compiler_options={"xla_backend_optimization_level": 0})  # Compiling is all the time.
    ours = apply({"params": params}, x, level, label)
    exact = network(jax.tree.map(np.float64, params), np.float64(x), level, label, model)
    assert ours.dtype == jnp.float32
    assert np.std(exact) > 0.3
    np.testing.assert_allclose(ours, exact, atol=1e-4)
