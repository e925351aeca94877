"""Parallel plans: where the state and the batches of a run live. The step itself never knows.

A mesh has four axes. Batches are cut along their examples over "data" and "fsdp", parameters over "fsdp" and "tensor"
by the table of rules of their family (genlab/training/rules.py), and the positions of a sequence over "sequence". XLA
adds the communication. Every plan compiles the same `train_step`, and all give the same numbers.
"""

import contextlib
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genlab.configuration import ConfigError
from genlab.meshes import device_mesh
from genlab.models import placement
from genlab.training import hosts
from genlab.training.rules import SEQUENTIAL, TABLES, Rule, partition, unmatched

PyTree = Any
AXES = ("data", "fsdp", "tensor", "sequence")
# Of an activation's axes, by their letters: what each is cut over.
_ACTIVATIONS = {"B": ("data", "fsdp"), "T": ("sequence",), "H": ("tensor",), "G": ("tensor",), "F": ("tensor",),
                "V": ("tensor",)}
# A state above this share of a device's memory leaves too little for activations: it is cut over all devices.
_SHARE_OF_STATE = 0.4


@dataclass(frozen=True)
class Layout:
    """How a run is laid out over the devices; it changes where numbers live, and none of them.

    Attributes:
      plan: "auto" cuts batches alone or, where the state is too large for that, parameters and optimizer state too
        (FSDP); "pmap" runs the step on each device by itself and averages gradients; "mesh" takes the sizes below.
      data: parts of a batch, each with a copy of the parameters; 0 for as many as there are devices left.
      fsdp: parts of batch, parameters and optimizer state (ZeRO stage 3: Rajbhandari et al. 2019, arXiv 1910.02054).
      tensor: parts of attention heads and MLPs (Shoeybi et al. 2019, arXiv 1909.08053).
      sequence: parts of the sequence; each device computes its positions' queries against all keys. They must divide
        it: a ViT's class token makes 197 positions of 196, so take its other poolings.
      rules: further (pattern, axis of each last dimension) pairs, tried before the family's table: a pattern is a
        regular expression searched for in a parameter's path, and an axis is one of the names above or "".
    """

    plan: Literal["auto", "pmap", "mesh"] = "auto"
    data: int = 0
    fsdp: int = 1
    tensor: int = 1
    sequence: int = 1
    rules: tuple[Rule, ...] = ()

    def __post_init__(self):
        sizes = {name: getattr(self, name) for name in AXES}
        for name, size in sizes.items():
            if size < (name != "data"):
                raise ConfigError(f"layout.{name}={size} must be at least 1{', or 0 for the rest' * (name == 'data')}")
        if self.plan != "mesh" and (sizes != dict(zip(AXES, (0, 1, 1, 1), strict=True)) or self.rules):
            raise ConfigError(f'layout.plan="{self.plan}" takes no sizes and no rules; set layout.plan="mesh" for them')
        for pattern, axes in self.rules:
            for axis in axes:
                if axis not in ("", *AXES):
                    raise ConfigError(f"layout.rules: {pattern!r} names the axis {axis!r}; there are {', '.join(AXES)}")


@dataclass(frozen=True)
class Plan:
    """Devices, and what lives where on them.

    Attributes:
      mesh: devices by `AXES`.
      rules: of parameters, the first that matches counts.
      by_device: whether each device runs the step by itself ("pmap"): since JAX 0.8 jax.pmap is jit of shard_map, and
        so is this, with arrays laid out as under every other plan.
    """

    mesh: Mesh
    rules: tuple[Rule, ...] = ()
    by_device: bool = False

    @property
    def by_examples(self) -> bool:
        """Whether each device holds all parameters and computes whole examples."""
        return self.mesh.shape["data"] == self.mesh.size

    @property
    def replicated(self) -> NamedSharding:
        """Every device holds all of it."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def stacked_batches(self) -> NamedSharding:
        """Arrays [steps, examples, ...]: examples cut over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(None, ("data", "fsdp")))

    def of_state(self, abstract: PyTree) -> PyTree:
        """Shardings of a tree of shapes: parameters, and whatever has their paths and shapes."""
        def sharding(path, leaf):
            return NamedSharding(self.mesh, partition(self.rules, self.mesh.shape, _name(path), leaf.shape))

        return jax.tree_util.tree_map_with_path(sharding, abstract)

    def rows(self, batch_size: int, process: int | None = None) -> np.ndarray:
        """The examples of a batch that a process's devices hold, ascending; by default this process's."""
        process = jax.process_index() if process is None else process
        held = self.stacked_batches.devices_indices_map((1, batch_size)).items()
        return np.unique([np.arange(batch_size)[rows] for device, (_, rows) in held if device.process_index == process])

    def put(self, batches: PyTree) -> PyTree:
        """Stacked host batches, of the examples in this process's `rows`, as global arrays on the devices."""
        if jax.process_count() == 1:
            return jax.device_put(batches, self.stacked_batches)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(self.stacked_batches, np.asarray(x)), batches)

    @contextlib.contextmanager
    def placing(self) -> Iterator[None]:
        """Functions traced within cut their activations as the plan says, where propagation alone would not."""
        if self.by_device or self.mesh.size == 1:
            yield
            return
        with placement.on(self.mesh, _ACTIVATIONS):
            yield

    def describe(self) -> str:
        """One line for people."""
        sizes, device = dict(self.mesh.shape), self.mesh.devices.flat[0]
        count = f"{self.mesh.size} x {device.device_kind}" if self.mesh.size > 1 else f"one {device.device_kind}"
        if self.mesh.size == 1:
            return f"on {count}"
        cut = [f"{name}={sizes[name]}" for name in AXES if sizes[name] > 1]
        how = "pmap" if self.by_device else "mesh " + " ".join(cut)
        held = "parameters and optimizer state cut" if sizes["fsdp"] * sizes["tensor"] > 1 else "parameters on each"
        return f"on {count}: {how}, {held}"


def choose_plan(batch_size: int, micro_batches: int = 1, devices: int | None = None, layout: Layout = Layout(),
                objective: Any = None) -> Plan:
    """The plan of a run.

    Args:
      batch_size: examples of a batch, over all devices.
      micro_batches: parts that it is cut into first.
      devices: how many to use, all there are by default.
      layout: how.
      objective: whose model's family has the rules; without one, parameters are replicated.

    Raises:
      ConfigError: more devices than there are, a mesh of another size, a batch that does not divide, a rule that
        matches nothing, or a plan that the family does not support.
    """
    available = jax.devices()
    count = len(available) if devices is None else devices
    if not 1 <= count <= len(available):
        raise ConfigError(f"training.devices={count}, but this machine has {len(available)}")
    sizes = _sizes(layout, count, objective)
    parts = sizes["data"] * sizes["fsdp"]
    if batch_size % (micro_batches * parts):
        raise ConfigError(
            f"training.batch_size={batch_size} does not divide into {micro_batches} micro-batches on "
            f"{parts} devices; take a multiple of {micro_batches * parts}"
        )
    mesh = device_mesh(tuple(sizes.values()), AXES, available[:count])
    _check_hosts(mesh)
    if layout.plan == "pmap":
        if getattr(objective, "couples_examples", False):
            raise ConfigError(f'layout.plan="pmap" computes each device\'s examples by themselves, but this '
                              f'{type(objective).__name__} couples the examples of a batch; take "auto" or "mesh"')
        return Plan(mesh, by_device=True)
    return Plan(mesh, _rules(layout, sizes, objective))


def _check_hosts(mesh: Mesh) -> None:
    """Whether each process holds as much of a batch as any other, and none a piece of another's part."""
    count, parts = jax.process_count(), mesh.shape["data"] * mesh.shape["fsdp"]
    if count == 1:
        return
    if not hosts.joined():
        raise ConfigError(f"{count} processes: join them by genlab.training.hosts.together, as launch.train does")
    if mesh.size < len(jax.devices()):
        raise ConfigError(f"training.devices={mesh.size}, but {count} processes have {len(jax.devices())} devices, and "
                          "each needs all of its own; leave it out")
    held = [set(Plan(mesh).rows(parts, process)) for process in range(count)]
    if any(mine != other and mine & other for mine in held for other in held):
        raise ConfigError(f"this mesh cuts a batch into {parts} parts, some of which lie partly on one and partly on "
                          f"another of the {count} processes; data x fsdp must be a multiple of the processes or "
                          "divide them")


def _sizes(layout: Layout, count: int, objective: Any) -> dict[str, int]:
    if layout.plan == "auto":
        cut = count > 1 and objective is not None and _state_is_too_large(objective)
        return dict(zip(AXES, (1, count, 1, 1) if cut else (count, 1, 1, 1), strict=True))
    sizes = {name: getattr(layout, name) for name in AXES}
    others = math.prod(sizes[name] for name in AXES[1:])
    sizes["data"] = layout.data or max(count // others, 1)
    if math.prod(sizes.values()) != count:
        product = " x ".join(f"{name}={size}" for name, size in sizes.items())
        raise ConfigError(f"a mesh of {product} has {math.prod(sizes.values())} devices, but there are {count}; their "
                          "product must be the number of devices, which training.devices can lower")
    return sizes


def _state_is_too_large(objective: Any) -> bool:
    memory = _memory_of_device()
    # Parameters, two moments and a gradient, float32 each.
    state = 4 * 4 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(_abstract_parameters(objective)))
    return memory is not None and state > _SHARE_OF_STATE * memory


def _memory_of_device() -> int | None:
    """Bytes; None where JAX does not tell, as on CPU."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")


def _rules(layout: Layout, sizes: dict[str, int], objective: Any) -> tuple[Rule, ...]:
    family = getattr(objective, "family", "this model")
    table = TABLES.get(family, ())
    if sizes["tensor"] > 1 and not any("tensor" in axes for _, axes in (*layout.rules, *table)):
        raise ConfigError(f"layout.tensor={sizes['tensor']}: {family} has no rules for that axis; {', '.join(TABLES)} "
                          "have, and layout.rules takes others")
    if sizes["sequence"] > 1 and family not in SEQUENTIAL:
        raise ConfigError(f"layout.sequence={sizes['sequence']}: {family} has no sequence to cut; "
                          f"{', '.join(SEQUENTIAL)} have")
    if layout.rules:
        names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(_abstract_parameters(objective))]
        for pattern in unmatched(layout.rules, names):
            raise ConfigError(f"layout.rules: {pattern!r} matches no parameter of {family}; parameters have names such "
                              f"as {', '.join(sorted(names)[:3])}")
    return (*layout.rules, *table)


@functools.lru_cache(maxsize=8)
def _abstract_parameters(objective: Any) -> PyTree:
    return jax.eval_shape(objective.init, jax.random.key(0))["params"]


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)
