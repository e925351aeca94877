"""How fast a variance-preserving process forgets: integrals of beta(t), t from 0 to 1."""

import abc
import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError


class Schedule(abc.ABC):
    """beta(t) > 0 and its integral B(t) from 0 to t; alpha of the VP process is exp(-B / 2)."""

    @property
    def end(self) -> float:
        """The largest time."""
        return 1.0

    @property
    def max_steps(self) -> int | None:
        """How many steps of sampling there are at most: a discrete schedule has so many times; None for no limit."""
        return None

    @abc.abstractmethod
    def beta(self, t):
        """Returns beta(t)."""

    @abc.abstractmethod
    def integral(self, t):
        """Returns B(t)."""

    @abc.abstractmethod
    def time_at(self, integral):
        """Returns t with B(t) = integral."""


@dataclass(frozen=True)
class Linear(Schedule):
    """beta(t) = beta_min + t (beta_max - beta_min) (Song et al. 2020, arXiv 2011.13456, equation 32)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self):
        if not 0 < self.beta_min <= self.beta_max:
            raise ConfigError(f"a linear schedule needs 0 < beta_min <= beta_max, not {self.beta_min}, {self.beta_max}")

    def beta(self, t):
        """See `Schedule`."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integral(self, t):
        """See `Schedule`."""
        return t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))

    def time_at(self, integral):
        """See `Schedule`; the root of the quadratic in the form that does not cancel."""
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + jnp.sqrt(self.beta_min**2 + 2 * slope * integral))


@dataclass(frozen=True)
class Cosine(Schedule):
    """alpha(t) = cos(u(t)) / cos(u(0)), u(t) = pi / 2 (t + s) / (1 + s).

    Nichol and Dhariwal 2021 (arXiv 2102.09672, equation 17). beta grows without bound towards t = 1, so times end at
    .9946 (Lu et al. 2022, arXiv 2206.00927, appendix D.2), where the log-SNR is -9.5.
    """

    offset: float = 0.008

    @property
    def end(self) -> float:
        """See `Schedule`."""
        return 0.9946

    def _angle(self, t):
        return 0.5 * math.pi * (t + self.offset) / (1 + self.offset)

    def beta(self, t):
        """See `Schedule`."""
        return math.pi / (1 + self.offset) * jnp.tan(self._angle(t))

    def integral(self, t):
        """See `Schedule`: -2 log(cos(u0 + d) / cos u0), where that ratio is 1 - 2 sin(d/2) sin(u0 + d/2) / cos u0.

        So it keeps its digits at small t.
        """
        start = self._angle(0.0)
        half = 0.25 * math.pi * t / (1 + self.offset)
        return -2 * jnp.log1p(-2 * jnp.sin(half) * jnp.sin(start + half) / math.cos(start))

    def time_at(self, integral):
        """See `Schedule`: sin u = sqrt(1 - cos(u0)^2 e^-B), by atan2, which keeps its digits at small angles."""
        start = self._angle(0.0)
        cos = math.cos(start) * jnp.exp(-0.5 * integral)
        # 1 - cos^2(u0) e^-B without the cancellation.
        sin = jnp.sqrt(math.sin(start) ** 2 - math.cos(start) ** 2 * jnp.expm1(-integral))
        return jnp.arctan2(sin, cos) * 2 * (1 + self.offset) / math.pi - self.offset


@dataclass(frozen=True)
class Discrete(Schedule):
    """DDPM's: alpha^2(i / N) is the product of 1 - beta_j over j <= i, for N values beta_j spaced evenly.

    Ho et al. 2020 (arXiv 2006.11239, section 4). Between those times log alpha is linear; sampling uses the times
    i / N. In all 1,000 of them ancestral sampling with the "forward" variance errs by 1.3e-3 in the covariance of
    normal data, Euler-Maruyama by 2.5e-3, which on `Linear` is 1.2e-3: beta falls within a step there, whose start
    has the most, and half of the error cancels (with that of the step's middle it is 2.5e-3 too).
    """

    num_steps: int = 1_000
    beta_min: float = 1e-4
    beta_max: float = 0.02

    def __post_init__(self):
        if self.num_steps < 1 or not 0 < self.beta_min <= self.beta_max < 1:
            raise ConfigError(f"a discrete schedule needs num_steps >= 1 and 0 < beta_min <= beta_max < 1, not {self}")

    @property
    def max_steps(self) -> int:
        """See `Schedule`."""
        return self.num_steps

    @property
    def _table(self) -> np.ndarray:
        """B at the times i / N, [N + 1]."""
        betas = np.linspace(self.beta_min, self.beta_max, self.num_steps)
        return np.concatenate([[0.0], np.cumsum(-np.log1p(-betas))])

    def beta(self, t):
        """See `Schedule`: constant between two times, right-continuous in reverse time."""
        rates = self.num_steps * np.diff(self._table)
        # A float32 i / N must find the interval that ends at i.
        place = jnp.ceil(t * self.num_steps - 1e-3).astype(int) - 1
        return jnp.asarray(rates, jnp.result_type(t, jnp.float32))[jnp.clip(place, 0, self.num_steps - 1)]

    def integral(self, t):
        """See `Schedule`."""
        # By index: jnp.interp would search for the place, and make a sampler compile for nearly twice as long.
        place = jnp.clip(t * self.num_steps, 0, self.num_steps)
        before = jnp.minimum(place.astype(int), self.num_steps - 1)
        table = jnp.asarray(self._table, place.dtype)
        return table[before] + (place - before) * (table[before + 1] - table[before])

    def time_at(self, integral):
        """See `Schedule`."""
        return jnp.interp(integral, self._table, np.arange(self.num_steps + 1.0)) / self.num_steps
