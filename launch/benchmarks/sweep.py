"""A sweep of small runs, worker processes and all, against nanodo's step run after run.

Each run is as long as nanodo takes a given time for. nanodo's side is a single process with all cores
that compiles each model once and then does nothing but steps, on one batch that is there already;
genlab's is what `launch.sweep` does, from the start of the workers to the last record: imports,
reading the corpus, compilation with an empty cache, training on real data, logs, checkpoints and the
final evaluation.
"""

import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from rich.console import Console

from genlab.sweeps.placement import automatic_workers
from genlab.sweeps.processes import LocalProcesses
from genlab.sweeps.run import job
from genlab.sweeps.runner import run_sweep
from genlab.sweeps.sweep import Sweep
from genlab.sweeps.watching import SweepView
from launch.benchmarks.peer import Peer
from launch.benchmarks.shapes import STEPS_PER_DISPATCH, Shape
from launch.benchmarks.timing import geometric_mean

SEEDS = 4  # Runs of each shape: the first pays for the compilation.


def steps_of(peer: Peer, shapes: list[Shape], seconds: float) -> list[int]:
    """Steps that take nanodo about so long, whole dispatches."""
    return [max(1, round(seconds / STEPS_PER_DISPATCH / _peer_run(peer, shape, 8)[1])) * STEPS_PER_DISPATCH
            for shape in shapes]


def _peer_run(peer: Peer, shape: Shape, steps: int) -> tuple[float, float]:
    """(seconds of start and compilation, seconds a step)."""
    started = time.perf_counter()
    step = peer.step(shape)
    state = step.initial_state(step.initial_params())
    batch = {name: array[0] for name, array in shape.batches(1).items()}
    state, loss = step.step(state, batch)
    jax.block_until_ready(loss)
    compiled = time.perf_counter()
    for _ in range(steps):
        state, loss = step.step(state, batch)
    jax.block_until_ready(loss)
    return compiled - started, (time.perf_counter() - compiled) / steps


def peer_seconds(peer: Peer, shapes: list[Shape], steps: list[int]) -> float:
    """All runs of all shapes, one after another; the seeds of a shape share its compilation."""
    total = 0.0
    for shape, count in zip(shapes, steps, strict=True):
        start, per_step = _peer_run(peer, shape, count)
        total += start + SEEDS * count * per_step
    return total


@contextmanager
def empty_cache(folder: str) -> Iterator[None]:
    """Workers keep and find compiled programs and corpora in `folder` alone."""
    before = os.environ.get("GENLAB_CACHE")
    os.environ["GENLAB_CACHE"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["GENLAB_CACHE"]
        else:
            os.environ["GENLAB_CACHE"] = before


def genlab_seconds(shapes: list[Shape], steps: list[int], workers: int, console: Console) -> tuple[float, list]:
    """(seconds of the same runs as a sweep, its records)."""
    sweep = Sweep([dataclasses.replace(shape.experiment(count, writers=()), seed=seed)
                   for shape, count in zip(shapes, steps, strict=True) for seed in range(SEEDS)], name="benchmark")
    with tempfile.TemporaryDirectory() as folder, empty_cache(str(Path(folder) / "cache")):
        started = time.perf_counter()
        executor = LocalProcesses(workers, Path(folder) / "logs").start()
        try:
            sweep.check()
            with SweepView(console, workers) as view:
                result = run_sweep(sweep, Path(folder) / "sweep", executor, view, job)
        finally:
            executor.close(kill=True)
        return time.perf_counter() - started, list(result.records.values())


def run(peer: Peer, shapes: list[Shape], seconds: float, workers: int | None, console: Console) -> tuple[dict, bool]:
    """Runs both, genlab's sweep between two halves of nanodo's; returns (results, whether all runs finished)."""
    workers = workers or automatic_workers() or 1
    steps = steps_of(peer, shapes, seconds)
    before = peer_seconds(peer, shapes, steps)
    ours, records = genlab_seconds(shapes, steps, workers, console)
    after = peer_seconds(peer, shapes, steps)
    theirs = (before + after) / 2
    runs = SEEDS * len(shapes)
    ratio = theirs / ours
    console.print(f"{runs} runs ({', '.join(f'{s}: {n} steps' for s, n in zip(shapes, steps, strict=True))}), "
                  f"{workers} workers", highlight=False, soft_wrap=True)
    console.print(f"nanodo one after another  {theirs:7.1f} s ({before:.1f}, {after:.1f})  {3600 * runs / theirs:8.1f} "
                  f"runs an hour", highlight=False, soft_wrap=True)
    console.print(f"genlab's sweep            {ours:7.1f} s  {3600 * runs / ours:8.1f} runs an hour, {ratio:.2f} "
                  "times as many", highlight=False, soft_wrap=True)
    failed = [record.name for record in records if record.status != "finished"]
    if failed:
        console.print(f"did not finish: {', '.join(failed)}")
    results = {"runs": runs, "workers": workers, "ratio": ratio, "genlab_seconds": ours,
               "nanodo_seconds": [before, after],
               "shapes": [{"shape": str(shape), "steps": count} for shape, count in zip(shapes, steps, strict=True)],
               "tokens_per_second": geometric_mean([r.tokens_per_second for r in records if r.tokens_per_second])}
    return results, not failed
