"""Which times a sampler visits, from noise to data."""

import abc
import dataclasses
import math
from dataclasses import dataclass

import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.paths import Path


def first_time(path: Path, first: float | None) -> float:
    """Returns `first`, or the path's end for None; raises ConfigError where it is outside the path."""
    first = path.end if first is None else first
    if not path.start < first <= path.end:
        raise ConfigError(f"sampling can start at times above {path.start:g} and up to {path.end:g}, not at {first:g}")
    return first


def starting_at(path: Path, start: float | None) -> Path:
    """Returns the path with another start, or as it is for None.

    Raises:
      ConfigError: a start before the path's own, where no network was trained, or not before its end.
    """
    if start is None:
        return path
    if not path.start <= start < path.end:
        raise ConfigError(f"start={start:g} is no time of this path, which is trained from {path.start:g} on and ends "
                          f"at {path.end:g}; take one of those before the end, or train from an earlier path.start")
    return dataclasses.replace(path, start=start)


class Grid(abc.ABC):
    """How times are spaced."""

    def times(self, path: Path, count: int, first: float | None = None):
        """Returns `count` falling times from `first` (the path's end) to the path's start.

        Raises:
          ConfigError: more times than a discrete schedule has, or fewer than two.
        """
        if path.max_steps and count > path.max_steps:
            raise ConfigError(f"{count} steps are more than the discretisation allows: this schedule has "
                              f"{path.max_steps} times; take at most so many steps, or a continuous schedule")
        if count < 2:
            raise ConfigError(f"steps must be at least 2, not {count}: the last one goes to the data")
        return self.spaced(path, count, first_time(path, first))

    @abc.abstractmethod
    def spaced(self, path: Path, count: int, first: float):
        """Returns the times; see `times`."""


@dataclass(frozen=True)
class UniformTime(Grid):
    """Evenly spaced in t; of a discrete schedule, the nearest of its own times i / N."""

    def spaced(self, path: Path, count: int, first: float):
        """See `Grid`."""
        if not path.max_steps:
            return jnp.linspace(first, path.start, count)
        # In whole numbers, so that no time comes twice: a step of no length is 0 / 0 to DPM-Solver++.
        most, least = round(first * path.max_steps), math.ceil(path.start * path.max_steps - 1e-3)
        if count > most - least + 1:
            raise ConfigError(f"{count} steps are more than the discretisation allows: from {first:g} to "
                              f"{path.start:g} this schedule has {most - least + 1} times; take at most so many steps")
        return jnp.round(jnp.linspace(most, least, count)) / path.max_steps


@dataclass(frozen=True)
class UniformLogSnr(Grid):
    """Evenly spaced in log-SNR, in which solvers of high order converge as they should (Lu et al. 2022, section 4)."""

    def spaced(self, path: Path, count: int, first: float):
        """See `Grid`."""
        least, most = (path.log_snr(jnp.asarray(t, float)) for t in (first, path.start))
        times = path.time_at(jnp.linspace(least, most, count))
        return times.at[0].set(first).at[-1].set(path.start)  # Without the rounding of there and back.


@dataclass(frozen=True)
class UniformAngle(Grid):
    """Evenly spaced in the angle arctan(sigma / alpha) of noise and data (Salimans and Ho 2022, arXiv 2202.00512, 4).

    It suits data of standard deviation 1 and stochastic solvers of order 1.
    """

    def spaced(self, path: Path, count: int, first: float):
        """See `Grid`."""
        most, least = (jnp.arctan(jnp.exp(-0.5 * path.log_snr(jnp.asarray(t, float)))) for t in (first, path.start))
        times = path.time_at(-2 * jnp.log(jnp.tan(jnp.linspace(most, least, count))))
        return times.at[0].set(first).at[-1].set(path.start)


@dataclass(frozen=True)
class Karras(Grid):
    """(sigma / alpha)^(1 / rho) evenly spaced: rho = 7 crowds the times near the data.

    Karras et al. 2022 (arXiv 2206.00364), equation 5.
    """

    rho: float = 7.0

    def __post_init__(self):
        if self.rho <= 0:
            raise ConfigError(f"grid.rho={self.rho} must be positive")

    def spaced(self, path: Path, count: int, first: float):
        """See `Grid`."""
        most, least = (jnp.exp(-0.5 * path.log_snr(jnp.asarray(t, float))) for t in (first, path.start))
        ratios = jnp.linspace(most ** (1 / self.rho), least ** (1 / self.rho), count) ** self.rho
        return path.time_at(-2 * jnp.log(ratios)).at[0].set(first).at[-1].set(path.start)
