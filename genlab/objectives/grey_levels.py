"""From stored bytes to what generative models of images see: levels with a width, so that a density makes sense."""

import dataclasses

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.randomness import per_example


@dataclasses.dataclass(frozen=True)
class GreyLevels:
    """Bytes 0 to 255 are `count` levels k, and level k is the interval 2 (k + [0, 1)) / count - 1 of [-1, 1).

    A density integrated over a level's interval is the probability of the level (Theis et al. 2015, arXiv 1511.01844,
    section 3.1). The digits of scikit-learn have 17 levels.
    """

    count: int = 256

    def __post_init__(self):
        if not 2 <= self.count <= 256:
            raise ConfigError(f"pixels.count={self.count} must be from 2 to 256: a byte has no more levels")

    def check(self, channels: int) -> None:
        """Nothing to check: every channel has the same levels."""

    def levels(self, images):
        """Returns the levels, float32 [...], of uint8 images [...]."""
        return jnp.round(images.astype(jnp.float32) * ((self.count - 1) / 255))

    def normalize(self, images):
        """Returns the middle of each pixel's level, float32 [...], of uint8 images [...]."""
        return 2 * (self.levels(images) + 0.5) / self.count - 1

    def dequantize(self, images, key):
        """Returns a uniform draw from each pixel's level, float32 [...], of uint8 images [...]."""
        return 2 * (self.levels(images) + per_example(jax.random.uniform, key, images.shape)) / self.count - 1

    def to_bytes(self, images):
        """Returns the uint8 images [...] in whose levels the values lie; those outside are clipped.

        Samples alone pass here: a likelihood is of `dequantize`'s values, which nothing clips.
        """
        levels = jnp.clip(jnp.floor((images + 1) * (self.count / 2)), 0, self.count - 1)
        return jnp.round(levels * (255 / (self.count - 1))).astype(jnp.uint8)
