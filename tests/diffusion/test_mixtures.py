"""Mixtures against SciPy, autodiff and quadrature, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from genlab.diffusion.mixtures import GaussianMixture
from genlab.diffusion.paths import VP, Flow

MIXTURE = GaussianMixture(np.array([0.3, 0.7]), np.array([[1.0, 0.2], [-0.5, 0.4]]),
                          np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.1, -0.05], [-0.05, 0.4]]]))
POINTS = np.random.default_rng(0).normal(size=(6, 2))
pytestmark = pytest.mark.usefixtures("float64")


def test_density_is_scipys():
    true = sum(w * multivariate_normal(m, c).pdf(POINTS) for w, m, c in zip(*MIXTURE, strict=True))
    log_density, responsibilities = jax.jit(lambda x: (MIXTURE.log_density(x), MIXTURE.responsibilities(x)))(POINTS)
    np.testing.assert_allclose(log_density, np.log(true), rtol=1e-10)
    first = 0.3 * multivariate_normal(MIXTURE.means[0], MIXTURE.covariances[0]).pdf(POINTS) / true
    np.testing.assert_allclose(responsibilities[:, 0], first, rtol=1e-10)


def test_samples_have_the_moments_and_shares():
    x = np.asarray(jax.jit(MIXTURE.sample, static_argnums=1)(jax.random.key(0, impl="rbg"), 100_000))
    mean, covariance = MIXTURE.moments()
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=0.01)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.015)
    # Shares: of the points beyond the middle of the line between the means.
    direction = MIXTURE.means[0] - MIXTURE.means[1]
    middle = direction @ MIXTURE.means.mean(axis=0)
    beyond = sum(w * norm(m @ direction, np.sqrt(direction @ c @ direction)).sf(middle)
                 for w, m, c in zip(*MIXTURE, strict=True))
    np.testing.assert_allclose((x @ direction > middle).mean(), beyond, atol=0.006)


@pytest.mark.parametrize("path", [VP(), Flow()], ids=["VP", "flow"])
def test_denoiser_is_the_score_of_the_density(path):
    @jax.jit
    def found(x, t):
        score = jax.grad(lambda x: jax.vmap(lambda x, t: MIXTURE.at(path, t).log_density(x[None])[0])(x, t).sum())(x)
        each, together = MIXTURE.denoiser(path)(x, t), MIXTURE.denoiser(path)(x, t[2])
        return score, each.score(path, t), each, together

    score, denoised_score, each, together = found(POINTS, np.array([0.01, 0.1, 0.3, 0.5, 0.7, 0.9]))
    np.testing.assert_allclose(denoised_score, score, rtol=1e-7)
    np.testing.assert_allclose(together.data[2], each.data[2], rtol=1e-10)
    np.testing.assert_allclose(together.noise[2], each.noise[2], rtol=1e-10)


def test_expected_data_by_quadrature():
    """E[x_0 | x_t] and the density of x_t, by Bayes's rule on a grid in one dimension."""
    line = GaussianMixture(np.array([0.4, 0.6]), np.array([[1.0], [-0.5]]), np.array([[[0.1]], [[0.3]]]))
    path, t, x_t = VP(), jnp.float64(0.35), np.array([[-1.0], [0.2], [0.9]])
    x_0 = np.linspace(-8, 8, 8_001)
    prior = 0.4 * norm(1.0, 0.1**0.5).pdf(x_0) + 0.6 * norm(-0.5, 0.3**0.5).pdf(x_0)
    joint = prior * norm(float(path.alpha(t)) * x_0, float(path.sigma(t))).pdf(x_t)
    data, log_density = jax.jit(lambda x: (line.denoiser(path)(x, t).data[:, 0], line.at(path, t).log_density(x)))(x_t)
    np.testing.assert_allclose(data, joint @ x_0 / joint.sum(axis=1), rtol=1e-8)
    np.testing.assert_allclose(log_density, np.log(np.trapezoid(joint, x_0, axis=1)), rtol=1e-8)
