"""What a denoising network is told of the noise level and the class."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from genlab.models.layers import Dense

_MAX_PERIOD = 10_000.0


def sinusoidal(noise_level_B, width: int):
    """Returns sines, then cosines, of the noise level at width / 2 frequencies, float32 [B, width].

    Frequencies fall geometrically from 1 to 1 / 10,000 (Vaswani et al. 2017, arXiv 1706.03762, section 3.5, in the form of
    Ho et al. 2020: halves in place of pairs).
    """
    half = width // 2
    frequencies = np.exp(-math.log(_MAX_PERIOD) * np.arange(half) / max(half - 1, 1)).astype(np.float32)
    angles = noise_level_B[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def fourier(x_BD, width: int, scale: float):
    """Returns sines and cosines of random projections, 2 pi w x with w ~ N(0, scale^2), float32 [B, width].

    Tancik et al. 2020 (arXiv 2006.10739, section 4). The projections are constants of the program: nothing trains them.
    """
    weights = np.random.default_rng(0).normal(0, scale, (x_BD.shape[-1], width // 2)).astype(np.float32)
    angles = 2 * math.pi * (x_BD @ weights)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
