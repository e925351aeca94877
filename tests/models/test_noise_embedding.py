"""What a network is told of the noise level and the class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.models.noise_embedding import NoiseEmbedding, fourier, sinusoidal


def test_sinusoids_have_the_papers_frequencies():
    levels = np.array([0.0, 1.0, 999.0])
    expected = np.zeros((3, 8))
    for k, frequency in enumerate((1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3), 1e-4)):
        expected[:, k], expected[:, 4 + k] = np.sin(levels * frequency), np.cos(levels * frequency)
    np.testing.assert_allclose(sinusoidal(jnp.asarray(levels, jnp.float32), 8), expected, atol=2e-4)


def test_fourier_features_are_those_of_a_gaussian_kernel():
    """cos(2 pi w (x - y)), averaged over w ~ N(0, s^2), is exp(-2 (pi s |x - y|)^2)."""
    x = jnp.array([[0.0, 0.0], [0.1, 0.0], [0.1, -0.2], [1.0, 1.0]])
    features = np.asarray(fourier(x, 20_000, scale=0.7))
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
    np.testing.assert_allclose(features @ features.T / 10_000, np.exp(-2 * (np.pi * 0.7 * distances) ** 2), atol=0.03)


def test_fourier_frequencies_are_the_same_every_time_and_no_parameters():
    module = NoiseEmbedding(8, "fourier")
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(1))
    assert set(variables) == {"params"}
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "up": {"kernel": (16, 32), "bias": (32,)}, "down": {"kernel": (32, 32), "bias": (32,)}}
    x = jnp.array([[0.3], [-1.2]])
    np.testing.assert_array_equal(fourier(x, 6, 16.0), fourier(x, 6, 16.0))
    np.testing.assert_allclose(np.square(fourier(x, 6, 16.0)).sum(axis=-1), 3, atol=1e-5)


@pytest.mark.parametrize("kind", ["positional", "fourier"])
def test_labels_are_added_and_none_is_the_last_row(kind):
    module, levels = NoiseEmbedding(4, kind, num_classes=3), jnp.array([1.0, 2.0])
    variables = jax.jit(module.init)(jax.random.key(0), levels)
    apply = jax.jit(module.apply)
    table = variables["params"]["label_embedding"]
    assert table.shape == (4, 16)
    by_label = [apply(variables, levels, jnp.full(2, label)) for label in range(4)]
    np.testing.assert_allclose(by_label[1] - by_label[0], (table[1] - table[0])[None].repeat(2, 0), atol=1e-6)
    np.testing.assert_array_equal(apply(variables, levels), by_label[3])


@pytest.mark.parametrize("fields, message", [
    ({"kind": "learned"}, 'noise_embedding must be "positional" or "fourier", not "learned"'),
    ({"width": 5}, "half of a noise embedding are sines: width must be even, not 5"),
    ({"num_classes": -1}, r"num_classes must be at least 0 \(no labels\), not -1"),
])
def test_what_cannot_be_built_is_said_in_one_line(fields, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        NoiseEmbedding(**{"width": 4, **fields}).validate()
