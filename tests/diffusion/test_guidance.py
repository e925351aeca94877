"""Guidance against closed forms: a mixture of Gaussians whose components are the classes, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import Denoised, from_data, from_score
from genlab.diffusion.guidance import (
    classifier_free,
    classifier_free_batched,
    classifier_guided,
    clean_classifier_guided,
    within,
)
from genlab.diffusion.paths import EDM, VE, VP, Flow, expand

WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[1.0, 0.0], [-1.0, 0.5], [0.0, -1.2]])
COVARIANCES = np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.4]], [[0.1, -0.05], [-0.05, 0.3]]])
PATHS = [VP(), VE(), Flow()]


def key(seed):
    """Of a generator that compiles in a tenth of the default one's time."""
    return jax.random.key(seed, impl="rbg")


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def log_joint(path, x, t):
    """log p_t(x, label), up to a constant, for every label: [B, 3], by the components' principal axes."""
    variance_KD, axes_KDE = np.linalg.eigh(COVARIANCES)
    alpha, variance = expand(path.alpha(t), x[:, None]), expand(path.sigma(t), x[:, None]) ** 2
    off_BKE = jnp.einsum("bkd,kde->bke", x[:, None] - alpha * MEANS, axes_KDE)
    variance_BKE = alpha**2 * variance_KD + variance
    return np.log(WEIGHTS) - 0.5 * (off_BKE**2 / variance_BKE + jnp.log(variance_BKE)).sum(axis=-1)


def score_of(path, log_density):
    """The denoiser whose score is the gradient of log_density(x, t), [B]."""
    def denoise(x, t):
        return from_score(path, x, t, jax.grad(lambda x: log_density(x, t).sum())(x))

    return denoise


def mixture(path):
    """The denoiser of all components."""
    return score_of(path, lambda x, t: jax.nn.logsumexp(log_joint(path, x, t), axis=1))


def component(path, label):
    """The denoiser of each example's component; label 3 is all of them."""
    def log_density(x, t):
        joint_BK = log_joint(path, x, t)
        each_BK = jnp.concatenate([joint_BK, jax.nn.logsumexp(joint_BK, axis=1, keepdims=True)], axis=1)
        return each_BK[jnp.arange(len(x)), label]

    return score_of(path, log_density)


def log_posterior(path):
    """(x, t, label) -> log p_t(label | x), exactly."""
    def log_probability(x, t, label):
        return jax.nn.log_softmax(log_joint(path, x, t))[jnp.arange(len(x)), label]

    return log_probability


def points(path, n=6):
    """x [B, 2] and times [B] over the path."""
    t = path.time_at(jnp.linspace(4.0, -6.0, n))
    x_0, noise = jax.random.normal(key(0), (2, n, 2))
    return path.perturb(x_0, noise, t), t


def assert_same(found, expected, tolerance=1e-9):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_the_exact_classifier_gives_the_class(path):
    x, t = points(path)
    guided = classifier_guided(path, mixture(path), log_posterior(path), jnp.full(len(x), 1))
    assert_same(*jax.jit(lambda x, t: (guided(x, t), component(path, 1)(x, t)))(x, t), 1e-7)


def test_scaled_guidance_is_the_score_of_the_sharpened_density():
    """Both kinds are the score of p(x) p(label | x)^3, up to its normalisation."""
    path = VP()
    x, t = points(path)
    label, log_probability = jnp.full(len(x), 2), log_posterior(path)
    everything, class_only = mixture(path), component(path, 2)

    @jax.jit
    def run(x):
        def log_density(x):
            joint_BK = log_joint(path, x, t)
            return (jax.nn.logsumexp(joint_BK, axis=1) + 3.0 * jax.nn.log_softmax(joint_BK)[:, 2]).sum()

        by_classifier = classifier_guided(path, everything, log_probability, label, 3.0)
        return jax.grad(log_density)(x), by_classifier(x, t), classifier_free(class_only, everything, 3.0)(x, t)

    expected, *found = run(x)
    for each in found:
        np.testing.assert_allclose(each.score(path, t), expected, rtol=1e-7, atol=1e-8)
        assert_same(each, from_data(path, x, t, each.data), 1e-7)


def test_scales_1_and_0_are_conditional_and_unconditional_and_call_nothing_else():
    path = Flow()
    x, t = points(path)
    everything, class_only = mixture(path), component(path, 0)
    expected = jax.jit(lambda x, t: (class_only(x, t), everything(x, t)))(x, t)
    for scale, pair in ((1.0, (class_only, broken)), (0.0, (broken, everything))):
        assert_same(jax.jit(classifier_free(*pair, scale))(x, t), expected[0 if scale else 1])
    # The same from the mixture of the two, which a scale that is a function of t makes.
    assert_same(jax.jit(classifier_free(class_only, everything, jnp.zeros_like))(x, t), expected[1])


def broken(x, t):
    raise AssertionError("not to be called")


def counted(path, sizes):
    """`component`, which notes how many examples each call has."""
    def denoiser_of(label):
        def denoise(x, t):
            sizes.append(len(x))
            return component(path, label)(x, t)

        return denoise

    return denoiser_of


def test_one_call_of_both_is_two_calls():
    path, sizes = VE(), []
    x, t = points(path)
    label, no_class = jnp.array([0, 1, 2, 0, 1, 2]), jnp.full(6, 3)
    denoiser_of = counted(path, sizes)

    @jax.jit
    def run(x, t):
        two = classifier_free(denoiser_of(label), denoiser_of(no_class), 2.5)(x, t)
        sizes.clear()
        return two, classifier_free_batched(denoiser_of, label, 3, 2.5)(x, t)

    for times in (t, t[2]):
        expected, found = run(x, times)
        assert_same(found, expected, 1e-12)
        assert sizes == [12]


def test_guidance_within_an_interval_of_noise_levels():
    path = EDM()
    x, _ = points(path)
    label = jnp.full(len(x), 1)
    denoiser_of = counted(path, [])
    scale = within(path, 3.0, 0.5, 2.0)
    t = jnp.array([0.1, 0.5, 0.51, 2.0, 2.1, 30.0])
    np.testing.assert_array_equal(scale(t), [1, 1, 3, 3, 1, 1])
    np.testing.assert_array_equal(within(path, 3.0, 0.5, 2.0, outside=0.0)(t), [0, 0, 3, 3, 0, 0])
    guided, plain, full = jax.jit(lambda x, t: (
        classifier_free_batched(denoiser_of, label, 3, scale)(x, t),
        denoiser_of(label)(x, t),
        classifier_free_batched(denoiser_of, label, 3, 3.0)(x, t)))(x, t)
    inside = ((t > 0.5) & (t <= 2.0))[:, None]
    assert_same(guided, [jnp.where(inside, f, p) for f, p in zip(full, plain, strict=True)])
    # Outside, the unconditional denoiser is not computed at all: its NaN would show.
    no_number = classifier_free(component(path, 1), lambda x, t: Denoised(x * jnp.nan, x * jnp.nan), scale)
    assert np.isfinite(jax.jit(no_number)(x, 3.0).data).all()
    assert np.isnan(jax.jit(no_number)(x, 1.0).data).all()


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_a_classifier_of_clean_data_is_exact_where_it_is_linear_and_the_data_gaussian(path):
    """N(m, C) tilted by exp(a x) is N(m + C a, C), and log p_t(label | x) is a E[x_0 | x] and a constant."""
    x, t = points(path)
    tilts = jnp.array([[1.0, -2.0], [0.5, 0.3]])
    label = jnp.array([0, 1, 0, 1, 0, 1])
    guided = clean_classifier_guided(path, component(path, 0),
                                     lambda data, label: (tilts[label] * data).sum(axis=-1), label)
    found = jax.jit(guided)(x, t)
    alpha_B, variance_B = path.alpha(t), path.sigma(t) ** 2
    for b in range(len(x)):
        gain = alpha_B[b] * COVARIANCES[0] @ np.linalg.inv(alpha_B[b] ** 2 * COVARIANCES[0] + variance_B[b] * np.eye(2))
        shift = COVARIANCES[0] @ tilts[label[b]]
        expected = shift + gain @ (x[b] - alpha_B[b] * (MEANS[0] + shift)) + MEANS[0]
        np.testing.assert_allclose(found.data[b], expected, rtol=1e-7, atol=1e-8)
    assert_same(found, from_data(path, x, t, found.data), 1e-7)


def test_a_classifier_of_clean_data_becomes_exact_as_the_noise_falls():
    path, label = VP(), jnp.full(64, 1)
    x_0, noise = jax.random.normal(key(1), (2, 64, 2))

    def clean(data, label):
        return log_posterior(path)(data, jnp.asarray(1e-6), label)

    @jax.jit
    def error(log_snr):
        t = path.time_at(log_snr)
        x = path.perturb(x_0, noise, t)
        guided = clean_classifier_guided(path, mixture(path), clean, label)
        return jnp.abs(guided(x, t).data - component(path, 1)(x, t).data).mean()

    errors = [float(error(jnp.asarray(log_snr))) for log_snr in (0.0, 4.0, 8.0)]
    assert errors[1] < errors[0] / 5 and errors[2] < errors[1] / 20


@pytest.mark.parametrize("make, message", [
    (lambda: classifier_free_batched(counted(VP(), []), jnp.zeros(2, int), 0, 2.0),
     r"^guidance needs a class-conditional model; this one was trained without classes \(num_classes=0\)$"),
    (lambda: within(VP(), 2.0, 3.0, 1.0), r"^an interval of guidance needs 0 <= low < high .* not 3.0, 1.0$"),
])
def test_bad_input_is_one_line(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
