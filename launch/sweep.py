"""Runs a sweep, analyses its table and writes figures and a report; the same command goes on where it stopped.

    python -m launch.sweep --config=experiments/scaling/quickstart.py --workdir=runs/quickstart

The folder gets runs/<name>/ (one folder a run), runs.csv (one row a run), fit.json (the law and its forecasts; of
several families each one's), figures (.png, .svg) and report.html. Runs that are finished are skipped, what was cut
off goes on from its checkpoint, a failure is retried once.
Exit codes: 0 all runs ended and were analysed, 1 some run failed or the analysis could not be made, 2 bad
input, 130 stopped (Ctrl-C, SIGTERM).
"""

import dataclasses
import importlib
import math
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console

from genlab.configuration import ConfigError
from genlab.sweeps.executors import Executor, InProcess
from genlab.sweeps.placement import automatic_workers, has_accelerator
from genlab.sweeps.processes import LocalProcesses
from genlab.sweeps.record import versions
from genlab.sweeps.runner import SweepResult, run_sweep
from genlab.sweeps.signals import StopRequest
from genlab.sweeps.store import SweepStore
from genlab.sweeps.sweep import Sweep
from genlab.sweeps.watching import SweepView, duration
from launch import flags as command

_CONFIG = command.define_config("sweep")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the sweep.", required=True)
_WORKERS = flags.DEFINE_string(
    "workers", "auto", "Worker processes, each on cores of its own; 0 runs one experiment after another in this "
    "process. auto: one a core on a CPU, 0 on an accelerator.")
_POPULATION = flags.DEFINE_string(
    "population", "auto", "Runs that train together in this process, those of one shape as one program where that is "
    "faster, which is tried; 1 for one after another. auto: 16 on an accelerator, 1 otherwise.")
_AUTOMATIC_POPULATION = 16


def main() -> int:
    """Runs what is missing, then analyses."""
    started = time.monotonic()
    refuse_several_tasks()
    workdir, console = Path(_WORKDIR.value), Console()
    workers = worker_count(_WORKERS.value)
    members = population_size(_POPULATION.value, workers)
    if workers and members > 1:
        raise ConfigError(f"--population={members} trains runs in one process, so it needs --workers=0")
    config_file = Path(_CONFIG.value.partition(":")[0])
    if not config_file.is_file():
        raise ConfigError(f"there is no config file {config_file}")
    # Workers import for two seconds, and so does this process with the config: both at once.
    executor = start_workers(workers, workdir, config_file) if workers else None
    try:
        sweep = load_sweep()
        SweepStore(workdir).check(sweep)
        if executor and len(sweep.runs()) < workers:
            executor.close(kill=True)  # Fewer workers have more cores each.
            executor = start_workers(len(sweep.runs()), workdir, config_file)
        executor = executor or in_process(members, console)
        result = run(sweep, workdir, executor, console)
    except BaseException:
        if executor:
            executor.close(kill=True)
        raise
    executor.close()
    if result.missing:
        done = len(sweep.runs()) - len(result.missing)
        console.print(f"stopped; {done} of {len(sweep.runs())} runs are done; the same command goes on")
        return command.INTERRUPTED
    return conclude(sweep, workdir, result, console, started)


def refuse_several_tasks() -> None:
    """A sweep is one process, which starts its own workers; of several that SLURM has started, the first says so.

    Raises:
      ConfigError: in that one.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks == 1:
        return
    if int(os.environ.get("SLURM_PROCID", 0)):
        sys.exit(command.BAD_INPUT)
    raise ConfigError(f"a sweep is one task, which starts its own workers (--workers), but srun has started {tasks}; "
                      "take --ntasks=1 --cpus-per-task=N, or train each run by launch.train")


def worker_count(text: str) -> int:
    """The number of worker processes that --workers asks for."""
    if text == "auto":
        return automatic_workers()
    if not text.isdecimal():
        raise ConfigError(f"--workers={text} must be auto, 0 or a number of processes")
    return int(text)


def start_workers(count: int, workdir: Path, config_file: Path) -> LocalProcesses:
    """Worker processes that have begun with their imports."""
    return LocalProcesses(count, workdir / "logs", import_from=(config_file.parent.resolve(),)).start()


def population_size(text: str, workers: int) -> int:
    """The number of runs that --population asks for."""
    if text == "auto":
        return _AUTOMATIC_POPULATION if has_accelerator() and not workers else 1
    if not text.isdecimal() or not int(text):
        raise ConfigError(f"--population={text} must be auto or a number of runs, at least 1")
    return int(text)


def in_process(members: int, console: Console) -> Executor:
    """The executor without worker processes, of so many runs at a time, which says how they go together."""
    from genlab.sweeps.run import population_task, run_task
    from genlab.training.population import Population

    if members == 1:
        return InProcess(run_task)
    population = Population(tell=lambda line: console.print(line, highlight=False, soft_wrap=True))
    return InProcess(population_task(population), members)


def load_sweep() -> Sweep:
    """The config file's sweep with the command line's overrides, all of it checked.

    --config.analysis.X and --config.name change the sweep, any other field every experiment in it.
    """
    sweep = command.load_config(_CONFIG.value, "get_sweep", override_with=False)
    if not isinstance(sweep, Sweep):
        raise ConfigError(f"get_sweep of {_CONFIG.value} returns a {type(sweep).__name__}, not a Sweep")
    of_sweep = ("analysis", "name")
    sweep = command.apply_overrides(sweep, only=lambda field: field in of_sweep)

    def overridden(experiments: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(command.apply_overrides(experiment, only=lambda field: field not in of_sweep)
                     for experiment in experiments)

    sweep = dataclasses.replace(sweep, experiments=overridden(sweep.experiments),
                                held_out=overridden(sweep.held_out))
    sweep.check()
    return sweep


def run(sweep: Sweep, workdir: Path, executor: Executor, console: Console) -> SweepResult:
    """Runs what is missing, shown on the console, until all is done or somebody stops it."""
    from genlab.sweeps.run import check_data, job

    check_data(sweep)
    stopping = StopRequest("stopping at checkpoints; once more to stop at once", console.print)
    with SweepView(console, executor.slots) as view, stopping:
        return run_sweep(sweep, workdir, executor, view, job, stopping, when_idle=import_ahead)


def import_ahead() -> None:
    """Imports what the end needs while the last runs go on and a core is idle: 2 s less to wait for."""
    names = ("genlab.scaling", "genlab.figures")
    threading.Thread(target=lambda: [importlib.import_module(name) for name in names], daemon=True).start()


def conclude(sweep: Sweep, workdir: Path, result: SweepResult, console: Console, started: float) -> int:
    """Analysis, figures, report and the last lines on the screen; returns the exit code."""
    import pandas as pd

    from genlab.figures import write_report
    from genlab.scaling import read_runs

    store = SweepStore(workdir)
    problems = [f"{len(result.failed)} runs failed twice: {', '.join(result.failed)}; see {store.table} and "
                f"{store.logs}"] if result.failed else []
    analysis = None
    if sweep.analysis:
        try:
            # What the table must have besides, the analysis knows.
            analysis = sweep.analysis.run(read_runs(store.table, needed=("params", "loss")))
            analysis.save(workdir / "fit.json")
        except ValueError as error:
            problems.append(f"the table could not be analysed: {error}")
            (workdir / "fit.json").unlink(missing_ok=True)  # One of fewer runs would be taken for this table's.
    write_report(pd.read_csv(store.table), analysis, workdir, config=store.read(), versions=versions())
    for problem in problems:
        console.print(problem, highlight=False, soft_wrap=True)
    console.print(summary(analysis, workdir, time.monotonic() - started), highlight=False, soft_wrap=True)
    return 1 if problems else 0


def summary(analysis: Any, workdir: Path, seconds: float) -> str:
    """The law, its forecasts beside what was measured, family by family, and where things lie."""
    lines = []
    if families := getattr(analysis, "families", None):
        for name, family in families.items():
            lines += [f"family     {name}", *headline(family.analysis)]
            for column, found in family.frontiers.items():
                lines.append(f"frontier   {column}: {_with_intervals(found.fit)}")
                lines += [_forecast(row, f"{column} of {row['name']}, by the frontier") for row in found.forecasts]
            lines += [f"warning    {warning}" for warning in family.warnings]
        lines += [f"warning    {name} is not analysed: {reason}" for name, reason in analysis.refused.items()]
    elif verdicts := getattr(analysis, "verdicts", None):
        lines += [f"{task}: {verdict.words}" for task, verdict in verdicts.items()]
    elif analysis:
        lines += headline(analysis)
    names = ("report.html", "loss_vs_compute.png", "emergence.png", "emergence_explained.png", "runs.csv", "fit.json")
    lines.append("written    " + ", ".join(str(workdir / name) for name in names if (workdir / name).exists()))
    lines.append(f"took       {duration(seconds)}")
    return "\n".join(lines)


def headline(analysis: Any) -> list[str]:
    """The law, its parameters, why it, its forecasts and warnings, a line each."""
    fit = analysis.fit
    return [
        f"law        {fit.law.name}: {fit.law.text}",
        f"           {_with_intervals(fit)}",
        f"chosen by  {analysis.choice_reason}",
        *(_forecast(row, row["name"]) for row in analysis.forecasts),
        *(f"warning    {warning}" for warning in (*analysis.warnings, *fit.warnings)),
    ]


def _with_intervals(fit: Any) -> str:
    return ", ".join(f"{name} {value:.4g}{_interval(fit.interval(name))}" for name, value in fit.parameters.items())


def _forecast(row: dict[str, Any], what: str) -> str:
    return (f"forecast   {what}: {row['predicted']:.4f}{_interval(row['interval_95'])}, measured "
            f"{row['measured']:.4f}, error {row['relative_error']:+.2%}, "
            f"{'inside' if row['covered'] else 'OUTSIDE'} the interval")


def _interval(ends: Any) -> str:
    return "" if ends is None or math.isnan(ends[0]) else f" [{ends[0]:.4g}, {ends[1]:.4g}]"


if __name__ == "__main__":
    command.run(main)
