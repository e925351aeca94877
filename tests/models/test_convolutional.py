"""Layers of convolutional networks: values against NumPy, statistics, initial scales."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from genlab.models import ops
from genlab.models.convolutional import (
    HE_FAN_IN,
    HE_FAN_OUT,
    BatchNorm,
    Conv,
    GroupNorm,
    adaptive_mean_pool,
    local_response_norm,
    max_pool,
)
from tests.models import numpy_convolution as reference


def normal(*shape, mean=0.0, seed=0):
    """Float32 normal numbers."""
    return np.random.default_rng([seed, *shape]).normal(mean, 1, shape).astype(np.float32)


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), [
    (7, 3, 1, None), (7, 3, 2, None), (8, 3, 2, None), (8, 7, 2, None), (7, 1, 2, None), (9, 5, 1, 0), (12, 11, 4, 2)])
@pytest.mark.parametrize("standardize", [False, True])
def test_convolution(size, kernel, stride, padding, standardize):
    layer = Conv(4, kernel, stride, padding, use_bias=True, standardize=standardize)
    x = normal(2, size, size, 3)
    params = {"kernel": normal(kernel, kernel, 3, 4, mean=0.5), "bias": normal(4)}
    expected = reference.convolve(x.astype(np.float64), params, stride, padding, standardize)
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, atol=2e-5)


def batch_norm_variables(channels):
    """Parameters and running statistics that are not the initial ones."""
    params = {"scale": normal(channels, seed=1), "bias": normal(channels, seed=2)}
    stats = {"mean": normal(channels, seed=3), "var": np.abs(normal(channels, seed=4))}
    return {"params": params, "batch_stats": stats}


def test_batch_norm_in_training_uses_the_batch_and_moves_the_running_statistics_a_tenth():
    x, variables = normal(6, 3, 4, 5, mean=100.0), batch_norm_variables(5)
    y, updates = BatchNorm(train=True).apply(variables, x, mutable="batch_stats")
    exact = x.astype(np.float64).reshape(-1, 5)
    statistics = {"mean": exact.mean(axis=0), "var": exact.var(axis=0)}
    expected = reference.batch_norm(x.astype(np.float64), variables["params"], statistics)
    # A mean of 100 deviations leaves 5 digits; mean(x^2) - mean(x)^2 would leave 3.
    np.testing.assert_allclose(y, expected, atol=1e-4)
    for name, old in variables["batch_stats"].items():
        np.testing.assert_allclose(updates["batch_stats"][name], 0.9 * old + 0.1 * statistics[name], rtol=1e-5)


def test_batch_norm_in_evaluation_is_the_same_whatever_else_is_in_the_batch():
    x, variables = normal(6, 3, 4, 5), batch_norm_variables(5)
    y = BatchNorm(train=False).apply(variables, x)
    np.testing.assert_allclose(y, reference.batch_norm(x, variables["params"], variables["batch_stats"]), atol=1e-5)
    np.testing.assert_allclose(BatchNorm(train=False).apply(variables, x[2:3]), y[2:3], atol=1e-6)


def test_initial_running_statistics_are_untouched_by_the_initial_batch():
    for train in (False, True):
        variables = BatchNorm(train).init(jax.random.key(0), normal(6, 3, 4, 5, mean=7.0))
        np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(5))
        np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(5))


def test_batch_norm_of_a_sharded_batch_has_the_statistics_of_the_whole_batch():
    # Devices see batches that differ: their own statistics would give other numbers.
    x, variables = normal(16, 2, 2, 3) + np.arange(16, dtype=np.float32)[:, None, None, None], batch_norm_variables(3)
    apply = jax.jit(functools.partial(BatchNorm(train=True).apply, mutable="batch_stats"))
    mesh = jax.make_mesh((8,), ("data",))
    sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    assert len(sharded.sharding.device_set) == 8
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
                 apply(variables, sharded), apply(variables, x))


@pytest.mark.parametrize("groups", [1, 3, 6])
def test_group_norm(groups):
    x, params = normal(3, 4, 5, 6, mean=10.0), {"scale": normal(6, seed=1), "bias": normal(6, seed=2)}
    y = GroupNorm(groups).apply({"params": params}, x)
    np.testing.assert_allclose(y, reference.group_norm(x.astype(np.float64), params, groups), atol=1e-4)


def test_norms_have_float32_statistics_in_bfloat16():
    x = normal(4, 8, 8, 32, mean=3.0)
    for layer in (BatchNorm(train=True), GroupNorm(8)):
        variables = layer.init(jax.random.key(0), x)
        y, _ = layer.apply(variables, jnp.asarray(x, jnp.bfloat16), mutable="batch_stats")
        assert y.dtype == jnp.bfloat16
        exact, _ = layer.apply(variables, x, mutable="batch_stats")
        assert np.abs(y.astype(np.float32) - exact).max() < 0.05


@pytest.mark.parametrize(("size", "window", "stride", "padding", "ceil"), [
    (8, 3, 2, 1, False), (7, 3, 2, 0, False), (8, 3, 2, 0, False), (8, 3, 2, 0, True), (7, 3, 2, 0, True),
    (2, 3, 2, 0, True), (6, 2, 2, 0, False), (7, 2, 2, 0, False), (5, 3, 1, 1, False)])
def test_max_pool(size, window, stride, padding, ceil):
    x = normal(2, size, size, 3, mean=-5.0)  # Negative: zeros of a padding must not win.
    y = max_pool(x, window, stride, padding, ceil)
    if ceil:
        np.testing.assert_array_equal(y, reference.caffe_max_pool(x))
    else:
        np.testing.assert_array_equal(y, reference.max_pool(x, window, stride, padding, padding))


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 13])
def test_adaptive_mean_pool(size):
    x = normal(2, size, size, 3)
    np.testing.assert_allclose(adaptive_mean_pool(x, 6), reference.adaptive_mean_pool(x, 6), atol=1e-6)


def test_local_response_norm():
    x = 100 * normal(2, 3, 3, 9)
    y = local_response_norm(x)
    assert np.abs(y - x).max() > 10
    np.testing.assert_allclose(y, reference.local_response_norm(x.astype(np.float64)), rtol=1e-5)


def test_he_initialisation_keeps_the_scale_of_activations_or_of_gradients():
    key, shape = jax.random.key(0), (3, 3, 32, 128)
    np.testing.assert_allclose(np.std(HE_FAN_IN(key, shape)), np.sqrt(2 / (9 * 32)), rtol=0.02)
    np.testing.assert_allclose(np.std(HE_FAN_OUT(key, shape)), np.sqrt(2 / (9 * 128)), rtol=0.02)


def test_convolution_takes_the_type_of_its_input():
    y = ops.convolution(jnp.zeros((1, 4, 4, 2), jnp.bfloat16), jnp.zeros((3, 3, 2, 5)), padding=1)
    assert y.dtype == jnp.bfloat16
