"""Images to twice and half their size: gain, adjoints, and what SciPy makes of the same filter."""

import jax
import numpy as np
import pytest
from scipy.signal import upfirdn

from genlab.configuration import ConfigError
from genlab.models import resampling

upsample = jax.jit(resampling.upsample, static_argnums=1)
downsample = jax.jit(resampling.downsample, static_argnums=1)
KERNELS = [(1, 1), (1, 3, 3, 1), (1, 2, 4, 1), (1, 5, 10, 10, 5, 1)]


def images(seed=0, size=(6, 8)):
    """Float32 [2, *size, 3]."""
    return np.random.default_rng(seed).normal(size=(2, *size, 3)).astype(np.float32)


def along_both(x, function):
    """function of lines, along rows and columns."""
    return np.apply_along_axis(function, 2, np.apply_along_axis(function, 1, np.float64(x)))


@pytest.mark.parametrize("kernel", KERNELS)
def test_filters_are_those_of_scipy(kernel):
    """SciPy's result begins with the first tap that meets a pixel; ours with the pixel that the middle taps meet."""
    x, taps, K = images(), np.array(kernel) / np.sum(kernel), len(kernel)
    up = along_both(x, lambda v: upfirdn(2 * taps, v, up=2)[K // 2 - 1 :][: 2 * len(v)])
    np.testing.assert_allclose(upsample(x, kernel), up, atol=1e-6)
    down = along_both(x, lambda v: np.convolve(v, taps)[K // 2 :: 2][: len(v) // 2])
    np.testing.assert_allclose(downsample(x, kernel), down, atol=1e-6)
    full = along_both(x, lambda v: np.convolve(v, taps))
    np.testing.assert_allclose(jax.jit(resampling.blur, static_argnums=(1, 2))(x, kernel, K - 1), full, atol=1e-6)


@pytest.mark.parametrize("kernel", [None, (1, 1), (1, 3, 3, 1), (1, 5, 10, 10, 5, 1)])
def test_constant_images_stay_constant_inside(kernel):
    ones = np.full((1, 12, 12, 1), 3.0, np.float32)
    np.testing.assert_allclose(upsample(ones, kernel)[:, 4:-4, 4:-4], 3, rtol=1e-6)
    np.testing.assert_allclose(downsample(ones, kernel)[:, 2:-2, 2:-2], 3, rtol=1e-6)


@pytest.mark.parametrize("kernel", [None, (1, 1), (1, 3, 3, 1), (1, 5, 10, 10, 5, 1)])
def test_up_is_four_times_the_adjoint_of_down(kernel):
    """<up x, y> = 4 <x, down y>, for kernels that read the same both ways."""
    x, y = images(), images(1, (12, 16))
    left = np.vdot(upsample(x, kernel), y)
    np.testing.assert_allclose(left, 4 * np.vdot(x, downsample(y, kernel)), rtol=1e-4)
    _, transpose = jax.vjp(lambda y: downsample(y, kernel), y)
    np.testing.assert_allclose(4 * transpose(x)[0], upsample(x, kernel), atol=1e-5)


def test_without_a_kernel_pixels_are_copied_and_averaged():
    x = images()
    np.testing.assert_array_equal(upsample(x), x.repeat(2, axis=1).repeat(2, axis=2))
    np.testing.assert_allclose(downsample(x), x.reshape(2, 3, 2, 4, 2, 3).mean(axis=(2, 4)), atol=1e-6)
    np.testing.assert_allclose(downsample(x, (1, 1)), downsample(x), atol=1e-6)


@pytest.mark.parametrize("kernel", [(), (1, 2, 1), (1, -1)])
def test_kernels_that_cannot_halve_are_refused(kernel):
    with pytest.raises(ConfigError, match="^fir_kernel must be an even number of taps whose sum is not 0"):
        resampling.check_kernel(kernel)
