"""The U-Nets of score-based diffusion: DDPM, DDPM++ and NCSN++ (Ho et al. 2020; Song et al. 2020)."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models import images, resampling
from genlab.models.layers import Dense
from genlab.models.noise_embedding import NoiseEmbedding
from genlab.models.unet_layers import (
    NEARLY_ZERO,
    SMALL,
    AttentionBlock,
    Downsample,
    NormSilu,
    ResnetBlock,
    Upsample,
    conv3x3,
    initializer,
    residual_sum,
)


class UNet(nn.Module):
    """Noisy images [B, I, J, C] to what the objective asks of them, [B, I, J, C], by levels of half the size each.

    The default is DDPM++ of Song et al. 2020 (arXiv 2011.13456, appendix H.1). A level has width times its multiplier
    channels, `blocks` residual blocks on the way down and one more on the way up, which read what the way down left.

    In levels of `attention_resolutions` pixels a side, attention follows each block on the way down and, on the way up,
    the last (Song) or, with `attention_up` "each", every one (Ho et al. 2020, as released); once more in the middle.

    Fields:
      num_classes: 0 reads no labels; otherwise the label num_classes stands for none.
      block: "biggan" changes size within residual blocks, "ddpm" by convolutions between them.
      fir, fir_kernel: whether sizes change by this filter, in place of copies and means.
      skip_rescale: divides each residual sum by sqrt 2.
      progressive_input: "input_skip" adds the shrunk input to each level, "residual" hands it down by convolutions.
      progressive_output: "output_skip" makes the output a sum of each level's, enlarged.
      noise_embedding, fourier_scale: see NoiseEmbedding.
      dropout: in residual blocks, before the second convolution.
      dtype: of the computation, "float32" or "bfloat16"; parameters, embeddings and the output are float32.
    """

    image_size: int = 32
    channels: int = 3
    num_classes: int = 0
    width: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 4
    attention_resolutions: tuple[int, ...] = (16,)
    attention_up: Literal["last", "each"] = "last"
    block: Literal["biggan", "ddpm"] = "biggan"
    fir: bool = False
    fir_kernel: tuple[float, ...] = (1, 3, 3, 1)
    skip_rescale: bool = True
    progressive_input: Literal["none", "residual", "input_skip"] = "none"
    progressive_output: Literal["none", "output_skip"] = "none"
    noise_embedding: Literal["positional", "fourier"] = "positional"
    fourier_scale: float = 16.0
    dropout: float = 0.0
    dtype: str = "float32"

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        for name in ("image_size", "channels", "width", "blocks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name, right in _CHOICES.items():
            if getattr(self, name) not in right:
                names = ", ".join(f'"{choice}"' for choice in right)
                raise ConfigError(f'{name} must be one of {names}, not "{getattr(self, name)}"')
        if not self.channel_multipliers or min(self.channel_multipliers) < 1:
            raise ConfigError(f"channel_multipliers must be whole numbers from 1, one a level; not "
                              f"{self.channel_multipliers}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        self._embedding(parent=None).validate()
        resampling.check_kernel(self.fir_kernel)
        self._check_sizes()

    def _check_sizes(self) -> None:
        factor = 2 ** (len(self.channel_multipliers) - 1)
        if self.image_size % factor:
            below = self.image_size - self.image_size % factor
            right = f"{below} or {below + factor}" if below else f"{factor}"
            raise ConfigError(f"image_size {self.image_size} is not divisible by {factor}, the down-sampling of "
                              f"{len(self.channel_multipliers)} levels: {right} would be")
        sizes = [self.image_size // 2**level for level in range(len(self.channel_multipliers))]
        for size in self.attention_resolutions:
            if size not in sizes:
                raise ConfigError(f"attention_resolutions has {size}, but the levels of this network are "
                                  f"{', '.join(map(str, sizes))} pixels wide")

    def _embedding(self, **linen) -> NoiseEmbedding:
        return NoiseEmbedding(self.width, self.noise_embedding, self.fourier_scale, self.num_classes, **linen)

    @nn.compact
    def __call__(self, x, noise_level, label=None, train: bool = False):
        """Returns float32 [B, I, J, C] for x of that shape, noise_level [B] and label int32 [B] or None (no class).

        Dropout draws from the rng "dropout". Raises ConfigError if x is not of image_size and channels.
        """
        self.validate()
        images.check_images(x, self.image_size, self.channels)
        condition_BD = jax.nn.silu(self._embedding(name="embedding")(noise_level, label)).astype(self.dtype)
        x = x.astype(self.dtype)
        h, left = self._down(x, condition_BD, train)
        h = self._residual("middle_block_1", h.shape[-1])(h, condition_BD, train)
        h = AttentionBlock(self.skip_rescale, name="middle_attention")(h)
        h = self._residual("middle_block_2", h.shape[-1])(h, condition_BD, train)
        return self._up(h, left, condition_BD, train).astype(jnp.float32)

    def _down(self, x, condition_BD, train):
        """Returns the smallest image and all that the way up reads, in the order in which it was made."""
        pyramid = x
        left = [conv3x3(self.width, "input")(x)]
        for level, multiplier in enumerate(self.channel_multipliers, start=1):
            h = left[-1]
            for i in range(1, self.blocks + 1):
                h = self._residual(f"down_{level}_block_{i}", multiplier * self.width)(h, condition_BD, train)
                if h.shape[1] in self.attention_resolutions:
                    h = AttentionBlock(self.skip_rescale, name=f"down_{level}_attention_{i}")(h)
                left.append(h)
            if level < len(self.channel_multipliers):
                h = self._resize(f"down_{level}_resample", "down", h, condition_BD, train)
                h, pyramid = self._progress(f"down_{level}_input", h, pyramid)
                left.append(h)
        return left[-1], left

    def _progress(self, name, h, pyramid):
        """Returns (h with the input in it, the input at this size)."""
        if self.progressive_input == "input_skip":
            pyramid = resampling.downsample(pyramid, self._kernel)
            return h + Dense(h.shape[-1], use_bias=True, kernel_init=initializer(), name=name)(pyramid), pyramid
        if self.progressive_input == "residual":
            pyramid = Downsample(h.shape[-1], self._kernel, name=name)(pyramid)
            pyramid = residual_sum(pyramid, h, self.skip_rescale)
            return pyramid, pyramid
        return h, pyramid

    def _up(self, h, left, condition_BD, train):
        """Returns the output, [B, I, J, C]."""
        output = 0
        left = list(left)
        for level in range(len(self.channel_multipliers), 0, -1):
            features = self.channel_multipliers[level - 1] * self.width
            for i in range(1, self.blocks + 2):
                h = jnp.concatenate([h, left.pop()], axis=-1)
                h = self._residual(f"up_{level}_block_{i}", features)(h, condition_BD, train)
                attended = i == self.blocks + 1 or self.attention_up == "each"
                if attended and h.shape[1] in self.attention_resolutions:
                    h = AttentionBlock(self.skip_rescale, name=f"up_{level}_attention_{i}")(h)
            if self.progressive_output == "output_skip":
                output = output + self._output(f"up_{level}_output", h)
                output = output if level == 1 else resampling.upsample(output, self._kernel)
            if level > 1:
                h = self._resize(f"up_{level}_resample", "up", h, condition_BD, train)
        return self._output("output", h) if self.progressive_output == "none" else output

    def _output(self, name, h):
        """Returns [B, I', J', C]: norm, SiLU and a convolution that starts near zero."""
        return conv3x3(self.channels, name, NEARLY_ZERO)(NormSilu(name=f"{name}_norm")(h))

    def _residual(self, name, features, resample="none") -> ResnetBlock:
        shortcut_scale = SMALL if self.block == "ddpm" else 1.0
        return ResnetBlock(features, resample, self._kernel, shortcut_scale, self.skip_rescale, self.dropout, name=name)

    def _resize(self, name, resample, h, condition_BD, train):
        """Returns h at half or twice its size."""
        if self.block == "biggan":
            return self._residual(name, h.shape[-1], resample)(h, condition_BD, train)
        return (Downsample if resample == "down" else Upsample)(h.shape[-1], self._kernel, name=name)(h)

    @property
    def _kernel(self) -> tuple[float, ...] | None:
        return self.fir_kernel if self.fir else None


_CHOICES = {
    "attention_up": ("last", "each"),
    "block": ("biggan", "ddpm"),
    "progressive_input": ("none", "residual", "input_skip"),
    "progressive_output": ("none", "output_skip"),
    "dtype": ("float32", "bfloat16"),
}

_NCSNPP = {"fir": True, "progressive_input": "residual", "noise_embedding": "fourier"}
# Ho et al. 2020, appendix B; Song et al. 2020, appendix H and the released configs of CIFAR-10, continuous training.
UNETS: dict[str, dict[str, Any]] = {
    "ddpm": {"block": "ddpm", "blocks": 2, "attention_up": "each", "skip_rescale": False},
    "ddpm++": {},
    "ddpm++deep": {"blocks": 8},
    "ncsn++": _NCSNPP,
    "ncsn++deep": {**_NCSNPP, "blocks": 8},
}


def unet(name: str, **fields) -> UNet:
    """Returns the U-Net of a name of UNETS; `fields` are of UNet, over those of the name.

    Raises ConfigError, in one line, for an unknown name.
    """
    if name not in UNETS:
        raise ConfigError(f'there is no U-Net "{name}"; there are: {", ".join(UNETS)}')
    return dataclasses.replace(UNet(), **{**UNETS[name], **fields})
