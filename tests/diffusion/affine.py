"""Moments of Gaussian data through a sampler, without Monte Carlo error: on such data every step is affine.

A batch stands for a normal distribution: row 0 is its mean, and row 1 + i is its mean plus column i of a square root of
its covariance. An affine step x -> A x + b maps these rows as it maps points; one with noise, x -> A x + b + C z, is
`Exact`, which adds C C^T to the covariance.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from genlab.diffusion.denoiser import from_data
from genlab.diffusion.paths import expand
from genlab.diffusion.samplers import Corrector, Sampler, Solver, correctors, deterministic, stochastic

MEAN = np.array([0.6, -0.3])
COVARIANCE = np.array([[0.5, 0.2], [0.2, 0.3]])


def gaussian(path, mean=MEAN, covariance=COVARIANCE):
    """The exact denoiser of normal data, by its principal axes."""
    variance_D, axes_DE = np.linalg.eigh(covariance)

    def denoise(x, t):
        alpha, sigma = expand(path.alpha(t), x), expand(path.sigma(t), x)
        gain = alpha * variance_D / (alpha**2 * variance_D + sigma**2)
        return from_data(path, x, t, mean + ((x - alpha * mean) @ axes_DE * gain) @ axes_DE.T)

    return denoise


def moments_at(path, t, mean=MEAN, covariance=COVARIANCE):
    """(mean, covariance) of x_t."""
    alpha, sigma = np.float64(path.alpha(jnp.float64(t))), np.float64(path.sigma(jnp.float64(t)))
    return alpha * mean, alpha**2 * covariance + sigma**2 * np.eye(len(mean))


def rows_of(mean, covariance):
    """The batch that stands for a normal distribution: [1 + D, D]."""
    return jnp.concatenate([mean[None], mean + jnp.linalg.cholesky(covariance).T])


def moments_of(rows):
    """(mean, covariance) of a batch that stands for a normal distribution."""
    root = rows[1:] - rows[0]
    return rows[0], root.T @ root


def affine_step(apply, rows):
    """The rows after x, z -> apply(x, z), which is affine in x and in the standard normal z."""
    D = rows.shape[1]
    zero, one = jnp.zeros((D, D)), jnp.eye(D)
    x, z = jnp.concatenate([zero[:1], one, zero]), jnp.concatenate([zero[:1], zero, one])
    with ExitStack() as patches:
        for module in (stochastic, deterministic, correctors):
            patches.enter_context(mock.patch.object(module, "noise_like", lambda key, x: z))
        out = apply(x)
    offset, matrix, noise = out[0], (out[1:1 + D] - out[0]).T, (out[1 + D:] - out[0]).T
    mean, covariance = moments_of(rows)
    return rows_of(matrix @ mean + offset, matrix @ covariance @ matrix.T + noise @ noise.T)


@dataclass(frozen=True)
class Exact(Solver):
    """A stochastic solver's step on a batch that stands for a normal distribution."""

    solver: Solver

    @property
    def grid(self):
        return self.solver.grid

    @property
    def stochastic(self):
        return False

    def step(self, denoiser, x, move, key, memory):
        return affine_step(lambda x: self.solver.step(denoiser, x, move, key, memory)[0], x), memory


@dataclass(frozen=True)
class ExactCorrector(Corrector):
    """One step of a corrector likewise; its step size must not depend on the batch."""

    corrector: Corrector | None = None

    def step_size(self, path, score, noise, t):
        return self.corrector.step_size(path, score, noise, t)

    def correct(self, path, denoiser, x, t, key):
        return affine_step(lambda x: self.corrector.correct(path, denoiser, x, t, key), x)


def propagated(sampler: Sampler, path, start_mean, start_covariance, **data):
    """(mean, covariance) after a sampler of a deterministic or an `Exact` solver, from those at the path's end."""
    denoise, key = gaussian(path, **data), jax.random.key(0)
    rows = jax.jit(lambda rows: sampler.sample(path, denoise, key, x=rows).x)(rows_of(start_mean, start_covariance))
    return tuple(np.asarray(moment) for moment in moments_of(rows))


def error(found, true):
    """The largest difference over the largest entry."""
    return np.abs(found - true).max() / np.abs(true).max()
