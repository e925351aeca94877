"""Grey levels: bytes, levels and their intervals."""

import jax
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.data import Digits
from genlab.objectives.grey_levels import GreyLevels


@pytest.mark.parametrize("count", [2, 17, 256])
def test_every_level_is_its_own_interval_and_comes_back(count):
    pixels = GreyLevels(count)
    bytes_ = np.rint(np.arange(count) * 255 / (count - 1)).astype(np.uint8)
    levels = np.asarray(pixels.levels(bytes_))
    np.testing.assert_array_equal(levels, np.arange(count))
    middle = np.asarray(pixels.normalize(bytes_))
    np.testing.assert_allclose(np.diff(middle), 2 / count, rtol=1e-4)
    np.testing.assert_allclose(middle[[0, -1]], [-1 + 1 / count, 1 - 1 / count], rtol=1e-6)
    many = np.broadcast_to(bytes_, (500, count))
    drawn = np.asarray(pixels.dequantize(many, jax.random.key(0)))
    inside = (drawn + 1) * count / 2 - levels
    assert inside.min() > -1e-4 and inside.max() < 1 + 1e-4
    np.testing.assert_allclose(inside.mean(axis=0), 0.5, atol=0.08)
    np.testing.assert_array_equal(pixels.to_bytes(middle), bytes_)
    assert (np.asarray(pixels.to_bytes(drawn)) == many).mean() > 0.999  # Float32 rounds a few over the edge.
    np.testing.assert_array_equal(pixels.to_bytes(np.array([-3.0, 3.0])), [0, 255])


def test_digits_have_seventeen_levels():
    images = Digits().load("train").images
    levels = np.asarray(GreyLevels(17).levels(images))
    assert len(np.unique(levels)) == 17
    np.testing.assert_array_equal(GreyLevels(17).to_bytes(GreyLevels(17).normalize(images)), images)


def test_a_byte_has_at_most_256_levels():
    with pytest.raises(ConfigError, match="pixels.count=300 must be from 2 to 256"):
        GreyLevels(300)
