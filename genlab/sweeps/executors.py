"""Where runs happen: in this process, or in worker processes on this machine. One small interface."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from genlab.sweeps.sweep import PlannedRun


@dataclass(frozen=True)
class Task:
    """A run to be done.

    Attributes:
      run: what.
      folder: where.
      attempt: how often it will have been tried then, recorded failures counted.
    """

    run: PlannedRun
    folder: Path
    attempt: int = 1


@dataclass(frozen=True)
class Event:
    """What an executor reports.

    Attributes:
      kind: "progress" (values: what the loop reported), "ended" (its record is on the disk), "failed", or
        "returned": it was not done, and by no fault of its own.
      task: the run it is about.
      values: numbers by name.
      error: one line, for "failed".
    """

    kind: Literal["progress", "ended", "failed", "returned"]
    task: Task
    values: dict[str, Any] | None = None
    error: str = ""


# Does a task and leaves its record in the task's folder. Arguments: the task, what to call with progress,
# and a function that says whether to checkpoint and stop. It raises if the run fails.
RunTask = Callable[[Task, Callable[[dict[str, Any]], None], Callable[[], bool]], None]


class Executor(Protocol):
    """Does one task per slot at a time.

    Attributes:
      slots: tasks at a time.
      alike: whether only runs of one shape make sense at a time (`schedule.Job`).
    """

    slots: int
    alike: bool

    def busy(self) -> dict[int, Task]:
        """The tasks that are being done, by slot."""

    def submit(self, slot: int, task: Task) -> None:
        """Begins a task on a slot that is not busy."""

    def poll(self, seconds: float) -> list[Event]:
        """What happened; waits at most so long for something to happen."""

    def stop(self) -> None:
        """Asks all tasks to checkpoint and return; `poll` goes on reporting."""

    def close(self, kill: bool = False) -> None:
        """Lets go of everything, at once if `kill`."""


def error_line(error: BaseException) -> str:
    """An exception as one line: its type and the first line of its message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


class InProcess:
    """Runs in threads of this process, one after another by default: the default on an accelerator.

    Args:
      run_task: does a task.
      slots: runs at a time; more than one make sense where their steps meet (genlab/training/population.py).
    """

    def __init__(self, run_task: RunTask, slots: int = 1):
        self.slots = slots
        self.alike = slots > 1
        self._run_task = run_task
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="run")
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._tasks: dict[int, Task] = {}

    def busy(self) -> dict[int, Task]:
        """See `Executor`."""
        return dict(self._tasks)

    def submit(self, slot: int, task: Task) -> None:
        """See `Executor`."""
        self._tasks[slot] = task

        def report(values: dict[str, Any]) -> None:
            self._events.put(Event("progress", task, values))

        def done(future) -> None:
            # Asking the future leaves every exception where it is: nothing is caught, a failed run is a fact.
            error = future.exception()
            self._events.put(Event("failed", task, error=error_line(error)) if error
                             else Event("ended", task))

        self._pool.submit(self._run_task, task, report, self._stop.is_set).add_done_callback(done)

    def poll(self, seconds: float) -> list[Event]:
        """See `Executor`."""
        events = []
        try:
            events.append(self._events.get(timeout=seconds))
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            pass
        over = [event.task for event in events if event.kind != "progress"]
        self._tasks = {slot: task for slot, task in self._tasks.items() if task not in over}
        return events

    def stop(self) -> None:
        """See `Executor`."""
        self._stop.set()

    def close(self, kill: bool = False) -> None:
        """See `Executor`; a thread cannot be killed, so with `kill` it is only left alone."""
        self._stop.set()
        self._pool.shutdown(wait=not kill, cancel_futures=True)
