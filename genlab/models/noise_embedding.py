"""What a denoising network is told of the noise level and the class."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models import ops
from genlab.models.layers import Dense

_MAX_PERIOD = 10_000.0
# Ho et al. 2020's released initialisation: uniform with variance 2 / (inputs + outputs), as Glorot and Bengio 2010.
_INIT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")


def sinusoidal(noise_level_B, width: int):
    """Returns sines, then cosines, of the noise level at width / 2 frequencies, float32 [B, width].

    Frequencies fall geometrically from 1 to 1 / 10,000 (Vaswani et al. 2017, arXiv 1706.03762, section 3.5, in the form
    of Ho et al. 2020: halves in place of pairs).
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


class NoiseEmbedding(nn.Module):
    """Noise level and class as one vector of 4 width: two linear layers on sines and cosines, plus a row of the class.

    "positional" gives the first layer `width` sines and cosines at fixed periods (Ho et al. 2020, arXiv 2006.11239,
    appendix B), "fourier" 2 width of them at frequencies drawn once from N(0, fourier_scale^2) (Song et al. 2020, arXiv
    2011.13456, appendix H.2). Classes are added as in Dhariwal and Nichol 2021 (arXiv 2105.05233, section 3), the row
    num_classes standing for none.
    """

    width: int
    kind: Literal["positional", "fourier"] = "positional"
    fourier_scale: float = 16.0
    num_classes: int = 0

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        if self.kind not in ("positional", "fourier"):
            raise ConfigError(f'noise_embedding must be "positional" or "fourier", not "{self.kind}"')
        if self.width < 2 or self.width % 2:
            raise ConfigError(f"half of a noise embedding are sines: width must be even, not {self.width}")
        if self.num_classes < 0:
            raise ConfigError(f"num_classes must be at least 0 (no labels), not {self.num_classes}")

    @nn.compact
    def __call__(self, noise_level_B, label_B=None):
        """Returns float32 [B, 4 width], before any activation, for labels int32 [B] or None (no class)."""
        self.validate()
        if self.kind == "positional":
            waves = sinusoidal(noise_level_B, self.width)
        else:
            waves = fourier(noise_level_B[:, None], 2 * self.width, self.fourier_scale)
        h = jax.nn.silu(Dense(4 * self.width, True, _INIT, name="up")(waves))
        x_BD = Dense(4 * self.width, True, _INIT, name="down")(h)
        return x_BD + label_embedding(self, 4 * self.width, noise_level_B, label_B) if self.num_classes else x_BD


def label_embedding(module: nn.Module, width: int, noise_level_B, label_B):
    """Returns rows [B, width] of the parameter "label_embedding" [num_classes + 1, width], which this gives the module.

    The last row is no class; label None stands for it in every example.
    """
    init = nn.initializers.normal(1.0)
    table = module.param("label_embedding", init, (module.num_classes + 1, width), jnp.float32)
    if label_B is None:
        label_B = jnp.full(noise_level_B.shape, module.num_classes, jnp.int32)
    return ops.embed(table, label_B)
