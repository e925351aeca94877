"""The probability-flow ODE with steps as long as its error allows."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoiser
from genlab.diffusion.grids import first_time
from genlab.diffusion.ode import Solution, solve
from genlab.diffusion.paths import Path
from genlab.diffusion.samplers.sampler import Constraint, Samples, beginning


@dataclass(frozen=True)
class AdaptiveOde:
    """Samples by an adaptive Runge-Kutta method (Song et al. 2020, section 4.3).

    Attributes:
      rtol, atol: the error allowed a step.
      denoise: whether the expected data at the path's start is taken in the end.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    denoise: bool = True

    def __post_init__(self):
        if min(self.rtol, self.atol) < 0 or self.rtol + self.atol == 0:
            raise ConfigError(f"rtol={self.rtol:g} and atol={self.atol:g} must not be negative, nor both 0")

    @property
    def stochastic(self) -> bool:
        """False."""
        return False

    @property
    def evaluations(self) -> None:
        """Not known beforehand."""
        return

    def sample(self, path: Path, denoiser: Denoiser, key, shape: tuple[int, ...] | None = None, *, x=None,
               start_time: float | None = None, constraint: Constraint | None = None, intermediates: int = 0,
               dtype=jnp.float32) -> Samples:
        """As `Sampler.sample`; NaN where the ODE could not be solved.

        Raises:
          ConfigError: a constraint, which steps of the solver's own choice cannot meet; or a start outside the path.
        """
        if constraint is not None:
            raise ConfigError("the adaptive ODE chooses its own steps and cannot meet a constraint after each; take a "
                              "sampler with fixed steps")
        x = beginning(path, key, shape, x, start_time, dtype)
        times = jnp.linspace(first_time(path, start_time), path.start, max(intermediates, 1) + 1, dtype=x.dtype)

        def body(x, ends):
            x = self.solve(path, denoiser, x, *ends).x
            return x, x

        x, film = jax.lax.scan(body, x, (times[:-1], times[1:]))
        if self.denoise:
            x = denoiser(x, times[-1]).data
        return Samples(x, film.at[-1].set(x), times[1:]) if intermediates else Samples(x)

    def solve(self, path: Path, denoiser: Denoiser, x, t0, t1) -> Solution:
        """Follows the ODE from t0 to t1, in either direction."""
        found = solve(lambda t, x: denoiser(x, t).velocity(path, t), x, t0, t1, self.rtol, self.atol)
        return found._replace(x=jnp.where(found.success, found.x, jnp.nan))
