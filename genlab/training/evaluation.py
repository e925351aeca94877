"""Held-out metrics with their standard errors, and outputs for evaluations that need more than a mean."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from genlab.objectives.metric import Estimate, ratio_estimate
from genlab.training.program import Program, Reading

PyTree = Any

_BATCHES_PER_DISPATCH = 8


def evaluate(program: Program, variables: PyTree, batches: Iterable[dict[str, np.ndarray]],
             batches_per_dispatch: int = _BATCHES_PER_DISPATCH) -> dict[str, Estimate]:
    """Every metric of the objective over `batches`, each example once.

    A metric is sum(total_i) / sum(weight_i) over examples i, a ratio of sums, so that tokens count
    alike whatever the batches. Its standard error is that of a ratio estimator with examples as the
    sampling unit (Cochran 1977, eq. 6.13): sqrt(n / (n - 1) sum (total_i - mean weight_i)^2) / sum weight.
    Examples that overlap or stem from one document are not independent; then it is too small.

    Args:
      program: compiled functions.
      variables: the collections, or their moving average.
      batches: this process's part of them, all of one shape; padding examples have example_weight 0.
      batches_per_dispatch: the last dispatch is filled up with batches of weight 0.
    """
    totals: dict[str, list[np.ndarray]] = {}
    weights: dict[str, list[np.ndarray]] = {}
    for stacked in _stacked(batches, batches_per_dispatch):
        metrics = jax.device_get(program.evaluate(variables, program.plan.put(stacked)))
        for name, (total, weight) in metrics.items():
            totals.setdefault(name, []).append(np.ravel(total))
            weights.setdefault(name, []).append(np.ravel(weight))
    return {name: ratio_estimate(np.concatenate(totals[name]), np.concatenate(weights[name])) for name in totals}


def collect_outputs(program: Program, variables: PyTree, batches: Iterable[dict[str, np.ndarray]],
                    read: Reading) -> dict[str, np.ndarray]:
    """What is read of every example of `batches`, and the batches' "label".

    Args:
      program: compiled functions.
      variables: the collections, or their moving average.
      batches: this process's part of them, all of one shape; padding examples have example_weight 0 and are left out.
      read: names of the objective's `outputs`, of which the others are not computed; or a function of a batch, which
        may take much longer, as a sample does: then no dispatch is filled up.

    Returns:
      name -> array [examples, ...] of all processes, in the order of the batches.
    """
    found: dict[str, list[np.ndarray]] = {}
    for stacked in _stacked(batches, 1 if callable(read) else _BATCHES_PER_DISPATCH):
        arrays = jax.device_get(program.outputs(variables, program.plan.put(stacked), read))
        real = arrays.pop("example_weight").ravel() > 0
        for name, array in arrays.items():
            found.setdefault(name, []).append(array.reshape(-1, *array.shape[2:])[real])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _stacked(batches: Iterable[dict[str, np.ndarray]], size: int) -> Iterable[dict[str, np.ndarray]]:
    group: list[dict[str, np.ndarray]] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield {name: np.stack([b[name] for b in group]) for name in batch}
            group = []
    if group:
        padding = dict(group[0], example_weight=np.zeros_like(group[0]["example_weight"]))
        group += [padding] * (size - len(group))
        yield {name: np.stack([b[name] for b in group]) for name in padding}
