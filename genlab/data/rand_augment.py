"""RandAugment: a few random operations, all of one magnitude (Cubuk et al. 2019, arXiv 1909.13719)."""

from dataclasses import dataclass

import numpy as np

from genlab.configuration import ConfigError
from genlab.data import pixels
from genlab.data.draws import uniforms
from genlab.data.transforms import Shape

_TRANSLATION = 150 / 331  # of a side: AutoAugment's 150 pixels of 331 (Cubuk et al. 2018, table 6)
_DEGREES = 30.0
_SHEAR = 0.3
_ENHANCEMENT = 0.9
_LEAST_FACTOR = 0.1  # AutoAugment's; at 0, brightness and contrast leave nothing of the image.


@dataclass(frozen=True)
class RandAugment:
    """`num_ops` operations a picture, drawn with replacement from the paper's 14 (section 3).

    Magnitude 10 is the largest that AutoAugment used (Cubuk et al. 2018, table 6): shear by 0.3, shift by 0.45 of a
    side, 30 degrees, colour, contrast, brightness and sharpness by a factor of 1 +- 0.9, 4 bits fewer, solarizing
    from level 0 on. More is allowed; levels stay in their range, and factors at or above the .1 of magnitude 10.

    Where it differs from the TensorFlow code of the paper, as timm's "increasing" variant and torchvision do: each
    operation grows with the magnitude and is the identity at 0 (there, posterize and solarize fade as the magnitude
    grows); factors go both ways; every operation is applied, and Identity is among them (there, an operation is
    applied with a random probability). Autocontrast and equalize know no magnitude. What comes in from outside the
    image is grey (128), as there; geometry takes the nearest pixel.

    Attributes:
      num_ops: the paper's N.
      magnitude: the paper's M.
    """

    num_ops: int = 2
    magnitude: float = 10.0

    def __post_init__(self):
        if self.num_ops < 0 or not self.magnitude >= 0:
            raise ConfigError(f"RandAugment: num_ops {self.num_ops} and magnitude {self.magnitude} must not be "
                              "negative")

    def output_shape(self, shape: Shape) -> Shape:
        """The same."""
        return shape

    def __call__(self, images_BIJC: np.ndarray, keys_B: np.ndarray) -> np.ndarray:
        """Each round, the images that drew the same operation go through it together."""
        draws = uniforms(keys_B, 2 * self.num_ops)
        images_BIJC = images_BIJC.copy()
        for choice_B, sign_B in zip(draws[::2], draws[1::2], strict=True):
            choice_B = (choice_B * len(OPERATIONS)).astype(np.intp)
            amount_B = np.where(sign_B < 0.5, -self.magnitude / 10, self.magnitude / 10)
            for number in np.unique(choice_B):
                rows = np.flatnonzero(choice_B == number)
                images_BIJC[rows] = OPERATIONS[number](images_BIJC[rows], amount_B[rows])
        return images_BIJC


def _identity(images_BIJC, amount_B):
    return images_BIJC


def _autocontrast(images_BIJC, amount_B):
    return pixels.stretch_contrast(images_BIJC)


def _equalize(images_BIJC, amount_B):
    return pixels.equalize(images_BIJC)


def _factor(amount_B):
    return np.maximum(1 + _ENHANCEMENT * amount_B, _LEAST_FACTOR)


def _color(images_BIJC, amount_B):
    return pixels.scale_saturation(images_BIJC, _factor(amount_B))


def _contrast(images_BIJC, amount_B):
    return pixels.scale_contrast(images_BIJC, _factor(amount_B))


def _brightness(images_BIJC, amount_B):
    return pixels.scale_brightness(images_BIJC, _factor(amount_B))


def _sharpness(images_BIJC, amount_B):
    return pixels.scale_sharpness(images_BIJC, _factor(amount_B))


def _solarize(images_BIJC, amount_B):
    return pixels.solarize(images_BIJC, 256 * (1 - np.abs(amount_B)))


def _posterize(images_BIJC, amount_B):
    return pixels.posterize(images_BIJC, np.clip(8 - np.rint(4 * np.abs(amount_B)), 1, 8))


def _matrices(amount_B):
    return np.broadcast_to(np.eye(2, 3), (len(amount_B), 2, 3)).copy()


def _rotate(images_BIJC, amount_B):
    angle_B = np.deg2rad(_DEGREES) * amount_B
    matrices_B23 = _matrices(amount_B)
    matrices_B23[:, 0, 0] = matrices_B23[:, 1, 1] = np.cos(angle_B)
    matrices_B23[:, 0, 1], matrices_B23[:, 1, 0] = -np.sin(angle_B), np.sin(angle_B)
    center = np.array([images_BIJC.shape[2], images_BIJC.shape[1]]) / 2
    matrices_B23[:, :, 2] = center - matrices_B23[:, :, :2] @ center
    return pixels.warp(images_BIJC, matrices_B23)


def _shear_x(images_BIJC, amount_B):
    matrices_B23 = _matrices(amount_B)
    matrices_B23[:, 0, 1] = _SHEAR * amount_B
    return pixels.warp(images_BIJC, matrices_B23)


def _shear_y(images_BIJC, amount_B):
    matrices_B23 = _matrices(amount_B)
    matrices_B23[:, 1, 0] = _SHEAR * amount_B
    return pixels.warp(images_BIJC, matrices_B23)


def _translate_x(images_BIJC, amount_B):
    matrices_B23 = _matrices(amount_B)
    matrices_B23[:, 0, 2] = _TRANSLATION * images_BIJC.shape[2] * amount_B
    return pixels.warp(images_BIJC, matrices_B23)


def _translate_y(images_BIJC, amount_B):
    matrices_B23 = _matrices(amount_B)
    matrices_B23[:, 1, 2] = _TRANSLATION * images_BIJC.shape[1] * amount_B
    return pixels.warp(images_BIJC, matrices_B23)


# Functions of (images uint8 [B, I, J, C], signed amounts [B] with 1 for magnitude 10), in the paper's order.
OPERATIONS = (
    _identity, _autocontrast, _equalize, _rotate, _solarize, _color, _posterize, _contrast, _brightness, _sharpness,
    _shear_x, _shear_y, _translate_x, _translate_y,
)
