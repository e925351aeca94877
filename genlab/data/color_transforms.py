"""What SimCLR does to colours (Chen et al. 2020, arXiv 2002.05709, appendix A): jitter, grey, blur."""

from dataclasses import dataclass

import numpy as np
from PIL import ImageFilter

from genlab.configuration import ConfigError
from genlab.data import pixels
from genlab.data.draws import uniforms
from genlab.data.transforms import Shape, as_pillow


@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue changed at random, in a random order, in most images.

    The factors of the first three are uniform in 1 +- 0.8 strength (from 0 on), the hue turns by at most 0.2
    strength of a full turn. Grey images keep what they have: brightness and contrast.

    Attributes:
      strength: the paper's s: 1 for ImageNet, 0.5 for CIFAR-10 (appendix B.9).
      probability: that an image is changed at all.
    """

    strength: float = 1.0
    probability: float = 0.8

    def __post_init__(self):
        if not 0 <= self.strength <= 2.5:
            raise ConfigError(f"ColorJitter: strength {self.strength} lies in [0, 2.5]: the hue turns by half at 2.5")
        _check_probability(self)

    def output_shape(self, shape: Shape) -> Shape:
        """The same."""
        return shape

    def __call__(self, images_BIJC: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """Four rounds, in each of which the images whose turn it is go through an operation together."""
        draws = uniforms(keys_B, 1 + 2 * len(_JITTERS))
        images_BIJC = images_BIJC.copy()
        chosen_B = draws[0] < self.probability
        amounts = 2 * draws[1 : 1 + len(_JITTERS)] - 1
        order = np.argsort(draws[1 + len(_JITTERS) :], axis=0)  # of uniform numbers: a uniform permutation
        for turn_B in order:
            for number, jitter in enumerate(_JITTERS):
                rows = np.flatnonzero(chosen_B & (turn_B == number))
                if rows.size:
                    images_BIJC[rows] = jitter(images_BIJC[rows], self.strength * amounts[number, rows])
        return images_BIJC


def _factor(amount_B):
    return np.maximum(1 + 0.8 * amount_B, 0.0)


_JITTERS = (
    lambda images_BIJC, amount_B: pixels.scale_brightness(images_BIJC, _factor(amount_B)),
    lambda images_BIJC, amount_B: pixels.scale_contrast(images_BIJC, _factor(amount_B)),
    lambda images_BIJC, amount_B: pixels.scale_saturation(images_BIJC, _factor(amount_B)),
    lambda images_BIJC, amount_B: pixels.shift_hue(images_BIJC, 0.2 * amount_B),
)


@dataclass(frozen=True)
class Grayscale:
    """Some images lose their colour; they keep their channels."""

    probability: float = 0.2

    def __post_init__(self):
        _check_probability(self)

    def output_shape(self, shape: Shape) -> Shape:
        """The same."""
        return shape

    def __call__(self, images_BIJC: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """A copy with some rows grey."""
        grey_B = uniforms(keys_B, 1)[0] < self.probability
        images_BIJC = images_BIJC.copy()
        images_BIJC[grey_B] = pixels.luma(images_BIJC[grey_B])
        return images_BIJC


@dataclass(frozen=True)
class GaussianBlur:
    """Some images are blurred, by a standard deviation uniform in `sigma` pixels; for images of 224 pixels.

    Pillow's blur, three box blurs in a row, stands for the paper's kernel, which ends at a tenth of the side.
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    probability: float = 0.5

    def __post_init__(self):
        if not 0 <= self.sigma[0] <= self.sigma[1]:
            raise ConfigError(f"GaussianBlur: sigma {self.sigma} must rise and not be negative")
        _check_probability(self)

    def output_shape(self, shape: Shape) -> Shape:
        """The same."""
        return shape

    def __call__(self, images_BIJC: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """A copy with some rows blurred."""
        chosen_B, place_B = uniforms(keys_B, 2)
        sigma_B = self.sigma[0] + (self.sigma[1] - self.sigma[0]) * place_B
        images_BIJC = images_BIJC.copy()
        for row in np.flatnonzero(chosen_B < self.probability):
            blurred = as_pillow(images_BIJC[row]).filter(ImageFilter.GaussianBlur(float(sigma_B[row])))
            images_BIJC[row] = np.asarray(blurred).reshape(images_BIJC.shape[1:])
        return images_BIJC


def _check_probability(transform) -> None:
    if not 0 <= transform.probability <= 1:
        raise ConfigError(f"{type(transform).__name__}: probability {transform.probability} must lie in [0, 1]")
