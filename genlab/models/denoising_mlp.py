"""A denoising network for points of few dimensions."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models.layers import Dense
from genlab.models.noise_embedding import fourier, sinusoidal


class DenoisingMLP(nn.Module):
    """Noisy points [B, D] to [B, D]: residual blocks of two linear layers, told the noise level before each.

    The points enter as they are and as random Fourier features, without which a network that small blurs sharp edges
    (Tancik et al. 2020, arXiv 2006.10739); the noise level by sines and cosines.
    """

    dimensions: int = 2
    width: int = 128
    depth: int = 3
    features: int = 64
    feature_scale: float = 0.5
    num_classes: int = 0
    dtype: str = "float32"

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        for name in ("dimensions", "width", "depth"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")

    @nn.compact
    def __call__(self, x_BD, noise_level_B, label_B=None, train: bool = False):
        """Returns [B, D], float32; see `genlab/objectives/diffusion.py` for the arguments."""
        level_BD = Dense(self.width, use_bias=True, name="level")(sinusoidal(noise_level_B, self.width))
        inputs = [x_BD, fourier(x_BD, self.features, self.feature_scale)]
        h_BD = Dense(self.width, use_bias=True, name="input")(jnp.concatenate(inputs, axis=-1))
        for block in range(self.depth):
            u_BD = jax.nn.silu(h_BD + Dense(self.width, use_bias=True, name=f"level_{block}")(jax.nn.silu(level_BD)))
            u_BD = jax.nn.silu(Dense(self.width, use_bias=True, name=f"up_{block}")(u_BD))
            h_BD = h_BD + Dense(self.width, use_bias=True, name=f"down_{block}")(u_BD)
        zeros = nn.initializers.zeros
        return Dense(self.dimensions, use_bias=True, kernel_init=zeros, name="output")(jax.nn.silu(h_BD))
