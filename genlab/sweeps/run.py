"""One run from its config to its record: what worker processes, `launch.train` and tests call."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from genlab import experiment as experiments
from genlab.configuration import ConfigError, config_hash
from genlab.data.batches import Batches
from genlab.files import DiskFullError, full_disk_in_one_line, writer_lock
from genlab.objectives.metric import Estimate
from genlab.sweeps.executors import RunTask, Task, error_line
from genlab.sweeps.record import RunRecord, read_record, write_record
from genlab.sweeps.schedule import Job
from genlab.sweeps.sweep import PlannedRun, Sweep
from genlab.trained import load_splits
from genlab.training import hosts
from genlab.training.outcome import Progress
from genlab.training.population import Population
from genlab.training.program import count_parameters, enable_compilation_cache

# A killed sweep's workers die with it, but may take a moment to let go of their folders.
_LOCK_SECONDS = 10.0
# Seconds a token grow with parameters**0.8: GPTs of 12 thousand to 5 million parameters on a CPU core.
_COST_EXPONENT = 0.8


def run_one(
    run: PlannedRun,
    folder: Path,
    *,
    attempt: int = 1,
    listeners: Sequence[Callable[[Progress], None]] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunRecord:
    """Runs an experiment in its folder, from where it was left, and leaves `record.json` there.

    A run that has ended already is not run again.

    Args:
      run: the experiment and its place in a sweep; `single_run` makes one for an experiment alone.
      folder: of this run; made if it is not there.
      attempt: how often it will have been tried then.
      listeners: called with the loop's `Progress`.
      should_stop: when it says so, the run writes a checkpoint and its record says "preempted".

    Raises:
      ConfigError: the experiment cannot run; the folder holds another one, or another process writes there.
      Exception: whatever training raises; the record then says "failed".
    """
    folder.mkdir(parents=True, exist_ok=True)
    writes = hosts.is_first()
    with writer_lock(folder, _LOCK_SECONDS) if writes else contextlib.nullcontext():
        before = read_record(folder)
        ended = bool(before and before.ended and before.config_hash == run.config_hash)
        found = hosts.gather("the run's record", before.to_json() if ended else None)[0]
        if found:
            return before if writes else RunRecord.from_json(found)
        experiments.prepare(run.experiment)  # What cannot run leaves no mark on the folder.
        experiments.claim(run.experiment, folder)
        started = _now()
        record = RunRecord(**run.identity(), attempts=attempt, started_at=started)
        with _failure_recorded(record, folder), full_disk_in_one_line(folder):
            result = experiments.run(run.experiment, folder, listeners, should_stop)
        record = completed(record, result, run.experiment)
        if writes:
            write_record(record, folder)
        return record


def run_task(task: Task, report: Callable[[dict[str, Any]], None], should_stop: Callable[[], bool]) -> None:
    """`run_one` for executors (`executors.RunTask`)."""
    enable_compilation_cache()
    tokens = task.run.experiment.data.tokens_per_example or 1

    def listener(progress: Progress) -> None:
        report({"step": progress.step, "steps": progress.steps, "loss": progress.metrics["loss"],
                "tokens_per_second": progress.examples_per_second * tokens, "mfu": progress.mfu})

    run_one(task.run, task.folder, attempt=task.attempt, listeners=(listener,), should_stop=should_stop)


def population_task(population: Population) -> RunTask:
    """`run_task` for runs in threads of one process, whose steps are done together where that is faster."""

    def run(task: Task, report: Callable[[dict[str, Any]], None], should_stop: Callable[[], bool]) -> None:
        with population.member():
            run_task(task, report, should_stop)

    return run


def single_run(experiment: Any, folder: Path) -> PlannedRun:
    """An experiment that belongs to no sweep; called as its folder where it has no name."""
    name = experiment.name or folder.resolve().name
    return PlannedRun(name, "grid", experiment, config_hash(experiment))


def completed(record: RunRecord, result: experiments.Result, experiment: Any) -> RunRecord:
    """The record of a run that came to an end: `record` says who it was, `result` how it went."""
    outcome = result.outcome
    further = dict(outcome.metrics)
    loss = further.pop("loss", None)
    tokens_per_example = experiment.data.tokens_per_example or 1
    seen = "tokens" if experiment.data.tokens_per_example else "examples"
    per_step = tokens_per_example * experiment.training.batch_size
    return dataclasses.replace(
        record, params=result.params, params_non_embedding=result.params_non_embedding,
        steps=outcome.steps, examples=result.examples, tokens=result.tokens,
        unique_tokens=result.unique_tokens, epochs=result.epochs, flops=result.flops,
        flops_convention=experiments.FLOPS_CONVENTION,
        loss=loss and loss.mean, loss_se=loss and loss.standard_error, train_loss=outcome.train_loss,
        metrics=_numbers(further), evaluations=tuple(
            {"step": step, "flops": outcome.flops_per_step * step, seen: per_step * step, "loss": found["loss"].mean,
             "metrics": _numbers({name: estimate for name, estimate in found.items() if name != "loss"}, digits=6)}
            for step, found in outcome.evaluations),
        status=outcome.status, error=outcome.error, device_kind=outcome.device_kind,
        device_count=outcome.device_count, process_count=jax.process_count(), seconds=outcome.seconds,
        **{f"{part}_seconds": seconds for part, seconds in outcome.seconds_of.items() if part != "other"},
        mfu=outcome.mfu,
        tokens_per_second=outcome.examples_per_second * tokens_per_example,
        data_hash=result.data.get("data_hash", ""), finished_at=_now(), curve=outcome.curve,
    )


def _numbers(estimates: dict[str, Estimate], digits: int = 17) -> dict[str, float]:
    """Means by name, and their standard errors by name_se; a number that is no estimate has none."""
    values = {name: estimate.mean for name, estimate in estimates.items()}
    values |= {f"{name}_se": estimate.standard_error for name, estimate in estimates.items()
               if not math.isnan(estimate.standard_error)}
    return {name: float(f"{value:.{digits}g}") for name, value in values.items()}


def job(run: PlannedRun) -> Job:
    """What scheduling must know of a run: its length from its size and data, and what it compiles."""
    experiment = run.experiment
    training, objective = experiment.training, experiment.objective
    params = _parameters(objective)
    tokens = training.steps * training.batch_size * (experiment.data.tokens_per_example or 1)
    data = "tokens" if experiment.data.tokens_per_example else "examples"
    return Job(run.name, cost=tokens * params**_COST_EXPONENT, params=params, tokens=tokens, data=data,
               shape=(objective, experiment.optimizer.without_hyperparameters(), training.batch_size,
                      training.micro_batches, training.steps_per_dispatch, training.ema_decay, training.devices,
                      training.layout))


def check_data(sweep: Sweep) -> None:
    """Loads the data of every run once, which also fills caches on disk before the workers need them.

    Raises:
      ValueError: text that is not there or empty, a batch larger than the data; by the run's name.
    """
    for run in sweep.runs():
        experiment = run.experiment
        try:
            splits = load_splits(experiment.data)
            Batches(splits.train, experiment.training.batch_size, experiment.seed)
        except ValueError as error:
            raise ConfigError(f"run {run.name}: {error}") from error


@functools.cache
def _parameters(objective: Any) -> int:
    return count_parameters(objective)["params"]


@contextlib.contextmanager
def _failure_recorded(record: RunRecord, folder: Path) -> Iterator[None]:
    def write(line: str) -> None:
        failed = dataclasses.replace(record, status="failed", error=line, finished_at=_now())
        with contextlib.suppress(OSError):  # The error itself is what matters.
            if hosts.is_first():
                write_record(failed, folder)

    try:
        with hosts.last_words(write):
            yield
    except (DiskFullError, KeyboardInterrupt):
        raise  # Not the run's fault.
    except BaseException as error:
        hosts.settle(error)
        write(error_line(error))
        raise


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
