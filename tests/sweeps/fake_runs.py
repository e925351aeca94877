"""Experiments whose training only sleeps, writes and crashes on command; and a command that sweeps them.

    python fake_runs.py WORKDIR [WORKERS]
"""

import dataclasses
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from genlab.files import writer_lock
from genlab.sweeps.executors import InProcess
from genlab.sweeps.processes import LocalProcesses
from genlab.sweeps.record import CIRCUMSTANCES, RunRecord, write_record
from genlab.sweeps.runner import run_sweep
from genlab.sweeps.schedule import Job
from genlab.sweeps.sweep import Sweep


@dataclass(frozen=True)
class FakeObjective:
    width: int = 8
    family: str = "fake"


@dataclass(frozen=True)
class FakeTraining:
    steps: int = 10
    batch_size: int = 4


@dataclass(frozen=True)
class FakeExperiment:
    objective: FakeObjective = FakeObjective()
    training: FakeTraining = FakeTraining()
    name: str = ""
    seed: int = 0
    step_seconds: float = 0.004
    trouble: str = ""

    def check(self):
        if self.objective.width < 1:
            raise ValueError(f"width {self.objective.width} must be positive")


def experiment(width=8, steps=10, **values):
    return FakeExperiment(FakeObjective(width), FakeTraining(steps), **values)


def job(run):
    e = run.experiment
    return Job(run.name, cost=e.objective.width * e.training.steps, shape=e.objective.width)


def run_task(task, report, should_stop):
    """Counts steps, a checkpoint each, and makes the trouble that the experiment asks for."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with writer_lock(task.folder, 5.0):
        _run(task, report, should_stop)


def _run(task, report, should_stop):
    e, checkpoint = task.run.experiment, task.folder / "checkpoint.json"
    step = json.loads(checkpoint.read_text())["step"] if checkpoint.exists() else 0
    trouble = e.trouble.removesuffix(" once")
    if e.trouble.endswith(" once"):
        marker = task.folder / "had trouble"
        trouble = "" if marker.exists() else trouble
        marker.touch()
    while step < e.training.steps:
        time.sleep(e.step_seconds)
        step += 1
        temporary = checkpoint.with_suffix(f".{os.getpid()}")  # Atomic, but without the seconds of fsync.
        temporary.write_text(json.dumps({"step": step}))
        temporary.replace(checkpoint)
        report({"step": step, "steps": e.training.steps, "loss": 1 / step, "tokens_per_second": 1e3})
        if step >= e.training.steps // 2:
            _make(trouble)
        if should_stop() and step < e.training.steps:
            break
    status = "finished" if step == e.training.steps else "preempted"
    write_record(RunRecord(
        **task.run.identity(), attempts=task.attempt, status=status, steps=step, params=e.objective.width**2,
        tokens=step * 4, loss=1 / e.objective.width + 1 / step, curve=((1, 1.0), (step, 1 / step)),
        seconds=time.monotonic(), started_at=str(time.time()), finished_at=str(time.time()),
    ), task.folder)


def _make(trouble):
    if trouble == "raise":
        raise RuntimeError("the loss fell off the table\nand more that nobody needs")
    if trouble == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "full disk":
        raise ValueError("RESOURCE_EXHAUSTED: writing checkpoint: No space left on device")


class Silent:
    """A watcher that keeps what it hears."""

    def __init__(self):
        self.heard = []
        self.jobs = None

    def planned(self, runs, jobs, records):
        self.jobs = jobs

    def started(self, task, slot):
        self.heard.append(("started", task.run.name, slot))

    def happened(self, event, record):
        self.heard.append((event.kind, event.task.run.name, record and record.status))

    def tick(self):
        pass


def grid(**values):
    return Sweep([experiment(width, steps, **values) for width in (4, 8) for steps in (20, 30, 40)],
                 held_out=[experiment(16, 40, **values)], name="fake")


def sweep_in(workdir, sweep, workers=0, watcher=None, **options):
    """Runs a sweep of fake experiments to its end."""
    if workers:
        executor = LocalProcesses(workers, Path(workdir) / "logs", run_task="fake_runs:run_task")
    else:
        executor = InProcess(run_task)
    try:
        return run_sweep(sweep, Path(workdir), executor, watcher or Silent(), job, **options)
    finally:
        executor.close(kill=True)


def same_rows(left, right):
    """Whether two lists of records agree in all that may not depend on the circumstances."""
    def content(record):
        # The checkout may change while tests run.
        return dataclasses.replace(record, **dict.fromkeys((*CIRCUMSTANCES, "code_version")))

    return [content(record) for record in left] == [content(record) for record in right]


if __name__ == "__main__":
    stop = []
    signal.signal(signal.SIGINT, lambda *_: stop.append(1))
    from fake_runs import grid as importable_grid  # Not __main__'s: workers must find the classes.

    print("begins", flush=True)
    result = sweep_in(sys.argv[1], importable_grid(), int(sys.argv[2]), should_stop=lambda: bool(stop))
    sys.exit(130 if result.missing else 0)
