"""Bounds on the probabilities of levels, of a mixture of Gaussians in one dimension whose levels are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import from_data
from genlab.diffusion.dequantization import Uniform, Variational, dequantized_bits
from genlab.diffusion.likelihood import ProbabilityFlow
from genlab.diffusion.paths import EDM

LEVELS = 8
WEIGHTS, MEANS, STDS = np.array([0.6, 0.4]), np.array([-0.3, 0.4]), np.array([0.12, 0.2])
EDGES = np.linspace(-1, 1, LEVELS + 1)
PROBABILITIES = np.diff(norm.cdf((EDGES[:, None] - MEANS) / STDS) @ WEIGHTS)
KEPT = np.arange(1, LEVELS - 1)  # The outermost have next to nothing.
EACH = 4_000


def key(seed):
    """Of a generator that compiles in a tenth of the default one's time."""
    return jax.random.key(seed, impl="rbg")


def density(x):
    """Of the mixture, at x [N]."""
    return norm.pdf((x[:, None] - MEANS) / STDS) / STDS @ WEIGHTS


def best_noise():
    """(mean, log_scale) of logistic-normal noise for each level: those of the highest bound, by Gauss's rule."""
    z, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def loss(parameters, level):
        mean, log_scale = parameters
        u = 1 / (1 + np.exp(-mean - np.exp(log_scale) * z))
        log_q = norm.logpdf(z) - log_scale - np.log(u * (1 - u))
        log_p = np.log(density(2 * (level + u) / LEVELS - 1) * 2 / LEVELS)
        return weights @ (log_q - log_p)

    return np.array([minimize(loss, [0.0, 0.5], args=(level,), method="Nelder-Mead").x for level in range(LEVELS)])


@pytest.fixture(scope="module")
def variational():
    """The best noise of that kind."""
    table = jnp.asarray(best_noise(), jnp.float32)

    def parameters(x):
        level = jnp.round((x + 1) * LEVELS / 2 - 0.5).astype(int)
        return table[level, 0], table[level, 1]

    return Variational(LEVELS, parameters)


@pytest.fixture(scope="module")
def levels():
    """Many of each level that has some probability, [N, 1]."""
    return np.repeat(KEPT, EACH)[:, None]


def bounds(dequantization, levels):
    """(bounds on log P of each level, their standard errors), with the exact density of x."""
    x, log_q = jax.jit(dequantization.draw)(levels, key(0))
    ratios = np.log(density(np.asarray(x, np.float64)[:, 0]) * 2 / LEVELS) - np.asarray(log_q)
    each = ratios.reshape(len(KEPT), EACH)
    return each.mean(axis=1), each.std(axis=1) / np.sqrt(EACH)


def test_noise_that_knows_the_level_is_tighter_than_uniform(variational, levels):
    """Both are bounds (Ho et al. 2019, section 3.1); the better loses less than a fifth of what uniform noise does."""
    true = np.log(PROBABILITIES[KEPT])
    uniform, uniform_error = bounds(Uniform(LEVELS), levels)
    knowing, knowing_error = bounds(variational, levels)
    assert (uniform < true + 4 * uniform_error).all() and (knowing < true + 4 * knowing_error).all()
    lost, still_lost = ((true - bound) @ PROBABILITIES[KEPT] for bound in (uniform, knowing))
    assert lost > 0.1 and still_lost < 0.2 * lost
    # Uniform noise's bound is the mean of log p over the level.
    x = 2 * (KEPT[:, None] + (np.arange(1_000) + 0.5) / 1_000) / LEVELS - 1
    mean = np.log(density(x.reshape(-1)) * 2 / LEVELS).reshape(x.shape).mean(axis=1)
    np.testing.assert_allclose(uniform, mean, atol=4 * uniform_error.max())


def test_draws_lie_in_their_levels_with_the_density_they_say(variational):
    levels = np.random.default_rng(0).integers(0, LEVELS, (50, 3, 2))
    for dequantization in (Uniform(LEVELS), variational):
        x, log_q = jax.jit(dequantization.draw)(levels, key(1))
        u = (np.asarray(x, np.float64) + 1) * LEVELS / 2 - levels
        assert x.dtype == jnp.float32 and u.min() >= -1e-6 and u.max() <= 1 + 1e-6
        if dequantization == variational:
            mean, log_scale = (np.asarray(p) for p in dequantization.parameters(2 * (levels + 0.5) / LEVELS - 1))
            scale, logit = np.exp(log_scale), np.log(u / (1 - u))
            each = norm.logpdf((logit - mean) / scale) - log_scale - np.log(u * (1 - u))
            np.testing.assert_allclose(log_q, each.sum(axis=(1, 2)), rtol=1e-3, atol=1e-3)
        else:
            np.testing.assert_array_equal(log_q, np.zeros(50))


def test_default_variational_noise_is_nearly_uniform():
    _, log_q = jax.jit(Variational(LEVELS).draw)(np.zeros((20_000, 1)), key(0))
    assert abs(np.mean(log_q) - 0.0095) < 4 * np.std(log_q) / np.sqrt(20_000)


def test_bits_of_a_model(variational, levels):
    """The same bounds with the model's own density, by the ODE; more draws are tighter."""
    path, few = EDM(0.002, 80.0), levels[::20]
    flow = ProbabilityFlow(steps=40, divergence="exact")

    def denoise(x, t):
        variance = STDS**2 + t**2
        share = jax.nn.softmax(jnp.log(WEIGHTS) - 0.5 * jnp.log(variance) - 0.5 * (x - MEANS) ** 2 / variance)
        return from_data(path, x, t, (share * (MEANS + STDS**2 * (x - MEANS) / variance)).sum(axis=1, keepdims=True))

    @jax.jit
    def bits(levels, key):
        return [dequantized_bits(flow, path, denoise, levels, key, dequantization, samples)
                for dequantization, samples in ((Uniform(LEVELS), 1), (Uniform(LEVELS), 8), (variational, 1))]

    share = PROBABILITIES[KEPT] / PROBABILITIES[KEPT].sum()
    uniform, uniform_8, knowing = (np.repeat(share, EACH // 20) @ each / (EACH // 20) for each in bits(few, key(2)))
    true = -np.log2(PROBABILITIES[KEPT]) @ share
    assert true - 0.01 < knowing < uniform - 0.1
    assert true - 0.01 < uniform_8 < uniform - 0.1
    np.testing.assert_allclose(knowing, true, atol=0.03)


def test_gradients_reach_the_noise():
    """q learns by its draws: log q of logistic-normal noise falls by 1 + E[z scale (1 - 2 u)] per unit of log_scale."""
    levels = np.zeros((4, 1))

    @jax.jit
    def mean_log_q(log_scale):
        noise = Variational(LEVELS, lambda x: (jnp.zeros_like(x), jnp.full_like(x, log_scale)))
        return noise.draw(levels, key(0)).log_density.mean()

    slope = (mean_log_q(0.31) - mean_log_q(0.29)) / 0.02
    np.testing.assert_allclose(jax.grad(mean_log_q)(0.3), slope, rtol=1e-2)


def test_bad_dequantisation_is_refused():
    with pytest.raises(ConfigError, match="dequantization.levels=1 must be at least 2"):
        Uniform(1)
    with pytest.raises(ConfigError, match="samples=0 must be at least 1"):
        dequantized_bits(ProbabilityFlow(), EDM(), None, np.zeros((1, 1)), None, Uniform(), samples=0)
