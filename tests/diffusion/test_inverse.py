"""Inverse problems against Gaussian conditionals, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.diffusion.denoiser import from_data
from genlab.diffusion.inverse import (
    NullSpace,
    PosteriorSampling,
    PseudoInverse,
    Replacement,
    TweedieCovariance,
    conjugate_gradients,
    solve_inverse,
)
from genlab.diffusion.operators import Blur, Colourisation, Inpainting, Matrix, SuperResolution
from genlab.diffusion.paths import EDM, VE, VP, Flow, expand
from genlab.diffusion.samplers import AdaptiveOde, Ddim, EulerMaruyama, Sampler, Samples

PATHS = [VP(), VE(), Flow()]
MEAN = np.array([0.3, -0.2, 0.5])
COVARIANCE = np.array([[1.0, 0.5, 0.2], [0.5, 0.8, -0.3], [0.2, -0.3, 0.6]])
MATRIX = np.array([[1.0, 0.5, 0.0], [0.3, -1.0, 2.0]])


def key(seed):
    """Of a generator that compiles in a tenth of the default one's time."""
    return jax.random.key(seed, impl="rbg")


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def gaussian(path, mean, covariance):
    """The denoiser of N(mean, covariance): alpha x_0 + sigma n along each principal axis by itself."""
    variance_E, axes_DE = np.linalg.eigh(covariance)

    def denoise(x, t):
        alpha, sigma = expand(path.alpha(t), x), expand(path.sigma(t), x)
        off = (x - alpha * mean) @ axes_DE
        return from_data(path, x, t, mean + (off * alpha * variance_E / (alpha**2 * variance_E + sigma**2)) @ axes_DE.T)

    return denoise


def posterior(mean, covariance, matrix, y, noise_std=0.0):
    """(mean, covariance) of x given y = matrix x + noise, by the formula of conditional Gaussians."""
    gain = covariance @ matrix.T @ np.linalg.inv(matrix @ covariance @ matrix.T + noise_std**2 * np.eye(len(y)))
    return mean + gain @ (y - matrix @ mean), covariance - gain @ matrix @ covariance


def points(path, n=6):
    """x [B, 3] and times [B] over the path."""
    t = path.time_at(jnp.linspace(6.0, -6.0, n))
    x_0, noise = jax.random.normal(key(0), (2, n, 3))
    return path.perturb(x_0, noise, t), t


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
def test_denoisers_given_a_measurement_are_those_of_the_conditional_gaussian(path):
    """With the exact covariance for any Gaussian; by PseudoInverse, and by NullSpace without noise, for white ones."""
    x, t = points(path)
    y = np.array([0.7, -1.1])
    white = 0.7**2 * np.eye(3)
    cases = [(TweedieCovariance(iterations=2), COVARIANCE, 0.0), (PseudoInverse(data_std=0.7), white, 0.0),
             (PseudoInverse(data_std=0.7), white, 0.4), (NullSpace(), white, 0.0),
             (TweedieCovariance(iterations=2), COVARIANCE, 0.4)]

    @jax.jit
    def run(x, t):
        found = []
        for method, covariance, noise_std in cases:
            denoiser = gaussian(path, MEAN, covariance)
            denoiser, constraint = method.condition(path, denoiser, Matrix(MATRIX), jnp.asarray(y)[None], noise_std)
            assert constraint is None
            found.append(denoiser(x, t))
        return found, denoiser(x[:1], t[0]).data  # and the last one at a scalar time

    found, scalar = run(x, t)
    np.testing.assert_allclose(scalar, found[-1].data[:1], atol=1e-12)
    for (method, covariance, noise_std), each in zip(cases, found, strict=True):
        mean, conditional = posterior(MEAN, covariance, MATRIX, y, noise_std)
        alpha, sigma = np.asarray(path.alpha(t)), np.asarray(path.sigma(t))
        for b in range(len(x)):
            marginal = alpha[b] ** 2 * conditional + sigma[b] ** 2 * np.eye(3)
            data = mean + alpha[b] * conditional @ np.linalg.solve(marginal, x[b] - alpha[b] * mean)
            np.testing.assert_allclose(each.data[b], data, atol=1e-8, err_msg=f"{method}, {noise_std}")
        np.testing.assert_allclose(each.noise, (x - alpha[:, None] * each.data) / sigma[:, None], atol=1e-6)


@pytest.fixture(scope="module")
def correlated():
    """Samples [N, 2] by each method of two numbers correlated .8, the first known to be 1.5; exactly N(1.2, .6^2)."""
    path, operator, y = VP(), Inpainting(np.array([True, False])), jnp.array([[1.5, 0.0]])
    denoiser = gaussian(path, np.zeros(2), [[1.0, 0.8], [0.8, 1.0]])
    stochastic, ode = Sampler(EulerMaruyama(), steps=200), Sampler(Ddim(), steps=200)
    cases = {"replacement": (stochastic, Replacement()), "null space": (stochastic, NullSpace()),
             "pseudo-inverse": (stochastic, PseudoInverse()), "covariance": (stochastic, TweedieCovariance(1)),
             "covariance, ODE": (ode, TweedieCovariance(1)), "posterior sampling": (stochastic, PosteriorSampling(0.1))}

    @jax.jit
    def run(key):
        return {name: solve_inverse(sampler, path, denoiser, operator, y, key, (10_000, 2), method,
                                    dtype=float).x
                for name, (sampler, method) in cases.items()}

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, run(key(3)))


def check_moments(x_N2, mean, std):
    """Standard errors of 10,000 samples are .006 and .004; 200 steps of Euler-Maruyama err by .005."""
    np.testing.assert_array_equal(x_N2[:, 0], 1.5)
    np.testing.assert_allclose(x_N2[:, 1].mean(), mean, atol=0.025)
    np.testing.assert_allclose(x_N2[:, 1].std(), std, atol=0.02)


@pytest.mark.parametrize("name", ["covariance", "covariance, ODE"])
def test_samples_by_the_exact_covariance_are_of_the_conditional_gaussian(correlated, name):
    check_moments(correlated[name], 1.2, 0.6)


@pytest.mark.parametrize("name, mean, std", [
    ("replacement", 0.75, 0.71), ("null space", 0.75, 0.74), ("pseudo-inverse", 1.15, 0.62)])
def test_biases_of_the_approximate_methods_are_those_their_docstrings_give(correlated, name, mean, std):
    check_moments(correlated[name], mean, std)


def test_posterior_sampling_follows_the_measurement_and_moves_the_rest_with_it(correlated):
    x_N2 = correlated["posterior sampling"]
    np.testing.assert_array_equal(x_N2[:, 0], 1.5)
    assert 1.0 < x_N2[:, 1].mean() < 1.5


IMAGE = (4, 4, 3)
OPERATORS = {
    "colourisation": Colourisation(),
    "super-resolution": SuperResolution(2),
    "blur": Blur([[0.5, 0.5]]),
    "matrix": Matrix(np.random.default_rng(0).normal(size=(5, 48)), IMAGE),
}


def white(path):
    """The denoiser of images of independent normal numbers: E[x_0 | x_t] = alpha x_t / (alpha^2 + sigma^2)."""
    def denoise(x, t):
        alpha, sigma = expand(path.alpha(t), x), expand(path.sigma(t), x)
        return from_data(path, x, t, alpha * x / (alpha**2 + sigma**2))

    return denoise


class OneStep:
    """From the prior to the expected data at once."""

    def sample(self, path, denoiser, key, shape, constraint):
        x, t = path.prior_sample(key, shape, jnp.float64), jnp.asarray(path.end)
        x = denoiser(x, t).data + path.start * x
        return Samples(x if constraint is None else constraint(x, jnp.asarray(path.start), key))


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
def test_every_method_agrees_with_every_measurement(operator):
    """One y for all samples, and one each."""
    path, x_0 = VP(), jax.random.normal(key(0), (2, *IMAGE))
    y = operator.apply(x_0)
    cases = [(Replacement(), 1), (Replacement(), 2), (NullSpace(), 1), (PseudoInverse(), 2), (TweedieCovariance(), 1),
             (PosteriorSampling(), 2)]

    @jax.jit
    def run(y, key):
        return [solve_inverse(OneStep(), path, white(path), operator, y[:n], key, x_0.shape, method).x
                for method, n in cases]

    for x, (_, n) in zip(run(y, key(1)), cases, strict=True):
        np.testing.assert_allclose(operator.apply(x), jnp.broadcast_to(y[:n], y.shape), atol=1e-9)
        assert float(jnp.abs(x - operator.pseudo_inverse(y[:n])).max()) > 1e-3  # the rest is sampled


def test_noisy_measurements_are_not_matched_exactly():
    """Numbers of variance 1 measured with a noise of .5: N(.8 y, .2)."""
    path, y = Flow(), jnp.full((1, 48), 2.0)
    operator = Inpainting(np.ones(48, bool))
    run = jax.jit(lambda key: solve_inverse(Sampler(Ddim(), steps=100), path, white(path), operator, y, key, (200, 48),
                                            PseudoInverse(), noise_std=0.5, dtype=float).x)
    x = np.asarray(run(key(0)))
    np.testing.assert_allclose([x.mean(), x.std()], [1.6, 0.2**0.5], atol=0.02)


def test_what_no_image_could_give_is_not_chased_by_conjugate_gradients():
    """Measurements off the range of A count as the nearest on it, however many iterations there are."""
    path, matrix = VP(), np.stack([*MATRIX, MATRIX[0] + MATRIX[1]])
    x, t = points(path)
    y = np.array([[0.7, -1.1, 2.0]])
    reachable = y @ (matrix @ np.linalg.pinv(matrix)).T

    def run(y, iterations):
        method = TweedieCovariance(iterations)
        denoiser, _ = method.condition(path, gaussian(path, MEAN, COVARIANCE), Matrix(matrix), jnp.asarray(y))
        return denoiser(x, t).data

    found, expected = jax.jit(lambda: (run(y, 5), run(reachable, 2)))()
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("method", [Replacement(), PosteriorSampling(0.1), NullSpace()], ids=lambda m: type(m).__name__)
def test_a_film_ends_with_the_samples_and_nothing_is_asked_of_the_denoiser_before_the_start(method):
    path, operator, y = EDM(), Inpainting(np.arange(48) < 24), jnp.full((1, 48), 2.0)

    def denoiser(x, t):
        return jax.tree.map(lambda a: jnp.where(t < path.start, jnp.nan, a), white(path)(x, t))

    samples = jax.jit(lambda key: solve_inverse(Sampler(Ddim(), steps=5), path, denoiser, operator, y, key, (3, 48),
                                                method, dtype=float, intermediates=2))(key(0))
    assert np.isfinite(samples.trajectory).all()
    np.testing.assert_array_equal(samples.trajectory[-1], samples.x)
    np.testing.assert_array_equal(samples.x[:, :24], 2.0)
    assert np.abs(samples.x[:, 24:]).max() < 6


def test_the_adaptive_ode_takes_no_constraint():
    with pytest.raises(ConfigError, match="^the adaptive ODE chooses its own steps and cannot meet a constraint"):
        solve_inverse(AdaptiveOde(), VP(), white(VP()), Inpainting(np.arange(48) < 24), jnp.zeros((1, 48)), key(0),
                      (20, 48), Replacement())


def test_conjugate_gradients_solve_each_example_by_itself():
    rng = np.random.default_rng(1)
    root_BDD = rng.normal(size=(3, 4, 4))
    a_BDD, target_BD = root_BDD @ root_BDD.transpose(0, 2, 1) + 0.1 * np.eye(4), rng.normal(size=(3, 4))
    target_BD[1] = 0  # solved from the start
    a_BDD[2] = -np.eye(4)  # not positive: left alone
    found = conjugate_gradients(lambda v: jnp.einsum("bij,bj->bi", a_BDD, v), jnp.asarray(target_BD), 8)
    np.testing.assert_allclose(found[0], np.linalg.solve(a_BDD[0], target_BD[0]), rtol=1e-8)
    np.testing.assert_array_equal(found[1:], np.zeros((2, 4)))


def solve(y, method=None, shape=(2, 8, 8, 3), noise_std=0.0, operator=None):
    return solve_inverse(None, VP(), None, operator or SuperResolution(2), y, None, shape, method or PseudoInverse(),
                         noise_std)


@pytest.mark.parametrize("make, message", [
    (lambda: solve(jnp.zeros((2, 4, 4, 1))), r"^measurements of 2 images \[8, 8, 3\] need the shape \[2, 4, 4, 3\], "
                                             r"or 1 for 2; y has \[2, 4, 4, 1\]$"),
    (lambda: solve(jnp.zeros((3, 4, 4, 3))), r"^measurements of 2 images .* y has \[3, 4, 4, 3\]$"),
    (lambda: solve(jnp.zeros((2, 4, 4, 3)), operator=Inpainting(np.ones((4, 4), bool))),
     r"^the mask has shape \[4, 4\]; an image's needs \[8, 8\] or \[8, 8, 3\]$"),
    (lambda: solve(jnp.zeros((2, 3, 4, 3)), shape=(2, 7, 8, 3)), r"^super-resolution by 2 needs images"),
    (lambda: solve(jnp.zeros((2, 4, 4, 3)), Replacement(), noise_std=0.1),
     r"^Replacement takes measurements as exact; noise_std=0.1 needs PseudoInverse or TweedieCovariance$"),
    (lambda: solve(jnp.zeros((2, 4, 4, 3)), noise_std=-0.1), r"^noise_std=-0.1 must not be negative$"),
    (lambda: PseudoInverse(data_std=0.0), r"^data_std=0.0 must be positive: the data's standard deviation$"),
    (lambda: TweedieCovariance(0), r"^conjugate gradients need 1 iteration or more, not 0$"),
    (lambda: PosteriorSampling(0.0), r"^step=0.0 must be positive$"),
])
def test_bad_input_is_one_line(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
