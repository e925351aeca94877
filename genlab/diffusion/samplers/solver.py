"""What one step of a sampler is."""

import abc
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from genlab.diffusion.denoiser import Denoiser
from genlab.diffusion.grids import Grid
from genlab.diffusion.paths import Path


class Move(NamedTuple):
    """A step from time t to the earlier time s, one of `count`, on a path."""

    path: Path
    t: jax.Array
    s: jax.Array
    count: int

    @property
    def alphas(self) -> tuple[jax.Array, jax.Array]:
        """(alpha_t, alpha_s)."""
        return self.path.alpha(self.t), self.path.alpha(self.s)

    @property
    def sigmas(self) -> tuple[jax.Array, jax.Array]:
        """(sigma_t, sigma_s)."""
        return self.path.sigma(self.t), self.path.sigma(self.s)

    @property
    def forward(self) -> tuple[jax.Array, jax.Array]:
        """(r, G^2): given x_s, x_t is normal with mean r x_s and variance G^2, on any path.

        r = alpha_t / alpha_s and G^2 = sigma_t^2 - r^2 sigma_s^2. For DDPM's times these are sqrt(1 - beta) and beta.
        """
        (alpha_t, alpha_s), (sigma_t, sigma_s) = self.alphas, self.sigmas
        r = alpha_t / alpha_s
        # A difference of squares keeps its digits where the two are close.
        return r, (sigma_t - r * sigma_s) * (sigma_t + r * sigma_s)


class Solver(abc.ABC):
    """One step of the way from noise to data: a frozen dataclass.

    Attributes:
      evaluations: calls of the denoiser in a step.
      grid: the spacing of times that suits it, where a sampler names none.
    """

    evaluations: ClassVar[int] = 1
    grid: ClassVar[Grid]

    @property
    @abc.abstractmethod
    def stochastic(self) -> bool:
        """Whether steps add noise: such a solver follows an SDE and has no likelihood."""

    def start(self, x) -> Any:
        """Returns what is carried from step to step beside x, before the first one."""
        return ()

    @abc.abstractmethod
    def step(self, denoiser: Denoiser, x, move: Move, key, memory) -> tuple[jax.Array, Any]:
        """Returns (x at time s, memory) for x [B, ...] at time t."""


def noise_like(key, x):
    """Returns standard normal noise of the shape and type of x."""
    return jax.random.normal(key, x.shape, jnp.result_type(x))
