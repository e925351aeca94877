"""Likelihoods of Gaussians and mixtures by their exact scores, in float64 where it matters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.diffusion import likelihood
from genlab.diffusion.denoiser import from_noise
from genlab.diffusion.likelihood import (
    ProbabilityFlow,
    bits_per_dimension,
    flow_of,
    interpolate,
    negative_log_likelihood_bound,
    spherical,
)
from genlab.diffusion.ode import Solution
from genlab.diffusion.paths import VE, VP, Flow, SubVP, expand
from genlab.diffusion.samplers import AdaptiveOde, EulerMaruyama, Heun, Langevin, Sampler

COVARIANCE = np.array([[0.5, 0.2], [0.2, 0.3]])
# (means, variances) [3, 2] of components with these weights: a Gaussian and a mixture, both centred.
WEIGHTS = np.array([0.5, 0.3, 0.2])
GAUSSIAN = np.zeros((3, 2)), np.tile([0.5, 0.2], (3, 1))
MIXTURE = np.array([[0.7, 0.2], [-0.5, 0.5], [-1.0, -1.25]]), np.array([[0.12, 0.05], [0.04, 0.2], [0.1, 0.1]])
PATHS = {"VP": VP(start=1e-5), "sub-VP": SubVP(), "VE": VE(0.001, 200.0, start=1e-9)}


def key(seed):
    """Of a generator that compiles in a tenth of the default one's time."""
    return jax.random.key(seed, impl="rbg")


def log_joint(x, means, variances):
    """log of weight times density of each component at x [B, 2]: [B, 3]."""
    each = -0.5 * (x[:, None] - means) ** 2 / variances - 0.5 * jnp.log(2 * jnp.pi * variances)
    return jnp.log(WEIGHTS) + each.sum(axis=-1)


def mixed(path, means, variances):
    """(the exact denoiser, log density of x at t) of such a mixture."""
    def at(t):
        alpha, sigma = path.alpha(t), path.sigma(t)
        return alpha * means, alpha**2 * variances + sigma**2

    def log_density(x, t):
        return jax.nn.logsumexp(log_joint(x, *at(t)), axis=1)

    def denoise(x, t):
        centre, variance = at(t)
        share = jax.nn.softmax(log_joint(x, centre, variance))[..., None]
        each = path.sigma(t) * (x[:, None] - centre) / variance
        return from_noise(path, x, t, (share * each).sum(axis=1))

    return denoise, log_density


def normal(path, variance=0.4, mean=0.0):
    """The exact denoiser of independent normal numbers, of any shape."""
    def denoise(x, t):
        alpha, sigma = expand(path.alpha(t), x), expand(path.sigma(t), x)
        return from_noise(path, x, t, sigma * (x - alpha * mean) / (alpha**2 * variance + sigma**2))

    return denoise


def correlated(path):
    """The exact denoiser of N(0, COVARIANCE), in closed form."""
    def denoise(x, t):
        alpha, sigma = path.alpha(t), path.sigma(t)
        return from_noise(path, x, t, sigma * x @ jnp.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * jnp.eye(2)))

    return denoise


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_log_likelihood_is_exact(path):
    """Within 1e-3 nats a point of the data's density; within 1e-4 of that at the start, given the true terminal one."""
    flow = ProbabilityFlow(divergence="exact", rtol=1e-6, atol=1e-6)

    @jax.jit
    def found(means, variances, x):
        denoise, log_density = mixed(path, means, variances)
        got = flow.log_likelihood(path, denoise, x)
        terminal = log_density(got.code, path.end) - path.prior_log_density(got.code)
        of_data = jax.nn.logsumexp(log_joint(x, means, variances), axis=1)
        return got.log_density, got.log_density + terminal, log_density(x, path.start), of_data, got.evaluations

    rng = np.random.default_rng(0)
    for means, variances in (GAUSSIAN, MIXTURE):
        component = rng.choice(3, 64, p=WEIGHTS)
        x = rng.normal(means[component], np.sqrt(variances[component]))
        by_prior, by_terminal, at_start, of_data, evaluations = found(means, variances, x)
        np.testing.assert_allclose(by_terminal, at_start, atol=1e-4)
        np.testing.assert_allclose(by_prior, of_data, atol=1e-3)
        assert abs((by_prior - of_data).mean()) < 2e-4
        assert evaluations < 250


@pytest.mark.usefixtures("float64")
def test_a_given_terminal_density_is_used():
    """Data off centre, whose prior is 2e-2 wrong, on a short VE path."""
    path, flow = VE(0.01, 5.0), ProbabilityFlow(steps=60, divergence="exact")
    denoise, x = normal(path, mean=1.5), np.random.default_rng(0).normal(1.5, 0.4**0.5, (8, 2))
    variance = 0.4 + 5.0**2

    def terminal(code):
        return (-0.5 * (code - 1.5) ** 2 / variance - 0.5 * jnp.log(2 * jnp.pi * variance)).sum(axis=1)

    found = jax.jit(lambda x: [flow.log_likelihood(path, denoise, x, None, density).log_density
                               for density in (terminal, None)])(x)
    start = 0.4 + 0.01**2
    true = (-0.5 * (x - 1.5) ** 2 / start - 0.5 * np.log(2 * np.pi * start)).sum(axis=1)
    np.testing.assert_allclose(found[0], true, atol=1e-5)
    assert abs(found[1] - true).max() > 1e-2


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("path", [VP(), Flow()], ids=["VP", "flow"])
def test_fixed_steps_are_of_order_four_or_more(path):
    """Above it here: the rate vanishes at both ends, and with it much of the error."""
    x = np.random.default_rng(0).normal(size=(8, 2))

    def log_density(x, t):
        variance = jnp.square(path.alpha(t)) * 0.4 + jnp.square(path.sigma(t))
        return (-0.5 * x**2 / variance - 0.5 * jnp.log(2 * jnp.pi * variance)).sum(axis=1)

    @jax.jit
    def errors(x):
        true, found = log_density(x, jnp.asarray(path.start)), []
        for steps in (25, 50, 100):
            flow = ProbabilityFlow(steps=steps, divergence="exact")
            found.append(flow.log_likelihood(path, normal(path), x, None, lambda y: log_density(y, path.end)))
        return [(jnp.abs(likelihood.log_density - true).max(), likelihood.evaluations) for likelihood in found]

    found = errors(x)
    assert [int(evaluations) for _, evaluations in found] == [100, 200, 400]
    assert found[0][0] < 1e-4  # In z = x / alpha it is 8e-3.
    assert 3.8 < np.log2(found[1][0] / found[2][0]) < 5.2


def test_images_in_float32():
    """Bits of 8 x 8 pixels, exact and by Hutchinson's probes, at 80 evaluations."""
    path, shape = VP(), (16, 8, 8, 1)
    x = np.float32(np.random.default_rng(0).normal(0, 0.4**0.5, shape))
    variance = 0.4 * np.exp(-0.1e-3) + float(path.sigma(jnp.float32(1e-3))) ** 2
    true = (-0.5 * x**2 / variance - 0.5 * np.log(2 * np.pi * variance)).sum(axis=(1, 2, 3))
    flows = [ProbabilityFlow(steps=20), ProbabilityFlow(steps=20, divergence="exact")]
    # Rademacher probes of a diagonal Jacobian do not vary at all.
    for found in jax.jit(lambda x: [flow.log_likelihood(path, normal(path), x, key(0)) for flow in flows])(x):
        np.testing.assert_allclose(found.log_density, true, atol=0.02)
        assert found.code.shape == shape


def test_probes_are_unbiased():
    path, n = VP(), 4_000
    x = np.tile(np.float32([[0.5, -0.6]]), (n, 1))
    flows = {"exact": ProbabilityFlow(steps=8, divergence="exact"), "signs": ProbabilityFlow(steps=8),
             "gaussian": ProbabilityFlow(steps=8, probe="gaussian"), "four": ProbabilityFlow(steps=8, probes=4)}
    found = jax.jit(lambda x: {name: flow.log_likelihood(path, correlated(path), x, key(1)).log_density
                               for name, flow in flows.items()})(x)
    spread = {name: log_density.std() for name, log_density in found.items()}
    for name in ("signs", "gaussian", "four"):
        assert abs(found[name].mean() - found["exact"].mean()) < 4 * spread[name] / np.sqrt(n)
    assert spread["exact"] < 1e-5 < spread["signs"]
    np.testing.assert_allclose(spread["four"], spread["signs"] / 2, rtol=0.1)
    assert spread["gaussian"] > 1.5 * spread["signs"]


def test_reverse_mode_is_enough():
    """Some of the networks' operations have a hand-written backward pass, which has no forward mode."""
    path = VP()

    @jax.custom_vjp
    def double(x):
        return 2 * x

    double.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))

    def by_hand(x, t):
        return normal(path)(0.5 * double(x), t)

    flows = [ProbabilityFlow(steps=1, divergence="exact"), ProbabilityFlow(steps=1, probes=2)]
    for hand, plain in jax.jit(lambda x: [[flow.log_likelihood(path, denoise, x, key(0)).log_density
                                           for denoise in (by_hand, normal(path))] for flow in flows])(
                                               np.float32([[0.3, -0.2]])):
        np.testing.assert_allclose(hand, plain, rtol=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("path", [VP(), VE(), Flow()], ids=["VP", "VE", "flow"])
def test_codes_are_the_closed_form_and_are_undone(path):
    """The ODE keeps a normal number as many standard deviations from the mean."""
    flow, x = ProbabilityFlow(steps=40), np.random.default_rng(0).normal(0.3, 0.6, (6, 2))
    denoise = normal(path, 0.4, mean=0.3)
    code, back = jax.jit(lambda x: (code := flow.encode(path, denoise, x), flow.decode(path, denoise, code)))(x)
    (a, s), (b, r) = ([float(f(jnp.float64(t))) for f in (path.alpha, path.sigma)] for t in (path.start, path.end))
    true = b * 0.3 + (x - a * 0.3) * np.sqrt((b**2 * 0.4 + r**2) / (a**2 * 0.4 + s**2))
    np.testing.assert_allclose(code, true, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(back, x, atol=1e-4)


def test_interpolations_follow_arcs():
    a, b = np.float32(np.random.default_rng(0).normal(size=(2, 3, 4, 4)))
    x = jax.jit(lambda a, b: interpolate(VP(), normal(VP()), a, b, [0.0, 0.3, 1.0], ProbabilityFlow(steps=20)))(a, b)
    np.testing.assert_allclose(x[0], a, atol=2e-3)
    np.testing.assert_allclose(x[2], b, atol=2e-3)
    # Data and codes are proportional here, so the way between data is an arc as well.
    np.testing.assert_allclose(x[1], spherical(a, b, 0.3), atol=2e-3)


def test_ends_with_labels_of_their_own_are_kept():
    """Half-way between two normal distributions' scores lies that of the mean of their means."""
    path, flow = VP(), ProbabilityFlow(steps=20)
    left, middle, right = (normal(path, mean=mean) for mean in (-1.0, 0.0, 1.0))

    def ways(a, b):
        half = spherical(flow.encode(path, left, a), flow.encode(path, right, b), 0.5)
        return interpolate(path, left, a, b, [0.0, 0.5, 1.0], flow, right), flow.decode(path, middle, half)

    a, b = np.float32(np.random.default_rng(0).normal(size=(2, 3, 2)))
    x, half = jax.jit(ways)(a, b)
    for found, true in zip(x, (a, half, b), strict=True):
        np.testing.assert_allclose(found, true, atol=3e-3)


def test_spherical():
    a, b = np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]])
    third = spherical(a, b, 1 / 3)
    np.testing.assert_allclose(third, [[3 * np.cos(np.pi / 6), 3 * np.sin(np.pi / 6)]], rtol=1e-5)
    np.testing.assert_allclose(spherical(a, a, 0.4), a, rtol=1e-6)  # Without 0 / 0.


def test_the_bound_is_its_closed_form_above_the_entropy():
    """With a Gaussian's exact score E|noise - predicted|^2 is D u / (1 + u), u = variance times the SNR."""
    path, variance, (n, D) = VP(start=1e-4), 0.4, (200_000, 2)
    x = np.float32(np.random.default_rng(0).normal(0, variance**0.5, (n, D)))
    bound, worse = (np.asarray(each, np.float64) for each in jax.jit(lambda x: [
        negative_log_likelihood_bound(path, normal(path, v), x, key(0), 2) for v in (variance, 2 * variance)])(x))
    most, least = (float(path.log_snr(jnp.float32(t))) for t in (path.start, path.end))
    end_alpha, end_sigma = float(path.alpha(1.0)), float(path.sigma(jnp.float32(1.0)))
    prior = 0.5 * D * (end_alpha**2 * variance + end_sigma**2 - 1 - np.log(end_sigma**2))
    decoder = 0.5 * D * (np.log(2 * np.pi * np.e) - most)
    way = 0.5 * D * (np.log1p(variance * np.exp(most)) - np.log1p(variance * np.exp(least)))
    true, entropy = prior + decoder + way, 0.5 * D * np.log(2 * np.pi * np.e * variance)
    assert abs(bound.mean() - true) < 4 * bound.std() / np.sqrt(n)
    assert entropy < true < entropy + 1e-3
    assert (worse - bound).mean() > 0.05


def test_bits_of_a_uniform_density():
    """Density 1/2 on [-1, 1) makes all levels alike: log2 of how many."""
    log_density = -np.log(2) * np.array([5, 5])
    np.testing.assert_allclose(bits_per_dimension(log_density, 5, 17), np.log2(17))
    # One number of density p within level k's interval of length 2 / 17.
    np.testing.assert_allclose(bits_per_dimension(np.log([0.7]), 1, 17), -np.log2(0.7 * 2 / 17))


def test_an_unsolved_ode_is_no_number(monkeypatch):
    monkeypatch.setattr(likelihood, "solve", lambda rate, state, *_: Solution(state, 7, jnp.asarray(False)))
    flow, x = ProbabilityFlow(), np.float32([[0.1, 0.2]])
    found = flow.log_likelihood(VP(), normal(VP()), x, key(0))
    assert np.isnan(found.log_density).all() and found.evaluations == 7
    assert np.isnan(flow.encode(VP(), normal(VP()), x)).all()


def test_probes_need_a_key():
    with pytest.raises(ConfigError, match='the divergence "hutchinson" draws probes: give a key, or take "exact"'):
        ProbabilityFlow(steps=2).log_likelihood(VP(), normal(VP()), np.float32([[0.1, 0.2]]))


def test_a_sampler_without_noise_has_a_likelihood():
    assert flow_of(Sampler(Heun(), steps=30)) == ProbabilityFlow(steps=30)
    assert flow_of(AdaptiveOde(1e-6, 1e-7)) == ProbabilityFlow(rtol=1e-6, atol=1e-7)
    for sampler, name in ((Sampler(EulerMaruyama()), "EulerMaruyama adds noise"),
                          (Sampler(Heun(), corrector=Langevin()), "Heun with Langevin adds noise")):
        with pytest.raises(ConfigError, match=f"a likelihood is that of the probability-flow ODE, and {name}"):
            flow_of(sampler)


@pytest.mark.parametrize(("field", "value", "message"), [
    ("divergence", "skilling", 'divergence must be "hutchinson" or "exact", not "skilling"'),
    ("probe", "uniform", 'probe must be "rademacher" or "gaussian", not "uniform"'),
    ("steps", 0, "steps=0 must be at least 1"),
    ("probes", 0, "probes=0 must be at least 1"),
])
def test_bad_flows_are_refused(field, value, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(ProbabilityFlow(), **{field: value})
