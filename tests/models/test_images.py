"""Patches, positions and names of sizes."""

import numpy as np
import pytest

from genlab.models import images


def test_patches_are_rows_of_pixels_and_can_be_put_together_again():
    pixels = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    patches = images.patchify(pixels, 2)
    assert patches.shape == (2, 6, 12)
    np.testing.assert_array_equal(patches[1, 4], pixels[1, 2:4, 2:4].reshape(-1))  # row 1, column 1 of a 2 x 3 grid
    np.testing.assert_array_equal(images.unpatchify(patches, (2, 3), 2), pixels)


def test_sincos_products_depend_on_offsets_only():
    positions_RCD = images.sincos_positions((4, 5), 16).reshape(4, 5, 16)
    products = np.einsum("rcd,std->rcst", positions_RCD, positions_RCD)
    np.testing.assert_allclose(products[0, 0, 1, 2], products[2, 1, 3, 3], rtol=1e-6)
    np.testing.assert_allclose(products[0, 0, 0, 0], 8, rtol=1e-6)
    np.testing.assert_allclose(positions_RCD[3, 2, 4], np.cos(2.0), rtol=1e-6)  # lowest k: frequency 1, columns first
    np.testing.assert_allclose(positions_RCD[3, 2, 8], np.sin(3.0), rtol=1e-6)
    assert len(np.unique(positions_RCD.reshape(20, 16).round(5), axis=0)) == 20


def test_resampled_positions_keep_constants_planes_and_the_same_grid():
    i, j = np.mgrid[:6, :4].astype(np.float32)
    plane = np.stack([i + 0.5, j + 0.5, np.ones_like(i)], axis=-1).reshape(24, 3)
    np.testing.assert_array_equal(images.resample_positions(plane, (6, 4), (6, 4)), plane)
    finer = np.asarray(images.resample_positions(plane, (6, 4), (12, 8))).reshape(12, 8, 3)
    i, j = np.mgrid[:12, :8].astype(np.float32)
    np.testing.assert_allclose(finer[..., 2], 1, atol=1e-6)
    np.testing.assert_allclose(finer[1:-1, :, 0], ((i + 0.5) / 2)[1:-1], atol=1e-5)  # the border has no neighbour
    np.testing.assert_allclose(finer[:, 1:-1, 1], ((j + 0.5) / 2)[:, 1:-1], atol=1e-5)
    coarser = np.asarray(images.resample_positions(plane, (6, 4), (3, 2)))
    np.testing.assert_allclose(coarser[:, 0].mean(), plane[:, 0].mean(), atol=1e-5)
    with pytest.raises(ValueError, match="24 positions are no grid of 5 x 5"):
        images.resample_positions(plane, (5, 5), (3, 2))
