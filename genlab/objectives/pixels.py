"""From stored bytes to what image models see, and back to what matplotlib shows; mixing of images in a batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.randomness import per_example


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Bytes 0 to 255 become (x / 255 - mean) / std, a number each or one a channel.

    The default maps them to [-1, 1]. ImageNet's own are mean (.485, .456, .406), std (.229, .224, .225).
    """

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self):
        if min(self.std, default=0) <= 0:
            raise ConfigError(f"pixels.std={self.std} must be positive")

    def check(self, channels: int) -> None:
        """Raises ConfigError where there are neither one nor `channels` numbers."""
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, channels):
                raise ConfigError(f"pixels.{name} has {len(getattr(self, name))} numbers; images of {channels} "
                                  f"channels take 1 or {channels}")

    def normalize(self, images):
        """Returns float32 [..., C] for uint8 images [..., C]."""
        scale = 1 / (255 * np.asarray(self.std, np.float32))
        return images.astype(jnp.float32) * scale - np.asarray(self.mean, np.float32) / np.asarray(self.std, np.float32)

    def to_bytes(self, images):
        """Returns the nearest uint8 images [..., C] of normalised ones: `normalize` undone."""
        values = 255 * (images * np.asarray(self.std, np.float32) + np.asarray(self.mean, np.float32))
        return jnp.clip(jnp.round(values), 0, 255).astype(jnp.uint8)


def mix(images_BIJC, targets_BK, key, mixup: float, cutmix: float):
    """Returns images and soft targets, each example mixed with its partner, the batch in reverse.

    The batch's order is random already. With both, every example takes one of them at even odds.

    Args:
      images_BIJC: float images.
      targets_BK: probabilities of the classes.
      key: one key for the batch; every example draws its own numbers.
      mixup: share ~ Beta(mixup, mixup) of the example's own pixels (Zhang et al. 2017, arXiv 1710.09412); 0 for none.
      cutmix: likewise, the partner's share as a rectangle (Yun et al. 2019, arXiv 1905.04899, eq. 1 and 2).
    """
    keys = jax.random.split(key, 3)
    B = len(images_BIJC)
    masks = []  # The share of its own that each pixel of each example keeps.
    if mixup:
        share_B = per_example(jax.random.beta, keys[0], (B,), a=mixup, b=mixup)
        masks.append(jnp.broadcast_to(share_B[:, None, None, None], (B, *images_BIJC.shape[1:3], 1)))
    if cutmix:
        masks.append(_rectangles(keys[1], cutmix, B, *images_BIJC.shape[1:3]))
    mask_BIJ1 = masks[0]
    if len(masks) == 2:
        mask_BIJ1 = jnp.where(per_example(jax.random.bernoulli, keys[2], (B, 1, 1, 1)), *masks)
    share_B1 = mask_BIJ1.mean(axis=(1, 2))
    images = mask_BIJ1 * images_BIJC + (1 - mask_BIJ1) * images_BIJC[::-1]
    return images, share_B1 * targets_BK + (1 - share_B1) * targets_BK[::-1]


def _rectangles(key, alpha, B, I, J):
    """0 inside a rectangle of area 1 - Beta(alpha, alpha) of the image, cut off at its edges; 1 outside."""
    share_key, centre_key = jax.random.split(key)
    side_B = jnp.sqrt(1 - per_example(jax.random.beta, share_key, (B,), a=alpha, b=alpha))
    centre_B2 = per_example(jax.random.uniform, centre_key, (B, 2))

    def inside(size, centre_B):
        place = (jnp.arange(size) + 0.5) / size
        return jnp.abs(place - centre_B[:, None]) < side_B[:, None] / 2

    inside_BIJ = inside(I, centre_B2[:, 0])[:, :, None] & inside(J, centre_B2[:, 1])[:, None, :]
    return 1.0 - inside_BIJ[..., None].astype(jnp.float32)
