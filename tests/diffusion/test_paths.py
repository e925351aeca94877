"""Paths against autodiff, and their marginals against a simulation of the forward SDE, in float64."""

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
float64 = pytest.mark.usefixtures("float64")


def times(path, n):
    """Evenly spaced in log-SNR, from start to end."""
    ends = (path.log_snr(jnp.asarray(t)) for t in (path.start, path.end))
    return jnp.clip(path.time_at(jnp.linspace(*ends, n)), path.start, path.end)


@float64
@every_path
def test_marginals_are_those_of_the_forward_sde(path):
    """Euler-Maruyama's moments, which an affine map gives without sampling."""
    t = np.asarray(times(path, 20_001))
    h, before = np.diff(t), jnp.asarray(t[:-1])
    # A discrete schedule's beta is that of the interval up to t, and this step leaves t.
    before = before + 1e-9 if path.max_steps else before
    f, g = np.asarray(path.drift_rate(before)), np.asarray(path.diffusion(before))
    alpha, variance = np.asarray(path.alpha(t[0])), np.asarray(path.sigma(t[0])) ** 2
    for shrink, added in zip(1 + f * h, g**2 * h, strict=True):
        alpha, variance = shrink * alpha, shrink**2 * variance + added
    np.testing.assert_allclose(alpha, path.alpha(t[-1]), rtol=3e-3)
    np.testing.assert_allclose(np.sqrt(variance), path.sigma(t[-1]), rtol=1e-3)


@float64
@every_path
def test_rates_are_derivatives(path):
    t = times(path, 12)[1:-1] + 1e-7  # Not where a discrete schedule has a kink.
    np.testing.assert_allclose(path.alpha_rate(t), jax.vmap(jax.grad(path.alpha))(t), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(path.sigma_rate(t), jax.vmap(jax.grad(path.sigma))(t), rtol=1e-9)
    by_log_snr = -jax.vmap(jax.grad(path.log_snr))(t)
    np.testing.assert_allclose(jnp.square(path.diffusion(t) / path.sigma(t)), by_log_snr, rtol=1e-9)


@float64
@every_path
def test_time_at_undoes_log_snr(path):
    t = times(path, 30)
    np.testing.assert_allclose(path.log_snr(t), Path.log_snr(path, t), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(path.time_at(path.log_snr(t)), t, rtol=1e-8)
    assert (np.diff(path.log_snr(t)) < 0).all()


@every_path
def test_float32_agrees_with_float64(path):
    with jax.enable_x64(True):
        t = np.asarray(times(path, 40))
        exact = [np.asarray(f(jnp.asarray(t, jnp.float64))) for f in (path.alpha, path.sigma, path.log_snr)]
        back = [np.float64(np.float32(level)) for level in exact[2]]
        back = np.asarray(path.sigma(path.time_at(jnp.asarray(back))))
    t32 = jnp.asarray(t, jnp.float32)
    for found, true in zip((path.alpha(t32), path.sigma(t32)), exact, strict=False):
        assert found.dtype == jnp.float32
        # Flow's alpha is 1e-3 at its end, where t itself has but four digits of it.
        np.testing.assert_allclose(found, true, rtol=1e-4 if path == Flow() else 3e-5)
    np.testing.assert_allclose(path.sigma(path.time_at(jnp.asarray(exact[2], jnp.float32))), back, rtol=1e-4)


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


@float64
@every_path
def test_prior(path):
    x = jax.random.normal(jax.random.key(0), (5, 2, 3)) * path.prior_std
    true = multivariate_normal(np.zeros(6), path.prior_std**2 * np.eye(6)).logpdf(np.asarray(x).reshape(5, 6))
    np.testing.assert_allclose(path.prior_log_density(x), true, rtol=1e-10)
    sample = path.prior_sample(jax.random.key(1), (20_000, 2), jnp.float64)
    np.testing.assert_allclose(sample.std(), path.prior_std, rtol=0.02)
    # The prior is what x is at the end, if data are small beside the noise.
    np.testing.assert_allclose(path.sigma(jnp.asarray(path.end)), path.prior_std, rtol=2e-3)


@float64
@every_path
def test_examples_have_times_of_their_own(path):
    x, noise = jax.random.normal(jax.random.key(0), (2, 3, 2, 2))
    t = times(path, 3)
    mean, std = path.marginal(x, t)
    for i in range(3):
        alone = path.alpha(t[i]) * x[i] + path.sigma(t[i]) * noise[i]
        np.testing.assert_allclose(path.perturb(x, noise, t)[i], alone, rtol=1e-12)
        np.testing.assert_allclose(mean[i] + std[i] * noise[i], alone, rtol=1e-12)
        np.testing.assert_allclose(path.drift(x, t)[i], path.drift_rate(t[i]) * x[i], rtol=1e-12)
    assert expand(t, x).shape == (3, 1, 1) and expand(1.0, x).shape == ()


@float64
def test_paths_are_the_papers():
    t = jnp.linspace(0.01, 0.99, 7)
    B = 0.1 * t + 19.9 / 2 * t**2
    np.testing.assert_allclose(SubVP().sigma(t), 1 - np.exp(-B), rtol=1e-10)
    np.testing.assert_allclose(VP().alpha(t) ** 2 + VP().sigma(t) ** 2, 1, rtol=1e-12)
    np.testing.assert_allclose(VE(0.01, 50.0).sigma(t), 0.01 * 5_000**t, rtol=1e-10)
    np.testing.assert_allclose(VE(0.01, 50.0).diffusion(t), 0.01 * 5_000**t * np.sqrt(2 * np.log(5_000)), rtol=1e-10)


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
