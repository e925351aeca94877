"""Transforms: pure in (image, key), row by row, and as random as they say."""

import jax
import numpy as np
import pytest
from scipy import stats

from genlab.configuration import ConfigError
from genlab.data import (
    CenterCrop,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    InceptionCrop,
    RandAugment,
    RandomCrop,
    RandomFlip,
    Resize,
)
from genlab.data.draws import row_keys

TRANSFORMS = (
    CenterCrop(6, 0.8), ColorJitter(), GaussianBlur(), Grayscale(), InceptionCrop(), InceptionCrop(12), RandAugment(),
    RandAugment(3, 4.5), RandomCrop(), RandomCrop(2, 7, "reflection"), RandomFlip(), Resize(5),
)  # fmt: skip
KEYS = row_keys(0, np.arange(40_000))


def random_images(count, height=10, width=10, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_a_row_is_a_function_of_its_image_and_key(transform, channels):
    images, keys = random_images(60, channels=channels), KEYS[:60]
    before = images.copy()
    found = transform(images, keys)
    assert found.dtype == np.uint8 and found.shape == (60, *transform.output_shape(images.shape[1:]))
    order = np.random.default_rng(1).permutation(60)[:23]
    assert np.array_equal(transform(images[order], keys[order]), found[order])
    assert np.array_equal(transform(images[7:8], keys[7:8])[0], found[7])
    assert np.array_equal(images, before)


@pytest.mark.parametrize("transform", [t for t in TRANSFORMS if not isinstance(t, CenterCrop | Resize)], ids=repr)
def test_other_keys_give_other_images(transform):
    images = np.repeat(random_images(1), 60, axis=0)
    assert len(np.unique(transform(images, KEYS[:60]).reshape(60, -1), axis=0)) > 1
    assert not np.array_equal(transform(images, KEYS[:60]), transform(images, KEYS[60:120]))


def test_half_of_the_images_are_flipped():
    images = np.repeat(random_images(1, 2, 3), len(KEYS), axis=0)
    found = RandomFlip()(images, KEYS)
    flipped = (found == images[:, :, ::-1]).all((1, 2, 3))
    assert ((found == images).all((1, 2, 3)) | flipped).all()
    assert stats.binomtest(int(flipped.sum()), len(KEYS)).pvalue > 1e-4


@pytest.mark.parametrize("crop", [RandomCrop(2), RandomCrop(2, fill="reflection"), RandomCrop(0, 3), RandomCrop(1, 4)])
def test_each_place_of_the_window_is_equally_likely(crop):
    (image,) = random_images(1, 6, 6)
    mode = "constant" if crop.fill == "black" else "reflect"
    padded = np.pad(image, ((crop.padding,) * 2, (crop.padding,) * 2, (0, 0)), mode)
    side = crop.size or 6
    places = range(len(padded) - side + 1)
    windows = [padded[i : i + side, j : j + side] for i in places for j in places]
    found = crop(np.repeat(image[None], 20_000, axis=0), KEYS[:20_000])
    counts = [int((found == window).all((1, 2, 3)).sum()) for window in windows]
    assert sum(counts) == 20_000 and stats.chisquare(counts).pvalue > 1e-4


def test_inception_boxes_against_rejection_sampling():
    """Boxes of a wide image follow the distribution that the docstring states, drawn here one at a time."""
    height, width, area, ratio = 30, 50, (0.2, 0.9), (0.5, 2.0)
    boxes = InceptionCrop(area=area, ratio=ratio).boxes(np.full((20_000, 2), (height, width)), KEYS[:20_000])
    rng, wanted = np.random.default_rng(2), []
    while len(wanted) < 20_000:
        share, shape = rng.uniform(*area), np.exp(rng.uniform(*np.log(ratio)))
        w, h = np.sqrt(share * height * width * shape), np.sqrt(share * height * width / shape)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            wanted.append((left, top, left + w, top + h))
    wanted = np.array(wanted)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= width + 1e-9).all() and (boxes[:, 3] <= height + 1e-9).all()
    for of in (lambda b: b[:, 0], lambda b: b[:, 1], lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]),
               lambda b: (b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1])):  # fmt: skip
        assert stats.ks_2samp(of(boxes), of(wanted)).pvalue > 1e-4


def test_inception_boxes_that_cannot_fit_are_the_largest_in_the_centre():
    crop = InceptionCrop(area=(0.9, 1.0))
    tall, wide = crop.boxes(np.array([(100, 10), (10, 100)]), KEYS[:2])
    assert tall == pytest.approx([0, 50 - 20 / 3, 10, 50 + 20 / 3])  # 10 wide: 40 / 3 high at a ratio of 3 / 4
    assert wide == pytest.approx([50 - 20 / 3, 0, 50 + 20 / 3, 10])


def test_the_centre():
    image = random_images(1, 8, 12)
    assert np.array_equal(CenterCrop(8)(image, KEYS[:1]), image[:, :, 2:10])
    assert np.array_equal(CenterCrop(4, 0.5)(image, KEYS[:1]), image[:, 2:6, 4:8])
    assert np.array_equal(InceptionCrop(area=(1, 1), ratio=(1.5, 1.5))(image, KEYS[:1]), image)


@pytest.mark.parametrize("size", [3, 8, 20])
def test_resampling_against_jax(size):
    images = random_images(5, 8, 8)
    with jax.default_device(jax.devices("cpu")[0]):
        wanted = jax.image.resize(images.astype(np.float32), (5, size, size, 3), "linear", antialias=True)
    assert np.abs(Resize(size)(images, KEYS[:5]) - np.asarray(wanted)).max() < 1.01


def test_colour_jitter():
    images = np.repeat(random_images(1), 4000, axis=0)
    found = ColorJitter(0.5)(images, KEYS[:4000])
    unchanged = (found == images).all((1, 2, 3)).sum()
    assert stats.binomtest(int(unchanged), 4000, 0.2).pvalue > 1e-4
    assert np.array_equal(ColorJitter(0.0)(images[:50], KEYS[:50]), images[:50])
    # A grey image has only brightness and contrast to change; with 1 pixel, contrast is no more.
    grey = ColorJitter(1.0, probability=1.0)(np.full((4000, 1, 1, 1), 100, np.uint8), KEYS[:4000])[:, 0, 0, 0]
    assert stats.kstest(grey / 100, stats.uniform(0.2, 1.6).cdf).statistic < 0.03


def test_grayscale_and_blur():
    images = np.repeat(random_images(1), 4000, axis=0)
    grey = Grayscale(0.3)(images, KEYS[:4000])
    is_grey = (grey == grey[..., :1]).all((1, 2, 3))
    assert stats.binomtest(int(is_grey.sum()), 4000, 0.3).pvalue > 1e-4
    assert np.array_equal(grey[~is_grey], images[~is_grey])
    dot = np.zeros((1, 21, 21, 1), np.uint8)
    dot[0, 10, 10] = 255
    blurred = GaussianBlur((2.0, 2.0), probability=1.0)(dot, KEYS[:1])[0, ..., 0].astype(float)
    spread = (blurred.sum(0) * (np.arange(21) - 10) ** 2).sum() / blurred.sum()
    assert spread == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Resize(0), "Resize: size 0 must be at least 1"),
    (lambda: CenterCrop(4, 1.5), "CenterCrop: fraction 1.5 must be above 0 and at most 1"),
    (lambda: InceptionCrop(area=(0.5, 0.2)), "area .0.5, 0.2. must rise"),
    (lambda: InceptionCrop(ratio=(0.0, 1.0)), "ratio .0.0, 1.0. must rise from above 0"),
    (lambda: RandomCrop(-1), "padding -1 must not be negative"),
    (lambda: RandomCrop(1, 20).output_shape((8, 8, 3)), "size 20 is larger than the padded image's 10"),
    (lambda: RandomCrop(8, fill="reflection").output_shape((8, 8, 3)), "padding 8 is more than a side of 8 can"),
    (lambda: ColorJitter(3.0), "strength 3.0 lies in"),
    (lambda: Grayscale(1.2), "Grayscale: probability 1.2 must lie in"),
    (lambda: GaussianBlur((2.0, 1.0)), "sigma .2.0, 1.0. must rise"),
    (lambda: RandAugment(2, -1), "magnitude -1 must not be negative"),
])  # fmt: skip
def test_impossible_transforms(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
