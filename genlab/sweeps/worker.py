"""A worker process: reads tasks from standard input, does them, writes events to a pipe.

Started by `genlab.sweeps.processes`. Both directions are lines of JSON.
"""

import argparse
import ctypes
import functools
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from genlab.configuration import from_json
from genlab.sweeps.executors import Task, error_line
from genlab.sweeps.sweep import PlannedRun

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_SECONDS_BETWEEN_PROGRESS = 0.5


def main() -> None:
    """Does tasks until standard input ends or SIGTERM comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--run_task", required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    die_with(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    events = os.fdopen(arguments.events, "w", buffering=1)
    module, _, name = arguments.run_task.partition(":")
    run_task = getattr(importlib.import_module(module), name)  # Here are the seconds of imports.
    stopping = threading.Event()
    tasks: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    busy = threading.Event()

    def stop(*_) -> None:
        stopping.set()
        tasks.put(None)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_read_tasks, args=(tasks, busy), daemon=True).start()
    while not stopping.is_set() and (message := tasks.get()):
        busy.set()
        _do(message, run_task, events, stopping)
        busy.clear()


def die_with(parent: int) -> None:
    """Has the kernel kill this process when `parent` dies, however it does; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # It died before the kernel knew.
            os._exit(1)


def _read_tasks(tasks: queue.SimpleQueue, busy: threading.Event) -> None:
    unread = b""
    # Not through sys.stdin, whose lock this thread would hold while the interpreter shuts down.
    while chunk := os.read(0, 65536):
        *lines, unread = (unread + chunk).split(b"\n")
        for line in lines:
            tasks.put(json.loads(line))
    # The parent closes the pipe of an idle worker. A busy one has lost its parent: nobody is there who would
    # keep others out of the folder, so it ends at once, as if killed.
    if busy.is_set():
        os._exit(1)
    tasks.put(None)


def _do(message: dict[str, Any], run_task, events, stopping: threading.Event) -> None:
    if message["log"]:
        _print_to(Path(message["log"]))
    last = 0.0

    def report(values: dict[str, Any]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_PROGRESS:
            last = now
            events.write(json.dumps({"kind": "progress", "values": values}) + "\n")

    run = PlannedRun(message["name"], message["role"], from_json(message["experiment"]),
                     message["config_hash"], message["sweep"])
    try:
        run_task(Task(run, Path(message["folder"]), message["attempt"]), report, stopping.is_set)
    except BaseException as error:
        # Said to the parent and raised again: this process ends with its traceback in the log.
        events.write(json.dumps({"kind": "error", "error": error_line(error)}) + "\n")
        raise
    events.write(json.dumps({"kind": "ended"}) + "\n")


@functools.cache
def _print_to(log: Path) -> None:
    """Sends what this process prints to a file from now on."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


if __name__ == "__main__":
    main()
