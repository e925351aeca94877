"""How training times are drawn: distributions on [start, end] by their inverse CDF, of uniform numbers in strata."""

import abc
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.paths import Path
from genlab.randomness import examples, per_example


def stratified(key, count: int):
    """Returns uniform numbers, float32 [B], one in each of B equal parts of [0, 1), in random order.

    B is that of the whole batch, of which `count` examples may be a device's or a micro-batch's part.

    Each number alone is uniform, and the mean over a batch of a function of time varies far less than with independent
    draws (Kingma et al. 2021, arXiv 2107.00630, appendix I.1). Theirs are (u + i) / B for one u; here each stratum has
    its own, for losses rise or fall in time, and of a monotonic function the mean's standard deviation falls as
    B^(-3/2), not as 1 / B: of exp(u) at B = 16 to .06 of that of independent draws, not to .25.
    """
    place_key, order_key = jax.random.split(key)
    position_B, whole = examples(count)
    stratum_B = jax.random.permutation(order_key, whole)[position_B]
    placed_B = (per_example(jax.random.uniform, place_key, (count,)) + stratum_B) / whole
    # The float32 nearest to the last one may be 1.
    return jnp.minimum(placed_B, 1 - 2.0**-24)


class Times(abc.ABC):
    """A distribution of training times."""

    @abc.abstractmethod
    def quantile(self, path: Path, u):
        """Returns times [B] that are so distributed, for uniform numbers u [B]."""

    @abc.abstractmethod
    def density(self, path: Path, t):
        """Returns the density at times [B]."""

    def sample(self, path: Path, u):
        """Returns (times, their density), [B] each, for uniform numbers u [B]."""
        t = self.quantile(path, u)
        return t, self.density(path, t)


@dataclass(frozen=True)
class UniformTime(Times):
    """Uniform in t: the paper's choice (Song et al. 2020, equation 7)."""

    def quantile(self, path: Path, u):
        """See `Times`."""
        return path.start + (path.end - path.start) * u

    def density(self, path: Path, t):
        """See `Times`."""
        return jnp.full_like(t, 1 / (path.end - path.start))


def log_snr_rate(path: Path, t):
    """Returns -d log_snr / dt = g^2 / sigma^2 > 0."""
    return jnp.square(path.diffusion(t) / path.sigma(t))


@dataclass(frozen=True)
class UniformLogSnr(Times):
    """Uniform in the log-SNR, so with a density proportional to g^2 / sigma^2.

    That is the importance sampling of the likelihood weighting (Song et al. 2021, arXiv 2101.09258, section 4.2).
    """

    def quantile(self, path: Path, u):
        """See `Times`."""
        most, least = (path.log_snr(jnp.float32(t)) for t in (path.start, path.end))
        return jnp.clip(path.time_at(most + (least - most) * u), path.start, path.end)

    def density(self, path: Path, t):
        """See `Times`."""
        most, least = (path.log_snr(jnp.float32(t)) for t in (path.start, path.end))
        return log_snr_rate(path, t) / (most - least)


@dataclass(frozen=True)
class LogNormal(Times):
    """log(sigma / alpha) is normal, cut off at the path's ends (Karras et al. 2022, arXiv 2206.00364, table 1).

    On the straight path that is a logit-normal time: Stable Diffusion 3's has mean 0 and std 1 (Esser et al. 2024,
    arXiv 2403.03206, equation 19).
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self):
        if self.std <= 0:
            raise ConfigError(f"times.std={self.std} must be positive")

    def _bounds(self, path: Path):
        """The standard normal variables of the path's ends."""
        return [(-0.5 * path.log_snr(jnp.float32(t)) - self.mean) / self.std for t in (path.start, path.end)]

    def quantile(self, path: Path, u):
        """See `Times`."""
        bounds = self._bounds(path)
        low, high = jax.scipy.stats.norm.cdf(jnp.stack(bounds))
        # Rounded to 1 it would be infinite, and above 1 no number.
        z = jnp.clip(jax.scipy.stats.norm.ppf(jnp.clip(low + (high - low) * u, low, high)), *bounds)
        return jnp.clip(path.time_at(-2 * (self.mean + self.std * z)), path.start, path.end)

    def density(self, path: Path, t):
        """See `Times`."""
        low, high = jax.scipy.stats.norm.cdf(jnp.stack(self._bounds(path)))
        z = (-0.5 * path.log_snr(t) - self.mean) / self.std
        return jax.scipy.stats.norm.pdf(z) / self.std * 0.5 * log_snr_rate(path, t) / (high - low)


@dataclass(frozen=True)
class Mixture(Times):
    """Shares of the draws from several distributions."""

    parts: tuple[Times, ...]
    weights: tuple[float, ...]

    def __post_init__(self):
        if len(self.parts) != len(self.weights) or abs(sum(self.weights) - 1) > 1e-6 or min(self.weights) <= 0:
            raise ConfigError(f"a mixture of {len(self.parts)} times needs as many positive weights that add up to 1, "
                              f"not {self.weights}")

    def quantile(self, path: Path, u):
        """See `Times`: each part has its own share of [0, 1), stretched to the whole."""
        t, before = jnp.zeros_like(u), 0.0
        for part, weight in zip(self.parts, self.weights, strict=True):
            own = part.quantile(path, jnp.clip((u - before) / weight, 0, 1))
            t = jnp.where(u >= before, own, t)
            before += weight
        return t

    def density(self, path: Path, t):
        """See `Times`."""
        return sum(weight * part.density(path, t) for part, weight in zip(self.parts, self.weights, strict=True))
