"""The denoising network for points: against NumPy, labels, and what it can learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.models.denoising_mlp import DenoisingMLP
from genlab.models.noise_embedding import fourier, sinusoidal


def random_params(model, x):
    """Parameters with nothing at zero."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), x, jnp.ones(len(x)))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.normal(0, s.shape[0] ** -0.5, s.shape).astype(np.float32), shapes)


def silu(x):
    """x sigmoid(x)."""
    return x / (1 + np.exp(-x))


def reference(p, x, level, label, depth):
    """In float64."""

    def linear(name, x):
        return x @ np.float64(p[name]["kernel"]) + p[name]["bias"]

    condition = silu(linear("level", np.float64(sinusoidal(level, 16))) + p["label_embedding"][label])
    h = linear("input", np.concatenate([x, fourier(x, 6, 0.5)], axis=-1))
    for i in range(1, depth + 1):
        h = h + linear(f"down_{i}", silu(linear(f"up_{i}", silu(h + linear(f"level_{i}", condition)))))
    return linear("output", silu(h))


@pytest.fixture(scope="module")
def case():
    """A model, its parameters, points, noise levels."""
    model = DenoisingMLP(dimensions=3, width=16, depth=2, features=6, num_classes=4)
    x = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    return model, random_params(model, x), x, np.linspace(0, 1_000, 5, dtype=np.float32)


def test_output_agrees_with_numpy(case):
    model, params, x, level = case
    label = np.array([0, 3, 4, 1, 4])
    ours = model.apply({"params": params}, x, level, label)
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, reference(params, x, level, label, 2), atol=1e-4)


def test_no_label_is_the_null_label(case):
    model, params, x, level = case
    null = model.apply({"params": params}, x, level, np.full(5, 4))
    np.testing.assert_array_equal(model.apply({"params": params}, x, level), null)
    assert np.abs(null - model.apply({"params": params}, x, level, np.zeros(5, int))).max() > 0.1


def test_it_starts_at_zero_and_bfloat16_gives_float32():
    model, x = DenoisingMLP(dtype="bfloat16"), jnp.ones((3, 2))
    variables = model.init(jax.random.key(0), x, jnp.ones(3))
    assert sum(a.size for a in jax.tree.leaves(variables)) == 173_954  # 10 x 16,512 + 8,576 + 258.
    output = model.apply(variables, x, jnp.ones(3))
    assert output.dtype == jnp.float32
    np.testing.assert_array_equal(output, 0)


@pytest.mark.parametrize("fields, message", [
    ({"dimensions": 0}, "dimensions must be at least 1, not 0"),
    ({"depth": 0}, "depth must be at least 1, not 0"),
    ({"width": 7}, "width must be even, for as many sines as cosines; not 7"),
    ({"features": 3}, "features must be even, for as many sines as cosines; not 3"),
    ({"num_classes": -2}, r"num_classes must be at least 0 \(no labels\), not -2"),
    ({"dtype": "int8"}, 'dtype must be "float32" or "bfloat16", not "int8"'),
])
def test_what_cannot_be_built_is_said_in_one_line(fields, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        DenoisingMLP(**fields).validate()


def test_points_of_other_dimensions_are_refused():
    with pytest.raises(ConfigError, match=r"^the model reads points of 2 dimensions, \[B, 2\], not \[4, 3\]"):
        DenoisingMLP().init(jax.random.key(0), jnp.ones((4, 3)), jnp.ones(4))
