"""Paths against autodiff, and their marginals against a simulation of the forward SDE, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from genlab.configuration import ConfigError
from genlab.diffusion.paths import EDM, VE, VP, Flow, Path, SubVP, expand
from genlab.diffusion.schedules import Cosine, Discrete, Linear

PATHS = {"VP": VP(), "VP-cosine": VP(Cosine()), "DDPM": VP(Discrete()), "sub-VP": SubVP(),
         "sub-VP-cosine": SubVP(Cosine()), "VE": VE(), "EDM": EDM(), "flow": Flow()}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def times(path):
    """20,001 of them, evenly spaced in log-SNR from start to end, in NumPy."""
    ends = (float(path.log_snr(jnp.asarray(t))) for t in (path.start, path.end))
    return np.clip(path.time_at(np.linspace(*ends, 20_001)), path.start, path.end)


def facts_of(path, x, noise):
    """What a path says of times t, of the middles between them, and of three examples of their own times.

    Op by op and of few shapes, so that all paths share what is compiled.
    """
    t = times(path)
    middle = np.append(0.5 * (t[:-1] + t[1:]), t[-1])
    slopes = {name: jax.vmap(jax.grad(getattr(path, name)))(middle) for name in ("alpha", "sigma", "log_snr")}
    rates = {"alpha": path.alpha_rate(middle), "sigma": path.sigma_rate(middle),
             "log_snr": -np.square(path.diffusion(middle) / path.sigma(middle))}
    log_snr, three = path.log_snr(t), t[[0, 10_000, -1]]
    return {"t": t, "alpha": path.alpha(t), "sigma": path.sigma(t), "log_snr": log_snr,
            "log_snr by definition": Path.log_snr(path, t), "back": path.time_at(log_snr),
            "f": path.drift_rate(middle)[:-1], "g": path.diffusion(middle)[:-1], "slopes": slopes, "rates": rates,
            "prior": path.prior_log_density(x), "three": (path.alpha(three), path.sigma(three), path.drift_rate(three)),
            "examples": (path.perturb(x, noise, three), *path.marginal(x, three), path.drift(x, three))}


@pytest.fixture(scope="module")
def examples():
    """(data, noise), [3, 2, 2] each."""
    return np.random.default_rng(0).normal(size=(2, 3, 2, 2))


@pytest.fixture(scope="module")
def facts(examples):
    """Path -> its facts in float64, found once."""
    @functools.cache
    def found(path):
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, facts_of(path, *examples))

    return found


@every_path
def test_marginals_are_those_of_the_forward_sde(path, facts):
    """Euler-Maruyama's moments, which an affine map gives without sampling."""
    found = facts(path)
    h, alpha, variance = np.diff(found["t"]), found["alpha"][0], found["sigma"][0] ** 2
    for shrink, added in zip(1 + found["f"] * h, found["g"] ** 2 * h, strict=True):
        alpha, variance = shrink * alpha, shrink**2 * variance + added
    np.testing.assert_allclose(alpha, found["alpha"][-1], rtol=3e-3)
    np.testing.assert_allclose(np.sqrt(variance), found["sigma"][-1], rtol=1e-3)


@every_path
def test_rates_are_derivatives(path, facts):
    found = facts(path)
    for name, rate in found["rates"].items():
        np.testing.assert_allclose(rate[200::400], found["slopes"][name][200::400], rtol=1e-9, atol=1e-12)


@every_path
def test_time_at_undoes_log_snr(path, facts):
    found = facts(path)
    np.testing.assert_allclose(found["log_snr"], found["log_snr by definition"], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found["back"], found["t"], rtol=1e-8)
    assert (np.diff(found["log_snr"]) < 0).all()


@every_path
def test_float32_agrees_with_float64(path, facts):
    found = facts(path)
    t, log_snr = (jnp.asarray(found[name], jnp.float32) for name in ("t", "log_snr"))
    alpha, sigma, sigma_back = path.alpha(t), path.sigma(t), path.sigma(path.time_at(log_snr))
    assert alpha.dtype == sigma.dtype == sigma_back.dtype == jnp.float32
    # Flow's alpha is 1e-3 at its end, where t itself has but four digits of it.
    np.testing.assert_allclose(alpha, found["alpha"], rtol=1e-4 if path == Flow() else 3e-5)
    np.testing.assert_allclose(sigma, found["sigma"], rtol=3e-5)
    np.testing.assert_allclose(sigma_back, found["sigma"], rtol=1e-4)


@every_path
def test_prior(path, facts, examples):
    x, std = examples[0].reshape(3, 4), path.prior_std
    true = multivariate_normal(np.zeros(4), std**2 * np.eye(4)).logpdf(x)
    np.testing.assert_allclose(facts(path)["prior"], true, rtol=1e-10)
    # The prior is what x is at the end, if data are small beside the noise.
    np.testing.assert_allclose(facts(path)["sigma"][-1], std, rtol=2e-3)
    key = jax.random.key(0)
    np.testing.assert_allclose(path.prior_sample(key, (4, 2)), std * jax.random.normal(key, (4, 2)), rtol=1e-6)


@every_path
def test_examples_have_times_of_their_own(path, facts, examples):
    (x, noise), (alpha, sigma, f) = examples, facts(path)["three"]
    perturbed, mean, std, drift = facts(path)["examples"]
    for i in range(3):
        np.testing.assert_allclose(perturbed[i], alpha[i] * x[i] + sigma[i] * noise[i], rtol=1e-12)
        np.testing.assert_allclose(mean[i], alpha[i] * x[i], rtol=1e-12)
        np.testing.assert_allclose(drift[i], f[i] * x[i], rtol=1e-12)
    np.testing.assert_allclose(std, sigma, rtol=1e-12)
    assert expand(alpha, x).shape == (3, 1, 1) and expand(1.0, x).shape == ()


@pytest.mark.parametrize("path", [VP(start=1e-5), VP(Cosine(), start=1e-5), SubVP(start=1e-5)], ids=str)
def test_sigma_keeps_its_digits_at_the_smallest_time(path):
    """1 - exp(-B), in place of expm1, is wrong by 2.4 % here."""
    t = np.float32(1e-5)
    B = 0.1 * np.float64(t) + 19.9 / 2 * np.float64(t) ** 2
    if path.schedule == Cosine():
        u_0 = np.pi / 2 * 0.008 / 1.008
        B = -2 * np.log(np.cos(u_0 + np.pi / 2 * np.float64(t) / 1.008) / np.cos(u_0))
    exact = -np.expm1(-B)
    np.testing.assert_allclose(path.sigma(jnp.asarray(t)), exact if isinstance(path, SubVP) else exact**0.5, rtol=1e-5)


def test_paths_are_the_papers(facts):
    vp, sub, ve = (facts(path) for path in (VP(), SubVP(), VE()))
    B = 0.1 * sub["t"] + 19.9 / 2 * sub["t"] ** 2
    np.testing.assert_allclose(sub["sigma"], 1 - np.exp(-B), rtol=1e-10)
    np.testing.assert_allclose(vp["alpha"] ** 2 + vp["sigma"] ** 2, 1, rtol=1e-12)
    np.testing.assert_allclose(ve["sigma"], 0.01 * 5_000 ** ve["t"], rtol=1e-10)
    middle = 0.5 * (ve["t"][1:] + ve["t"][:-1])
    np.testing.assert_allclose(ve["g"], 0.01 * 5_000**middle * np.sqrt(2 * np.log(5_000)), rtol=1e-10)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: VP(start=0.0), "start=0.0 must be between 0 and the path's end, 1.0"),
    (lambda: VP(Cosine(), start=0.995), "the path's end, 0.9946"),
    (lambda: VP(Discrete(100)), "the first time of a discrete schedule of 100 steps is 0.01; start=0.001 is before it"),
    (lambda: SubVP(Discrete(), start=0.01), "sub-VP takes Linear\\(\\) or Cosine\\(\\)"),
    (lambda: SubVP(start=1.0), "start=1.0 must be between"),
    (lambda: VE(start=-1.0), "start=-1.0 must be between"),
    (lambda: VE(sigma_min=0.0), "0 < sigma_min < sigma_max, not 0.0, 50.0"),
    (lambda: VE(sigma_min=2.0, sigma_max=1.0), "0 < sigma_min < sigma_max, not 2.0, 1.0"),
    (lambda: EDM(start=90.0), "the path's end, 80.0"),
    (lambda: Flow(start=0.6), "start=0.6 must be between 0 and the path's end, 0.5"),
])
def test_bad_paths_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_linear_schedule_is_the_default():
    assert VP() == VP(Linear(0.1, 20.0), 1e-3) and VP().max_steps is None and VP(Discrete()).max_steps == 1_000
