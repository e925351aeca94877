"""The hand-written backward passes of convolution and group norm against the plain operations."""

import jax
import numpy as np
import pytest

from genlab.models import fast_convolutions, ops
from tests.models.fast_and_plain import assert_parity, normal


@pytest.mark.parametrize("norm", [ops.group_norm, ops.group_norm_silu])
@pytest.mark.parametrize("groups", [1, 3])
def test_group_norm(norm, groups):
    x = normal(3, 5, 4, 6) * np.arange(1, 7, dtype=np.float32) + 3.0
    assert_parity(lambda x, scale, bias: norm(x, scale, bias, groups, 1e-6), x, normal(6), normal(6, seed=1),
                  tolerance=1e-5)


def test_group_norm_of_constant_images_has_finite_gradients(optimized):
    assert_parity(lambda x, scale, bias: ops.group_norm_silu(x, scale, bias, 2), np.full((2, 3, 3, 4), 5.0, np.float32),
                  normal(4), normal(4, seed=1))


@pytest.mark.parametrize("channels, features", [(3, 32), (32, 3)])
@pytest.mark.parametrize("kernel_size, padding", [(3, 1), (3, 3), (4, 1)])
def test_convolution_of_stride_1(kernel_size, padding, channels, features):
    """Wide kernels' gradients are convolutions of either side, but for padding beyond the kernel."""
    assert_parity(lambda x, kernel: ops.convolution(x, kernel, 1, padding), normal(2, 6, 7, channels),
                  normal(kernel_size, kernel_size, channels, features), tolerance=1e-5)


@pytest.mark.parametrize("kernel_size, stride, padding",
                         [(3, 1, 1), (3, 2, 1), (3, 2, 0), (1, 2, 1), (5, 3, 2), (4, 4, 0)])
@pytest.mark.parametrize("places", [1, 100, 10_000])
def test_convolution(kernel_size, stride, padding, places, monkeypatch):
    """Height 9 and width 10 leave other pixels over at stride 2; kernel gradients in parts of 1, some, all images."""
    monkeypatch.setattr(fast_convolutions, "_PLACES", places)
    assert_parity(lambda x, kernel: ops.convolution(x, kernel, stride, padding), normal(4, 9, 10, 3),
                  normal(kernel_size, kernel_size, 3, 5), tolerance=1e-5)


@pytest.mark.parametrize("height, width, channels, features, kernel_size, stride, padding", [
    (2, 2, 3, 32, 3, 1, 1), (1, 1, 32, 3, 3, 1, 1), (1, 6, 3, 5, 4, 2, 2), (5, 2, 3, 5, 3, 2, 3)])
def test_images_smaller_than_the_kernel(height, width, channels, features, kernel_size, stride, padding):
    """Forward, they are matmuls."""
    x, kernel = normal(4, height, width, channels), normal(kernel_size, kernel_size, channels, features)

    def convolve(x, kernel):
        return ops.convolution(x, kernel, stride, padding)

    assert_parity(convolve, x, kernel, tolerance=1e-5)
    assert "conv_general_dilated" not in str(jax.make_jaxpr(convolve)(x, kernel))
