"""Predictions against the papers' formulas, and back to data and noise."""

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
KINDS = ("noise", "data", "score", "velocity", "edm")
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def example():
    """(data, noise), [6, 2, 3] each, in float64."""
    return jax.random.normal(jax.random.key(0), (2, 6, 2, 3), jnp.float64)


def times(path):
    """Six, evenly spaced in log-SNR."""
    ends = (path.log_snr(jnp.asarray(t)) for t in (path.start, path.end))
    return path.time_at(jnp.linspace(*ends, 6))


@every_path
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_undone(kind, path, example):
    x_0, noise = example
    prediction, t = Prediction(kind, data_std=0.7), times(path)
    x_t, target = path.perturb(x_0, noise, t), prediction.target(path, x_0, noise, t)
    found = prediction.denoised(path, x_t, t, target)
    np.testing.assert_allclose(found.data, x_0, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(found.noise, noise, rtol=1e-7, atol=1e-7)
    alone = prediction.denoised(path, x_t[2:3], t[2], target[2:3])
    np.testing.assert_allclose(alone.data[0], found.data[2], rtol=1e-12)


@every_path
def test_denoised_speaks_as_the_sde(path, example):
    """The score is -noise / sigma and the velocity f x - g^2 score / 2 (Song et al. 2020, equation 13)."""
    x_0, noise = example
    t = times(path)
    x_t = path.perturb(x_0, noise, t)
    score = -noise / expand(path.sigma(t), noise)
    found = [from_data(path, x_t, t, x_0), from_noise(path, x_t, t, noise), from_score(path, x_t, t, score)]
    for denoised in found:
        np.testing.assert_allclose(denoised.data, x_0, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(denoised.score(path, t), score, rtol=1e-7)
        velocity = path.drift(x_t, t) - 0.5 * expand(path.diffusion(t) ** 2, x_t) * score
        np.testing.assert_allclose(denoised.velocity(path, t), velocity, rtol=1e-6, atol=1e-6)


def test_velocities_are_the_papers(example):
    x_0, noise = example
    velocity = Prediction("velocity")
    for path in (VP(), VP(Cosine()), VP(Discrete())):
        t = times(path)
        alpha, sigma = expand(path.alpha(t), x_0), expand(path.sigma(t), x_0)
        np.testing.assert_allclose(velocity.target(path, x_0, noise, t), alpha * noise - sigma * x_0, rtol=1e-9,
                                   atol=1e-9)
    np.testing.assert_allclose(velocity.target(Flow(), x_0, noise, times(Flow())), noise - x_0, rtol=1e-12)


@pytest.mark.parametrize("path", [EDM(), VE(), VP()], ids=["EDM", "VE", "VP"])
def test_edm_is_karras_table_1(path, example):
    """D(z; s) = c_skip z + c_out F for z = x_0 + s noise = x_t / alpha."""
    x_0, noise = example
    t, std = times(path), 0.5
    s = expand(path.sigma(t) / path.alpha(t), x_0)
    output = jnp.sin(x_0 + noise)
    data = std**2 / (s**2 + std**2) * (x_0 + s * noise) + s * std / jnp.sqrt(s**2 + std**2) * output
    found = Prediction("edm", std).denoised(path, path.perturb(x_0, noise, t), t, output)
    np.testing.assert_allclose(found.data, data, rtol=1e-7, atol=1e-8)


def test_edm_targets_have_variance_one():
    c_0, c_1 = Prediction("edm", data_std=0.7).coefficients(EDM(), times(EDM()))
    np.testing.assert_allclose(c_0**2 * 0.7**2 + c_1**2, 1, rtol=1e-12)


def test_bad_predictions_are_refused():
    with pytest.raises(ConfigError, match='prediction.kind must be .* not "epsilon"'):
        Prediction("epsilon")
    with pytest.raises(ConfigError, match="prediction.data_std=0 must be positive"):
        Prediction(data_std=0)
