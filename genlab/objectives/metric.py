"""Metrics as (total, weight) pairs, so that means are exact over batches, devices and hosts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Metric(NamedTuple):
    """A weighted total, per example, float32 [B], or summed, float32 [].

    Its mean is sum(total) / sum(weight).
    """

    total: jax.Array
    weight: jax.Array

    def sum(self) -> "Metric":
        """Returns the metric summed over examples: scalars, which add up over batches."""
        return Metric(jnp.sum(self.total), jnp.sum(self.weight))

    def mean(self) -> jax.Array:
        """Returns sum(total) / sum(weight), float32 []; 0 where nothing has weight."""
        weight = jnp.sum(self.weight)
        return jnp.sum(self.total) / jnp.where(weight > 0, weight, 1.0)


class Estimate(NamedTuple):
    """A mean and its standard error."""

    mean: float
    standard_error: float


def ratio_estimate(totals_N: np.ndarray, weights_N: np.ndarray) -> Estimate:
    """sum(totals) / sum(weights) and its standard error.

    The error is that of a ratio estimator with examples as the sampling unit (Cochran 1977, eq. 6.13):
    sqrt(n / (n - 1) sum (total_i - mean weight_i)^2) / sum weight. Examples of weight 0 do not count.
    """
    real = weights_N > 0
    totals, weights = totals_N[real].astype(np.float64), weights_N[real].astype(np.float64)
    if not len(weights):
        return Estimate(float("nan"), float("nan"))
    mean = totals.sum() / weights.sum()
    n = len(weights)
    spread = np.sqrt(n / (n - 1) * np.sum((totals - mean * weights) ** 2)) if n > 1 else np.nan
    return Estimate(float(mean), float(spread / weights.sum()))
