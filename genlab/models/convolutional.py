"""Layers of convolutional networks on images [B, I, J, C]: convolution, norms over images, pooling.

Padding is symmetric, as in the published models: with stride 2 the padding that XLA calls SAME adds
its odd pixel on the far side only, and shifts every feature map by one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from genlab.configuration import ConfigError
from genlab.models import ops

# He et al. 2015 (arXiv 1502.01852), equations 10 and 14: variance 2 / fan keeps activations, or gradients, in scale.
HE_FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
HE_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """A 2-D convolution with a float32 kernel [k, k, C, features], computed in the type of its input.

    `padding` zeros are added on all four sides; None means kernel_size // 2, which keeps the size at
    stride 1. `standardize` gives each output channel's kernel mean 0 and variance 1 before use
    (weight standardisation: Qiao et al. 2019, arXiv 1903.10520, equation 4; epsilon as in BiT).
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | None = None
    use_bias: bool = False
    standardize: bool = False
    kernel_init: jax.nn.initializers.Initializer = HE_FAN_IN

    @nn.compact
    def __call__(self, x_BIJC):
        """Returns [B, I', J', features], I' = floor((I + 2 padding - k) / stride) + 1."""
        shape = (self.kernel_size, self.kernel_size, x_BIJC.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        if self.standardize:
            centred = kernel - kernel.mean(axis=(0, 1, 2))
            kernel = centred * lax.rsqrt(jnp.square(centred).mean(axis=(0, 1, 2)) + 1e-10)
        padding = self.kernel_size // 2 if self.padding is None else self.padding
        y_BIJC = ops.convolution(x_BIJC, kernel, self.stride, padding)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y_BIJC = y_BIJC + bias.astype(y_BIJC.dtype)
        return y_BIJC


class BatchNorm(nn.Module):
    """Normalises each channel over the batch and the image (Ioffe and Szegedy 2015, arXiv 1502.03167).

    In training the statistics are those of the batch, and the running ones (collection "batch_stats",
    float32) move a tenth of the way towards them, as in PyTorch but with the biased variance. Under jit
    with a batch sharded over devices they are the statistics of the whole global batch. Otherwise the
    running statistics are used.
    """

    train: bool
    scale_init: jax.nn.initializers.Initializer = nn.initializers.ones
    epsilon: float = 1e-5
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x_BIJC):
        """Returns the normalised x, in its type."""
        shape = (x_BIJC.shape[-1],)
        scale = self.param("scale", self.scale_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_variance = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if not self.train:
            return ops.batch_norm(
                x_BIJC, running_mean.value, running_variance.value, scale, bias, self.epsilon)
        mean, variance = ops.moments(x_BIJC)
        if not self.is_initializing():
            for running, new in ((running_mean, mean), (running_variance, variance)):
                running.value = self.momentum * running.value + (1 - self.momentum) * new
        return ops.batch_norm(x_BIJC, mean, variance, scale, bias, self.epsilon)


class GroupNorm(nn.Module):
    """Normalises groups of channels over each image (Wu and He 2018, arXiv 1803.08494, equation 1)."""

    groups: int = 32
    scale_init: jax.nn.initializers.Initializer = nn.initializers.ones
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x_BIJC):
        """Returns the normalised x, in its type, with float32 statistics."""
        scale = self.param("scale", self.scale_init, (x_BIJC.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x_BIJC.shape[-1],), jnp.float32)
        return ops.group_norm(x_BIJC, scale, bias, self.groups, self.epsilon)


def max_pool(x_BIJC, window: int = 3, stride: int = 2, padding: int = 0, ceil: bool = False):
    """Returns the maxima of windows: [B, I', J', C], I' = (I + 2 padding - window) / stride + 1.

    The quotient is rounded down, or up with `ceil`; the last window then hangs over the edge, as in
    Caffe. Padding never wins.
    """

    def pads(size):
        left_over = (size + 2 * padding - window) % stride
        return padding, padding + (stride - left_over if ceil and left_over else 0)

    padding_IJ = (pads(x_BIJC.shape[1]), pads(x_BIJC.shape[2]))
    return nn.max_pool(x_BIJC, (window, window), (stride, stride), padding_IJ)


def mean_pool(x_BIJC):
    """Returns the mean over the image, float32 [B, C]."""
    return x_BIJC.mean(axis=(1, 2), dtype=jnp.float32)


def adaptive_mean_pool(x_BIJC, size: int):
    """Returns [B, size, size, C]: means of windows that cover an image of any size as evenly as can be.

    Window i runs from floor(i I / size) to ceil((i + 1) I / size), as PyTorch's AdaptiveAvgPool2d has
    it, so windows repeat where the image is smaller than `size`.
    """

    def averages(length):
        weights = np.zeros((size, length), np.float32)
        for i in range(size):
            start, stop = i * length // size, -(-(i + 1) * length // size)
            weights[i, start:stop] = 1 / (stop - start)
        return jnp.asarray(weights, x_BIJC.dtype)

    if x_BIJC.shape[1:3] == (size, size):
        return x_BIJC
    return jnp.einsum("pi,bijc,qj->bpqc", averages(x_BIJC.shape[1]), x_BIJC, averages(x_BIJC.shape[2]))


def local_response_norm(x_BIJC, size: int = 5, alpha: float = 1e-4, beta: float = 0.75):
    """Returns x / (1 + alpha / size * sum of x^2 over `size` neighbouring channels)^beta, in float32.

    Krizhevsky et al. 2012, section 3.3, with Caffe's constants.
    """
    squares = jnp.square(x_BIJC.astype(jnp.float32))
    half = size // 2
    padding = ((0, 0), (0, 0), (0, 0), (half, size - 1 - half))
    sums = lax.reduce_window(squares, 0.0, lax.add, (1, 1, 1, size), (1, 1, 1, 1), padding)
    return (x_BIJC * (1 + alpha / size * sums) ** -beta).astype(x_BIJC.dtype)


def check_stem(stem: str) -> None:
    """Raises ConfigError for a `stem` that is neither "imagenet" nor "small"."""
    if stem not in ("imagenet", "small"):
        raise ConfigError(f'stem must be "imagenet" or "small", not "{stem}"')
