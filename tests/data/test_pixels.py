"""Operations on pixels against Pillow's, image by image, and the hue against colorsys."""

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from genlab.data import pixels


@pytest.fixture(scope="module")
def images():
    """Smooth and noisy ones, a dark one, one with few levels, and one of a single colour: 840 pixels, since of fewer
    than 255, equalize does nothing."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 24, 35, 3))
    ramp = np.linspace(20, 180, 24 * 35 * 3).reshape(1, 24, 35, 3)
    few = rng.choice([3, 90, 200], (1, 24, 35, 3))
    return np.concatenate([noise, ramp, noise[:1] // 9, few, np.full((1, 24, 35, 3), 77)]).astype(np.uint8)


def pillow(operation, images, *amounts):
    rows = zip(images, *amounts, strict=True)
    return np.stack([np.asarray(operation(Image.fromarray(image), *amount)) for image, *amount in rows])


FACTORS = np.array([0.0, 0.1, 0.7, 1.0, 1.3, 1.9, 2.5])


@pytest.mark.parametrize(("ours", "theirs"), [
    (pixels.scale_brightness, ImageEnhance.Brightness),
    (pixels.scale_contrast, ImageEnhance.Contrast),
    (pixels.scale_saturation, ImageEnhance.Color),
    (pixels.scale_sharpness, ImageEnhance.Sharpness),
])  # fmt: skip
def test_factors(images, ours, theirs):
    wanted = pillow(lambda image, factor: theirs(image).enhance(factor), images, FACTORS)
    difference = np.abs(ours(images, FACTORS).astype(int) - wanted)
    # Pillow rounds the smooth image, and the grey, down: times 2.5 - 1 beyond it, that can be 2 levels.
    assert difference.max() <= (2 if ours is pixels.scale_sharpness else 1)
    assert np.array_equal(ours(images, np.ones(7)), images)


def test_tables(images):
    thresholds, bits = np.array([0, 1, 64, 128, 200, 255, 256]), np.array([1, 2, 3, 4, 5, 7, 8])
    wanted = pillow(lambda image, threshold: ImageOps.solarize(image, int(threshold)), images, thresholds)
    assert np.array_equal(pixels.solarize(images, thresholds), wanted)
    wanted = pillow(lambda image, kept: ImageOps.posterize(image, int(kept)), images, bits)
    assert np.array_equal(pixels.posterize(images, bits), wanted)
    assert np.array_equal(pixels.equalize(images), pillow(ImageOps.equalize, images))
    assert np.abs(pixels.stretch_contrast(images).astype(int) - pillow(ImageOps.autocontrast, images)).max() <= 1


def test_luma(images):
    assert np.array_equal(pixels.luma(images)[..., 0], pillow(lambda image: image.convert("L"), images))


def test_hue_of_each_pixel(images):
    turns = np.linspace(-0.5, 0.5, 7)
    found = pixels.shift_hue(images, turns)
    for image, turned, turn in zip(images, found, turns, strict=True):
        for before, after in zip(image.reshape(-1, 3)[::7], turned.reshape(-1, 3)[::7], strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*before / 255)
            wanted = 255 * np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))
            assert np.abs(after - wanted).max() <= 0.51
    assert np.array_equal(pixels.shift_hue(images, np.zeros(7)), images)


@pytest.mark.parametrize("matrix", [
    [[1, 0.3, 0], [0, 1, 0]], [[1, 0, 0], [-0.3, 1, 0]], [[1, 0, 4.3], [0, 1, 0]], [[1, 0, 0], [0, 1, -20]],
    [[0.8, -0.6, 5], [0.6, 0.8, -3]],
])  # fmt: skip
def test_warp(images, matrix):
    data = tuple(np.array(matrix, float).reshape(-1))
    wanted = pillow(lambda image: image.transform(
        image.size, Image.Transform.AFFINE, data, Image.Resampling.NEAREST, fillcolor=(128,) * 3), images)  # fmt: skip
    found = pixels.warp(images, np.broadcast_to(matrix, (7, 2, 3)))
    # Where a coordinate falls on the edge of a pixel, rounding may choose either side.
    assert (found != wanted).any(-1).mean() < 0.01


def test_grey_images_have_no_colour():
    grey = np.random.default_rng(1).integers(0, 256, (4, 6, 6, 1), np.uint8)
    for operation in (pixels.scale_saturation, pixels.shift_hue):
        assert np.array_equal(operation(grey, np.full(4, 0.3)), grey)
    wanted = pillow(lambda image: ImageEnhance.Contrast(image).enhance(1.5), grey[..., 0])
    assert np.abs(pixels.scale_contrast(grey, np.full(4, 1.5))[..., 0].astype(int) - wanted).max() <= 1
