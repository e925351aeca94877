"""Parallel plans: where the state and the batches of a run live. The step itself never knows."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from genlab.configuration import ConfigError

PyTree = Any


@dataclass(frozen=True)
class Plan:
    """Replicated parameters, batches cut along their example axis over a mesh of one axis, "data".

    XLA averages the gradients, because the step's sums run over a sharded axis; one device is the
    mesh of one. Issue of layout only: every plan compiles the same `train_step`.
    """

    mesh: Mesh

    @property
    def replicated(self) -> NamedSharding:
        """Every device holds all of it."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def stacked_batches(self) -> NamedSharding:
        """Arrays [steps, examples, ...]: examples cut over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(None, "data"))

    def put(self, batches: PyTree) -> PyTree:
        """Stacked host batches, this process's examples only, as global arrays on the devices."""
        if jax.process_count() == 1:
            return jax.device_put(batches, self.stacked_batches)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(self.stacked_batches, np.asarray(x)), batches)


def choose_plan(batch_size: int, micro_batches: int = 1, devices: int | None = None) -> Plan:
    """The plan for `devices` devices, all there are by default.

    Raises:
      ConfigError: more devices than there are, or a batch that does not divide.
    """
    available = jax.devices()
    count = len(available) if devices is None else devices
    if not 1 <= count <= len(available):
        raise ConfigError(f"training.devices={count}, but this machine has {len(available)}")
    if batch_size % (micro_batches * count):
        raise ConfigError(
            f"training.batch_size={batch_size} does not divide into {micro_batches} micro-batches on "
            f"{count} devices; take a multiple of {micro_batches * count}"
        )
    mesh = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=available[:count])
    return Plan(mesh)
