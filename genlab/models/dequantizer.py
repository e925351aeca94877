"""A small network that says what noise makes an image of levels continuous."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models import images
from genlab.models.convolutional import Conv

_NEAREST_TO_UNIFORM = 0.56  # The log_scale at which logistic-normal noise is nearest to uniform noise.


class Dequantizer(nn.Module):
    """Images [B, I, J, C] to (mean, log_scale), [B, I, J, C] each, by convolutions of 3 x 3 with a residual connection.

    It starts with nearly uniform noise, whatever the image.
    """

    image_size: int = 32
    channels: int = 3
    width: int = 32
    depth: int = 3
    dtype: str = "float32"

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        for name in ("image_size", "channels", "width", "depth"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f'dtype must be "float32" or "bfloat16", not "{self.dtype}"')

    @nn.compact
    def __call__(self, x_BIJC, train: bool = False):
        """Returns (mean, log_scale), float32."""
        images.check_images(x_BIJC, self.image_size, self.channels)
        h = Conv(self.width, use_bias=True, name="input")(x_BIJC.astype(self.dtype))
        for i in range(1, self.depth):
            h = h + Conv(self.width, use_bias=True, name=f"block_{i}")(jax.nn.silu(h))
        zeros = nn.initializers.zeros
        output = Conv(2 * self.channels, use_bias=True, kernel_init=zeros, name="output")(jax.nn.silu(h))
        mean, log_scale = jnp.split(output.astype(jnp.float32), 2, axis=-1)
        return mean, log_scale + _NEAREST_TO_UNIFORM
