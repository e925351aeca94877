"""What of this machine a worker process gets: cores of its own, an accelerator of its own, settings."""

import importlib.util
import math
import os
from pathlib import Path

# A worker that trains a small GPT holds 0.7 GB; jax, its compiler and the data are most of it.
_WORKER_BYTES = 1 << 30
# XLA takes its temporary buffers from malloc. Huge pages and memory that is kept save 4 to 14 % of a step's
# CPU time at widths 64 to 256 and batch 32 x 64 (2,500 to 24,000 page faults a step become 20 to 100) and cost
# nothing at width 16. glibc reads this when a process starts.
_MALLOC = "glibc.malloc.hugetlb=1:glibc.malloc.trim_threshold=1073741824:glibc.malloc.top_pad=67108864"
_ACCELERATOR_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm60_plugin", "libtpu")
_ACCELERATOR_FILES = ("nvidia[0-9]*", "kfd", "accel[0-9]*", "vfio/[0-9]*")


def available_cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def has_accelerator(devices: Path = Path("/dev")) -> bool:
    """Whether JAX would use something else than the CPU; found out without starting JAX."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms.split(",")[0] != "cpu"
    plugin = any(importlib.util.find_spec(name) for name in _ACCELERATOR_PLUGINS)
    return plugin and any(next(devices.glob(pattern), None) for pattern in _ACCELERATOR_FILES)


def devices_of_cores() -> None:
    """On a CPU makes every core a device of JAX's; to be called before JAX has met its devices.

    XLA runs much of a network on one thread a device: a batch cut over two devices keeps two cores busy.
    """
    if not has_accelerator() and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        import jax

        jax.config.update("jax_num_cpu_devices", len(available_cores()))


def automatic_workers() -> int:
    """Worker processes by default: one a core as memory allows; none on an accelerator or a single core."""
    if has_accelerator():
        return 0
    workers = min(len(available_cores()), _available_bytes() // _WORKER_BYTES)
    return workers if workers > 1 else 0


def cores_of_worker(slot: int, slots: int) -> list[int]:
    """The cores of one of `slots` workers: an equal share, none in two shares while there are enough."""
    cores = available_cores()
    share = max(1, len(cores) // slots)
    first = slot * share % len(cores)
    return cores[first:first + share]


def worker_environment(slot: int, slots: int) -> dict[str, str]:
    """The environment of a worker process: single-thread settings on one core, one GPU of several."""
    environment = {"GLIBC_TUNABLES": _MALLOC, **os.environ}
    if len(cores_of_worker(slot, slots)) == 1:
        flags = environment.get("XLA_FLAGS", "")
        environment["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    gpus = visible_gpus()
    if gpus and slots > 1:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
        sharing = math.ceil(slots / len(gpus))
        if sharing > 1:  # JAX takes three quarters of a GPU's memory by default.
            environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / sharing:.3f}")
    return environment


def visible_gpus(devices: Path = Path("/dev")) -> list[str]:
    """Names of the NVIDIA GPUs that a process started here would see."""
    if not has_accelerator(devices):
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name]
    return sorted((file.name.removeprefix("nvidia") for file in devices.glob("nvidia[0-9]*")), key=int)


def _available_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 1 << 62
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(kilobytes) * 1024 if kilobytes else 1 << 62
