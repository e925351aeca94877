"""Predictions against the papers' formulas, and back to data and noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Prediction, from_data, from_noise, from_score
from genlab.diffusion.paths import EDM, VE, VP, Flow, SubVP, expand
from genlab.diffusion.schedules import Cosine, Discrete

PATHS = {"VP": VP(), "VP-cosine": VP(Cosine()), "DDPM": VP(Discrete()), "sub-VP": SubVP(), "VE": VE(), "EDM": EDM(),
         "flow": Flow()}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def times(path):
    """Six, evenly spaced in log-SNR."""
    ends = (float(path.log_snr(jnp.asarray(t))) for t in (path.start, path.end))
    return path.time_at(np.linspace(*ends, 6))


def found_of(path, x_0, noise):
    """Everything that the tests ask of a path; op by op, so that all paths share what is compiled."""
    t = times(path)
    x_t = path.perturb(x_0, noise, t)
    score = -noise / expand(path.sigma(t), noise)
    targets, undone = {}, {}
    for kind in ("noise", "data", "score", "velocity", "edm"):
        prediction = Prediction(kind, data_std=0.7)
        targets[kind] = prediction.target(path, x_0, noise, t)
        undone[kind] = prediction.denoised(path, x_t, t, targets[kind])
    forms = [from_data(path, x_t, t, x_0), from_noise(path, x_t, t, noise), from_score(path, x_t, t, score)]
    spoken = [(denoised, denoised.score(path, t), denoised.velocity(path, t)) for denoised in forms]
    velocity = path.drift(x_t, t) - 0.5 * expand(path.diffusion(t) ** 2, x_t) * score
    return {"alpha": expand(path.alpha(t), x_0), "sigma": expand(path.sigma(t), x_0), "score": score,
            "velocity": velocity, "targets": targets, "undone": undone, "spoken": spoken,
            "karras": Prediction("edm", 0.7).denoised(path, x_t, t, jnp.sin(x_0 + noise)),
            "karras coefficients": Prediction("edm", 0.7).coefficients(path, t)}


@pytest.fixture(scope="module")
def example():
    """(data, noise), [6, 2, 3] each."""
    return np.random.default_rng(0).normal(size=(2, 6, 2, 3))


@pytest.fixture(scope="module")
def found(example):
    """Path -> `found_of` in float64, found once."""
    @functools.cache
    def of(path):
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, found_of(path, *example))

    return of


@every_path
def test_predictions_are_undone(path, found, example):
    for denoised in found(path)["undone"].values():
        np.testing.assert_allclose(denoised.data, example[0], rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(denoised.noise, example[1], rtol=1e-7, atol=1e-7)


def test_one_time_serves_a_batch(example):
    (x_0, noise), path, t = np.float32(example), VP(), jnp.float32(0.3)
    together, each = (Prediction("velocity").denoised(path, x_0, t, noise) for t in (t, jnp.full(6, t)))
    np.testing.assert_allclose(together.data, each.data, rtol=1e-5)


@every_path
def test_denoised_speaks_as_the_sde(path, found, example):
    """The score is -noise / sigma and the velocity f x - g^2 score / 2 (Song et al. 2020, equation 13)."""
    for denoised, score, velocity in found(path)["spoken"]:
        np.testing.assert_allclose(denoised.data, example[0], rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(score, found(path)["score"], rtol=1e-7)
        np.testing.assert_allclose(velocity, found(path)["velocity"], rtol=1e-6, atol=1e-6)


@every_path
def test_targets_are_the_papers(path, found, example):
    (x_0, noise), facts = example, found(path)
    alpha, sigma, targets = facts["alpha"], facts["sigma"], facts["targets"]
    np.testing.assert_allclose(targets["noise"], noise)
    np.testing.assert_allclose(targets["data"], x_0)
    np.testing.assert_allclose(targets["score"], -noise / sigma, rtol=1e-12)
    if isinstance(path, VP):  # Salimans and Ho 2022, appendix D.
        np.testing.assert_allclose(targets["velocity"], alpha * noise - sigma * x_0, rtol=1e-9, atol=1e-9)
    if isinstance(path, Flow):  # Liu et al. 2022, equation 1, with time reversed.
        np.testing.assert_allclose(targets["velocity"], noise - x_0, rtol=1e-12)


@every_path
def test_edm_is_karras_table_1(path, found, example):
    """D(z; s) = c_skip z + c_out F for z = x_0 + s noise = x_t / alpha; the target's variance is 1."""
    (x_0, noise), facts, std = example, found(path), 0.7
    s = facts["sigma"] / facts["alpha"]
    c_skip, c_out = std**2 / (s**2 + std**2), s * std / np.sqrt(s**2 + std**2)
    data = c_skip * (x_0 + s * noise) + c_out * np.sin(x_0 + noise)
    np.testing.assert_allclose(facts["karras"].data, data, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(facts["targets"]["edm"], (x_0 - c_skip * (x_0 + s * noise)) / c_out, rtol=1e-6,
                               atol=1e-6)
    c_0, c_1 = facts["karras coefficients"]
    np.testing.assert_allclose(c_0**2 * std**2 + c_1**2, 1, rtol=1e-12)


def test_bad_predictions_are_refused():
    with pytest.raises(ConfigError, match='prediction.kind must be .* not "epsilon"'):
        Prediction("epsilon")
    with pytest.raises(ConfigError, match="prediction.data_std=0 must be positive"):
        Prediction(data_std=0)
