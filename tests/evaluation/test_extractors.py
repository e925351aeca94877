"""Extractors: batches change nothing, and the hash is of what decides the features."""

import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.evaluation import NetworkFeatures, PixelFeatures, PointFeatures

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)


def linear(variables, images):
    return images.reshape(len(images), -1) / 255 @ variables["kernel"]


def network(scale=1.0, name="linear", **options):
    kernel = np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32)
    return NetworkFeatures(name, linear, {"kernel": kernel * np.float32(scale)}, **options)


def test_pixels():
    features = PixelFeatures()(IMAGES)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, IMAGES.reshape(7, 60) / 255, rtol=1e-6)


def test_points():
    points = np.random.default_rng(2).normal(size=(5, 2))
    np.testing.assert_array_equal(PointFeatures()(points), points.astype(np.float32))
    assert PointFeatures().hash != PixelFeatures().hash


@pytest.mark.parametrize("batch_size", [3, 7, 100])
def test_batches_change_nothing(batch_size):
    extractor = network(batch_size=batch_size)
    expected = IMAGES.reshape(7, 60) / 255 @ np.float64(extractor.variables["kernel"])
    np.testing.assert_allclose(extractor(IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_hash_is_of_name_and_weights():
    assert network().hash == network(batch_size=3).hash
    assert len({network().hash, network(scale=1.0001).hash, network(name="other").hash}) == 3
    assert len(network().hash) == 16 and int(network().hash, 16) >= 0


def test_bad_input():
    with pytest.raises(ConfigError, match=r"takes images uint8 \[N, I, J, C\], 0 to 255, not float64 \[7, 4, 5, 3\]"):
        PixelFeatures()(IMAGES / 255)
    with pytest.raises(ConfigError, match=r"not uint8 \[4, 5, 3\]"):
        network()(IMAGES[0])
    with pytest.raises(ConfigError, match=r"not uint8 \[0, 4, 5, 3\]"):
        network()(IMAGES[:0])
    with pytest.raises(ConfigError, match=r"points must be float \[N, D\], not uint8"):
        PointFeatures()(IMAGES)
    with pytest.raises(ConfigError, match="batch_size=0 must be at least 1"):
        network(batch_size=0)
    maps = NetworkFeatures("maps", lambda variables, images: jnp.float32(images), {})
    with pytest.raises(ConfigError, match=r"maps gives \[256, 4, 5, 3\] for 256 images; features are \[B, D\]"):
        maps(IMAGES)
