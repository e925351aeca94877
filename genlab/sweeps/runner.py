"""Runs a sweep: what is missing, with one retry, until all is done or it is told to stop."""

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from genlab.files import DiskFullError, says_disk_full, writer_lock
from genlab.sweeps.executors import Event, Executor, Task
from genlab.sweeps.record import RunRecord, write_record
from genlab.sweeps.schedule import Job, next_job
from genlab.sweeps.store import SweepStore
from genlab.sweeps.sweep import PlannedRun, Sweep

TRIES = 2  # Of a run within one command: a failure is retried once.
GRACE_SECONDS = 60.0  # For runs to reach the end of a dispatch and write a checkpoint.


class Watcher(Protocol):
    """Hears what happens, to show it."""

    def planned(self, runs: tuple[PlannedRun, ...], jobs: dict[str, Job],
                records: dict[str, RunRecord]) -> None:
        """Called once, before the first run, with what is there already."""

    def started(self, task: Task, slot: int) -> None:
        """A run begins or goes on."""

    def happened(self, event: Event, record: RunRecord | None) -> None:
        """An executor's event; `record` is the run's, once it has ended."""

    def tick(self) -> None:
        """Called about four times a second."""


@dataclass(frozen=True)
class SweepResult:
    """What became of a sweep.

    Attributes:
      records: of the runs that ended, failed or were stopped, by name.
      missing: names of runs that did not end, because the sweep was stopped.
    """

    records: dict[str, RunRecord]
    missing: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the runs that failed twice."""
        return tuple(name for name, record in self.records.items() if record.status == "failed")


def run_sweep(sweep: Sweep, workdir: Path, executor: Executor, watcher: Watcher,
              job: Callable[[PlannedRun], Job], should_stop: Callable[[], bool] = lambda: False,
              when_idle: Callable[[], None] = lambda: None) -> SweepResult:
    """Runs what the folder lacks of a sweep and keeps `runs.csv` up to date.

    Args:
      sweep: checked (`Sweep.check`).
      workdir: its folder; made if it is not there.
      executor: where runs happen; not closed here.
      watcher: shows it.
      job: what scheduling must know of a run (`genlab.sweeps.run.job`).
      should_stop: when it says so, running ones are stopped at a checkpoint, and none is begun.
      when_idle: called once, when there is for the first time nothing left for a free slot.

    Raises:
      ConfigError: the folder holds another sweep, or another process writes there.
      DiskFullError: nothing was damaged; the same command goes on when there is room.
    """
    store = SweepStore(workdir)
    store.check(sweep)
    workdir.mkdir(parents=True, exist_ok=True)
    with writer_lock(workdir):
        store.check(sweep)  # Again: somebody may have been here just before.
        store.write_sweep(sweep)
        return _Runner(sweep, store, executor, watcher, job, should_stop, when_idle).go()


@dataclass
class _Runner:
    sweep: Sweep
    store: SweepStore
    executor: Executor
    watcher: Watcher
    job: Callable[[PlannedRun], Job]
    should_stop: Callable[[], bool]
    when_idle: Callable[[], None]
    records: dict[str, RunRecord] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    done_share: dict[str, float] = field(default_factory=dict)
    compiled: dict[int, set] = field(default_factory=dict)
    stopping_since: float | None = None

    def go(self) -> SweepResult:
        """Until nothing is left, or nothing runs any more after a stop."""
        runs = self.sweep.runs()
        self.runs = {run.name: run for run in runs}
        self.records = {run.name: record for run in runs if (record := self.store.record(run))}
        self.pending = [run.name for run in runs
                        if run.name not in self.records or not self.records[run.name].ended]
        self.jobs = {run.name: self.job(run) for run in runs}
        self.watcher.planned(runs, self.jobs, dict(self.records))
        self._write_table()
        while self.executor.busy() or (self.pending and not self.stopping_since):
            if self._must_give_up():
                self.executor.close(kill=True)  # Checkpoints are atomic: the last one stays.
                break
            if not self.stopping_since:
                self._fill_slots()
            for event in self.executor.poll(0.25):
                self._handle(event)
            self.watcher.tick()
        missing = tuple(name for name in self.runs
                        if name not in self.records or self.records[name].status == "preempted")
        return SweepResult({name: self.records[name] for name in self.runs if name in self.records}, missing)

    def _must_give_up(self) -> bool:
        """Passes on a request to stop; true when the running ones have had their time for it."""
        if self.stopping_since is None and self.should_stop():
            self.stopping_since = time.monotonic()
            self.executor.stop()
        return self.stopping_since is not None and time.monotonic() - self.stopping_since > GRACE_SECONDS

    def _fill_slots(self) -> None:
        busy = self.executor.busy()
        for slot in range(self.executor.slots):
            if slot in busy:
                continue
            if not self.pending:
                self.when_idle()
                self.when_idle = lambda: None
                return
            pending = self._pending_beside(self.executor.busy())
            if not pending:
                return
            self._submit(slot, pending)

    def _pending_beside(self, busy: dict[int, Task]) -> list[str]:
        """Runs that may begin while others go on: all, or with an executor of runs alike those of their shape."""
        if not self.executor.alike or not busy:
            return self.pending
        shapes = [self.jobs[task.run.name].shape for task in busy.values()]
        return [name for name in self.pending if self.jobs[name].shape in shapes]

    def _submit(self, slot: int, pending: list[str]) -> None:
        busy = self.executor.busy()
        left = sum(self.jobs[task.run.name].cost * (1 - self.done_share.get(task.run.name, 0.0))
                   for task in busy.values())
        here = self.compiled.setdefault(slot, set())
        elsewhere = {shape for other, shapes in self.compiled.items() if other != slot for shape in shapes}
        name = next_job([self.jobs[name] for name in pending], here, elsewhere, left,
                        self.executor.slots).name
        self.pending.remove(name)
        here.add(self.jobs[name].shape)
        task = Task(self.runs[name], self.store.folder(name), _attempt_after(self.records.get(name)))
        self.watcher.started(task, slot)
        self.executor.submit(slot, task)

    def _handle(self, event: Event) -> None:
        run = event.task.run
        if event.kind == "progress":
            self.done_share[run.name] = event.values["step"] / max(event.values["steps"], 1)
            self.watcher.happened(event, None)
            return
        if event.kind == "returned":
            self.pending.append(run.name)
            return
        record = self.store.record(run)
        # A worker may have been killed after the record was written, but before it could say so.
        if event.kind == "failed" and not (record and record.ended):
            if self.stopping_since:
                return  # Told to stop while it was starting, say. It is run again next time.
            record = self._failed(event)
        elif record.status == "preempted" and not self.stopping_since:
            self.pending.append(run.name)  # Somebody stopped the worker alone; that is no failure.
        self.records[run.name] = record
        self._write_table()
        self.watcher.happened(event, record)

    def _failed(self, event: Event) -> RunRecord:
        task, run = event.task, event.task.run
        if says_disk_full(event.error):
            raise DiskFullError(errno.ENOSPC, event.error, str(task.folder))
        self.tries[run.name] = self.tries.get(run.name, 0) + 1
        if self.tries[run.name] < TRIES:
            self.pending.append(run.name)
        record = RunRecord(**run.identity(), status="failed", error=event.error, attempts=task.attempt)
        task.folder.mkdir(parents=True, exist_ok=True)
        write_record(record, task.folder)
        return record

    def _write_table(self) -> None:
        self.store.write_table(list(self.runs.values()), self.records)


def _attempt_after(record: RunRecord | None) -> int:
    """Which attempt comes after a run's record: failures count, and so do those of earlier commands."""
    if record is None or record.attempts is None:
        return 1
    return record.attempts + (record.status == "failed")
