"""A profile of a few steady steps: written for TensorBoard and Perfetto, and its top operations read back.

Read by `jax.profiler.ProfileData`; TensorFlow is not needed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from genlab.configuration import ConfigError
from genlab.training.outcome import Progress

# The first dispatch compiles and the second may still find fresh memory.
_DISPATCHES_BEFORE = 2
# They last as long as what they call, which has events of its own.
_CALLS = re.compile(r"%?(while|call|conditional|async-\w+)[.\d]*( |$)")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = .*metadata=\{[^}]*op_name=\"([^\"]*)\"", re.MULTILINE)


@dataclass(frozen=True)
class Operation:
    """One instruction of the compiled programs, over all of a profile.

    Attributes:
      name: XLA's.
      source: of which function of the model it comes, as JAX names it; empty where that is not known.
      count: how often it ran, over devices and threads.
      seconds: in all, of devices and threads that worked at the same time added up.
      share: of the seconds of all operations.
    """

    name: str
    source: str
    count: int
    seconds: float
    share: float


class Profiler:
    """A listener of the training loop that profiles some dispatches after the first two.

    Attributes:
      folder: gets plugins/profile/<time>/*.xplane.pb (TensorBoard) and *.trace.json.gz (Perfetto).
      dispatches: how many.
      steps: updates that were profiled; 0 as long as there is no profile.
    """

    def __init__(self, folder: Path, dispatches: int):
        self.folder, self.dispatches, self.steps = Path(folder), dispatches, 0
        self._heard = 0
        self._running = False
        self._begun = self._newest = 0

    def __call__(self, progress: Progress) -> None:
        """Hears of the end of a dispatch."""
        self._heard += 1
        self._newest = progress.step
        if self._heard == _DISPATCHES_BEFORE and progress.step < progress.steps:
            _wait_for_devices()
            try:
                jax.profiler.start_trace(str(self.folder))
            except RuntimeError as error:
                raise ConfigError(f"--profile: another profile is being taken ({error})") from error
            self._begun, self._running = progress.step, True
        elif self._heard == _DISPATCHES_BEFORE + self.dispatches or progress.step == progress.steps:
            self.close()

    def close(self) -> None:
        """Ends the profile, if it has not ended yet; a run may end before it."""
        if self._running:
            self._running = False
            _wait_for_devices()
            jax.profiler.stop_trace()
            self.steps = self._newest - self._begun


def top_operations(folder: Path, count: int = 15) -> list[Operation]:
    """The operations of a folder's newest profile that took most time, first the longest.

    Their sources are known in the process that compiled them.

    Raises:
      ConfigError: there is no profile, or it holds no operations.
    """
    files = sorted(Path(folder).glob("plugins/profile/*/*.xplane.pb"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise ConfigError(f"there is no profile in {folder}")
    taken: dict[tuple[str, str], list[float]] = {}
    for module, name, nanoseconds in _events(jax.profiler.ProfileData.from_file(str(files[-1]))):
        taken.setdefault((module, name), []).append(nanoseconds * 1e-9)
    total = sum(map(sum, taken.values()))
    if not total:
        raise ConfigError(f"{files[-1]} holds no operations of a device")
    longest = sorted(taken.items(), key=lambda item: -sum(item[1]))[:count]
    sources = _sources({module for (module, _), _ in longest})
    return [Operation(name, sources.get((module, name), ""), len(times), sum(times), sum(times) / total)
            for (module, name), times in longest]


def _wait_for_devices() -> None:
    jax.block_until_ready([array for array in jax.live_arrays() if not array.is_deleted()])


def _events(data: Any) -> Iterator[tuple[str, str, float]]:
    """(module, instruction, nanoseconds) of everything that ran; on CPU a thread is a line of the host's plane."""
    planes = list(data.planes)
    accelerators = [plane for plane in planes if plane.name.startswith(("/device:GPU", "/device:TPU"))]
    for plane in accelerators or planes:
        lines = list(plane.lines)
        # TPUs have one line of instructions beside lines that sum them up; GPUs have a line for each stream.
        chosen = [line for line in lines if line.name == "XLA Ops"] or [
            line for line in lines if not accelerators or line.name.startswith("Stream")]
        for line in chosen:
            for event in line.events:
                stats = dict(event.stats)
                name = str(stats.get("hlo_op", event.name if accelerators else ""))
                if name and not _CALLS.match(name):
                    yield str(stats.get("hlo_module", "")), name.split(" = ")[0].lstrip("%"), event.duration_ns


def _sources(modules: set[str]) -> dict[tuple[str, str], str]:
    """(module, instruction) -> JAX's name of it, from this process's own compiled programs."""
    found = {}
    for executable in jax.devices()[0].client.live_executables():
        for module in executable.hlo_modules():
            if module.name in modules:
                found |= {(module.name, name): source for name, source in _INSTRUCTION.findall(module.to_string())}
    return found
