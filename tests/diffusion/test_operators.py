"""Linear operators against their dense matrices, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.diffusion.operators import Blur, Colourisation, Inpainting, Matrix, SuperResolution, gaussian_kernel

rng = np.random.default_rng(0)
SHAPE = (6, 4, 3)
LOW_RANK = rng.normal(size=(9, 5)) @ rng.normal(size=(5, 72))
# With gains of 0: the mean over 2 pixels loses the highest frequency.
OPERATORS = {
    "pixels": (Inpainting(rng.random((6, 4)) < 0.6), (6, 4, 3)),
    "entries": (Inpainting(rng.random(SHAPE) < 0.6), (6, 4, 3)),
    "colourisation": (Colourisation(3), (6, 4, 1)),
    "super-resolution": (SuperResolution(2), (3, 2, 3)),
    "blur": (Blur(gaussian_kernel(0.6, 1) + rng.normal(0, 0.02, (3, 3))), (6, 4, 3)),
    "blur that loses": (Blur([[0.5, 0.5]]), (6, 4, 3)),
    "matrix": (Matrix(LOW_RANK, SHAPE), (9,)),
}


@pytest.fixture(scope="module", params=OPERATORS)
def case(request):
    """(operator, dense [M, D] of `apply`, {method: dense}, shape of y), one compilation an operator."""
    operator, shape = OPERATORS[request.param]
    M, D = int(np.prod(shape)), int(np.prod(SHAPE))
    x_np, y_np = rng.normal(size=(2, *SHAPE)), rng.normal(size=(2, *shape))

    @jax.jit
    def dense():
        x, y = jnp.eye(D).reshape(D, *SHAPE), jnp.eye(M).reshape(M, *shape)
        variance_B = jnp.linspace(0.5, 2.0, M)
        x_0, y_0 = jnp.asarray(x_np), jnp.asarray(y_np)
        return operator.apply(x).reshape(D, M).T, {
            "adjoint": operator.adjoint(y).reshape(M, D).T,
            "pseudo_inverse": operator.pseudo_inverse(y).reshape(M, D).T,
            "whiten": operator.whiten(y, 0.7, 0.2).reshape(M, M).T,
            "whiten without noise": operator.whiten(y, 0.7, 0.0).reshape(M, M).T,
            "whiten each": operator.whiten(y, variance_B, 0.2).reshape(M, M).T,
            "project": (x_0, y_0, operator.project(x_0, y_0)),
        }

    with jax.enable_x64(True):
        return operator, *jax.tree.map(np.asarray, dense()), shape


def test_adjoint_is_the_transpose(case):
    _, a_MD, found, _ = case
    np.testing.assert_allclose(found["adjoint"], a_MD.T, atol=1e-12)


def test_pseudo_inverse_is_moores_and_penroses(case):
    _, a_MD, found, _ = case
    np.testing.assert_allclose(found["pseudo_inverse"], np.linalg.pinv(a_MD, rcond=1e-10), atol=1e-10)
    np.testing.assert_allclose(a_MD @ found["pseudo_inverse"] @ a_MD, a_MD, atol=1e-10)


def test_whitening_inverts_the_covariance_of_the_measurements(case):
    _, a_MD, found, _ = case
    M = len(a_MD)
    on_range = a_MD @ np.linalg.pinv(a_MD, rcond=1e-10)
    noisy = np.linalg.inv(0.7 * a_MD @ a_MD.T + 0.2 * np.eye(M)) @ on_range
    np.testing.assert_allclose(found["whiten"], noisy, atol=1e-10)
    noiseless = np.linalg.pinv(0.7 * a_MD @ a_MD.T, rcond=1e-10)
    np.testing.assert_allclose(found["whiten without noise"], noiseless, atol=1e-8)
    each = [np.linalg.inv(v * a_MD @ a_MD.T + 0.2 * np.eye(M)) @ on_range[:, m]
            for m, v in enumerate(np.linspace(0.5, 2.0, M))]
    np.testing.assert_allclose(found["whiten each"], np.stack(each, axis=1), atol=1e-10)


def test_projection_agrees_with_the_measurement_and_changes_nothing_else(case):
    _, a_MD, found, _ = case
    x_BD, y_BM, projected_BD = (each.reshape(2, -1) for each in found["project"])
    reachable = y_BM @ (a_MD @ np.linalg.pinv(a_MD, rcond=1e-10)).T
    np.testing.assert_allclose(projected_BD @ a_MD.T, reachable, atol=1e-10)
    _, s, vt = np.linalg.svd(a_MD)
    null_DN = vt[(s > 1e-10).sum():].T
    np.testing.assert_allclose(projected_BD @ null_DN, x_BD @ null_DN, atol=1e-10)


def test_measurement_shape(case):
    operator, _, _, shape = case
    assert operator.measurement_shape(SHAPE) == shape


def test_what_is_outside_the_mask_is_never_read():
    operator = Inpainting(np.array([True, False]))
    y = jnp.array([[1.0, jnp.nan]])
    assert np.isfinite(operator.project(jnp.zeros((1, 2)), y)).all()
    np.testing.assert_array_equal(operator.project(jnp.zeros((1, 2)), y), [[1.0, 0.0]])


def test_colours_are_those_of_an_orthonormal_decoupling():
    """Song et al. 2020, appendix I.3: the first of three orthonormal channels is replaced."""
    rotation, _ = np.linalg.qr(np.stack([np.full(3, 3**-0.5), [1, 0, 0], [0, 1, 0]], axis=1))
    x, grey = rng.normal(size=(2, 6, 4, 3)), rng.normal(size=(2, 6, 4, 1))
    turned = x @ rotation
    turned[..., :1] = grey * 3**0.5 * np.sign(rotation[0, 0])
    with jax.enable_x64(True):
        np.testing.assert_allclose(Colourisation().project(jnp.asarray(x), jnp.asarray(grey)), turned @ rotation.T,
                                   atol=1e-12)


def test_blur_is_a_convolution_around_the_edges():
    kernel = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.25], [0.0, 0.0, 0.25]])
    x = rng.normal(size=(1, 5, 4, 2)).astype(np.float32)
    expected = 0.5 * x + 0.25 * np.roll(x, 1, axis=2) + 0.25 * np.roll(x, (1, 1), axis=(1, 2))
    np.testing.assert_allclose(Blur(kernel).apply(jnp.asarray(x)), expected, atol=1e-6)
    np.testing.assert_allclose(gaussian_kernel(1.5).sum(), 1.0)
    assert gaussian_kernel(1.5).shape == (11, 11)


@pytest.mark.parametrize("make, message", [
    (lambda: Inpainting(np.ones((8, 8), bool)).check((6, 4, 3)),
     r"^the mask has shape \[8, 8\]; an image's needs \[6, 4\] or \[6, 4, 3\]$"),
    (lambda: Inpainting(np.ones(3, bool)).check((2,)), r"^the mask has shape \[3\]; an image's needs \[2\]$"),
    (lambda: Inpainting(np.ones((8, 8))), r"^a mask is an array of bool, True where .* not of float64$"),
    (lambda: Inpainting(np.zeros((8, 8), bool)), r"^the mask is False everywhere"),
    (lambda: Colourisation(3).check((6, 4, 1)), r"^colourisation of 3 channels needs images \[I, J, 3\], not"),
    (lambda: Colourisation(1), r"^colourisation needs images of 2 channels or more, not 1$"),
    (lambda: SuperResolution(4).measurement_shape((8, 6, 3)), r"^super-resolution by 4 needs .* not \[8, 6, 3\]$"),
    (lambda: SuperResolution(0), r"^super-resolution needs a factor of 1 or more, not 0$"),
    (lambda: Blur(np.ones((9, 3))).check((8, 8, 3)), r"^a blur of \[9, 3\] pixels needs images .* not \[8, 8, 3\]$"),
    (lambda: Blur(np.ones(3)), r"^a blur's kernel is a finite array \[rows, columns\] .* not of shape \[3\]$"),
    (lambda: gaussian_kernel(0.0), r"^a Gaussian kernel's std must be positive, in pixels, not 0.0$"),
    (lambda: Matrix(np.ones(3)), r"^an operator's matrix is a finite array \[M, D\] .* not of shape \[3\]$"),
    (lambda: Matrix(np.ones((2, 6)), (2, 2)), r"^a matrix of 6 columns does not apply to images of shape \[2, 2\]$"),
    (lambda: Matrix(np.ones((2, 6))).check((5,)), r"^the matrix is of images of shape \[6\], not \[5\]$"),
])
def test_bad_input_is_one_line(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
