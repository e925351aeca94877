"""What models of patches share: cutting images up, the places of patches, sizes by name ("B/16")."""

from collections.abc import Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError

Size = TypeVar("Size")


def check_patches(image_size: int, patch_size: int) -> None:
    """Raises ConfigError, in one line, where images of a size cannot be cut into whole patches."""
    if patch_size < 1:
        raise ConfigError(f"patch_size must be at least 1, not {patch_size}")
    if image_size % patch_size:
        right = max(image_size - image_size % patch_size, patch_size)
        raise ConfigError(f"image_size {image_size} is not divisible by patch_size {patch_size}: {right} would be")


def check_images(images_BIJC, image_size: int, channels: int) -> None:
    """Raises ConfigError, in one line, for images that are not [B, image_size, image_size, channels]."""
    wanted = (image_size, image_size, channels)
    if images_BIJC.shape[1:] != wanted:
        raise ConfigError(f"the model reads images of {' x '.join(map(str, wanted))} (image_size twice, channels), "
                          f"not {' x '.join(map(str, images_BIJC.shape[1:]))}")


def patchify(images_BIJC, patch_size: int):
    """Returns the patches, row by row, as [B, P, p p C]: each patch's pixels in the order [p, p, C]."""
    B, height, width, C = images_BIJC.shape
    p = patch_size
    x = images_BIJC.reshape(B, height // p, p, width // p, p, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, (height // p) * (width // p), p * p * C)


def unpatchify(patches, grid: tuple[int, int], patch_size: int):
    """Returns images [B, I, J, C] of patches [B, P, p p C] on a grid of (rows, columns): patchify undone."""
    rows, columns = grid
    p = patch_size
    x = patches.reshape(patches.shape[0], rows, columns, p, p, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(patches.shape[0], rows * p, columns * p, -1)


def take_patches(x_BPD, places_BP):
    """Returns x [B, P', D] with the patches at places [B, P'] of each example, in that order."""
    return jax.vmap(lambda x_PD, places_P: x_PD[places_P])(x_BPD, places_BP)


def sincos_positions(grid: tuple[int, int], width: int) -> np.ndarray:
    """Returns the fixed positions of a grid of (rows, columns), float32 [P, D], for D divisible by 4.

    The quarters of a row are sin(j w), cos(j w), sin(i w), cos(i w) for column j, row i and the
    frequencies w_k = 10,000^(-4k / D), k = 0 .. D / 4 - 1 (Chen et al. 2021, MoCo v3, arXiv
    2104.02057, section 5, as released; He et al. 2021, arXiv 2111.06377, use the same).
    """
    i_P, j_P = (axis.reshape(-1, 1) for axis in np.mgrid[: grid[0], : grid[1]])
    frequencies = 10_000.0 ** (-4 * np.arange(width // 4) / width)
    parts = [np.sin(j_P * frequencies), np.cos(j_P * frequencies), np.sin(i_P * frequencies), np.cos(i_P * frequencies)]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def resample_positions(positions_PD, old_grid: tuple[int, int], new_grid: tuple[int, int]):
    """Returns learned positions [P, D] of an old grid of (rows, columns) as [P', D] of a new one.

    Bilinear, between the centres of the patches, as an image is resized (Dosovitskiy et al. 2020,
    arXiv 2010.11929, section 3.2); to fewer patches, with averaging. Raises ValueError where P is
    not that of the old grid.
    """
    P, D = positions_PD.shape
    if old_grid[0] * old_grid[1] != P:
        raise ValueError(f"{P} positions are no grid of {old_grid[0]} x {old_grid[1]}")
    positions_RCD = positions_PD.reshape(*old_grid, D)
    return jax.image.resize(positions_RCD, (*new_grid, D), "bilinear").reshape(-1, D)


def mean_pool(x_BPD):
    """Returns the mean over patches, float32 [B, D]."""
    return jnp.mean(x_BPD, axis=1, dtype=jnp.float32)


def size_and_patch(name: str, sizes: Mapping[str, Size], family: str) -> tuple[Size, int]:
    """Returns (sizes["B"], 16) for "B/16".

    Raises ConfigError, in one line, for an unknown size (the right ones are listed) or a patch size
    that is not a whole number.
    """
    size, _, patch = name.partition("/")
    if size not in sizes:
        right = ", ".join(sizes)
        raise ConfigError(f'there is no {family} "{name}": the sizes are {right}, with a patch size, as in B/16')
    if not patch.isdecimal() or int(patch) < 1:
        raise ConfigError(f'{family} "{name}" has no patch size: {size}/16 has patches of 16 x 16 pixels')
    return sizes[size], int(patch)
