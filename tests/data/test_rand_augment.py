"""RandAugment: which operations, how often, and how strong."""

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from genlab.data.draws import row_keys
from genlab.data.rand_augment import OPERATIONS, RandAugment

BY_NAME = {operation.__name__.strip("_"): operation for operation in OPERATIONS}
WITHOUT_MAGNITUDE = {"autocontrast", "equalize"}


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (1, 20, 20, 3), np.uint8)


def test_the_papers_fourteen_are_equally_likely(image):
    """One operation of magnitude 7 turns an image into one of 23: by 5 operations in one way, by 9 in two."""
    assert list(BY_NAME) == ["identity", "autocontrast", "equalize", "rotate", "solarize", "color", "posterize",
                             "contrast", "brightness", "sharpness", "shear_x", "shear_y", "translate_x",
                             "translate_y"]  # fmt: skip
    count = 14_000
    found = RandAugment(1, 7.0)(np.repeat(image, count, axis=0), row_keys(0, np.arange(count)))
    tally = []
    for operation in OPERATIONS:
        results = {operation(image, np.array([amount])).tobytes() for amount in (-0.7, 0.7)}
        tally.append([sum(row.tobytes() == result for row in found) for result in results])
    counts = [sum(pair) for pair in tally]
    assert sum(counts) == count and stats.chisquare(counts).pvalue > 1e-4
    signed = [pair for pair in tally if len(pair) == 2]
    assert len(signed) == 9 and all(stats.binomtest(a, a + b).pvalue > 1e-4 for a, b in signed)


@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - WITHOUT_MAGNITUDE))
def test_magnitude_zero_is_the_identity(image, name):
    for amount in (0.0, -0.0):
        assert np.array_equal(BY_NAME[name](image, np.array([amount])), image)


@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - WITHOUT_MAGNITUDE - {"identity"}))
def test_operations_grow_with_the_magnitude(name):
    y, x = np.mgrid[:20, :20]
    smooth = np.stack([10 * x + y, 120 + 80 * np.sin(0.9 * x), 200 - x * y // 2], axis=-1)[None].astype(np.uint8)
    amounts = np.array([0.3, 0.6, 1.0])
    for sign in (1, -1):
        changed = BY_NAME[name](np.repeat(smooth, 3, axis=0), sign * amounts).astype(float) - smooth
        sizes = np.abs(changed).mean((1, 2, 3))
        assert (np.diff(sizes) > 0).all() and sizes[0] > 0


def test_ten_is_auto_augments_largest(image):
    one = np.ones(1)
    for name, data in {"shear_x": (1, 0.3, 0, 0, 1, 0), "shear_y": (1, 0, 0, 0.3, 1, 0),
                       "translate_x": (1, 0, 20 * 150 / 331, 0, 1, 0),
                       "translate_y": (1, 0, 0, 0, 1, 20 * 150 / 331)}.items():  # fmt: skip
        wanted = Image.fromarray(image[0]).transform((20, 20), Image.Transform.AFFINE, data, fillcolor=(128,) * 3)
        assert np.array_equal(BY_NAME[name](image, one)[0], np.asarray(wanted)), name
    rotated = Image.fromarray(image[0]).rotate(30, fillcolor=(128,) * 3)
    assert (BY_NAME["rotate"](image, one)[0] != np.asarray(rotated)).any(-1).mean() < 0.02
    assert np.array_equal(BY_NAME["posterize"](image, one), image & 0xF0)
    assert np.array_equal(BY_NAME["solarize"](image, one), 255 - image)
    assert np.abs(BY_NAME["brightness"](image, -one) - 0.1 * image).max() <= 0.51
    assert np.array_equal(BY_NAME["posterize"](image, 3 * one), image & 0x80)  # more than 10 leaves one bit


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_no_magnitude_wipes_an_image_out(image, name):
    """At a factor of 0 the one would leave black and the other a plain grey, at magnitude 15 of every 14th image."""
    amounts = np.array([-1.0, -1.5, -3.0])
    darkest, *others = BY_NAME[name](np.repeat(image, 3, axis=0), amounts)
    assert np.ptp(darkest) > 10 and all(np.array_equal(other, darkest) for other in others)


def test_two_operations_follow_one_another(image):
    count = 300
    found = RandAugment(2, 5.0)(np.repeat(image, count, axis=0), row_keys(1, np.arange(count)))
    singles = [op(image, np.array([sign])) for op in OPERATIONS for sign in (-0.5, 0.5)]
    pairs = {op(single, np.array([sign])).tobytes() for single in singles for op in OPERATIONS for sign in (-0.5, 0.5)}
    assert all(row.tobytes() in pairs for row in found)
