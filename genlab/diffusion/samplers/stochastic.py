"""Solvers of the reverse-time SDE: every step adds fresh noise."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoiser
from genlab.diffusion.grids import Grid, Karras, UniformTime
from genlab.diffusion.samplers.solver import Move, Solver, noise_like


@dataclass(frozen=True)
class EulerMaruyama(Solver):
    """x_s = x - h (f x - g^2 score) + g sqrt(h) z, with h = t - s (Song et al. 2020, equation 6, appendix E)."""

    grid: ClassVar[Grid] = UniformTime()
    stochastic: ClassVar[bool] = True

    def step(self, denoiser: Denoiser, x, move: Move, key, memory):
        """See `Solver`; f x - g^2 score is the velocity plus g^2 / (2 sigma) noise, which is finite on every path."""
        path, t, h = move.path, move.t, move.t - move.s
        denoised, g = denoiser(x, t), path.diffusion(t)
        drift = denoised.velocity(path, t) + g * g / (2 * path.sigma(t)) * denoised.noise
        return x - h * drift + g * jnp.sqrt(h) * noise_like(key, x), memory


@dataclass(frozen=True)
class ReverseDiffusion(Solver):
    """x_s = (2 - r) x + G^2 score + G z: the forward step x_t = r x_s + G z turned round (Song et al. 2020, eq. 46).

    The forward step is the exact one between the two times, which is the paper's for VE and DDPM's for VP.
    """

    grid: ClassVar[Grid] = UniformTime()
    stochastic: ClassVar[bool] = True

    def step(self, denoiser: Denoiser, x, move: Move, key, memory):
        """See `Solver`."""
        r, variance = move.forward
        score = denoiser(x, move.t).score(move.path, move.t)
        return (2 - r) * x + variance * score + jnp.sqrt(variance) * noise_like(key, x), memory


@dataclass(frozen=True)
class Ancestral(Solver):
    """Draws x_s given x_t and the expected data from the Gaussian posterior of the forward step, on any path.

    For VE it is equation 47 of Song et al. 2020, for DDPM's times algorithm 2 of Ho et al. 2020.

    Attributes:
      variance: "posterior", sigma_s^2 G^2 / sigma_t^2, or "forward", G^2: Ho's two choices, which bound the right one
        (section 3.2).
    """

    variance: Literal["posterior", "forward"] = "posterior"

    grid: ClassVar[Grid] = UniformTime()
    stochastic: ClassVar[bool] = True

    def __post_init__(self):
        if self.variance not in ("posterior", "forward"):
            raise ConfigError(f'variance must be "posterior" or "forward", not "{self.variance}"')

    def step(self, denoiser: Denoiser, x, move: Move, key, memory):
        """See `Solver`."""
        r, forward = move.forward
        (_, alpha_s), (sigma_t, sigma_s) = move.alphas, move.sigmas
        shrink = jnp.square(sigma_s / sigma_t)
        data = denoiser(x, move.t).data
        mean = r * shrink * x + alpha_s * forward / jnp.square(sigma_t) * data
        variance = shrink * forward if self.variance == "posterior" else forward
        return mean + jnp.sqrt(variance) * noise_like(key, x), memory


@dataclass(frozen=True)
class EdmStochastic(Solver):
    """Adds a little noise, then takes Heun's step from there (Karras et al. 2022, algorithm 2), on any path.

    In z = x / alpha, whose noise level is sigma / alpha.

    Attributes:
      churn: S_churn, how much noise is added over all steps; 0 is Heun's method.
      least, most: noise levels between which it is added, S_tmin and S_tmax.
      inflation: S_noise, the added noise's standard deviation over what it should be.
    """

    churn: float = 40.0
    least: float = 0.05
    most: float = 50.0
    inflation: float = 1.003

    evaluations: ClassVar[int] = 2
    grid: ClassVar[Grid] = Karras()

    def __post_init__(self):
        if self.churn < 0 or not 0 <= self.least <= self.most or self.inflation <= 0:
            raise ConfigError(f"the stochastic EDM solver needs churn >= 0, 0 <= least <= most and inflation > 0, not "
                              f"{self}")

    @property
    def stochastic(self) -> bool:
        """See `Solver`."""
        return self.churn > 0

    def step(self, denoiser: Denoiser, x, move: Move, key, memory):
        """See `Solver`."""
        path, (alpha_t, alpha_s) = move.path, move.alphas
        ratio_t, ratio_s = (sigma / alpha for sigma, alpha in zip(move.sigmas, move.alphas, strict=True))
        end = path.sigma(jnp.asarray(path.end, ratio_t.dtype)) / path.alpha(jnp.asarray(path.end, ratio_t.dtype))
        gamma = jnp.where((ratio_t >= self.least) & (ratio_t <= self.most),
                          min(self.churn / move.count, 2**0.5 - 1), 0.0)
        raised = jnp.minimum(ratio_t * (1 + gamma), end)
        # As a product it is exactly 0 without churn; of squares, fused, it was 2e-4 of the noise level in float32.
        added = jnp.sqrt(jnp.maximum((raised - ratio_t) * (raised + ratio_t), 0))
        z = x / alpha_t + self.inflation * added * noise_like(key, x)
        time = jnp.where(raised > ratio_t, path.time_at(-2 * jnp.log(raised)), move.t)
        first = denoiser(path.alpha(time) * z, time).noise
        second = denoiser(alpha_s * (z + (ratio_s - raised) * first), move.s).noise
        return alpha_s * (z + 0.5 * (ratio_s - raised) * (first + second)), memory
