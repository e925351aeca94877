"""Metrics: exact means over any split of the examples."""

import jax
import jax.numpy as jnp
import numpy as np

from genlab.objectives.metric import Metric


def per_example(count, seed=0):
    """A metric of examples with different weights, one of them padding."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 9, count).astype(np.float32)
    weight[-1] = 0
    return Metric(jnp.asarray(weight * rng.normal(2, 1, count).astype(np.float32)), jnp.asarray(weight))


def test_the_mean_is_the_same_over_any_split():
    metric = per_example(12)
    whole = metric.total.sum() / metric.weight.sum()
    first, second = (jax.tree.map(lambda x, s=s: x[s], metric).sum() for s in (slice(5), slice(5, 12)))
    np.testing.assert_allclose(jax.tree.map(jnp.add, first, second).mean(), whole, rtol=1e-6)
    np.testing.assert_allclose(metric.sum().mean(), metric.mean(), rtol=1e-6)


def test_nothing_of_weight_has_mean_zero():
    zeros = jnp.zeros(3)
    assert Metric(zeros, zeros).mean() == 0
