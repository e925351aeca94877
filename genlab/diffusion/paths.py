"""Gaussian paths from data to noise: x_t = alpha(t) x_0 + sigma(t) noise, and the forward SDE that has these marginals.

One interface for the SDEs of Song et al. 2020 (arXiv 2011.13456), EDM and flow matching:

    dx = f(t) x dt + g(t) dw,    alpha' = f alpha,    (sigma^2)' = 2 f sigma^2 + g^2.

The noise is standard normal. Time runs from `start`, next to the data, to `end`; functions of time keep the shape and
type of t, [] or [B], and `expand` makes them multiply examples [B, ...].
"""

import abc
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.schedules import Linear, Schedule


def expand(t, x):
    """Returns t, [] or [B], with as many axes of length 1 added as make it multiply x [B, ...]."""
    t = jnp.asarray(t)
    return t.reshape(t.shape + (1,) * (x.ndim - 1)) if t.ndim else t


class Path(abc.ABC):
    """A path and its SDE; a frozen dataclass with a field `start`, the smallest time that is trained and sampled."""

    start: float

    @property
    def end(self) -> float:
        """The time of the prior."""
        return 1.0

    @property
    def max_steps(self) -> int | None:
        """How many steps of sampling there are at most; None for no limit."""
        return None

    @property
    def evenly_timed(self) -> bool:
        """Whether steps of equal length in t suit its SDE: not if time is the noise level itself, or rates explode."""
        return True

    @property
    def prior_std(self) -> float:
        """Of the normal distribution, of mean 0, that sampling starts from."""
        return 1.0

    @abc.abstractmethod
    def alpha(self, t):
        """Returns the factor of the data."""

    @abc.abstractmethod
    def sigma(self, t):
        """Returns the standard deviation of the noise."""

    @abc.abstractmethod
    def drift_rate(self, t):
        """Returns f(t)."""

    @abc.abstractmethod
    def diffusion(self, t):
        """Returns g(t)."""

    @abc.abstractmethod
    def time_at(self, log_snr):
        """Returns the t at which log_snr(t) is that: the inverse of `log_snr`."""

    def log_snr(self, t):
        """Returns log(alpha^2 / sigma^2), which falls in t (Kingma et al. 2021, arXiv 2107.00630, eq. 3)."""
        return 2 * (jnp.log(self.alpha(t)) - jnp.log(self.sigma(t)))

    def alpha_rate(self, t):
        """Returns d alpha / dt."""
        return self.drift_rate(t) * self.alpha(t)

    def sigma_rate(self, t):
        """Returns d sigma / dt."""
        return self.drift_rate(t) * self.sigma(t) + jnp.square(self.diffusion(t)) / (2 * self.sigma(t))

    def speed(self, t):
        """Returns what the velocity that a network predicts is divided by: see `denoiser.Prediction`."""
        return jnp.hypot(self.alpha_rate(t), self.sigma_rate(t))

    def marginal(self, x_0, t):
        """Returns (mean [B, ...], standard deviation, of t's shape) of x_t given x_0 [B, ...]."""
        return expand(self.alpha(t), x_0) * x_0, self.sigma(t)

    def drift(self, x, t):
        """Returns f(t) x, [B, ...]."""
        return expand(self.drift_rate(t), x) * x

    def perturb(self, x_0, noise, t):
        """Returns x_t = alpha(t) x_0 + sigma(t) noise."""
        return expand(self.alpha(t), x_0) * x_0 + expand(self.sigma(t), x_0) * noise

    def prior_sample(self, key, shape, dtype=jnp.float32):
        """Returns x at the time `end`, of `shape` [B, ...]."""
        return self.prior_std * jax.random.normal(key, shape, dtype)

    def prior_log_density(self, x):
        """Returns the log density, in nats, of each x [B, ...] at the time `end` under the prior: [B]."""
        D = math.prod(x.shape[1:])
        squares_B = jnp.square(x / self.prior_std).reshape(len(x), D).sum(axis=-1)
        return -0.5 * (squares_B + D * math.log(2 * math.pi * self.prior_std**2))


def _check_start(start: float, end: float) -> None:
    if not 0 < start < end:
        raise ConfigError(f"start={start} must be between 0 and the path's end, {end}")


@dataclass(frozen=True)
class VP(Path):
    """Variance preserving: alpha = exp(-B / 2), sigma^2 = 1 - alpha^2 (equations 11 and 29).

    With schedules.Discrete it is DDPM, whose first time is 1 / N. `start` is what the paper samples to (appendix C); it
    trains from 1e-5.
    """

    schedule: Schedule = Linear()
    start: float = 1e-3

    def __post_init__(self):
        _check_start(self.start, self.end)
        if self.max_steps and self.start < 1 / self.max_steps:
            raise ConfigError(f"the first time of a discrete schedule of {self.max_steps} steps is "
                              f"{1 / self.max_steps:g}; start={self.start} is before it")

    @property
    def end(self) -> float:
        """See `Path`."""
        return self.schedule.end

    @property
    def max_steps(self) -> int | None:
        """See `Path`."""
        return self.schedule.max_steps

    def alpha(self, t):
        """See `Path`."""
        return jnp.exp(-0.5 * self.schedule.integral(t))

    def sigma(self, t):
        """See `Path`; 1 - exp(.) would be wrong by 2.4 % at t = 1e-5 in float32."""
        return jnp.sqrt(-jnp.expm1(-self.schedule.integral(t)))

    def log_snr(self, t):
        """See `Path`."""
        return -jnp.log(jnp.expm1(self.schedule.integral(t)))

    def drift_rate(self, t):
        """See `Path`."""
        return -0.5 * self.schedule.beta(t)

    def diffusion(self, t):
        """See `Path`."""
        return jnp.sqrt(self.schedule.beta(t))

    def time_at(self, log_snr):
        """See `Path`: alpha^2 = sigmoid(log_snr)."""
        return self.schedule.time_at(jax.nn.softplus(-log_snr))


@dataclass(frozen=True)
class SubVP(Path):
    """alpha of VP, and sigma = 1 - alpha^2: less noise than VP at every time (equation 29)."""

    schedule: Schedule = Linear()
    start: float = 1e-3

    def __post_init__(self):
        _check_start(self.start, self.end)
        if self.schedule.max_steps:
            raise ConfigError("a discrete schedule is DDPM's, which is VP; sub-VP takes Linear() or Cosine()")

    @property
    def end(self) -> float:
        """See `Path`."""
        return self.schedule.end

    def alpha(self, t):
        """See `Path`."""
        return jnp.exp(-0.5 * self.schedule.integral(t))

    def sigma(self, t):
        """See `Path`."""
        return -jnp.expm1(-self.schedule.integral(t))

    def drift_rate(self, t):
        """See `Path`."""
        return -0.5 * self.schedule.beta(t)

    def diffusion(self, t):
        """See `Path`: g^2 = beta (1 - exp(-2 B)) (equation 28)."""
        return jnp.sqrt(self.schedule.beta(t) * -jnp.expm1(-2 * self.schedule.integral(t)))

    def time_at(self, log_snr):
        """See `Path`: with r = alpha / sigma, r alpha^2 + alpha - r = 0, and B = -log(1 - alpha / r)."""
        r = jnp.exp(0.5 * log_snr)
        alpha = 2 * r / (1 + jnp.sqrt(1 + 4 * r * r))
        return self.schedule.time_at(-jnp.log1p(-alpha / r))


@dataclass(frozen=True)
class VE(Path):
    """Variance exploding: alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t (equation 30).

    `sigma_max` should be the largest distance between two training images (Song and Ermon 2020, arXiv 2006.09011).
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    start: float = 1e-5

    def __post_init__(self):
        _check_start(self.start, self.end)
        if not 0 < self.sigma_min < self.sigma_max:
            raise ConfigError(f"VE needs 0 < sigma_min < sigma_max, not {self.sigma_min}, {self.sigma_max}")

    @property
    def _log_range(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    @property
    def prior_std(self) -> float:
        """See `Path`."""
        return self.sigma_max

    def alpha(self, t):
        """See `Path`."""
        return jnp.ones_like(t)

    def sigma(self, t):
        """See `Path`."""
        return self.sigma_min * jnp.exp(t * self._log_range)

    def log_snr(self, t):
        """See `Path`."""
        return -2 * (math.log(self.sigma_min) + t * self._log_range)

    def drift_rate(self, t):
        """See `Path`."""
        return jnp.zeros_like(t)

    def diffusion(self, t):
        """See `Path`."""
        return self.sigma(t) * math.sqrt(2 * self._log_range)

    def time_at(self, log_snr):
        """See `Path`."""
        return (-0.5 * log_snr - math.log(self.sigma_min)) / self._log_range


@dataclass(frozen=True)
class EDM(Path):
    """alpha = 1, sigma = t: time is the noise level (Karras et al. 2022, arXiv 2206.00364, section 3)."""

    start: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self):
        _check_start(self.start, self.end)

    @property
    def end(self) -> float:
        """See `Path`."""
        return self.sigma_max

    @property
    def evenly_timed(self) -> bool:
        """See `Path`."""
        return False

    @property
    def prior_std(self) -> float:
        """See `Path`."""
        return self.sigma_max

    def alpha(self, t):
        """See `Path`."""
        return jnp.ones_like(t)

    def sigma(self, t):
        """See `Path`."""
        return jnp.asarray(t)

    def drift_rate(self, t):
        """See `Path`."""
        return jnp.zeros_like(t)

    def diffusion(self, t):
        """See `Path`."""
        return jnp.sqrt(2 * t)

    def time_at(self, log_snr):
        """See `Path`."""
        return jnp.exp(-0.5 * log_snr)


@dataclass(frozen=True)
class Flow(Path):
    """alpha = 1 - t, sigma = t: straight lines from data to noise.

    Flow matching's optimal-transport path (Lipman et al. 2022, arXiv 2210.02747, eq. 22 with sigma_min 0 and time
    reversed) and rectified flow (Liu et al. 2022, arXiv 2209.03003). Its SDE forgets the data at an infinite rate at
    t = 1, so times end just before, at 1 - start.
    """

    start: float = 1e-3

    def __post_init__(self):
        _check_start(self.start, 0.5)

    @property
    def evenly_timed(self) -> bool:
        """See `Path`."""
        return False

    @property
    def end(self) -> float:
        """See `Path`."""
        return 1.0 - self.start

    def alpha(self, t):
        """See `Path`."""
        return 1 - jnp.asarray(t)

    def sigma(self, t):
        """See `Path`."""
        return jnp.asarray(t)

    def alpha_rate(self, t):
        """See `Path`."""
        return -jnp.ones_like(t)

    def sigma_rate(self, t):
        """See `Path`."""
        return jnp.ones_like(t)

    def speed(self, t):
        """See `Path`: 1, so that the velocity is that of the papers, noise - data."""
        return jnp.ones_like(t)

    def drift_rate(self, t):
        """See `Path`."""
        return -1 / (1 - t)

    def diffusion(self, t):
        """See `Path`."""
        return jnp.sqrt(2 * t / (1 - t))

    def time_at(self, log_snr):
        """See `Path`."""
        return jax.nn.sigmoid(-0.5 * log_snr)
