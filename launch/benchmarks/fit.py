"""A fit with its certificate and its bootstrap against SciPy's L-BFGS-B, on one core.

Both sides minimise the same objective of Chinchilla's law on the same table, in turns within one process that is
held to one core. Seconds are of processor time, so that other work on the machine counts for neither. SciPy's side
runs an even share of its 4,500 starts and of the resamples unless it is told to run all; its total is extrapolated
from those and says so. genlab's side runs everything; its compilation is timed on its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table as Screen

from genlab.scaling import Runs, fit_law, get_law, read_runs
from genlab.scaling.fitting.bootstrap import Refits, draw_resamples
from genlab.scaling.fitting.minimize import SAME_MINIMUM
from genlab.scaling.fitting.rows import table_of
from launch.benchmarks.fit_reference import GRID, Reference

ROOT = Path(__file__).parents[2]
RESAMPLES = 4_000
DELTA = 1e-3
LARGE_ROWS, LARGE_RESAMPLES = 100_000, 1_000
_TURNS = 4
_SHARE = 45  # SciPy's side takes one of so many starts and resamples
_TRUTH = {"A": 480.0, "B": 2100.0, "E": 1.8, "alpha": 0.35, "beta": 0.37}


def one_core() -> None:
    """Holds this process and its children to one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def synthetic_table(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Runs over three decades of params and two and a half of tokens, with 1 % noise (Student's t, 3 degrees)."""
    rng, law = np.random.default_rng(seed), get_law("chinchilla")
    params = np.exp(rng.uniform(np.log(4e7), np.log(1.6e10), rows))
    tokens = np.exp(rng.uniform(np.log(1e9), np.log(3e11), rows))
    loss = law.predict(law.vector(_TRUTH), params=params, tokens=tokens)
    return pd.DataFrame({"params": params, "tokens": tokens,
                         "loss": loss * np.exp(0.006 * rng.standard_t(3, rows))})  # fmt: skip


def run(runs: Runs | None, everything: bool, console: Console) -> tuple[dict, bool]:
    """Measures both sides; returns (results, whether genlab's objectives are the lower ones).

    Args:
      runs: the table; None for the synthetic one.
      everything: SciPy's side runs all starts and resamples.
      console: where the table goes.
    """
    one_core()
    runs = runs or read_runs(synthetic_table(), embeddings="included")
    compiling = _processor(lambda: fit_law("chinchilla", runs, resamples=64))[0]
    share = 1 if everything else _SHARE
    points = _point_fits(runs, share)
    refits = _refits(runs, share, points.pop("coordinates"))
    command = _command(runs)
    large = _large()
    results = {"rows": len(runs), "compilation_seconds": compiling, "point": points, "bootstrap": refits,
               "command": command, "large": large}  # fmt: skip
    _show(results, console)
    good = points["lowest_of_scipy"] >= points["objective"] * (1 - SAME_MINIMUM)
    return results, bool(good and refits["lower_in_scipy"] == 0 and refits["unconverged"] == 0)


def _processor(work) -> tuple[float, object]:
    """(seconds of processor time, what the work returned)."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def _reference(runs: Runs) -> Reference:
    columns = (np.log(runs.column(name)) for name in ("params", "tokens", "loss"))
    return Reference(*columns, DELTA)


def _point_fits(runs: Runs, share: int) -> dict:
    """genlab's 64 starts, all of them a turn, against a part of SciPy's grid a turn."""
    reference, ones = _reference(runs), np.ones(len(runs))
    starts = np.random.default_rng(0).permutation(GRID)[:: share]
    ours, theirs, found = [], 0.0, []
    for part in np.array_split(starts, _TURNS):
        seconds, fit = _processor(lambda: fit_law("chinchilla", runs, delta=DELTA, resamples=0))
        ours.append(seconds)
        seconds, ends = _processor(lambda part=part: [reference.minimise(start, ones) for start in part])
        theirs += seconds
        found += [end.fun for end in ends]
    objective, found = fit.objective, np.array(found)
    return {
        "seconds": float(np.median(ours)),
        "objective": objective,
        "starts": fit.certificate["starts"],
        "share_of_starts": fit.certificate["share_of_starts"],
        "gradient_norm": fit.certificate["gradient_norm"],
        "scipy_starts_run": len(starts),
        "scipy_seconds_run": theirs,
        "scipy_seconds": theirs * len(GRID) / len(starts),
        "lowest_of_scipy": float(np.nanmin(found)),
        "scipy_share_of_starts": float(np.mean(found <= objective * (1 + SAME_MINIMUM))),
        "scipy_share_within_1e-3": float(np.mean(found <= objective * (1 + 1e-3))),
        "coordinates": get_law("chinchilla").coordinates(fit.values),
    }


def _refits(runs: Runs, share: int, at: np.ndarray) -> dict:
    """The same resamples on both sides, from the fit's minimum."""
    law, reference = get_law("chinchilla"), _reference(runs)
    table = table_of(law, runs)
    rng = np.random.default_rng(0)
    ours, theirs, objectives, converged, ends = 0.0, 0.0, [], 0, []
    # SciPy's vector is (a, b, e, alpha, beta) with e = log E; genlab's floor is E itself.
    start = np.where(np.arange(5) == law.parameter_names.index("E"), np.log(np.maximum(at, 1e-9)), at)
    for _ in range(_TURNS):
        begun = time.process_time()
        weights, _ = draw_resamples(rng, table, RESAMPLES // _TURNS, len(law.parameters))
        found = Refits(law, table, at[None], DELTA)(weights)
        ours += time.process_time() - begun
        converged += int(found.converged.sum())
        some = weights[:: share]
        seconds, results = _processor(lambda some=some: [reference.minimise(start, w) for w in some])
        theirs += seconds
        objectives.append(found.objective[:: share])
        ends += results
    lowest, peer = np.concatenate(objectives), np.array([end.fun for end in ends])
    return {
        "seconds": ours,
        "resamples": RESAMPLES,
        "unconverged": RESAMPLES - converged,
        "scipy_resamples_run": len(ends),
        "scipy_seconds_run": theirs,
        "scipy_seconds": theirs * RESAMPLES / len(ends),
        "scipy_share_unconverged": float(np.mean([not end.success for end in ends])),
        "scipy_share_at_minimum": float(np.mean(peer <= lowest * (1 + SAME_MINIMUM))),
        "lower_in_scipy": int(np.sum(peer < lowest * (1 - SAME_MINIMUM))),
    }


def _command(runs: Runs) -> dict:
    """Seconds of the whole command from a cold process, of processor time and on the wall."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        runs.frame[["params", "tokens", "loss"]].to_csv(path, index=False)
        started, before = time.perf_counter(), os.times()
        subprocess.run([sys.executable, "-m", "launch.fit", f"--runs={path}", "--law=chinchilla",
                        f"--resamples={RESAMPLES}", f"--output={Path(folder) / 'fit'}"],
                       check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        wall, after = time.perf_counter() - started, os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": processor, "wall_seconds": wall}


def _large() -> dict:
    """A table of 100,000 rows with 1,000 certified refits, compilation included."""
    runs = read_runs(synthetic_table(LARGE_ROWS, seed=1), embeddings="included")
    seconds, fit = _processor(lambda: fit_law("chinchilla", runs, resamples=LARGE_RESAMPLES))
    converged = fit.certificate["resamples_converged"]
    return {"rows": LARGE_ROWS, "resamples": LARGE_RESAMPLES, "seconds": seconds, "converged": converged}


def _show(results: dict, console: Console) -> None:
    point, refits, large = results["point"], results["bootstrap"], results["large"]
    screen = Screen("", "genlab", "SciPy L-BFGS-B", "ratio", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    times = point["scipy_seconds"] / point["seconds"], refits["scipy_seconds"] / refits["seconds"]
    screen.add_row(f"point fit, {results['rows']} rows", f"{point['starts']} starts: {point['seconds']:.2f} s",
                   _extrapolated("starts", len(GRID), point), f"{times[0]:.0f}")
    screen.add_row("  objective", f"{point['objective']:.9e}", f"{point['lowest_of_scipy']:.9e}", "")
    screen.add_row("  starts that reached it", f"{point['share_of_starts']:.1%}",
                   f"{point['scipy_share_of_starts']:.1%} ({point['scipy_share_within_1e-3']:.1%} within .1 %)", "")
    screen.add_row("bootstrap", f"{RESAMPLES} refits: {refits['seconds']:.2f} s",
                   _extrapolated("refits", RESAMPLES, refits), f"{times[1]:.0f}")
    screen.add_row("  did not converge", str(refits["unconverged"]),
                   f"{refits['scipy_share_unconverged']:.1%} by its own word, "
                   f"{1 - refits['scipy_share_at_minimum']:.1%} above genlab's minimum", "")
    screen.add_row("compilation", f"{results['compilation_seconds']:.2f} s", "", "")
    screen.add_row("launch.fit, cold, all of it", f"{results['command']['seconds']:.1f} s", "", "")
    screen.add_row(f"{large['rows']:,} rows, {large['resamples']} refits",
                   f"{large['seconds']:.1f} s, {large['converged']} converged", "", "")
    console.print(screen)


def _extrapolated(what: str, total: int, found: dict) -> str:
    run = found[f"scipy_{'starts' if what == 'starts' else 'resamples'}_run"]
    text = f"{total} {what}: {found['scipy_seconds']:.1f} s"
    return text if run == total else f"{text} (from {run} of them, {found['scipy_seconds_run']:.1f} s)"
