"""Worker processes on this machine: each runs many experiments on cores of its own.

On 2 cores two pinned single-thread processes do 1.3 to 2.1 times the work of one process with two threads
(GPTs of width 16 to 128), because small steps leave the second thread waiting.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from genlab.configuration import to_json
from genlab.sweeps.executors import Event, Task
from genlab.sweeps.placement import cores_of_worker, worker_environment

RUN_TASK = "genlab.sweeps.run:run_task"


@dataclass
class _Worker:
    process: subprocess.Popen
    events: int  # the read end of its pipe
    task: Task | None = None
    error: str = ""
    unread: bytes = b""


@dataclass
class LocalProcesses:
    """`slots` workers, each pinned to its own cores. Start it from the main thread.

    A worker whose run raises ends, so that no run inherits what a failed one left behind; the next task
    of its slot starts another. Workers die with this process, however it ends.

    Attributes:
      slots: how many workers.
      logs: folder for what they print; None for this process's standard error.
      run_task: "module:function" that does a task (`executors.RunTask`).
      import_from: folders of further modules that configs' classes come from.
    """

    alike: ClassVar[bool] = False  # Workers share nothing, so that any runs go side by side.

    slots: int
    logs: Path | None = None
    run_task: str = RUN_TASK
    import_from: tuple[Path, ...] = ()
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _selector: selectors.DefaultSelector = field(default_factory=selectors.DefaultSelector)

    def start(self) -> "LocalProcesses":
        """Starts all workers, which begin with their imports; `submit` starts those that are missing."""
        for slot in range(self.slots):
            self._ensure(slot)
        return self

    def busy(self) -> dict[int, Task]:
        """See `Executor`."""
        return {slot: worker.task for slot, worker in self._workers.items() if worker.task}

    def submit(self, slot: int, task: Task) -> None:
        """See `Executor`."""
        worker = self._ensure(slot)
        worker.task = task
        run = task.run
        self._send(worker, {
            "name": run.name, "role": run.role, "experiment": to_json(run.experiment),
            "config_hash": run.config_hash, "sweep": run.sweep, "folder": str(task.folder),
            "attempt": task.attempt, "log": str(self.logs / f"worker-{slot}.log") if self.logs else None,
        })

    def poll(self, seconds: float) -> list[Event]:
        """See `Executor`."""
        events: list[Event] = []
        for key, _ in self._selector.select(seconds):
            slot, worker = key.data, self._workers[key.data]
            chunk = os.read(worker.events, 65536)
            *lines, worker.unread = (worker.unread + chunk).split(b"\n")
            for line in lines:
                self._read(worker, json.loads(line), events)
            if not chunk:
                self._bury(slot, events)
        return events

    def stop(self) -> None:
        """See `Executor`."""
        for worker in self._workers.values():
            worker.process.send_signal(signal.SIGTERM)

    def close(self, kill: bool = False) -> None:
        """See `Executor`."""
        for worker in self._workers.values():
            _close_quietly(worker.process.stdin)  # End of commands: an idle worker goes.
        deadline = time.monotonic() + (0 if kill else 5)
        for worker in self._workers.values():
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            os.close(worker.events)
        self._workers.clear()
        self._selector.close()

    def _ensure(self, slot: int) -> _Worker:
        if slot not in self._workers:
            self._workers[slot] = _start_worker(slot, self.slots, self.run_task, self.import_from)
            self._selector.register(self._workers[slot].events, selectors.EVENT_READ, slot)
        return self._workers[slot]

    def _send(self, worker: _Worker, message: dict[str, Any]) -> None:
        try:
            worker.process.stdin.write(json.dumps(message).encode() + b"\n")
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # It is dead; the end of its events says so, and why.

    def _read(self, worker: _Worker, message: dict[str, Any], events: list[Event]) -> None:
        task = worker.task
        if task is None:
            return
        if message["kind"] == "error":
            worker.error = message["error"]  # Its end follows.
        elif message["kind"] == "ended":
            worker.task = None
            events.append(Event("ended", task))
        else:
            events.append(Event("progress", task, message["values"]))

    def _bury(self, slot: int, events: list[Event]) -> None:
        worker = self._workers.pop(slot)
        self._selector.unregister(worker.events)
        os.close(worker.events)
        _close_quietly(worker.process.stdin)
        code = worker.process.wait()
        # It leaves with 0 when told to; by the signal itself while it is still importing.
        if worker.task and code in (0, -signal.SIGTERM) and not worker.error:
            events.append(Event("returned", worker.task))
        elif worker.task:
            events.append(Event("failed", worker.task, error=worker.error or _ending(code)))


def _ending(code: int) -> str:
    if code >= 0:
        return f"the worker process ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = " (out of memory, or killed by hand)" if name == "SIGKILL" else ""
    return f"the worker process was killed by {name}{hint}"


def _close_quietly(file) -> None:
    with contextlib.suppress(BrokenPipeError):
        file.close()


def _start_worker(slot: int, slots: int, run_task: str, import_from: Sequence[Path]) -> _Worker:
    read_end, write_end = os.pipe()
    cores = cores_of_worker(slot, slots)
    environment = worker_environment(slot, slots)
    folders = [*map(str, import_from), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    process = subprocess.Popen(
        [sys.executable, "-m", "genlab.sweeps.worker", f"--events={write_end}", f"--run_task={run_task}",
         f"--parent={os.getpid()}"],
        stdin=subprocess.PIPE, stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else None,
        pass_fds=[write_end], env=environment,
        process_group=0,  # Ctrl-C is for the parent, which tells its workers what to do.
    )
    os.close(write_end)
    # Before it reaches XLA, which makes as many threads as it may use cores.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, cores)
    return _Worker(process, read_end)


def _has_descriptor(stream) -> bool:
    try:
        return stream.fileno() >= 0
    except (OSError, AttributeError, ValueError):
        return False
