"""Correctors: Langevin steps at one noise level, which bring x closer to that level's distribution."""

import abc
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoiser
from genlab.diffusion.paths import Path
from genlab.diffusion.samplers.solver import noise_like


@dataclass(frozen=True)
class Corrector(abc.ABC):
    """x <- x + e score + sqrt(2 e) z, so many times at one time (Song et al. 2020, algorithms 4 and 5).

    Attributes:
      signal_to_noise: r, which sets the step size e.
      steps: at each time.
    """

    signal_to_noise: float = 0.16
    steps: int = 1

    def __post_init__(self):
        if self.signal_to_noise <= 0 or self.steps < 1:
            raise ConfigError(f"a corrector needs signal_to_noise > 0 and steps >= 1, not {self}")

    def correct(self, path: Path, denoiser: Denoiser, x, t, key):
        """Returns x [B, ...] after the Langevin steps at time t."""
        def body(i, x):
            noise = noise_like(jax.random.fold_in(key, i), x)
            score = denoiser(x, t).score(path, t)
            size = self.step_size(path, score, noise, t)
            return x + size * score + jnp.sqrt(2 * size) * noise

        return body(0, x) if self.steps == 1 else jax.lax.fori_loop(0, self.steps, body, x)

    @abc.abstractmethod
    def step_size(self, path: Path, score, noise, t):
        """Returns e."""


@dataclass(frozen=True)
class Langevin(Corrector):
    """e = 2 (r |z| / |score|)^2, norms averaged over the batch.

    Algorithms 4 and 5, but for the latter's factor alpha_i, which at 1,000 times is between .98 and 1. The batch's
    mean makes an example's step depend a little on its company; AnnealedLangevin's does not. Next to the data e is in
    proportion to their variance, and so does its bias: 1.4 % of the covariance at r = .16, .3 % at .075 (normal data in
    two dimensions), for any number of steps.
    """

    def step_size(self, path: Path, score, noise, t):
        """See `Corrector`."""
        ratio = _mean_norm(noise) / _mean_norm(score)
        return 2 * jnp.square(self.signal_to_noise * ratio)


@dataclass(frozen=True)
class AnnealedLangevin(Corrector):
    """e = 2 (r sigma)^2: Song and Ermon 2019 (arXiv 1907.05600, algorithm 1), whose e is proportional to sigma^2."""

    def step_size(self, path: Path, score, noise, t):
        """See `Corrector`."""
        return 2 * jnp.square(self.signal_to_noise * path.sigma(t))


def _mean_norm(x):
    return jnp.sqrt(jnp.square(x).reshape(len(x), -1).sum(axis=-1)).mean()
