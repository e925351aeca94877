"""Training times: quantiles against densities, and strata against independent draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from genlab.configuration import ConfigError
from genlab.diffusion.paths import EDM, VE, VP, Flow, SubVP
from genlab.diffusion.schedules import Cosine, Discrete
from genlab.diffusion.times import LogNormal, Mixture, UniformLogSnr, UniformTime, log_snr_rate, stratified

PATHS = {"VP": VP(start=1e-5), "VP-cosine": VP(Cosine()), "DDPM": VP(Discrete()), "sub-VP": SubVP(), "VE": VE(),
         "EDM": EDM(), "flow": Flow()}
TIMES = [UniformTime(), UniformLogSnr(), LogNormal()]
HALVES = Mixture((UniformTime(), UniformLogSnr()), (0.5, 0.5))
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


@pytest.mark.usefixtures("float64")
@every_path
def test_densities_are_those_of_the_quantiles(path):
    """The integral of the density between two quantiles is the difference of their u."""
    u = np.linspace(0, 1, 4_001)
    for times in TIMES:
        t, density = (np.asarray(a) for a in times.sample(path, u))
        assert (np.diff(t) >= 0).all() and t[0] >= path.start and t[-1] <= path.end
        inside = slice(200, -200)  # Where a log-normal's tails are not yet steep.
        area = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(t))])
        np.testing.assert_allclose(area[inside] - area[200], u[inside] - u[200], atol=2e-4)
        if not isinstance(times, LogNormal):
            np.testing.assert_allclose(t[[0, -1]], [path.start, path.end], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(area[-1], 1, atol=1e-3)


@pytest.mark.parametrize("path", [VP(), EDM()], ids=["VP", "EDM"])
def test_histograms_of_a_mixture_are_its_density(path):
    t, density = (np.asarray(a) for a in HALVES.sample(path, (np.arange(50_000, dtype=np.float32) + 0.5) / 50_000))
    assert t.min() >= path.start and t.max() <= path.end and np.isfinite(density).all()
    # 1 / density weighs draws back to uniform ones.
    edges = path.start + (path.end - path.start) * np.array([0, 0.05, 0.3, 0.6, 1])
    share = np.histogram(t, edges, weights=1 / density)[0] / len(t)
    np.testing.assert_allclose(share, np.diff(edges), rtol=0.02)


def test_the_mixture_is_half_and_half():
    path, u = VP(start=1e-5), np.float32(np.arange(10_000) / 10_000)
    t = np.asarray(HALVES.sample(path, u)[0])
    np.testing.assert_allclose(t[:5_000], UniformTime().quantile(path, 2 * u[:5_000]), rtol=1e-5)
    np.testing.assert_allclose(t[5_000:], UniformLogSnr().quantile(path, 2 * u[5_000:] - 1), rtol=1e-3)
    parts = [part.density(path, t) for part in HALVES.parts]
    np.testing.assert_allclose(HALVES.density(path, t), 0.5 * (parts[0] + parts[1]), rtol=1e-5)


@pytest.mark.usefixtures("float64")
def test_log_normal_is_the_papers():
    """EDM's ln sigma ~ N(-1.2, 1.2^2), all but .02 % of it on the path; Stable Diffusion 3's time is logit-normal."""
    t = np.geomspace(0.01, 40, 50)
    kept = norm.cdf((np.log(80) + 1.2) / 1.2) - norm.cdf((np.log(0.002) + 1.2) / 1.2)
    np.testing.assert_allclose(LogNormal().density(EDM(), t), norm(-1.2, 1.2).pdf(np.log(t)) / t / kept, rtol=1e-5)
    t = np.linspace(0.01, 0.99, 50)
    logit_normal = norm(0, 1).pdf(np.log(t / (1 - t))) / (t * (1 - t))
    np.testing.assert_allclose(LogNormal(0.0, 1.0).density(Flow(1e-6), t), logit_normal, rtol=1e-5)


@pytest.mark.usefixtures("float64")
@every_path
def test_uniform_log_snr_is_importance_sampling(path):
    """The density is proportional to g^2 / sigma^2, so the likelihood's weight over it is the range of log-SNR."""
    t, density = UniformLogSnr().sample(path, np.linspace(0.1, 0.9, 4_001))
    snr_range = np.asarray(path.log_snr(jnp.asarray(path.start)) - path.log_snr(jnp.asarray(path.end)))
    np.testing.assert_allclose(log_snr_rate(path, t) / density, snr_range, rtol=1e-4)
    np.testing.assert_allclose(np.diff(path.log_snr(t)), -snr_range * 0.8 / 4_000, rtol=1e-4)


def test_the_last_number_is_a_time():
    """Its normal variable rounds to infinity, which is no time of VP, or in float64 to none at all."""
    for times, path, precise in ((LogNormal(-3.0, 0.5), VP(), False), (LogNormal(0.0, 1.0), Flow(), True)):
        with jax.enable_x64(precise):
            t, density = (np.asarray(a) for a in times.sample(path, np.asarray([0.0, 1.0], float)))
        assert path.start <= t[0] < t[1] <= path.end and np.isfinite(density).all()


def test_strata_hold_one_number_each():
    keys = jax.random.split(jax.random.key(0), 500)
    u = np.asarray(jax.jit(jax.vmap(lambda key: stratified(key, 16)))(keys))
    assert u.dtype == np.float32 and u.min() >= 0 and u.max() < 1
    np.testing.assert_array_equal(np.sort(np.floor(u * 16).astype(int), axis=1), np.tile(np.arange(16), (500, 1)))
    # Any one place in the batch has every stratum equally often, and is uniform within it.
    place = np.histogram(u[:, 3], 8, (0, 1))[0]
    assert abs(place - 62.5).max() < 4 * np.sqrt(62.5)
    assert abs((u[:, 3] * 16 % 1).mean() - 0.5) < 4 / np.sqrt(12 * 500)
    # The mean over a batch of a function of time.
    spread = np.exp(u).mean(axis=1).std()
    assert spread < 0.08 * np.exp(np.random.default_rng(0).random((500, 16))).mean(axis=1).std()
    assert abs(np.exp(u).mean() - (np.e - 1)) < 4 * spread / np.sqrt(500)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: LogNormal(std=0.0), "times.std=0.0 must be positive"),
    (lambda: Mixture((UniformTime(),), (0.5,)), "a mixture of 1 times needs as many positive weights that add up to 1"),
    (lambda: Mixture((UniformTime(), UniformLogSnr()), (1.0,)), "a mixture of 2 times"),
    (lambda: Mixture((UniformTime(), UniformLogSnr()), (1.5, -0.5)), "not \\(1.5, -0.5\\)"),
])
def test_bad_times_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
