"""Images to twice or half their size: by copies and means, or by a finite impulse response (FIR) filter.

Slices and sums throughout, whose gradients are the same: as depthwise convolutions their gradients would be plain loops
on CPU (genlab/models/fast_convolutions.py), as matmuls they take three times as long (16 x 32 x 32 x 64, one core).
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from genlab.configuration import ConfigError

Kernel = tuple[float, ...]


def upsample(x_BIJC, kernel: Kernel | None = None):
    """Returns [B, 2 I, 2 J, C]: zeros between pixels, then `kernel` along each axis; None copies each pixel fourfold.

    The kernel is scaled to 2 an axis, which keeps the mean but for the edges, with zeros around (StyleGAN2: Karras et
    al. 2019, arXiv 1912.04958, as released, upsample_2d; Zhang 2019, arXiv 1904.11486).
    """
    if kernel is None:
        B, I, J, C = x_BIJC.shape
        return jnp.broadcast_to(x_BIJC[:, :, None, :, None], (B, I, 2, J, 2, C)).reshape(B, 2 * I, 2 * J, C)
    taps, before, after = 2 * _taps(kernel), len(kernel) // 2, (len(kernel) - 1) // 2
    for axis in (1, 2):
        x_BIJC = _upsample(x_BIJC, taps, before, after, axis)
    return x_BIJC


def downsample(x_BIJC, kernel: Kernel | None = None):
    """Returns [B, I / 2, J / 2, C]: `kernel` along each axis, then every other pixel; None is the mean of each four.

    The kernel is scaled to 1 (StyleGAN2 as released, downsample_2d).
    """
    if kernel is None:
        B, I, J, C = x_BIJC.shape
        x = x_BIJC.reshape(B, I // 2, 2, J // 2, 2, C)
        return (x[:, :, 0, :, 0] + x[:, :, 0, :, 1] + x[:, :, 1, :, 0] + x[:, :, 1, :, 1]) / 4
    before, after = (len(kernel) - 1) // 2, (len(kernel) - 2) // 2
    for axis in (1, 2):
        x_BIJC = _filter(x_BIJC, _taps(kernel), before, after, axis, stride=2)
    return x_BIJC


def blur(x_BIJC, kernel: Kernel, padding: int):
    """Returns [B, I', J', C], I' = I + 2 padding - K + 1: K taps, scaled to 1, along each axis, with zeros around."""
    for axis in (1, 2):
        x_BIJC = _filter(x_BIJC, _taps(kernel), padding, padding, axis)
    return x_BIJC


def check_kernel(kernel: Kernel) -> None:
    """Raises ConfigError, in one line, for a kernel that cannot halve and double images."""
    if len(kernel) < 2 or len(kernel) % 2 or not sum(kernel):
        raise ConfigError(f"fir_kernel must be an even number of taps whose sum is not 0, as (1, 3, 3, 1) is; "
                          f"not {kernel}")


def _taps(kernel: Kernel) -> np.ndarray:
    """The kernel in the order in which a cross-correlation meets it, at sum 1."""
    return np.asarray(kernel[::-1], np.float64) / np.sum(kernel)


def _filter(x, taps, before: int, after: int, axis: int, stride: int = 1):
    """y[i] = sum over k of taps[k] x[stride i + k - before] along an axis."""
    padded = _pad(x, before, after, axis)
    count = (padded.shape[axis] - len(taps)) // stride + 1
    if stride == 1:
        return sum(float(tap) * _take(padded, k, count, axis) for k, tap in enumerate(taps))
    # Even and odd pixels apart: in XLA the gradient of a slice with a stride is a slow padding between pixels.
    phases = padded.reshape(*padded.shape[:axis], -1, 2, *padded.shape[axis + 1 :])
    phases = [lax.index_in_dim(phases, r, axis + 1, keepdims=False) for r in (0, 1)]
    return sum(float(tap) * _take(phases[k % 2], k // 2, count, axis) for k, tap in enumerate(taps))


def _upsample(x, taps, before: int, after: int, axis: int):
    """The filter of an image with a zero after each pixel, by even and odd results: half of the taps meet zeros."""
    n = x.shape[axis]
    margin = (max(before, after) + 1) // 2
    padded = _pad(x, margin, margin, axis)

    def phase(r):
        met = [(float(tap), (r + k - before) // 2) for k, tap in enumerate(taps) if (r + k - before) % 2 == 0]
        return sum(tap * _take(padded, margin + offset, n, axis) for tap, offset in met)

    shape = (*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])
    return jnp.stack([phase(0), phase(1)], axis=axis + 1).reshape(shape)


def _pad(x, before: int, after: int, axis: int):
    return jnp.pad(x, [(before, after) if a == axis else (0, 0) for a in range(x.ndim)])


def _take(x, start: int, count: int, axis: int):
    return lax.slice_in_dim(x, start, start + count, axis=axis)
