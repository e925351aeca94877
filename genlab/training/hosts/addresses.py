"""Where the processes of a run find each other: by flags, by SLURM, or as the workers of a TPU pod."""

import os
from typing import NamedTuple

from genlab.configuration import ConfigError

# Of the clusters that JAX detects, those whose environment says for sure that there is one.
_CLUSTERS = ("slurm", "gcetpu", "gketpu")


class Place(NamedTuple):
    """One process among those of a run.

    Attributes:
      coordinator: HOST:PORT at which process 0 listens.
      index: of this process.
      count: of processes, at least 2.
      local_device_ids: which of its host's devices are this process's; None for all.
    """

    coordinator: str
    index: int
    count: int
    local_device_ids: list[int] | None = None


def find_place(coordinator: str | None = None, processes: int | None = None, process: int | None = None,
               timeout_seconds: float = 300.0) -> Place | None:
    """This process's place: as given or, where nothing is, as SLURM or a TPU pod tells; None for a process alone.

    Args:
      coordinator: HOST:PORT of process 0.
      processes: how many there are.
      process: which one this is, from 0.
      timeout_seconds: how long to look for the host of process 0 in a TPU pod.

    Raises:
      ConfigError: some are given but not all, an address that is none, or a process that is not one of them.
    """
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return _detected(timeout_seconds)
    if missing:
        raise ConfigError(f"--coordinator=HOST:PORT, --processes and --process come together, but there is no "
                          f"{' and no '.join(missing)}")
    if not 0 <= process < processes:
        raise ConfigError(f"--process={process} must be from 0 to {processes - 1}: there are {processes} processes")
    split_address(coordinator)
    return Place(coordinator, process, processes) if processes > 1 else None


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT in its parts.

    Raises:
      ConfigError: it is something else.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"--coordinator={address} must be HOST:PORT, with a free port of process 0's host")
    return host.strip("[]"), int(port)


def _detected(timeout_seconds: float) -> Place | None:
    from jax._src.clusters import ClusterEnv  # JAX gives it no public name.

    cluster = next((kind for kind in ClusterEnv._cluster_types if kind.name in _CLUSTERS and kind.is_env_present()),
                   None)
    if cluster is None or cluster.get_process_count() == 1:
        return None
    address, count, index, local_device_ids = ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, cluster.name, int(timeout_seconds))
    if cluster.name == "slurm":
        local_device_ids = _devices_under_slurm(local_device_ids)
    return Place(address, index, count, local_device_ids)


def _devices_under_slurm(ids: list[int]) -> list[int] | None:
    """JAX takes the device of the task's number on its node; but a task may have the node, or devices, to itself."""
    alone = os.environ.get("SLURM_STEP_NUM_TASKS") == os.environ.get("SLURM_STEP_NUM_NODES")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("ROCR_VISIBLE_DEVICES")
    bound = visible is not None and max(ids) >= len(visible.split(","))
    return None if alone or bound else ids
