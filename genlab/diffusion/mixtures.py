"""Mixtures of Gaussians, whose x_t is a mixture again: the exact score in place of a network's."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genlab.diffusion.denoiser import Denoised, Denoiser, from_data
from genlab.diffusion.paths import Path


class GaussianMixture(NamedTuple):
    """K normal distributions in D dimensions; one of them is K = 1.

    Attributes:
      weights: [K], adding up to 1.
      means: [K, D].
      covariances: [K, D, D].
    """

    weights: jax.Array
    means: jax.Array
    covariances: jax.Array

    def sample(self, key, count: int):
        """Returns points [count, D]."""
        component_key, noise_key = jax.random.split(key)
        component = jax.random.categorical(component_key, jnp.log(self.weights), shape=(count,))
        factor = jnp.linalg.cholesky(self.covariances)[component]
        noise = jax.random.normal(noise_key, (count, self.means.shape[1]), jnp.result_type(self.means))
        return jnp.asarray(self.means)[component] + jnp.einsum("nde,ne->nd", factor, noise)

    def at(self, path: Path, t) -> "GaussianMixture":
        """Returns the distribution of x_t, for a time []."""
        alpha, sigma = path.alpha(t), path.sigma(t)
        identity = jnp.eye(self.means.shape[1], dtype=jnp.result_type(self.means))
        return self._replace(means=alpha * self.means, covariances=alpha**2 * self.covariances + sigma**2 * identity)

    def log_density(self, x):
        """Returns the log density, in nats, at points [B, D]: [B]."""
        return jax.nn.logsumexp(self._log_joint(x), axis=-1)

    def moments(self) -> tuple[jax.Array, jax.Array]:
        """Returns the mean [D] and the covariance [D, D]."""
        mean = self.weights @ self.means
        second = self.covariances + jnp.einsum("kd,ke->kde", self.means, self.means)
        return mean, jnp.einsum("k,kde->de", self.weights, second) - jnp.outer(mean, mean)

    def responsibilities(self, x):
        """Returns the probability of each component given points [B, D]: [B, K]."""
        return jax.nn.softmax(self._log_joint(x), axis=-1)

    def denoiser(self, path: Path) -> Denoiser:
        """Returns the exact denoiser, of x [B, D] at times [] or [B].

        E[x_0 | x_t] is the mean over components of m_k + alpha S_k C_k^-1 (x_t - alpha m_k), C_k the covariance of x_t.
        """
        def denoise(x, t) -> Denoised:
            if jnp.ndim(t):
                return jax.vmap(lambda x, t: jax.tree.map(lambda a: a[0], denoise(x[None], t)))(x, t)
            alpha, noisy = path.alpha(t), self.at(path, t)
            gains = alpha * jnp.linalg.solve(noisy.covariances, self.covariances).mT  # S_k C_k^-1, both symmetric
            centred = x[:, None] - noisy.means
            posterior = self.means + jnp.einsum("kde,bke->bkd", gains, centred)
            return from_data(path, x, t, jnp.einsum("bk,bkd->bd", noisy.responsibilities(x), posterior))

        return denoise

    def _log_joint(self, x):
        """log of weight times density of each component: [B, K]."""
        D = x.shape[-1]
        factors = jnp.linalg.cholesky(self.covariances)
        centred = (x[:, None] - self.means).swapaxes(0, 1)  # [K, B, D]
        whitened = jax.scipy.linalg.solve_triangular(factors, centred.mT, lower=True)  # [K, D, B]
        log_volume = jnp.log(jnp.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1)
        exponent = -0.5 * jnp.square(whitened).sum(axis=1).T
        return jnp.log(self.weights) + exponent - log_volume - 0.5 * D * math.log(2 * math.pi)
