"""Diffusion Transformer: a ViT of noisy images whose norms read noise level and class (Peebles and Xie 2022)."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models import images, ops
from genlab.models.layers import Dense
from genlab.models.noise_embedding import sinusoidal
from genlab.models.transformer import Remat, Transformer, TransformerConfig

_NOISE_WIDTH = 256  # sines and cosines of the noise level: the paper's, as released.


class DiT(nn.Module):
    """Noisy images [B, I, J, C] to what the objective asks of them, [B, I, J, C], by way of patches.

    Section 3.2 of arXiv 2212.09748 with adaLN-Zero blocks: patches with fixed positions (images.sincos_positions)
    through a stack whose norms and gates read the sum of an embedded noise level and an embedded class, then a linear
    layer. `mlp_width` None means 4 width. `num_classes` 0 reads no labels; otherwise the label `num_classes` stands for
    none. The remaining choices are those of TransformerConfig.

    Gates and the last layer start at zero: every block starts as the identity, and the output at 0. Labels start with
    standard deviation .02, as released, and kernels with the house's 1 / sqrt(inputs), those of the noise level too:
    .02 there opens the gates later (width 64 on 8 x 8 digits: held-out loss after 100 steps .185 against .170, after
    600 .126 against .123).
    No variance is predicted, so the last layer is half as wide as the paper's, whose models have p^2 C (D + 1)
    parameters more: 6,160 of the 33 million of S/2.
    """

    image_size: int = 32
    channels: int = 3
    num_classes: int = 0
    patch_size: int = 2
    width: int = 384
    depth: int = 12
    num_heads: int = 6
    mlp_width: int | None = None
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    attention_block: int | None = None
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: str = "float32"

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return (self.image_size // self.patch_size,) * 2

    def stack_config(self) -> TransformerConfig:
        """Returns the hyper-parameters of this model's Transformer stack."""
        return TransformerConfig(
            width=self.width,
            depth=self.depth,
            num_heads=self.num_heads,
            mlp_width=4 * self.width if self.mlp_width is None else self.mlp_width,
            adaptive_norm=True,
            use_bias=True,
            dropout=self.dropout,
            stochastic_depth=self.stochastic_depth,
            attention_block=self.attention_block,
            scan_layers=self.scan_layers,
            remat=self.remat,
            dtype=self.dtype,
        )

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        images.check_patches(self.image_size, self.patch_size)
        if self.image_size < 1 or self.channels < 1:
            name = "channels" if self.channels < 1 else "image_size"
            raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.num_classes < 0:
            raise ConfigError(f"num_classes must be at least 0 (no labels), not {self.num_classes}")
        if self.width % 4:
            raise ConfigError(f"fixed positions are four quarters: width {self.width} is not divisible by 4")
        self.stack_config().validate()

    def setup(self):
        """Declares the parameters; raises ConfigError if the hyper-parameters do not fit together."""
        self.validate()
        self.patch_embedding = Dense(self.width, use_bias=True)
        self.noise_up = Dense(self.width, use_bias=True)
        self.noise_down = Dense(self.width, use_bias=True)
        if self.num_classes:
            init = nn.initializers.normal(0.02)
            self.label_embedding = self.param("label_embedding", init, (self.num_classes + 1, self.width), jnp.float32)
        self.transformer = Transformer(self.stack_config())
        self.pixels = Dense(self.patch_size**2 * self.channels, use_bias=True, kernel_init=nn.initializers.zeros)

    def __call__(self, x, noise_level, label=None, train: bool = False):
        """Returns float32 [B, I, J, C] for x of that shape, noise_level [B] and label int32 [B] or None (no class).

        Dropout draws from the rng "dropout". Raises ConfigError if x is not of image_size and channels.
        """
        images.check_images(x, self.image_size, self.channels)
        patches = images.patchify(x, self.patch_size).astype(self.dtype)
        positions_PD = jnp.asarray(images.sincos_positions(self.grid, self.width), self.dtype)
        x_BPD = self.patch_embedding(patches) + positions_PD
        x_BPD = self.transformer(x_BPD, condition_BD=self.condition(noise_level, label), train=train)
        return images.unpatchify(self.pixels(x_BPD).astype(jnp.float32), self.grid, self.patch_size)

    def condition(self, noise_level_B, label_B=None):
        """Returns what the norms read, float32 [B, D], for noise levels [B] and labels int32 [B] or None (no class)."""
        x_BD = self.noise_down(jax.nn.silu(self.noise_up(sinusoidal(noise_level_B, _NOISE_WIDTH))))
        if not self.num_classes:
            return x_BD
        if label_B is None:
            label_B = jnp.full(noise_level_B.shape, self.num_classes, jnp.int32)
        return x_BD + ops.embed(self.label_embedding, label_B)


class DiTSize(NamedTuple):
    """The shape of a DiT's stack."""

    width: int
    depth: int
    num_heads: int


# Peebles and Xie 2022, table 1.
DIT_SIZES: dict[str, DiTSize] = {
    "S": DiTSize(384, 12, 6),
    "B": DiTSize(768, 12, 12),
    "L": DiTSize(1_024, 24, 16),
    "XL": DiTSize(1_152, 28, 16),
}


def dit(name: str, **fields) -> DiT:
    """Returns the DiT that a size and patch size name, as "S/2"; `fields` are of DiT, over those of the size.

    Raises ConfigError, in one line, for an unknown name.
    """
    size, patch_size = images.size_and_patch(name, DIT_SIZES, "DiT")
    return dataclasses.replace(DiT(patch_size=patch_size, **size._asdict()), **fields)
