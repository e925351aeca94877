"""Operations on the pixels of a batch of uint8 images, each image by its own amount, in NumPy.

They follow Pillow's operations of the same names to within 1 level of 255 (tests/data/test_pixels.py), which rounds
down where these round to nearest. Loops over images in Python would cost more than the pixels of small ones: 15 us
for Pillow's contrast on 32 x 32 pixels, of which 4 are arithmetic.
"""

import numpy as np


def luma(images_BIJC: np.ndarray) -> np.ndarray:
    """Brightness as uint8 [B, I, J, 1] by ITU-R BT.601: .299 R + .587 G + .114 B. Grey images are their own."""
    if images_BIJC.shape[3] == 1:
        return images_BIJC
    weights = (19595, 38470, 7471)  # in 2^16ths
    total = np.full(images_BIJC.shape[:3], 1 << 15, np.uint32)
    for channel, weight in enumerate(weights):
        total += images_BIJC[..., channel] * np.uint32(weight)
    return (total >> np.uint32(16)).astype(np.uint8)[..., None]


def blend(base: np.ndarray, images_BIJC: np.ndarray, factor_B: np.ndarray) -> np.ndarray:
    """base + factor (images - base), rounded and clipped: 0 gives the base, 1 the images, more goes beyond them."""
    base = np.asarray(base, np.float32)
    return _to_uint8(base + _per_image(factor_B) * (images_BIJC - base))


def scale_brightness(images_BIJC: np.ndarray, factor_B: np.ndarray) -> np.ndarray:
    """Blends with black."""
    return look_up(images_BIJC, _to_uint8(factor_B[:, None, None] * np.arange(256)))


def scale_contrast(images_BIJC: np.ndarray, factor_B: np.ndarray) -> np.ndarray:
    """Blends with the image's mean grey."""
    mean_B11 = np.rint(luma(images_BIJC).mean((1, 2, 3)))[:, None, None]
    return look_up(images_BIJC, _to_uint8(mean_B11 + factor_B[:, None, None] * (np.arange(256) - mean_B11)))


def scale_saturation(images_BIJC: np.ndarray, factor_B: np.ndarray) -> np.ndarray:
    """Blends with the grey image; leaves grey ones alone."""
    return images_BIJC if images_BIJC.shape[3] == 1 else blend(luma(images_BIJC), images_BIJC, factor_B)


def scale_sharpness(images_BIJC: np.ndarray, factor_B: np.ndarray) -> np.ndarray:
    """Blends with the smoothed image: 3 x 3 pixels, the middle one 5 times as heavy; pixels at the edge stay."""
    if min(images_BIJC.shape[1:3]) < 3:
        return images_BIJC
    total = 4 * images_BIJC[:, 1:-1, 1:-1].astype(np.uint16)
    for row in range(3):
        for column in range(3):
            total += images_BIJC[:, row : row + total.shape[1], column : column + total.shape[2]]
    smooth = images_BIJC.copy()
    smooth[:, 1:-1, 1:-1] = (total + 6) // 13
    return blend(smooth, images_BIJC, factor_B)


def shift_hue(images_BIJC: np.ndarray, turns_B: np.ndarray) -> np.ndarray:
    """Turns the hue by so many full turns (-1/2 to 1/2), at the same value and saturation of HSV.

    With value V, chroma D (the largest channel less the smallest) and hue H in sixths of a turn, a channel is
    V - D clip(min(k, 4 - k), 0, 1), where k = (n + H) mod 6 and n = 5, 3, 1 for red, green, blue.
    """
    if images_BIJC.shape[3] == 1:
        return images_BIJC
    red, green, blue = (images_BIJC[..., channel].astype(np.float32) for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    scale = 1 / np.maximum(chroma, 1)
    hue = np.where(value == red, (green - blue) * scale,
                   np.where(value == green, 2 + (blue - red) * scale, 4 + (red - green) * scale))
    hue += 6 * turns_B.astype(np.float32)[:, None, None] + 12  # positive, so that one subtraction is the modulo
    result = np.empty_like(images_BIJC)
    for channel, offset in enumerate((5, 3, 1)):
        k = hue + np.float32(offset)
        k -= 6 * np.floor(k * np.float32(1 / 6))
        result[..., channel] = _to_uint8(value - chroma * np.clip(np.minimum(k, 4 - k), 0, 1))
    return result


def solarize(images_BIJC: np.ndarray, threshold_B: np.ndarray) -> np.ndarray:
    """Inverts the levels from a threshold on."""
    levels = np.arange(256)
    return look_up(images_BIJC, np.where(levels < threshold_B[:, None, None], levels, 255 - levels).astype(np.uint8))


def posterize(images_BIJC: np.ndarray, bits_B: np.ndarray) -> np.ndarray:
    """Keeps the highest bits, 1 to 8, of each level."""
    dropped_B11 = (8 - np.asarray(bits_B, np.uint8))[:, None, None]
    return look_up(images_BIJC, np.arange(256, dtype=np.uint8) >> dropped_B11 << dropped_B11)


def stretch_contrast(images_BIJC: np.ndarray) -> np.ndarray:
    """Spreads each channel over all levels; a channel of one level stays (Pillow's autocontrast)."""
    low_BC1 = _over_pixels(np.minimum, images_BIJC)[..., None].astype(np.float32)
    range_BC1 = _over_pixels(np.maximum, images_BIJC)[..., None] - low_BC1
    levels = np.arange(256, dtype=np.float32)
    stretched = (levels - low_BC1) * (255 / np.maximum(range_BC1, 1))
    return look_up(images_BIJC, _to_uint8(np.where(range_BC1 > 0, stretched, levels)))


def equalize(images_BIJC: np.ndarray) -> np.ndarray:
    """Maps each channel's levels so that its histogram is about flat (Pillow's equalize)."""
    B, _, _, C = images_BIJC.shape
    places = images_BIJC + 256 * np.arange(B * C).reshape(B, 1, 1, C)
    counts = np.bincount(places.reshape(-1), minlength=B * C * 256).reshape(B, C, 256)
    below = np.cumsum(counts, axis=2) - counts
    highest_BC1 = _over_pixels(np.maximum, images_BIJC)[..., None].astype(np.intp)
    step = (images_BIJC[0, ..., 0].size - np.take_along_axis(counts, highest_BC1, 2)) // 255
    mapped = np.where(step > 0, (step // 2 + below) // np.maximum(step, 1), np.arange(256))
    return look_up(images_BIJC, np.minimum(mapped, 255).astype(np.uint8))


def look_up(images_BIJC: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Each level's entry in its image's table: uint8 [B, C, 256], or [B, 1, 256] for all channels."""
    B, C = tables.shape[:2]
    return tables.reshape(-1).take(images_BIJC + 256 * np.arange(B * C).reshape(B, 1, 1, C))


def warp(images_BIJC: np.ndarray, matrices_B23: np.ndarray, fill: int = 128) -> np.ndarray:
    """Affine transforms by the nearest pixel: (x, y) of the result shows matrix (x, y, 1) of the image.

    Coordinates are in pixels from the top left corner, pixels' centres at halves. Outside the image it is `fill`.
    """
    B, I, J, C = images_BIJC.shape
    matrices_B23 = matrices_B23.astype(np.float32)[..., None, None]
    y, x = np.arange(I, dtype=np.float32)[:, None] + 0.5, np.arange(J, dtype=np.float32) + 0.5
    column_BIJ, row_BIJ = (
        np.floor(matrices_B23[:, k, 0] * x + matrices_B23[:, k, 1] * y + matrices_B23[:, k, 2]) for k in (0, 1))
    outside_BIJ = (column_BIJ < 0) | (column_BIJ >= J) | (row_BIJ < 0) | (row_BIJ >= I)
    place_BIJ = (row_BIJ * J + column_BIJ).astype(np.intp) + I * J * np.arange(B)[:, None, None]
    place_BIJ[outside_BIJ] = 0
    result = np.ascontiguousarray(images_BIJC).reshape(-1, C)[place_BIJ]
    result[outside_BIJ] = fill
    return result


def _over_pixels(reduction: np.ufunc, images_BIJC: np.ndarray) -> np.ndarray:
    """Reduces to [B, C], rows first: over both axes at once, NumPy walks in steps of C and takes five times as long."""
    return reduction.reduce(reduction.reduce(images_BIJC, axis=1), axis=1)


def _per_image(amount_B: np.ndarray) -> np.ndarray:
    return np.asarray(amount_B, np.float32)[:, None, None, None]


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounded and clipped to 0 .. 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
