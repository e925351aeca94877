"""Exact log-likelihoods by the probability-flow ODE, the codes it gives, and a bound that needs no ODE.

The ODE is solved for z = x / alpha in l = log(sigma / alpha), where dz / dl = (sigma / alpha) noise: smooth from end to
end. Along it d log p(z) / dl = -div (Chen et al. 2018, arXiv 1806.07366, theorem 1; Song et al. 2020, equation 39), and
log p(x) = log p(z) - D log alpha.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoiser
from genlab.diffusion.ode import solve
from genlab.diffusion.paths import Path, expand


class Likelihood(NamedTuple):
    """What the ODE says of x.

    Attributes:
      log_density: of each example, in nats: [B]. NaN where the ODE could not be solved.
      code: x at the path's end, [B, ...].
      evaluations: of the denoiser.
    """

    log_density: jax.Array
    code: jax.Array
    evaluations: Any


@dataclass(frozen=True)
class ProbabilityFlow:
    """How the ODE and its divergence are computed.

    Attributes:
      steps: of the classic Runge-Kutta method of order 4, four evaluations each; none for an adaptive method.
      divergence: "hutchinson", v^T J v for random signs v (Grathwohl et al. 2018, arXiv 1810.01367, section 3.1), the
        same v from start to end; or "exact", D backward passes an evaluation.
      probes: vectors v an example.
      rtol, atol: of the adaptive method.
    """

    steps: int | None = None
    divergence: Literal["hutchinson", "exact"] = "hutchinson"
    probes: int = 1
    rtol: float = 1e-5
    atol: float = 1e-5

    def __post_init__(self):
        if self.divergence not in ("hutchinson", "exact"):
            raise ConfigError(f'divergence must be "hutchinson" or "exact", not "{self.divergence}"')
        for name in ("steps", "probes"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")

    def log_likelihood(self, path: Path, denoiser: Denoiser, x, key,
                       terminal_log_density: Callable[[jax.Array], jax.Array] | None = None) -> Likelihood:
        """Returns the log density at the path's start, of x [B, ...].

        Args:
          path: of the model.
          denoiser: of the model; it needs a reverse-mode derivative.
          x: data.
          key: of the probes.
          terminal_log_density: of x [B, ...] at the path's end, [B]; the prior's by default. Where data are not centred
            and of variance 1, the true one differs from it.
        """
        start, end = (jnp.asarray(t, x.dtype) for t in (path.start, path.end))
        D = math.prod(x.shape[1:])
        state = (x / path.alpha(start), jnp.zeros(len(x), x.dtype))
        (z, integral_B), evaluations, success = self._integrate(path, self._rate(path, denoiser, x, key), state)
        code = path.alpha(end) * z
        terminal = terminal_log_density or path.prior_log_density
        log_density_B = terminal(code) + integral_B + D * jnp.log(path.alpha(end) / path.alpha(start))
        return Likelihood(jnp.where(success, log_density_B, jnp.nan), code, evaluations)

    def encode(self, path: Path, denoiser: Denoiser, x):
        """Returns x [B, ...] at the path's end: a code that `decode` turns back into x."""
        rate = _slope(path, denoiser)
        z, _, success = self._integrate(path, rate, x / path.alpha(jnp.asarray(path.start, x.dtype)))
        return jnp.where(success, path.alpha(jnp.asarray(path.end, x.dtype)) * z, jnp.nan)

    def decode(self, path: Path, denoiser: Denoiser, code):
        """Returns the data of codes [B, ...]."""
        rate = _slope(path, denoiser)
        z, _, success = self._integrate(path, rate, code / path.alpha(jnp.asarray(path.end, code.dtype)), back=True)
        return jnp.where(success, path.alpha(jnp.asarray(path.start, code.dtype)) * z, jnp.nan)

    def _rate(self, path: Path, denoiser: Denoiser, x, key):
        """(l, (z, _)) -> (dz / dl, div)."""
        slope, D = _slope(path, denoiser), math.prod(x.shape[1:])
        if self.divergence == "exact":
            probes = jnp.eye(D, dtype=x.dtype).reshape(D, 1, *x.shape[1:])
            probes = jnp.broadcast_to(probes, (D, *x.shape))
        else:
            probes = jax.random.rademacher(key, (self.probes, *x.shape), x.dtype)

        def rate(l, state):
            dz, pull_back = jax.vjp(lambda z: slope(l, z), state[0])

            def one(v):
                return jnp.sum(v * pull_back(v)[0], axis=tuple(range(1, x.ndim)))

            traces = jax.lax.map(one, probes) if self.probes > 1 or self.divergence == "exact" else one(probes[0])[None]
            return dz, traces.sum(axis=0) if self.divergence == "exact" else traces.mean(axis=0)

        return rate

    def _integrate(self, path: Path, rate, state, back: bool = False):
        """(state, evaluations, success) at the other end of the path."""
        dtype = jax.tree.leaves(state)[0].dtype
        first, last = (-0.5 * path.log_snr(jnp.asarray(t, dtype)) for t in (path.start, path.end))
        if back:
            first, last = last, first
        if self.steps is None:
            return solve(rate, state, first, last, self.rtol, self.atol)
        h = (last - first) / self.steps

        def step(state, i):
            l = first + i * h
            k_1 = rate(l, state)
            k_2 = rate(l + 0.5 * h, _add(state, 0.5 * h, k_1))
            k_3 = rate(l + 0.5 * h, _add(state, 0.5 * h, k_2))
            k_4 = rate(l + h, _add(state, h, k_3))
            total = jax.tree.map(lambda a, b, c, d: a + 2 * b + 2 * c + d, k_1, k_2, k_3, k_4)
            return _add(state, h / 6, total), None

        state, _ = jax.lax.scan(step, state, jnp.arange(self.steps, dtype=dtype))
        return state, 4 * self.steps, jnp.bool_(True)


def flow_of(sampler: Any) -> ProbabilityFlow:
    """Returns the likelihood that belongs to a sampler: of its ODE, in as many steps.

    Raises:
      ConfigError: the sampler adds noise, so its samples have no density that an ODE would know.
    """
    if sampler.stochastic:
        name = type(getattr(sampler, "solver", sampler)).__name__
        corrector = getattr(sampler, "corrector", None)
        what = name if corrector is None else f"{name} with {type(corrector).__name__}"
        raise ConfigError(f"a likelihood is that of the probability-flow ODE, and {what} adds noise; take a "
                          "deterministic sampler, such as Heun or the adaptive ODE")
    if not hasattr(sampler, "steps"):
        return ProbabilityFlow(rtol=sampler.rtol, atol=sampler.atol)
    return ProbabilityFlow(steps=sampler.steps)


def interpolate(path: Path, denoiser: Denoiser, x_a, x_b, fractions,
                flow: ProbabilityFlow = ProbabilityFlow(steps=20)):
    """Returns data between x_a and x_b [B, ...], [F, B, ...], by the great circle between their codes.

    On a straight line the codes between would be shorter than noise is (Song et al. 2020, appendix D.3).

    Args:
      path: of the model.
      denoiser: of the model.
      x_a, x_b: data.
      fractions: [F] of the way, 0 for x_a and 1 for x_b.
      flow: how the ODE is solved.
    """
    a, b = (flow.encode(path, denoiser, x) for x in (x_a, x_b))

    def norm(v):
        return jnp.sqrt(jnp.sum(v * v, axis=tuple(range(1, v.ndim)), keepdims=True))

    cosine = jnp.sum(a * b, axis=tuple(range(1, a.ndim)), keepdims=True) / (norm(a) * norm(b))
    angle = jnp.arccos(jnp.clip(cosine, -1, 1))
    small = jnp.sin(angle) < 1e-4

    def between(fraction):
        weight_a = jnp.where(small, 1 - fraction, jnp.sin((1 - fraction) * angle) / jnp.where(small, 1, jnp.sin(angle)))
        weight_b = jnp.where(small, fraction, jnp.sin(fraction * angle) / jnp.where(small, 1, jnp.sin(angle)))
        return flow.decode(path, denoiser, weight_a * a + weight_b * b)

    return jax.lax.map(between, jnp.asarray(fractions, a.dtype))


def negative_log_likelihood_bound(path: Path, denoiser: Denoiser, x, key, t_B, density_B):
    """Returns a bound on -log p(x), in nats, of each x [B, ...]: unbiased, by one draw of a time and of noises.

    KL(q(x_end | x) || prior) + E_t[g^2 / (2 sigma^2) |noise - predicted noise|^2 / density(t)] + E[-log N(x; expected
    data given x_start, (sigma / alpha)^2 I)] (Kingma et al. 2021, arXiv 2107.00630, equations 11 and 17, the
    reconstruction Gaussian). It takes two calls of the denoiser; the ODE's likelihood takes some hundred.

    Args:
      path, denoiser: of the model.
      x: data [B, ...].
      key: of the noises.
      t_B, density_B: times and their density (genlab/diffusion/times.py); UniformLogSnr's vary least.
    """
    D, axes = math.prod(x.shape[1:]), tuple(range(1, x.ndim))
    noise_key, start_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, x.shape, x.dtype)
    error_B = jnp.sum(jnp.square(noise - denoiser(path.perturb(x, noise, t_B), t_B).noise), axis=axes)
    rate_B = jnp.square(path.diffusion(t_B) / path.sigma(t_B))
    diffusion_B = 0.5 * rate_B * error_B / density_B

    start, end = (jnp.asarray(t, x.dtype) for t in (path.start, path.end))
    noise = jax.random.normal(start_key, x.shape, x.dtype)
    ratio = path.sigma(start) / path.alpha(start)
    missed_B = jnp.sum(jnp.square(x - denoiser(path.perturb(x, noise, start), start).data), axis=axes)
    reconstruction_B = 0.5 * missed_B / ratio**2 + 0.5 * D * jnp.log(2 * math.pi * ratio**2)

    variance, prior = jnp.square(path.sigma(end)), path.prior_std**2
    mean_B = jnp.sum(jnp.square(path.alpha(end) * x), axis=axes)
    prior_B = 0.5 * (mean_B / prior + D * (variance / prior - 1 - jnp.log(variance / prior)))
    return prior_B + diffusion_B + reconstruction_B


def bits_per_dimension(log_density_B, dimensions: int, levels: int):
    """Returns -log2 of the probability of each example's levels, per dimension: [B].

    For densities, in nats, of x = 2 (level + u) / levels - 1 (genlab/objectives/grey_levels.py), whose volume element
    is (2 / levels)^D.
    """
    return -(log_density_B + dimensions * math.log(2 / levels)) / (dimensions * math.log(2))


def _slope(path: Path, denoiser: Denoiser):
    """(l, z) -> dz / dl."""
    def slope(l, z):
        t = jnp.clip(path.time_at(-2 * l), path.start, path.end)
        return jnp.exp(l) * denoiser(expand(path.alpha(t), z) * z, t).noise

    return slope


def _add(state, step, rate):
    return jax.tree.map(lambda s, r: s + step * r, state, rate)
