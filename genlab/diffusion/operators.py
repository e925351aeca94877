"""Linear measurements y = A x of images: what is known in inpainting, colourisation, super-resolution and the like.

x [B, *image_shape] and y [B, *measurement_shape]; A acts on each example alone. `inverse` finds x given y.
"""

import abc
import math
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.diffusion.paths import expand


class Operator(abc.ABC):
    """A matrix A that is applied without being written out, with its transpose and its pseudo-inverse A^+."""

    @abc.abstractmethod
    def check(self, image_shape: tuple[int, ...]) -> None:
        """Raises ConfigError where A does not apply to images of this shape, which has no batch axis."""

    @abc.abstractmethod
    def apply(self, x):
        """Returns A x."""

    @abc.abstractmethod
    def adjoint(self, y):
        """Returns A^T y."""

    @abc.abstractmethod
    def pseudo_inverse(self, y):
        """Returns A^+ y: of all x with the least |A x - y|, that of least norm (Moore and Penrose)."""

    @abc.abstractmethod
    def whiten(self, y, data_variance, noise_variance):
        """Returns (data_variance A A^T + noise_variance I)^-1 y on the range of A, and 0 off it; variances [] or [B].

        The precision of y if x has the covariance data_variance I and the measurement has noise.
        """

    def project(self, x, y):
        """Returns x - A^+ (A x - y): the nearest x that agrees with y."""
        return x - self.pseudo_inverse(self.apply(x) - y)

    def measurement_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape of one example's y.

        Raises:
          ConfigError: see `check`.
        """
        self.check(image_shape)
        return jax.eval_shape(self.apply, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)).shape[1:]


class _Tight(Operator):
    """A A^T = gram I on the range of A, so A^+ = A^T / gram."""

    @property
    @abc.abstractmethod
    def gram(self) -> float:
        """The one non-zero eigenvalue of A A^T."""

    def pseudo_inverse(self, y):
        """See `Operator`."""
        return self.adjoint(y) / self.gram

    def whiten(self, y, data_variance, noise_variance):
        """See `Operator`; A A^T / gram projects on the range of A."""
        on_range = self.apply(self.adjoint(y)) / self.gram
        return on_range / expand(data_variance * self.gram + noise_variance, y)


@dataclass(frozen=True, eq=False)
class Inpainting(_Tight):
    """y is x where the mask is True and 0 elsewhere; what y holds elsewhere is never read.

    Attributes:
      mask: bool, of the image's shape, or without its last axis: [I, J] for all channels of [I, J, C].
    """

    mask: np.ndarray

    def __post_init__(self):
        mask = np.asarray(self.mask)
        if mask.dtype != bool:
            raise ConfigError(f"a mask is an array of bool, True where the image is known, not of {mask.dtype}")
        if not mask.any():
            raise ConfigError("the mask is False everywhere: nothing of the image is known")
        object.__setattr__(self, "mask", mask)

    def check(self, image_shape):
        """See `Operator`."""
        image_shape = tuple(image_shape)
        if self.mask.shape not in (image_shape, image_shape[:-1] or image_shape):
            allowed = f"{list(image_shape[:-1])} or {list(image_shape)}" if image_shape[:-1] else f"{list(image_shape)}"
            raise ConfigError(f"the mask has shape {list(self.mask.shape)}; an image's needs {allowed}")

    @property
    def gram(self) -> float:
        """See `_Tight`."""
        return 1.0

    def apply(self, x):
        """See `Operator`."""
        return self.project(jnp.zeros_like(x), x)

    def adjoint(self, y):
        """See `Operator`."""
        return self.apply(y)

    def project(self, x, y):
        """See `Operator`; to the bit."""
        self.check(x.shape[1:])
        return jnp.where(self.mask if self.mask.ndim == x.ndim - 1 else self.mask[..., None], y, x)


@dataclass(frozen=True)
class Colourisation(_Tight):
    """y [B, I, J, 1] is the mean over the channels of x: a grey picture in the range of the images.

    Projecting is Song et al. 2020's (arXiv 2011.13456, appendix I.3): they rotate the channels by an orthonormal matrix
    whose first row is this mean times sqrt(channels), and replace the first rotated channel.
    """

    channels: int = 3

    def __post_init__(self):
        if self.channels < 2:
            raise ConfigError(f"colourisation needs images of 2 channels or more, not {self.channels}")

    def check(self, image_shape):
        """See `Operator`."""
        if len(image_shape) != 3 or image_shape[-1] != self.channels:
            raise ConfigError(f"colourisation of {self.channels} channels needs images [I, J, {self.channels}], "
                              f"not {list(image_shape)}")

    @property
    def gram(self) -> float:
        """See `_Tight`."""
        return 1 / self.channels

    def apply(self, x):
        """See `Operator`."""
        self.check(x.shape[1:])
        return x.mean(axis=-1, keepdims=True)

    def adjoint(self, y):
        """See `Operator`."""
        return jnp.repeat(y, self.channels, axis=-1) / self.channels


@dataclass(frozen=True)
class SuperResolution(_Tight):
    """y [B, I / factor, J / factor, C] holds the means over squares of factor x factor pixels."""

    factor: int

    def __post_init__(self):
        if self.factor < 1:
            raise ConfigError(f"super-resolution needs a factor of 1 or more, not {self.factor}")

    def check(self, image_shape):
        """See `Operator`."""
        if len(image_shape) != 3 or image_shape[0] % self.factor or image_shape[1] % self.factor:
            raise ConfigError(f"super-resolution by {self.factor} needs images [I, J, C] whose sides divide by "
                              f"{self.factor}, not {list(image_shape)}")

    @property
    def gram(self) -> float:
        """See `_Tight`."""
        return self.factor**-2

    def apply(self, x):
        """See `Operator`."""
        self.check(x.shape[1:])
        B, I, J, C = x.shape
        return x.reshape(B, I // self.factor, self.factor, J // self.factor, self.factor, C).mean(axis=(2, 4))

    def adjoint(self, y):
        """See `Operator`."""
        return jnp.repeat(jnp.repeat(y, self.factor, axis=1), self.factor, axis=2) / self.factor**2


@dataclass(frozen=True, eq=False)
class Blur(Operator):
    """y is each channel of x convolved with a kernel, around the edges: diagonal in Fourier space.

    Attributes:
      kernel: [K, K'], its middle (K // 2, K' // 2) at the pixel itself; see `gaussian_kernel`.
      tolerance: frequencies whose gain is below this part of the largest count as lost.
    """

    kernel: np.ndarray
    tolerance: float = 1e-3

    def __post_init__(self):
        kernel = np.asarray(self.kernel, np.float64)
        if kernel.ndim != 2 or not np.isfinite(kernel).all() or not kernel.any():
            raise ConfigError(f"a blur's kernel is a finite array [rows, columns] that is not all 0, "
                              f"not of shape {list(kernel.shape)}")
        object.__setattr__(self, "kernel", kernel)

    def check(self, image_shape):
        """See `Operator`."""
        if len(image_shape) != 3 or any(k > i for k, i in zip(self.kernel.shape, image_shape, strict=False)):
            raise ConfigError(f"a blur of {list(self.kernel.shape)} pixels needs images [I, J, C] at least as large, "
                              f"not {list(image_shape)}")

    def _gains(self, image_shape) -> np.ndarray:
        """The gain of every frequency, complex [I, J, 1], with the lost ones 0."""
        self.check(image_shape)
        K, L = self.kernel.shape
        kernel = np.pad(self.kernel, [(0, image_shape[0] - K), (0, image_shape[1] - L)])
        gains = np.fft.fft2(np.roll(kernel, (-(K // 2), -(L // 2)), axis=(0, 1)))[..., None]
        return np.where(np.abs(gains) > self.tolerance * np.abs(gains).max(), gains, 0)

    def _multiply(self, x, gains):
        frequencies = jnp.fft.fft2(x, axes=(1, 2))
        return jnp.fft.ifft2(gains * frequencies, axes=(1, 2)).real.astype(x.dtype)

    def apply(self, x):
        """See `Operator`."""
        return self._multiply(x, self._gains(x.shape[1:]))

    def adjoint(self, y):
        """See `Operator`."""
        return self._multiply(y, self._gains(y.shape[1:]).conj())

    def pseudo_inverse(self, y):
        """See `Operator`."""
        gains = self._gains(y.shape[1:])
        return self._multiply(y, np.where(gains == 0, 0, 1 / np.where(gains == 0, 1, gains)))

    def whiten(self, y, data_variance, noise_variance):
        """See `Operator`."""
        powers = np.square(np.abs(self._gains(y.shape[1:])))
        return self._multiply(y, _precision(powers, expand(data_variance, y), expand(noise_variance, y)))


def gaussian_kernel(std: float, radius: int | None = None) -> np.ndarray:
    """Returns a Gaussian of `std` pixels that sums to 1, [2 radius + 1, 2 radius + 1]; radius 3 std by default."""
    if std <= 0:
        raise ConfigError(f"a Gaussian kernel's std must be positive, in pixels, not {std}")
    offsets = np.arange(-(r := math.ceil(3 * std) if radius is None else radius), r + 1)
    row = np.exp(-0.5 * np.square(offsets / std))
    return np.outer(row, row) / row.sum() ** 2


@dataclass(frozen=True, eq=False)
class Matrix(Operator):
    """y [B, M] is a matrix times the flattened image, by its singular values.

    Attributes:
      matrix: [M, D].
      image_shape: of D numbers; (D,) by default.
    """

    matrix: np.ndarray
    image_shape: tuple[int, ...] | None = None

    def __post_init__(self):
        matrix = np.asarray(self.matrix, np.float64)
        if matrix.ndim != 2 or not np.isfinite(matrix).all() or not matrix.any():
            raise ConfigError(f"an operator's matrix is a finite array [M, D] that is not all 0, "
                              f"not of shape {list(matrix.shape)}")
        shape = matrix.shape[1:] if self.image_shape is None else tuple(self.image_shape)
        if math.prod(shape) != matrix.shape[1]:
            raise ConfigError(f"a matrix of {matrix.shape[1]} columns does not apply to images of shape {list(shape)}")
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "image_shape", shape)

    @cached_property
    def _factors(self):
        """U [M, R], S [R] and V [D, R] of A = U S V^T, R the rank."""
        u, s, vt = np.linalg.svd(self.matrix, full_matrices=False)
        rank = int((s > s[0] * max(self.matrix.shape) * np.finfo(np.float64).eps).sum())
        return u[:, :rank], s[:rank], vt[:rank].T

    def check(self, image_shape):
        """See `Operator`."""
        if tuple(image_shape) != self.image_shape:
            raise ConfigError(f"the matrix is of images of shape {list(self.image_shape)}, not {list(image_shape)}")

    def apply(self, x):
        """See `Operator`."""
        self.check(x.shape[1:])
        return x.reshape(len(x), -1) @ jnp.asarray(self.matrix.T, x.dtype)

    def adjoint(self, y):
        """See `Operator`."""
        return (y @ jnp.asarray(self.matrix, y.dtype)).reshape(-1, *self.image_shape)

    def pseudo_inverse(self, y):
        """See `Operator`."""
        u_MR, s_R, v_DR = self._factors
        return (y @ jnp.asarray((u_MR / s_R) @ v_DR.T, y.dtype)).reshape(-1, *self.image_shape)

    def whiten(self, y, data_variance, noise_variance):
        """See `Operator`."""
        u_MR, s_R, _ = self._factors
        precision = _precision(np.square(s_R), expand(data_variance, y), expand(noise_variance, y))
        return (y @ jnp.asarray(u_MR, y.dtype) * precision) @ jnp.asarray(u_MR.T, y.dtype)


def _precision(powers: np.ndarray, data_variance, noise_variance):
    """1 / (data_variance powers + noise_variance) where a power, an eigenvalue of A A^T, is not 0; there 0."""
    variances = data_variance * np.where(powers == 0, 1, powers) + noise_variance
    return jnp.where(powers == 0, 0, 1 / variances)
