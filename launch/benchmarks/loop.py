"""The real training loop against the bare compiled step: data, dispatch, metrics, logs, progress bar."""

import os
import statistics
import tempfile
import time
from pathlib import Path

import jax
from rich.console import Console

from genlab import experiment as experiments
from genlab.data.batches import Batches
from genlab.sweeps.progress import RunView
from genlab.trained import load_splits
from genlab.training.outcome import Progress
from launch.benchmarks.shapes import BATCH_SIZE, SEQUENCE_LENGTH, STEPS_PER_DISPATCH, Shape
from launch.benchmarks.step import Trainer, trainer
from launch.benchmarks.timing import Comparison, milliseconds

MOST = 0.03  # What the loop may cost.
LEAST_DISPATCHES = 12


class Stopwatch:
    """A listener that knows the time between two reports: training alone.

    The first quarter is left out: fresh memory is slow, and a run's start is not its loop.
    """

    def __init__(self):
        self.reports: list[tuple[float, int]] = []

    def __call__(self, progress: Progress) -> None:
        self.reports.append((time.perf_counter(), progress.step))

    def seconds_per_step(self) -> float:
        """Of the steps in the last three quarters."""
        (started, first), (ended, last) = self.reports[len(self.reports) // 4], self.reports[-1]
        return (ended - started) / (last - first)


def loop_seconds(shape: Shape, steps: int) -> float:
    """Seconds a step in a run with all that a run on a terminal has."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as terminal, \
            RunView(SEQUENCE_LENGTH, Console(file=terminal, force_terminal=True, width=100)) as view:
        experiments.run(shape.experiment(steps), Path(folder), listeners=(view, watch))
    return watch.seconds_per_step()


def bare_seconds(trainer: Trainer, dispatches: int) -> float:
    """Seconds a step of the compiled program alone, always on the same batches."""
    jax.block_until_ready(trainer.dispatch())
    started = time.perf_counter()
    for _ in range(dispatches):
        last = trainer.dispatch()
    jax.block_until_ready(last)
    return (time.perf_counter() - started) / (dispatches * STEPS_PER_DISPATCH)


def run(shapes: list[Shape], turns: int, seconds: float, console: Console) -> tuple[dict, bool]:
    """Compares every shape and prints a table; returns (results, True)."""
    line = "{:>14}  {:>18}  {:>18}  {:>8}  {:>10}".format
    console.print("milliseconds a step, least / median over turns", highlight=False, soft_wrap=True)
    console.print(line("width,depth,heads", "loop", "bare step", "cost", "of minima"), highlight=False, soft_wrap=True)
    rows = []
    for shape in shapes:
        splits = load_splits(shape.experiment(1).data)
        batches = Batches(splits.train, BATCH_SIZE, seed=0).stack(0, STEPS_PER_DISPATCH)
        bare_step = trainer(shape, batches=batches)
        bare_step.dispatch()
        dispatches = max(LEAST_DISPATCHES, round(seconds / STEPS_PER_DISPATCH / bare_seconds(bare_step, 1)))
        steps = (dispatches + 1) * STEPS_PER_DISPATCH
        loop_seconds(shape, steps)  # Compiles the evaluation and the start.
        loop, bare = [], []
        for _ in range(turns):
            # Before and after: a machine that slows down in a turn does so for both.
            before = bare_seconds(bare_step, dispatches // 2)
            loop.append(loop_seconds(shape, steps))
            bare.append(statistics.fmean((before, bare_seconds(bare_step, dispatches // 2))))
        found = Comparison(tuple(loop), tuple(bare))
        rows.append({"shape": str(shape), "cost": found.ratio - 1, **found.to_json()})
        console.print(line(str(shape), milliseconds(loop), milliseconds(bare), f"{found.ratio - 1:+.1%}",
                           f"{found.ratio_of_minima - 1:+.1%}"), highlight=False, soft_wrap=True)
    worst = max(row["cost"] for row in rows)
    console.print(f"the loop costs at most {worst:+.1%} (the aim: {MOST:.0%})", highlight=False, soft_wrap=True)
    return {"shapes": rows, "worst_cost": worst}, True
