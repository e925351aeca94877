"""Densities as probabilities of levels: noise u within a level makes levels k continuous, x = 2 (k + u) / levels - 1.

For any density q(u | k) on [0, 1)^D, by Jensen's inequality (Ho et al. 2019, arXiv 1902.00275, equation 11),

    log P(k) = log of the integral of p(k + u) over u >= E_q[log p(k + u) - log q(u | k)],

with equality if q is the model's own p(u | k). p here is the density in units of levels.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoiser
from genlab.diffusion.likelihood import ProbabilityFlow, bits_per_dimension
from genlab.diffusion.paths import Path
from genlab.randomness import per_example


class Dequantized(NamedTuple):
    """Levels made continuous.

    Attributes:
      x: [B, ...], in [-1, 1).
      log_density: log q(u | levels), in nats, of each example's u: [B].
    """

    x: jax.Array
    log_density: jax.Array


@dataclass(frozen=True)
class Dequantization(abc.ABC):
    """How u is drawn.

    Attributes:
      levels: how many there are: 0 to levels - 1.
    """

    levels: int = 256

    def __post_init__(self):
        if self.levels < 2:
            raise ConfigError(f"dequantization.levels={self.levels} must be at least 2")

    @abc.abstractmethod
    def noise(self, level, key) -> tuple[jax.Array, jax.Array]:
        """Returns (u [B, ...] in [0, 1), log q(u | level) [B]) for levels [B, ...], numbers of any type."""

    def draw(self, level, key) -> Dequantized:
        """Returns levels [B, ...] made continuous; gradients flow to the parameters of q."""
        u, log_density_B = self.noise(level, key)
        return Dequantized(2 * (level + u) / self.levels - 1, log_density_B)


@dataclass(frozen=True)
class Uniform(Dequantization):
    """q = 1 (Theis et al. 2015, arXiv 1511.01844, section 3.1): what training on uniformly dequantised images fits."""

    def noise(self, level, key):
        """See `Dequantization`."""
        return per_example(jax.random.uniform, key, level.shape), jnp.zeros(len(level))


@dataclass(frozen=True)
class Variational(Dequantization):
    """u = sigmoid(mean + exp(log_scale) z), z standard normal: logistic-normal noise that knows the image.

    log q(u) = log N(z; 0, 1) - log_scale - log u - log(1 - u). Mean 0 and log_scale .56 come nearest to uniform noise:
    .0095 nats a dimension from it.

    Attributes:
      parameters: the middles of the levels in x [B, ...] -> (mean, log_scale), [B, ...] each: a network bound to its
        variables, trained to lower log q(u) plus likelihood.negative_log_likelihood_bound at x.
    """

    parameters: Callable[[jax.Array], tuple[jax.Array, jax.Array]] = (
        lambda x: (jnp.zeros_like(x), jnp.full_like(x, 0.56)))

    def noise(self, level, key):
        """See `Dequantization`."""
        mean, log_scale = self.parameters(2 * (level + 0.5) / self.levels - 1)
        z = per_example(jax.random.normal, key, level.shape, dtype=mean.dtype)
        logit = mean + jnp.exp(log_scale) * z
        log_density = -0.5 * (z * z + math.log(2 * math.pi)) - log_scale
        log_density -= jax.nn.log_sigmoid(logit) + jax.nn.log_sigmoid(-logit)
        # The float32 nearest to a large logit's sigmoid is 1, which is the next level.
        u = jnp.minimum(jax.nn.sigmoid(logit), 1 - 2.0**-24)
        return u, log_density.reshape(len(level), -1).sum(axis=1)


def dequantized_bits(flow: ProbabilityFlow, path: Path, denoiser: Denoiser, level, key,
                     dequantization: Dequantization, samples: int = 1):
    """Returns bits per dimension [B], an estimate of an upper bound on -log2 P(level) / D.

    Args:
      flow: how likelihoods are computed.
      path: of the model.
      denoiser: of the model, of x = 2 (level + u) / levels - 1.
      level: [B, ...], from 0 to levels - 1.
      key: of u and of the divergence's probes.
      dequantization: of the levels.
      samples: u's per example; the logarithm of the mean of p(x) / q(u) over more of them is a tighter bound (Burda et
        al. 2015, arXiv 1509.00519, equation 8), if the divergence is exact.

    Raises:
      ConfigError: fewer than one sample.
    """
    if samples < 1:
        raise ConfigError(f"samples={samples} must be at least 1")

    def log_ratio(key):
        level_key, probe_key = jax.random.split(key)
        x, log_density_B = dequantization.draw(level, level_key)
        return flow.log_likelihood(path, denoiser, x, probe_key).log_density - log_density_B

    ratios_SB = jax.lax.map(log_ratio, jax.random.split(key, samples))
    log_probability_B = jax.nn.logsumexp(ratios_SB, axis=0) - math.log(samples)
    return bits_per_dimension(log_probability_B, math.prod(level.shape[1:]), dequantization.levels)
