"""Transforms of images in space: a pure function of (image, key), for a batch of uint8 at a time.

`Framing`s take a box out of each image and bring it to one size; they alone see images of many sizes,
straight from the decoder. What they all do to pixels is Pillow's bilinear resampling, which averages over the
source pixels under a target pixel when it shrinks (antialiasing).
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from genlab.configuration import ConfigError
from genlab.data.draws import uniforms

Shape = tuple[int, int, int]  # I, J, C: height, width, channels


@runtime_checkable
class Transform(Protocol):
    """A frozen config that is also the function; row b of the result depends on row b of its arguments alone."""

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of what it makes of images of a shape. Raises ConfigError where it cannot be applied."""
        ...

    def __call__(self, images_BIJC: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """Transformed images, uint8; `keys_B` (uint64) decide all that is random. May return its argument."""
        ...


@dataclass(frozen=True)
class Framing(abc.ABC):
    """A box out of each image, resampled to one size.

    Attributes:
      size: side of the squares that leave; none for `Images.image_size`, or the size that comes in.
    """

    size: int | None = None

    def __post_init__(self):
        if self.size is not None and self.size < 1:
            raise ConfigError(f"{type(self).__name__}: size {self.size} must be at least 1")

    @abc.abstractmethod
    def boxes(self, sizes_B2: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """Left, top, right and bottom in pixels, float64 [B, 4], of images of heights and widths `sizes_B2`."""

    def output_shape(self, shape: Shape) -> Shape:
        """Squares of `size`, or the same shape where there is none."""
        return shape if self.size is None else (self.size, self.size, shape[2])

    def __call__(self, images_BIJC: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """The boxes out of images of one size."""
        shape = images_BIJC.shape[1:]
        boxes_B4 = self.boxes(np.full((len(images_BIJC), 2), shape[:2]), keys_B)
        return resample_boxes([as_pillow(image) for image in images_BIJC], boxes_B4, self.output_shape(shape))


@dataclass(frozen=True)
class Resize(Framing):
    """The whole image, squeezed into a square where it is none (the resize of BiT, Kolesnikov et al. 2020)."""

    def boxes(self, sizes_B2: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """The whole image."""
        heights, widths = np.asarray(sizes_B2, np.float64).T
        zeros = np.zeros_like(heights)
        return np.stack([zeros, zeros, widths, heights], axis=1)


@dataclass(frozen=True)
class CenterCrop(Framing):
    """The square in the middle; nothing about it is random.

    Attributes:
      fraction: of the shorter side; 0.875 is ImageNet's "256 on the shorter side, of which the central 224".
    """

    fraction: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"CenterCrop: fraction {self.fraction} must be above 0 and at most 1")

    def boxes(self, sizes_B2: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """Squares around the centres."""
        side_B1 = self.fraction * np.min(sizes_B2, axis=1, keepdims=True)
        left_top_B2 = (np.asarray(sizes_B2)[:, ::-1] - side_B1) / 2
        return np.concatenate([left_top_B2, left_top_B2 + side_B1], axis=1)


@dataclass(frozen=True)
class InceptionCrop(Framing):
    """A random box, "random resized crop" (Szegedy et al. 2014, section 6).

    The share of the area is uniform, the ratio of width to height uniform in its logarithm, and the place
    uniform, among the boxes that lie in the image: the first of ten proposals to fit. Where none does (of squares
    with the default ranges 3 in 10^9), the largest box in the centre that has an allowed ratio. Boxes are not
    rounded to whole pixels, which on images of 8 pixels would change the ranges.

    Attributes:
      area: least and largest share of the image's area.
      ratio: least and largest ratio of width to height.
    """

    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ConfigError(f"InceptionCrop: area {self.area} must rise from above 0 to at most 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigError(f"InceptionCrop: ratio {self.ratio} must rise from above 0")

    def boxes(self, sizes_B2: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """The first proposals that fit."""
        heights_B, widths_B = np.asarray(sizes_B2, np.float64).T
        draws = uniforms(keys_B, 2 + 2 * _PROPOSALS)
        (across_B, down_B), areas, ratios = draws[:2], draws[2::2], draws[3::2]
        areas = (self.area[0] + (self.area[1] - self.area[0]) * areas) * heights_B * widths_B
        ratios = self.ratio[0] * (self.ratio[1] / self.ratio[0]) ** ratios
        box_widths, box_heights = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
        fits = (box_widths <= widths_B) & (box_heights <= heights_B)
        first_1B = fits.argmax(0)[None]
        width_B = np.take_along_axis(box_widths, first_1B, 0)[0]
        height_B = np.take_along_axis(box_heights, first_1B, 0)[0]
        nearest_B = np.clip(widths_B / heights_B, *self.ratio)
        fitted_B = fits.any(0)
        width_B = np.where(fitted_B, width_B, np.minimum(widths_B, heights_B * nearest_B))
        height_B = np.where(fitted_B, height_B, np.minimum(heights_B, widths_B / nearest_B))
        left_B = (widths_B - width_B) * np.where(fitted_B, across_B, 0.5)
        top_B = (heights_B - height_B) * np.where(fitted_B, down_B, 0.5)
        return np.stack([left_B, top_B, left_B + width_B, top_B + height_B], axis=1)


_PROPOSALS = 10


@dataclass(frozen=True)
class RandomCrop:
    """A window at a random place, by whole pixels; each place is equally likely.

    Attributes:
      padding: pixels put around the image first; 4 is the custom on CIFAR (Lee et al. 2015, section 4).
      size: side of the window; none for the size that comes in.
      fill: what the padding is: black, or the image reflected at its edge.
    """

    padding: int = 4
    size: int | None = None
    fill: Literal["black", "reflection"] = "black"

    def __post_init__(self):
        if self.padding < 0 or (self.size is not None and self.size < 1):
            raise ConfigError(f"RandomCrop: padding {self.padding} must not be negative, nor size {self.size} below 1")

    def output_shape(self, shape: Shape) -> Shape:
        """The window's. Raises ConfigError where it is larger than the padded image."""
        side = min(shape[:2]) + 2 * self.padding
        if self.size is not None and self.size > side:
            raise ConfigError(f"RandomCrop: size {self.size} is larger than the padded image's {side}")
        if self.fill == "reflection" and self.padding >= min(shape[:2]):
            raise ConfigError(f"RandomCrop: padding {self.padding} is more than a side of {min(shape[:2])} can reflect")
        return shape if self.size is None else (self.size, self.size, shape[2])

    def __call__(self, images_BIJC: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """One copy out of a view that has every place of the window as an axis."""
        p = self.padding
        mode = "constant" if self.fill == "black" else "reflect"
        padded = np.pad(images_BIJC, ((0, 0), (p, p), (p, p), (0, 0)), mode) if p else images_BIJC
        height, width, channels = self.output_shape(images_BIJC.shape[1:])
        places = padded.shape[1] - height + 1, padded.shape[2] - width + 1
        across, down = uniforms(keys_B, 2)
        rows, columns = (down * places[0]).astype(np.intp), (across * places[1]).astype(np.intp)
        strides = padded.strides
        windows = np.lib.stride_tricks.as_strided(
            padded, (len(padded), *places, height, width, channels), (*strides[:3], *strides[1:]), writeable=False)
        return windows[np.arange(len(padded)), rows, columns]


@dataclass(frozen=True)
class RandomFlip:
    """Left and right exchanged in half of the images."""

    def output_shape(self, shape: Shape) -> Shape:
        """The same."""
        return shape

    def __call__(self, images_BIJC: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """A copy with some rows flipped."""
        flipped_B = uniforms(keys_B, 1)[0] < 0.5
        images_BIJC = images_BIJC.copy()
        # Pixels as items: to reverse the bytes of pixels takes twice as long.
        pixels_BIJ = images_BIJC.view(f"V{images_BIJC.shape[3]}")[..., 0]
        pixels_BIJ[flipped_B] = pixels_BIJ[flipped_B][:, :, ::-1]
        return images_BIJC


def as_pillow(image_IJC: np.ndarray) -> Image.Image:
    """An image of 1 or 3 channels as Pillow's."""
    return Image.fromarray(image_IJC[..., 0] if image_IJC.shape[2] == 1 else image_IJC)


def resample_boxes(images: Sequence[Image.Image], boxes_B4: np.ndarray, shape: Shape) -> np.ndarray:
    """Boxes (left, top, right, bottom, in pixels) out of images of any size: uint8 [B, *shape]."""
    result_BIJC = np.empty((len(images), *shape), np.uint8)
    for result_IJC, image, box in zip(result_BIJC, images, boxes_B4.tolist(), strict=True):
        left, top, right, bottom = box
        box = (left, top, min(right, image.width), min(bottom, image.height))  # what rounding put past the edge
        resampled = image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box)
        result_IJC[:] = np.asarray(resampled).reshape(shape)
    return result_BIJC
