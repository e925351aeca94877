"""SDEdit: how much of an image is kept, on a mixture of Gaussians with its exact denoiser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import from_data
from genlab.diffusion.editing import edit, edit_time
from genlab.diffusion.paths import EDM, VE, VP, Flow, SubVP
from genlab.diffusion.samplers import EulerMaruyama, Sampler
from genlab.diffusion.schedules import Cosine, Discrete

STRENGTHS = (2e-3, 0.1, 0.3, 1.0)
SAMPLER = Sampler(EulerMaruyama(), steps=100)


def key(seed):
    """Of a generator that compiles in a tenth of the default one's time."""
    return jax.random.key(seed, impl="rbg")


def images(key, n):
    """Draws [n, 2] of a mixture in each of two coordinates: -1 or 1, and .2 times normal."""
    key_mode, key_noise = jax.random.split(key)
    return jax.random.rademacher(key_mode, (n, 2), float) + 0.2 * jax.random.normal(key_noise, (n, 2))


def mixture(path):
    """The denoiser of `images`: both modes' expected data, by their posterior probabilities."""
    def denoise(x, t):
        alpha, sigma = path.alpha(t), path.sigma(t)
        variance = alpha**2 * 0.04 + sigma**2
        gain = alpha * 0.04 / variance
        return from_data(path, x, t, gain * x + (1 - gain * alpha) * jnp.tanh(alpha * x / variance))

    return denoise


@pytest.fixture(scope="module")
def edits():
    """(images [N, 2], edited images of each strength)."""
    path, image = VP(), images(key(0), 2_000)
    run = jax.jit(lambda image: [edit(SAMPLER, path, mixture(path), image, strength, key(1)).x
                                 for strength in STRENGTHS])
    return np.asarray(image), [np.asarray(x) for x in run(image)]


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_no_strength_returns_the_image(edits):
    image, edited = edits
    assert np.abs(edited[0] - image).max() < 0.12  # there and back: two noises of standard deviation .016
    assert correlation(image, edited[0]) > 0.999


def test_strength_forgets_the_image(edits):
    image, edited = edits
    correlations = [correlation(image, x) for x in edited]
    assert all(np.diff(correlations) < -0.02)
    assert abs(correlations[-1]) < 0.06  # 4,000 numbers: .016 by chance


def test_edits_of_any_strength_are_samples_of_the_model(edits):
    _, edited = edits
    for x in edited:
        distance = np.abs(np.abs(x) - 1)
        np.testing.assert_allclose(distance.mean(), 0.2 * (2 / np.pi) ** 0.5, atol=0.012)
        np.testing.assert_allclose((x > 0).mean(axis=0), 0.5, atol=0.05)


def test_what_is_not_of_the_model_is_drawn_to_it():
    """Edits are draws of x_0 given x_t: their mean is the mean of E[x_0 | x_t], with x_t the noised image."""
    path, t, stroke_ND = VP(), 0.1, jnp.full((4_000, 2), 0.5)

    @jax.jit
    def run(x):
        noised = path.perturb(x, jax.random.normal(key(1), x.shape), t)
        edited = edit(SAMPLER, path, mixture(path), x, t, key(0)).x
        return edited, mixture(path)(noised, jnp.float32(t)).data

    edited_ND, expected_ND = (np.asarray(each, np.float64) for each in run(stroke_ND))
    assert expected_ND.mean() > 0.65  # nearer the mode at 1 than the stroke
    error = np.hypot(edited_ND.std(), expected_ND.std()) / edited_ND.size**0.5
    np.testing.assert_allclose(edited_ND.mean(), expected_ND.mean(), atol=4 * error)


@pytest.mark.parametrize("path", [VP(), VP(Cosine()), SubVP(), VE(), EDM(), Flow()], ids=repr)
def test_a_strength_is_as_much_noise_on_every_path(path):
    for strength in (0.1, 0.3, 0.6):
        t, linear = edit_time(path, strength), VP()
        found, expected = (float(p.sigma(s) / p.alpha(s)) for p, s in ((path, t), (linear, strength)))
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert edit_time(path, 1.0) == path.end >= edit_time(path, 0.999)


def test_a_discrete_schedule_is_entered_at_one_of_its_times():
    path = VP(Discrete(100), start=0.01)
    times = [edit_time(path, strength) for strength in (0.111, 0.5)]
    np.testing.assert_allclose(times, np.round(np.array(times) * 100) / 100)
    ratios = [float(p.sigma(t) / p.alpha(t)) for p, t in ((path, times[0]), (VP(), 0.111), (path, times[0] - 0.01))]
    assert ratios[0] >= ratios[1] > ratios[2]


def test_the_strength_is_the_time_of_the_papers_process():
    np.testing.assert_allclose([edit_time(VP(), s) for s in (0.1, 0.5, 0.9)], [0.1, 0.5, 0.9], rtol=1e-5)


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.1, float("nan")])
def test_bad_input_is_one_line(strength):
    with pytest.raises(ConfigError, match=r"^the strength of an edit is more than 0 .* and at most 1 .*, not "):
        edit(SAMPLER, VP(), None, jnp.zeros((1, 2)), strength, key(0))


def test_a_strength_below_the_start_of_the_path_is_one_line():
    with pytest.raises(ConfigError, match=r"^strength=0.0005 is no more noise than the path starts with; "
                                          r"the least it can undo is 0.0012$"):
        edit_time(VP(), 0.0005)
