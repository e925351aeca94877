"""A denoising network for points of few dimensions."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models.layers import Dense
from genlab.models.noise_embedding import fourier, label_embedding, sinusoidal


class DenoisingMLP(nn.Module):
    """Noisy points [B, D] to [B, D]: residual blocks of two linear layers, told noise level and class before each.

    The points enter as they are and as random Fourier features, without which a network that small blurs sharp edges
    (Tancik et al. 2020, arXiv 2006.10739); the noise level by sines and cosines, and a class by a row of its own.

    Fields:
      dimensions: D.
      width, depth: of the hidden layers; residual blocks.
      features, feature_scale: sines and cosines of the points, and the standard deviation of their frequencies.
      num_classes: 0 reads no labels; otherwise the label num_classes stands for none.
      dtype: of the computation, "float32" or "bfloat16"; parameters, embeddings and the output are float32.
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
        for name in ("width", "features"):
            if getattr(self, name) % 2 or getattr(self, name) < 0:
                raise ConfigError(f"{name} must be even, for as many sines as cosines; not {getattr(self, name)}")
        if self.num_classes < 0:
            raise ConfigError(f"num_classes must be at least 0 (no labels), not {self.num_classes}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f'dtype must be "float32" or "bfloat16", not "{self.dtype}"')

    @nn.compact
    def __call__(self, x, noise_level, label=None, train: bool = False):
        """Returns float32 [B, D] for points x of that shape, noise_level [B] and label int32 [B] or None (no class).

        Raises ConfigError for points of other dimensions.
        """
        self.validate()
        if x.ndim != 2 or x.shape[-1] != self.dimensions:
            raise ConfigError(f"the model reads points of {self.dimensions} dimensions, [B, {self.dimensions}], "
                              f"not {list(x.shape)}")
        level_BD = Dense(self.width, use_bias=True, name="level")(sinusoidal(noise_level, self.width))
        if self.num_classes:
            level_BD = level_BD + label_embedding(self, self.width, noise_level, label)
        level_BD = jax.nn.silu(level_BD).astype(self.dtype)
        inputs = jnp.concatenate([x, fourier(x, self.features, self.feature_scale)], axis=-1).astype(self.dtype)
        h_BD = Dense(self.width, use_bias=True, name="input")(inputs)
        for block in range(1, self.depth + 1):
            u_BD = jax.nn.silu(h_BD + Dense(self.width, use_bias=True, name=f"level_{block}")(level_BD))
            u_BD = jax.nn.silu(Dense(self.width, use_bias=True, name=f"up_{block}")(u_BD))
            h_BD = h_BD + Dense(self.width, use_bias=True, name=f"down_{block}")(u_BD)
        output = Dense(self.dimensions, use_bias=True, kernel_init=nn.initializers.zeros, name="output")
        return output(jax.nn.silu(h_BD)).astype(jnp.float32)
