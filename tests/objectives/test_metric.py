"""Metrics: exact means over any split of the examples, and the standard error of a ratio."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genlab.objectives.metric import Metric, add, concatenate


def per_example(count, seed=0):
    """A metric of examples with different weights, one of them padding."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 9, count).astype(np.float32)
    weight[-1] = 0
    return Metric(jnp.asarray(weight * rng.normal(2, 1, count).astype(np.float32)), jnp.asarray(weight))


def test_the_mean_is_the_same_over_any_split():
    metric = per_example(12)
    whole = metric.total.sum() / metric.weight.sum()
    parts = [{"loss": jax.tree.map(lambda x, s=s: x[s], metric).sum()} for s in (slice(5), slice(5, 12))]
    np.testing.assert_allclose(add(*parts)["loss"].mean(), whole, rtol=1e-6)
    np.testing.assert_allclose(metric.sum().mean(), metric.mean(), rtol=1e-6)
    halves = [{"loss": jax.tree.map(lambda x, s=s: x[s], metric)} for s in (slice(6), slice(6, 12))]
    np.testing.assert_array_equal(concatenate(halves)["loss"].total, metric.total)


def test_nothing_of_weight_has_mean_zero():
    zeros = jnp.zeros(3)
    assert Metric(zeros, zeros).mean() == 0
    assert Metric(zeros, zeros).standard_error() == 0


def test_the_standard_error_is_the_spread_of_the_mean_over_repetitions():
    """Against simulation: 4,000 samples of 40 examples with lengths, and padding that must not count."""
    rng = np.random.default_rng(0)
    length = rng.integers(1, 20, (4000, 40)).astype(np.float32)
    total = length * rng.normal(2, 0.5, (4000, 40)).astype(np.float32)
    padding = np.zeros((4000, 10), np.float32)
    metric = Metric(np.concatenate([total, padding], 1), np.concatenate([length, padding], 1))
    errors = jax.jit(jax.vmap(Metric.standard_error))(metric)
    means = jax.jit(jax.vmap(Metric.mean))(metric)
    assert abs(errors.mean() / means.std() - 1) < 0.05


def test_equal_weights_give_the_textbook_standard_error():
    values = np.random.default_rng(0).normal(size=50).astype(np.float32)
    metric = Metric(jnp.asarray(3 * values), jnp.full(50, 3.0))
    np.testing.assert_allclose(metric.standard_error(), values.std(ddof=1) / np.sqrt(50), rtol=1e-5)


def test_metrics_of_different_names_do_not_add():
    metric = per_example(3)
    with pytest.raises(ValueError, match="different names"):
        add({"loss": metric}, {"accuracy": metric})
