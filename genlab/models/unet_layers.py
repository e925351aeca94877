"""Blocks of the diffusion U-Nets on images [B, I, J, C]: residual, attention, changes of size."""

import math
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from genlab.models import ops, resampling
from genlab.models.convolutional import Conv, GroupNorm
from genlab.models.layers import Dense

Resample = Literal["none", "up", "down"]
# Song et al. 2020 as released: layers that end a branch start at variance 1e-10, not at 0 with its dead first step.
NEARLY_ZERO = 1e-10
# Song et al. 2020 as released (in Ho et al. 2020's own code it is 1): attention's linear layers, "ddpm" shortcuts.
SMALL = 0.1


def initializer(scale: float = 1.0):
    """Returns a uniform initializer of variance 2 scale / (inputs + outputs) (Ho et al. 2020, as released)."""
    return nn.initializers.variance_scaling(scale, "fan_avg", "uniform")


def groups(channels: int) -> int:
    """Returns the groups of a norm: min(channels / 4, 32), as Song et al. 2020 release, or the next fewer to divide."""
    return next(g for g in range(max(min(channels // 4, 32), 1), 0, -1) if channels % g == 0)


def residual_sum(x, h, rescale: bool):
    """Returns x + h, over sqrt 2 where `rescale`, which keeps its variance (arXiv 2011.13456, appendix H.1)."""
    return (x + h) * (1 / math.sqrt(2)) if rescale else x + h


class NormSilu(nn.Module):
    """GroupNorm, then SiLU, in one."""

    @nn.compact
    def __call__(self, x_BIJC):
        """Returns x's shape and type."""
        channels = x_BIJC.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        return ops.group_norm_silu(x_BIJC, scale, bias, groups(channels), epsilon=1e-6)


def conv3x3(features: int, name: str, scale: float = 1.0) -> Conv:
    """Returns a 3x3 convolution with bias that keeps the size."""
    return Conv(features, use_bias=True, kernel_init=initializer(scale), name=name)


class ResnetBlock(nn.Module):
    """Two convolutions around the embedded noise level, beside a shortcut (arXiv 2011.13456, appendix H.1).

    `resample` changes both branches' size after the first activation, as in BigGAN (Brock et al. 2018, arXiv
    1809.11096, figure 15), by the `kernel` of resampling.py.
    """

    features: int
    resample: Resample = "none"
    kernel: tuple[float, ...] | None = None
    shortcut_scale: float = 1.0
    rescale: bool = True
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x_BIJC, condition_BD, train: bool = False):
        """Returns [B, I', J', features] for an activated condition [B, D]."""
        h = NormSilu(name="norm_1")(x_BIJC)
        if self.resample != "none":
            resize = resampling.upsample if self.resample == "up" else resampling.downsample
            h, x_BIJC = resize(h, self.kernel), resize(x_BIJC, self.kernel)
        h = conv3x3(self.features, "conv_1")(h)
        level = Dense(self.features, use_bias=True, kernel_init=initializer(), name="condition")(condition_BD)
        h = NormSilu(name="norm_2")(h + level[:, None, None])
        if train and self.dropout:
            h = ops.dropout(h, self.dropout, self.make_rng("dropout"))
        h = conv3x3(self.features, "conv_2", NEARLY_ZERO)(h)
        if x_BIJC.shape[-1] != self.features or self.resample != "none":
            init = initializer(self.shortcut_scale)
            x_BIJC = Dense(self.features, use_bias=True, kernel_init=init, name="shortcut")(x_BIJC)
        return residual_sum(x_BIJC, h, self.rescale)


class AttentionBlock(nn.Module):
    """Self-attention of all pixels by one head as wide as the image has channels (Ho et al. 2020, appendix B)."""

    rescale: bool = True

    @nn.compact
    def __call__(self, x_BIJC):
        """Returns x's shape and type."""
        B, I, J, C = x_BIJC.shape
        h_BTC = GroupNorm(groups(C), epsilon=1e-6, name="norm")(x_BIJC).reshape(B, I * J, C)
        # Side by side: twice the scale, for the mean of inputs and outputs is twice that of each alone.
        qkv = Dense(3 * C, use_bias=True, kernel_init=initializer(2 * SMALL), name="qkv")(h_BTC)
        q_BTHK, k_BTHK, v_BTHK = (a[:, :, None] for a in jnp.split(qkv, 3, axis=-1))
        h_BTC = ops.attention(q_BTHK, k_BTHK, v_BTHK)[:, :, 0]
        h_BTC = Dense(C, use_bias=True, kernel_init=initializer(NEARLY_ZERO), name="out")(h_BTC)
        return residual_sum(x_BIJC, h_BTC.reshape(B, I, J, C), self.rescale)


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2, after the kernel of resampling.py if there is one."""

    features: int
    kernel: tuple[float, ...] | None = None

    @nn.compact
    def __call__(self, x_BIJC):
        """Returns [B, I / 2, J / 2, features]."""
        if self.kernel is None:
            # The odd pixel on the far side, as Ho et al. 2020 pad (TensorFlow's SAME).
            x_BIJC = jnp.pad(x_BIJC, ((0, 0), (0, 1), (0, 1), (0, 0)))
        else:
            x_BIJC = resampling.blur(x_BIJC, self.kernel, padding=len(self.kernel) // 2)
        return Conv(self.features, stride=2, padding=0, use_bias=True, kernel_init=initializer(), name="conv")(x_BIJC)


class Upsample(nn.Module):
    """Twice the size by resampling.py, then a 3x3 convolution."""

    features: int
    kernel: tuple[float, ...] | None = None

    @nn.compact
    def __call__(self, x_BIJC):
        """Returns [B, 2 I, 2 J, features]."""
        x_BIJC = resampling.upsample(x_BIJC, self.kernel)
        return conv3x3(self.features, "conv")(x_BIJC)
