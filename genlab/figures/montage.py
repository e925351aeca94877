"""Generated images side by side, pixel for pixel: a picture, or the frames of an animation."""

from pathlib import Path

import numpy as np
from PIL import Image

_GAP, _WHITE = 1, 255  # pixels between images, and their colour
_SIDE = 1_000  # pixels a picture's longer side comes near to: each image is drawn in whole multiples of its pixels


def montage(images: np.ndarray, columns: int) -> np.ndarray:
    """Lays images [N, I, J, C], uint8, out in rows of so many columns: uint8 [height, width, C], gaps white."""
    N, I, J, C = images.shape
    rows = -(-N // columns)
    canvas = np.full((rows * (I + _GAP) - _GAP, columns * (J + _GAP) - _GAP, C), _WHITE, np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        canvas[row * (I + _GAP):row * (I + _GAP) + I, column * (J + _GAP):column * (J + _GAP) + J] = image
    return canvas


def save_montage(images: np.ndarray, columns: int, path: Path) -> None:
    """Writes images [N, I, J, C], uint8, as one picture, enlarged without smoothing."""
    _picture(montage(images, columns)).save(path)


def save_animation(frames: np.ndarray, columns: int, path: Path, seconds: float = 4.0) -> None:
    """Writes images on their way, uint8 [K, N, I, J, C], as an animated GIF that rests on the last frame.

    Args:
      frames: of the animation, first to last.
      columns: of images in each.
      path: to write.
      seconds: for the way; the last frame stays for as long again.
    """
    pictures = [_picture(montage(images, columns)) for images in frames]
    each = max(20, int(1_000 * seconds / len(pictures)))
    durations = [each] * (len(pictures) - 1) + [int(1_000 * seconds)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)


def _picture(canvas: np.ndarray) -> Image.Image:
    scale = max(1, round(_SIDE / max(canvas.shape[:2])))
    large = canvas.repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(large[..., 0] if large.shape[-1] == 1 else large)
