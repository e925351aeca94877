"""Many hosts that train one run: how they meet, wait for each other and agree.

Every process runs the same program on its own devices. What only one of them can know (a clock, a signal, whether a
folder is free) process 0 decides, and the others hear it through the key-value store of JAX's coordination service,
which neither needs devices nor waits for them. For one process all of this does nothing.
"""

import collections
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.sharding import Sharding

from genlab.configuration import ConfigError
from genlab.training.farewell import client, hear_of_failures
from genlab.training.rendezvous import meet, split_address

# Until here a host may be busy with what the others have done already, such as compiling.
WAIT_SECONDS = 600.0
# Clusters whose processes need no flags; JAX knows others (--coordinator=auto), but not for sure.
_CERTAIN = ("slurm", "gcetpu", "gketpu")

_names: list[str] = ["this host"]
_counters: dict[str, Iterator[int]] = collections.defaultdict(itertools.count)


def initialize(coordinator: str | None = None, process_index: int | None = None, process_count: int | None = None,
               local_device_ids: Sequence[int] | None = None, timeout_seconds: float = 300.0) -> str:
    """Joins the processes of a run; to be called before JAX looks for devices.

    Args:
      coordinator: HOST:PORT of process 0; "auto" for whatever cluster JAX recognises; by default SLURM and TPU pods
        are recognised, and elsewhere one process is alone.
      process_index: of this process.
      process_count: of all.
      local_device_ids: devices of this host that are this process's; by default all, or one for each process where
        SLURM starts several on a host.
      timeout_seconds: how long to wait for the others.

    Returns:
      one line about the processes, "" for one alone.

    Raises:
      ConfigError: half-given flags, an index out of range, a lost host, or hosts of different numbers of devices.
    """
    found = _given(coordinator, process_index, process_count) or _detected(coordinator == "auto", timeout_seconds)
    if found is None or found[2] == 1:
        return ""
    coordinator, index, count, ids = found
    ids = local_device_ids or ids
    _names[:] = meet(coordinator, index, count, timeout_seconds)
    # Ctrl-C and SIGTERM are genlab's own business (`Agreement`).
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, count, index, local_device_ids=ids, cluster_detection_method="deactivate",
                               initialization_timeout=max(int(timeout_seconds), 1))
    hear_of_failures(_names[index])
    return describe_devices(collections.Counter(device.process_index for device in jax.devices()), _names)


def _given(coordinator, index, count) -> tuple[str, int, int, None] | None:
    flags = {"coordinator": coordinator, "process_index": index, "process_count": count}
    if coordinator == "auto":
        flags = {name: value for name, value in flags.items() if name != "coordinator"}
        if set(flags.values()) != {None}:
            raise ConfigError("--coordinator=auto finds --process_index and --process_count itself; leave them out")
        return None
    missing = [f"--{name}" for name, value in flags.items() if value is None]
    if len(missing) == 3:
        return None
    if missing:
        raise ConfigError(f"{', '.join(f'--{name}' for name in flags)} come together; there is no "
                          f"{' and no '.join(missing)}")
    if count < 1 or not 0 <= index < count:
        raise ConfigError(f"--process_index={index} is not from 0 to {count - 1}: there are {count} processes")
    split_address(coordinator)
    return coordinator, index, count, None


def _detected(any_cluster: bool, timeout_seconds: float) -> tuple[str, int, int, list[int] | None] | None:
    """What JAX's own detection says of SLURM, a TPU pod or, if asked for, another cluster."""
    from jax._src.clusters import ClusterEnv  # JAX gives it no public name.

    kinds = [kind for kind in ClusterEnv._cluster_types if kind.name in _CERTAIN or any_cluster]
    cluster = next((kind for kind in kinds if not kind.opt_in_only_method and kind.is_env_present()), None)
    if cluster is None:
        if any_cluster:
            raise ConfigError("--coordinator=auto: JAX recognises no cluster here; give --coordinator=HOST:PORT, "
                              "--process_index and --process_count")
        return None
    if cluster.get_process_count() == 1:
        return None
    address, count, index, ids = ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, cluster.name, int(timeout_seconds))
    return address, index, count, _devices_under_slurm(ids) if cluster.name == "slurm" else ids


def _devices_under_slurm(ids: list[int] | None) -> list[int] | None:
    """JAX gives each process the device of its local number, though it may be alone on its host or bound already."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("ROCR_VISIBLE_DEVICES")
    alone = os.environ.get("SLURM_STEP_NUM_TASKS") == os.environ.get("SLURM_STEP_NUM_NODES")
    bound = visible is not None and ids is not None and max(ids) >= len(visible.split(","))
    return None if alone or bound else ids


def describe_devices(devices: dict[int, int], names: Sequence[str]) -> str:
    """Processes and their devices in one line.

    Raises:
      ConfigError: they have different numbers of devices; the message names the first that differs.
    """
    for index in range(len(names)):
        if devices.get(index, 0) != devices.get(0, 0):
            raise ConfigError(f"process {index} on {names[index]} has {devices.get(index, 0)} devices, but process 0 "
                              f"on {names[0]} has {devices.get(0, 0)}; all must have the same number")
    kind = jax.devices()[0].device_kind
    return f"{len(names)} processes x {devices[0]} local devices ({kind}) on {', '.join(dict.fromkeys(names))}"


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def barrier(name: str, timeout_seconds: float = WAIT_SECONDS) -> None:
    """Returns when every process has come here.

    Args:
      name: what for, in words.
      timeout_seconds: how long to wait.

    Raises:
      ConfigError: somebody did not come; the message says who.
    """
    if jax.process_count() == 1:
        return
    key = f"genlab/barrier/{name}/{next(_counters[name])}"
    client().key_value_set(f"{key}/{jax.process_index()}", "here")
    try:
        client().wait_at_barrier(key, int(timeout_seconds * 1000))
    except jax.errors.JaxRuntimeError as error:
        came = {int(path.rpartition("/")[2]) for path, _ in client().key_value_dir_get(f"{key}/")}
        lost = [f"process {i} on {_names[i]}" for i in range(jax.process_count()) if i not in came]
        who = f"{', '.join(lost)} did not come" if lost else str(error).splitlines()[0]
        raise ConfigError(f"waited {timeout_seconds:g} s for {name}: {who}") from error


def from_first(name: str, value: Any, timeout_seconds: float = WAIT_SECONDS) -> Any:
    """Process 0's value (JSON) on every process.

    Args:
      name: what it is, in words.
      value: matters on process 0.
      timeout_seconds: how long to wait for it.

    Raises:
      ConfigError: it did not come.
    """
    if jax.process_count() == 1:
        return value
    key = f"genlab/value/{name}/{next(_counters[name])}"
    if is_first():
        client().key_value_set(key, json.dumps(value))
        return value
    return json.loads(_wait_for(key, name, timeout_seconds))


def everywhere(name: str, value: bool, timeout_seconds: float = WAIT_SECONDS) -> bool:
    """Whether it is so on every process; errors as in `barrier`."""
    if jax.process_count() == 1:
        return value
    key = f"genlab/everywhere/{name}/{next(_counters[name])}"
    if not value:
        client().key_value_set(f"{key}/{jax.process_index()}", "no")
    barrier(name, timeout_seconds)
    return not client().key_value_dir_get(f"{key}/")


def share(sharding: Sharding, axis: int) -> tuple[int, int]:
    """Which part of an axis this process must bring, and of how many: (index, count).

    Processes whose devices hold the same part (tensor parallel over hosts) bring the same.

    Raises:
      ConfigError: two processes hold parts that overlap without being the same.
    """
    if jax.process_count() == 1:
        return 0, 1
    devices = sharding.num_devices
    parts: dict[int, set[int]] = {}
    for device, indices in sharding.devices_indices_map((devices,) * (axis + 1)).items():
        parts.setdefault(device.process_index, set()).update(range(*indices[axis].indices(devices)))
    different = sorted({tuple(sorted(part)) for part in parts.values()})
    if sum(map(len, different)) != devices or len(set(map(len, different))) > 1:
        raise ConfigError("this layout cuts batches so that hosts overlap; take one whose data x fsdp is a multiple of "
                          f"the {jax.process_count()} processes, or divides them")
    return different.index(tuple(sorted(parts[jax.process_index()]))), len(different)


class Agreement:
    """What all processes do after the same step: whether to save, and whether to stop.

    Process 0's clock and anybody's signal count. Nobody waits for process 0 unless it is behind, and it waits for
    none: who wants to stop leaves a note, which it finds at its next step.

    Args:
      should_stop: whether this process was asked to stop.
    """

    def __init__(self, should_stop: Callable[[], bool]):
        self._should_stop = should_stop
        self._key = f"genlab/agreement/{next(_counters['agreement'])}"
        self._noted = False
        self._old: collections.deque[str] = collections.deque()

    def after(self, step: int, save: bool) -> tuple[bool, bool]:
        """(save, stop) after a step that every process comes to; `save` matters on process 0."""
        stop = self._should_stop()
        if jax.process_count() == 1:
            return save, stop
        key = f"{self._key}/{step}"
        if not is_first():
            if stop and not self._noted:
                client().key_value_set(f"{self._key}/stop/{jax.process_index()}", "please")
                self._noted = True
            return tuple(json.loads(_wait_for(key, f"step {step} of process 0", WAIT_SECONDS)))
        stop = stop or bool(client().key_value_dir_get(f"{self._key}/stop/"))
        client().key_value_set(key, json.dumps([save, stop]))
        # Whose metrics process 0 has read, all have dispatched: what came before that is known to all.
        self._old.append(key)
        if len(self._old) > 8:
            client().key_value_delete(self._old.popleft())
        return save, stop


def _wait_for(key: str, name: str, timeout_seconds: float) -> str:
    try:
        return client().blocking_key_value_get(key, int(timeout_seconds * 1000))
    except jax.errors.JaxRuntimeError as error:
        raise ConfigError(f"waited {timeout_seconds:g} s for {name}: process 0 on {_names[0]} did not come "
                          f"({str(error).splitlines()[0]})") from error
