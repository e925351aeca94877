"""Exact log-likelihoods by the probability-flow ODE, the codes it gives, and a bound that needs no ODE.

The ODE is solved for y = x / n, n = hypot(alpha, sigma), in l = log(sigma / alpha). With c = alpha / n, s = sigma / n,

    dy/dl = s c (c noise - s data),

which is near 0 at both ends of every path: noise and data alike keep still. (In z = x / alpha, where
dz/dl = (sigma / alpha) noise, the noise grows as e^l: 25 Runge-Kutta steps err by 8e-3 nats on a Gaussian under VP, and
by 6e-5 in y.) Along it log p(y) falls by the trace of that rate's Jacobian (Chen et al. 2018, arXiv 1806.07366, theorem
1; Song et al. 2020, arXiv 2011.13456, equation 39), and log p(x) = log p(y) - D log n.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoiser
from genlab.diffusion.ode import Solution, solve
from genlab.diffusion.paths import Path
from genlab.diffusion.times import stratified
from genlab.randomness import per_example

AT_ONCE = 16  # Backward passes side by side: 16 fill the cores, and all D of an image would not fit.


class Likelihood(NamedTuple):
    """What the ODE says of x.

    Attributes:
      log_density: of each example, in nats: [B]. NaN where the ODE could not be solved.
      code: x at the path's end, [B, ...].
      evaluations: of the denoiser and its backward pass.
    """

    log_density: jax.Array
    code: jax.Array
    evaluations: Any


@dataclass(frozen=True)
class ProbabilityFlow:
    """The ODE as a map between data and noise, and how it and its divergence are computed.

    The way begins at the path's start, as if data were x there: for another one see `grids.starting_at`. A Gaussian's
    log density at VP's t = 1e-3 is 5e-4 nats from that of the data, at 1e-5 5e-6.

    Attributes:
      steps: of the classic Runge-Kutta method of order 4, four evaluations each; none for an adaptive method.
      divergence: "hutchinson", v^T J v for random v with E[v v^T] = 1, the same v on the whole way (Grathwohl et al.
        2018, arXiv 1810.01367, section 3.1); or "exact", D backward passes an evaluation. Both use reverse mode alone.
      probe: of Hutchinson's v: "rademacher", random signs, to whose variance a Jacobian's diagonal adds nothing; or
        "gaussian".
      probes: vectors v an example.
      rtol, atol: of the adaptive method: the error allowed a step.
    """

    steps: int | None = None
    divergence: Literal["hutchinson", "exact"] = "hutchinson"
    probe: Literal["rademacher", "gaussian"] = "rademacher"
    probes: int = 1
    rtol: float = 1e-5
    atol: float = 1e-5

    def __post_init__(self):
        for name, allowed in (("divergence", ("hutchinson", "exact")), ("probe", ("rademacher", "gaussian"))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f'{name} must be "{allowed[0]}" or "{allowed[1]}", not "{getattr(self, name)}"')
        for name in ("steps", "probes"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")

    def log_likelihood(self, path: Path, denoiser: Denoiser, x, key=None,
                       terminal_log_density: Callable[[jax.Array], jax.Array] | None = None) -> Likelihood:
        """Returns the log density at the path's start, of x [B, ...].

        Args:
          path: of the model.
          denoiser: of the model; it needs a reverse-mode derivative.
          x: data.
          key: of the probes; an exact divergence needs none.
          terminal_log_density: of x [B, ...] at the path's end, [B]; the prior's by default. Where data are not centred
            and of variance 1, the true one differs from it.

        Raises:
          ConfigError: probes without a key.
        """
        B, D = len(x), math.prod(x.shape[1:])
        scale_start, scale_end = (_scale(path, jnp.asarray(t, x.dtype)) for t in (path.start, path.end))
        rate = self._rate_and_divergence(path, denoiser, x, key)
        found = self._integrate(path, rate, (x / scale_start, jnp.zeros(B, x.dtype)))
        y, integral_B = found.x
        code = scale_end * y
        log_density_B = (terminal_log_density or path.prior_log_density)(code) + integral_B
        log_density_B += D * (jnp.log(scale_end) - jnp.log(scale_start))
        return Likelihood(jnp.where(found.success, log_density_B, jnp.nan), code, found.evaluations)

    def encode(self, path: Path, denoiser: Denoiser, x):
        """Returns x [B, ...] at the path's end: a code that `decode` turns back into x, up to the solver's error."""
        return self._transport(path, denoiser, x, path.start, path.end)

    def decode(self, path: Path, denoiser: Denoiser, code):
        """Returns the data of codes [B, ...]."""
        return self._transport(path, denoiser, code, path.end, path.start)

    def _transport(self, path: Path, denoiser: Denoiser, x, t0: float, t1: float):
        scale_0, scale_1 = (_scale(path, jnp.asarray(t, x.dtype)) for t in (t0, t1))
        found = self._integrate(path, _rate(path, denoiser), x / scale_0, back=t1 < t0)
        return jnp.where(found.success, scale_1 * found.x, jnp.nan)

    def _rate_and_divergence(self, path: Path, denoiser: Denoiser, x, key):
        """(l, (y, _)) -> (dy/dl, its divergence [B])."""
        rate, (B, D) = _rate(path, denoiser), (len(x), math.prod(x.shape[1:]))
        if self.divergence == "hutchinson":
            if key is None:
                raise ConfigError('the divergence "hutchinson" draws probes: give a key, or take "exact"')
            draw = jax.random.rademacher if self.probe == "rademacher" else jax.random.normal
            probes_NBD = draw(key, (self.probes, B, D), x.dtype)

        def with_divergence(l, state):
            dy, pull_back = jax.vjp(lambda y: rate(l, y), state[0])

            def row(v_BD):
                return pull_back(v_BD.reshape(x.shape))[0].reshape(B, D)

            def entry(i):
                return row(jnp.zeros((B, D), x.dtype).at[:, i].set(1))[:, i]

            if self.divergence == "exact":
                return dy, jax.lax.map(entry, jnp.arange(D), batch_size=min(D, AT_ONCE)).sum(axis=0)
            if self.probes == 1:
                return dy, (probes_NBD[0] * row(probes_NBD[0])).sum(axis=1)
            rows_NBD = jax.lax.map(row, probes_NBD, batch_size=min(self.probes, AT_ONCE))
            return dy, (probes_NBD * rows_NBD).sum(axis=2).mean(axis=0)

        return with_divergence

    def _integrate(self, path: Path, rate, state, back: bool = False) -> Solution:
        """The state at the other end of the path."""
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
        return Solution(state, jnp.asarray(4 * self.steps), jnp.asarray(True))


def flow_of(sampler: Any) -> ProbabilityFlow:
    """Returns the likelihood that belongs to a sampler: of its ODE, in as many Runge-Kutta steps, or as adaptive.

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
                flow: ProbabilityFlow = ProbabilityFlow(steps=20), denoiser_b: Denoiser | None = None):
    """Returns data between x_a and x_b [B, ...], [F, B, ...], by the great circle between their codes.

    On a straight line the codes between would be shorter than noise is (Song et al. 2020, appendix D.3).

    Args:
      path: of the model.
      denoiser: of the model.
      x_a, x_b: data.
      fractions: [F] of the way, 0 for x_a and 1 for x_b.
      flow: how the ODE is solved.
      denoiser_b: of x_b, where it has another label than x_a, whose `denoiser` is then; between them what both say is
        mixed by the fraction, which costs two calls.
    """
    a, b = flow.encode(path, denoiser, x_a), flow.encode(path, denoiser_b or denoiser, x_b)

    def between(fraction):
        def mixed(x, t):
            return jax.tree.map(lambda of_a, of_b: (1 - fraction) * of_a + fraction * of_b, denoiser(x, t),
                                denoiser_b(x, t))

        return flow.decode(path, mixed if denoiser_b else denoiser, spherical(a, b, fraction))

    return jax.lax.map(between, jnp.asarray(fractions, a.dtype))


def spherical(a, b, fraction):
    """Returns the point at `fraction` of the arc about the origin from a to b [B, ...]; if they meet, of the chord."""
    def norm(v):
        return jnp.sqrt(jnp.sum(v * v, axis=tuple(range(1, v.ndim)), keepdims=True))

    unit_a, unit_b = a / norm(a), b / norm(b)
    # The arc cosine of the inner product would have half the digits.
    angle = 2 * jnp.arctan2(norm(unit_a - unit_b), norm(unit_a + unit_b))
    chord = jnp.sin(angle) < 1e-4
    sine = jnp.where(chord, 1, jnp.sin(angle))
    weight_a = jnp.where(chord, 1 - fraction, jnp.sin((1 - fraction) * angle) / sine)
    weight_b = jnp.where(chord, fraction, jnp.sin(fraction * angle) / sine)
    return weight_a * a + weight_b * b


def negative_log_likelihood_bound(path: Path, denoiser: Denoiser, x, key, times_per_example: int = 1):
    """Returns an unbiased estimate [B], in nats, of an upper bound on -log p(x) under the model's reverse SDE.

    Kingma et al. 2021 (arXiv 2107.00630, equations 11 and 17) and Song et al. 2021 (arXiv 2101.09258, theorem 3):

        KL(q(x_T | x) || prior) + E[-log N(x; x_s / alpha_s, (sigma_s / alpha_s)^2)]
            + 1/2 integral of E|noise - predicted noise|^2 over the log-SNR,

    s the path's start and T its end; the second term is D / 2 log(2 pi e sigma_s^2 / alpha_s^2). Log-SNRs are uniform,
    one of each example's in each of as many strata as it has, and one of the batch's in each of B times as many.

    Args:
      path: of the model.
      denoiser: of the model.
      x: data [B, ...].
      key: of times and noise.
      times_per_example: calls of the denoiser, with another time and noise each; the ODE's likelihood takes some 100.
    """
    B, D = len(x), math.prod(x.shape[1:])
    most, least = (path.log_snr(jnp.asarray(t, x.dtype)) for t in (path.start, path.end))
    time_key, noise_key = jax.random.split(key)
    first_B = stratified(time_key, B).astype(x.dtype)

    def squares(k):
        t_B = path.time_at(most + (least - most) * (k + first_B) / times_per_example)
        t_B = jnp.clip(t_B, path.start, path.end)
        noise = per_example(jax.random.normal, jax.random.fold_in(noise_key, k), x.shape, dtype=x.dtype)
        error = noise - denoiser(path.perturb(x, noise, t_B), t_B).noise
        return jnp.square(error).reshape(B, D).sum(axis=1)

    squares_B = jax.lax.map(squares, jnp.arange(times_per_example)).mean(axis=0)
    mean, std = path.marginal(x, jnp.asarray(path.end, x.dtype))
    ratio = jnp.square(std / path.prior_std)
    prior_B = 0.5 * (jnp.square(mean / path.prior_std).reshape(B, D).sum(axis=1) + D * (ratio - 1 - jnp.log(ratio)))
    return prior_B + 0.5 * D * (math.log(2 * math.pi) + 1 - most) + 0.5 * (most - least) * squares_B


def bits_per_dimension(log_density_B, dimensions: int, levels: int):
    """Returns -log2 of the probability of each example's levels, per dimension: [B].

    For densities, in nats, of x = 2 (level + u) / levels - 1 (genlab/diffusion/dequantization.py), whose volume element
    is (2 / levels)^D. Their mean over examples has the examples' standard error.
    """
    return -(log_density_B + dimensions * math.log(2 / levels)) / (dimensions * math.log(2))


def _scale(path: Path, t):
    """n(t)."""
    return jnp.hypot(path.alpha(t), path.sigma(t))


def _rate(path: Path, denoiser: Denoiser):
    """(l, y) -> dy/dl."""
    def rate(l, y):
        t = jnp.clip(path.time_at(-2 * l), path.start, path.end)
        n = _scale(path, t)
        c, s = path.alpha(t) / n, path.sigma(t) / n
        data, noise = denoiser(n * y, t)
        return s * c * (c * noise - s * data)

    return rate


def _add(state, step, rate):
    return jax.tree.map(lambda s, r: s + step * r, state, rate)
