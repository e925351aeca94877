"""A solver, a corrector and a grid of times, compiled into one loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoiser
from genlab.diffusion.grids import Grid, UniformAngle, UniformTime, first_time
from genlab.diffusion.paths import Path
from genlab.diffusion.samplers.correctors import Corrector
from genlab.diffusion.samplers.deterministic import DpmSolverPlusPlus
from genlab.diffusion.samplers.solver import Move, Solver

# (x, t, key) -> x: what a sample must satisfy, imposed after every step (genlab/diffusion/inverse.py).
Constraint = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class Samples(NamedTuple):
    """What sampling gives.

    Attributes:
      x: [B, ...].
      trajectory: x at some times on the way, [K, B, ...], the last being x itself; None where none was asked for.
      times: of the trajectory, [K]; None likewise.
    """

    x: jax.Array
    trajectory: jax.Array | None = None
    times: jax.Array | None = None


def beginning(path: Path, key, shape, x, start_time: float | None, dtype):
    """Returns what sampling begins with, [B, ...]: noise of `shape` from the prior, or the x given.

    Raises:
      ConfigError: neither or both; a start outside the path; or noise of the prior anywhere but at the path's end.
    """
    if (shape is None) == (x is None):
        raise ConfigError("sampling begins either with noise of a shape, or with a given x")
    if x is not None:
        return jnp.asarray(x)
    if first_time(path, start_time) != path.end:
        raise ConfigError(f"noise of a shape is of the path's end, {path.end:g}; to start at {start_time:g}, give an x "
                          "of that time")
    return path.prior_sample(key, shape, dtype)


@dataclass(frozen=True)
class Sampler:
    """Goes from noise to data in so many steps.

    The last step is free of noise: the expected data at the path's start. A corrector works at the times between, and
    so before that step; after it, its noise would stay. One evaluation of the denoiser a step for most solvers; Heun
    and the stochastic EDM solver take two but for the last, 35 in 18 steps, as the paper counts.

    Attributes:
      solver: of each step but the last (genlab/diffusion/samplers).
      steps: in all; a discrete schedule of N times allows N.
      corrector: after each step, or none.
      grid: the spacing of times; none for what suits the solver.
      denoise: whether the last step is taken; without it samples are of the path's start, a little noise in them.
    """

    solver: Solver = DpmSolverPlusPlus()
    steps: int = 20
    corrector: Corrector | None = None
    grid: Grid | None = None
    denoise: bool = True

    @property
    def stochastic(self) -> bool:
        """Whether two runs from the same noise differ."""
        return self.solver.stochastic or self.corrector is not None

    @property
    def evaluations(self) -> int:
        """Calls of the denoiser that a sample takes."""
        each = self.solver.evaluations + (self.corrector.steps if self.corrector else 0)
        return each * (self.steps - 1) + 1 if self.denoise else each * self.steps

    def times(self, path: Path, start_time: float | None = None):
        """Returns the times, [steps], or [steps + 1] without the last step to the data.

        Raises:
          ConfigError: more steps than a discrete schedule allows, or a start outside the path.
        """
        return self.grid_on(path).times(path, self.steps + (not self.denoise), start_time)

    def grid_on(self, path: Path) -> Grid:
        """Returns the spacing of times on a path: the sampler's own, the solver's, or the angle where t does not suit.

        On EDM, 500 steps of reverse diffusion evenly spaced in t err by .19 in the covariance of normal data, in
        log-SNR by .022, in the angle by .009.
        """
        if self.grid is None and self.solver.grid == UniformTime() and not path.evenly_timed:
            return UniformAngle()
        return self.grid or self.solver.grid

    def sample(self, path: Path, denoiser: Denoiser, key, shape: tuple[int, ...] | None = None, *, x=None,
               start_time: float | None = None, constraint: Constraint | None = None, intermediates: int = 0,
               dtype=jnp.float32, on_steps: Callable[[jax.Array], None] | None = None) -> Samples:
        """Returns samples; to be jitted by the caller.

        Args:
          path: of the model.
          denoiser: of the model.
          key: of all noise.
          shape: of the samples, [B, ...], where they begin with noise from the prior.
          x: where to begin instead, [B, ...] at `start_time`.
          start_time: of x; the path's end by default.
          constraint: imposed on x after every step.
          intermediates: how many x to keep on the way, evenly spaced over the steps.
          dtype: of the noise that sampling begins with.
          on_steps: called on the host with the number of steps that are done, some hundred times in all. What it is
            compiled into cannot be kept on disk.

        Raises:
          ConfigError: see `beginning`; times that do not fit the path; more intermediates than steps.
        """
        times = self.times(path, start_time)
        prior_key, step_key, last_key = jax.random.split(key, 3)
        x = beginning(path, prior_key, shape, x, start_time, dtype)
        times = times.astype(jnp.result_type(x))
        moves = len(times) - 1
        total = moves + self.denoise
        if not 0 <= intermediates <= total:
            raise ConfigError(f"{total} steps have no {intermediates} images on the way; take at most so many")
        # Kept after these steps, of which the last is the result.
        kept = jnp.round(jnp.linspace(total / max(intermediates, 1), total, intermediates)).astype(jnp.int32)

        def body(carry, inputs):
            x, memory, film = carry
            t, s, i = inputs
            solver_key, corrector_key, constraint_key = jax.random.split(jax.random.fold_in(step_key, i), 3)
            x, memory = self.solver.step(denoiser, x, Move(path, t, s, self.steps), solver_key, memory)
            if self.corrector is not None:
                x = self.corrector.correct(path, denoiser, x, s, corrector_key)
            if constraint is not None:
                x = constraint(x, s, constraint_key)
            if on_steps is not None:
                jax.lax.cond((i + 1) % max(total // 100, 1) == 0, lambda: jax.debug.callback(on_steps, i + 1),
                             lambda: None)
            return (x, memory, _keep(film, x, kept, i + 1)), None

        film = jnp.zeros((intermediates, *x.shape), x.dtype)
        steps = (times[:-1], times[1:], jnp.arange(moves))
        (x, _, film), _ = jax.lax.scan(body, (x, self.solver.start(x), film), steps)
        reached = times
        if self.denoise:
            x = denoiser(x, times[-1]).data
            if constraint is not None:
                x = constraint(x, jnp.zeros_like(times[-1]), last_key)
            film = _keep(film, x, kept, total)
            reached = jnp.append(times, 0)
        return Samples(x, film, reached[kept]) if intermediates else Samples(x)


def _keep(film, x, kept, done):
    """`film` [K, B, ...] with x in those places whose step is done."""
    return jnp.where((kept == done).reshape(-1, *[1] * x.ndim), x, film) if len(kept) else film
