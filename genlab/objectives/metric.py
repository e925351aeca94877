"""Metrics as (total, weight) pairs, so that means are exact over batches, devices and hosts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


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
