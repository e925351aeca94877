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

    def standard_error(self) -> jax.Array:
        """Returns the standard error of the mean over examples, float32 [].

        The ratio estimator's (Cochran 1977, Sampling Techniques, equation 6.13): examples are taken
        as independent, tokens within one are not. Examples of weight 0 are padding.
        """
        residual = self.total - self.mean() * self.weight
        n = jnp.sum(self.weight > 0)
        weight = jnp.sum(self.weight)
        variance = jnp.sum(jnp.square(residual)) * n / jnp.maximum(n - 1, 1)
        return jnp.sqrt(variance) / jnp.where(weight > 0, weight, 1.0)


def add(left: dict[str, Metric], right: dict[str, Metric]) -> dict[str, Metric]:
    """Returns the metrics of two batches together, both summed; ValueError if their names differ."""
    if left.keys() != right.keys():
        raise ValueError(f"metrics {sorted(left)} and {sorted(right)} have different names")
    return jax.tree.map(jnp.add, left, right)


def concatenate(batches: list[dict[str, Metric]]) -> dict[str, Metric]:
    """Returns per-example metrics of several batches as one, in order."""
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *batches)
