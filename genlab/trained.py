"""A run's folder read back: what sampling, evaluation, transfer and distillation start from."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from absl import logging

from genlab.configuration import ConfigError, from_json
from genlab.data.batches import sequential_batches
from genlab.data.sources import Source, Splits
from genlab.objectives.metric import Estimate
from genlab.objectives.probes import Collect
from genlab.training.checkpoints import Checkpoints
from genlab.training.evaluation import collect_outputs, evaluate
from genlab.training.plans import Layout, Plan, choose_plan
from genlab.training.program import Program, Reading, program_for

PyTree = Any
# (batches, how many, what is made of them) -> the batches, while somebody looks on.
Watch = Callable[[Iterable[Any], int, str], Iterable[Any]]


def unwatched(batches: Iterable[Any], count: int, what: str) -> Iterable[Any]:
    """The batches; nobody looks on."""
    return batches


@dataclass(frozen=True)
class Trained:
    """A run's folder read back: what sampling, evaluation and transfer start from.

    Attributes:
      experiment: as it was run.
      variables: collections of the newest checkpoint, or their moving average where there is one.
      step: of that checkpoint.
      program: compiled functions for it.
      folder: where it came from.
      watch: looks on while batches are evaluated and read.
    """

    experiment: Any
    variables: PyTree
    step: int
    program: Program
    folder: Path
    watch: Watch = unwatched

    def evaluate(self, examples: int = 0, evaluations: Sequence[Any] = ()) -> dict[str, Estimate]:
        """Held-out metrics over so many examples, all by default; and what further evaluations say."""
        for evaluation in evaluations:
            evaluation.check(self.experiment.objective, self.experiment.data)
        splits = load_splits(self.experiment.data)
        t = self.experiment.training
        size = t.batch_size // t.micro_batches
        batches = self.watch(held_out_batches(splits, size, examples, self.program.plan),
                             _batch_count(splits.held_out, size, examples), "held-out batches")
        if splits.description.get("data_hash") != saved_data_hash(self.folder):
            logging.warning("%s was trained on other data than there is now: its hash differs", self.folder)
        found = evaluate(self.program, self.variables, batches)
        return found | run_evaluations(evaluations, self.program, self.variables, splits, size, self.watch)

    def collect(self, split: str, read: Reading, examples: int = 0) -> dict[str, Any]:
        """What is read of so many examples (0: all) of "train" or "held_out", and their "label", as arrays."""
        t = self.experiment.training
        splits = load_splits(self.experiment.data)
        size = t.batch_size // t.micro_batches
        return collector(self.program, self.variables, splits, size, self.watch)(split, read, examples)

    def untrained(self) -> "Trained":
        """The same run with fresh parameters, not those of a run it began with: the baseline of a probe."""
        t = self.experiment.training
        state = self.program.initial_state(self.experiment.seed, self.experiment.optimizer.hyperparameters(t.steps))
        return dataclasses.replace(self, variables=state.variables, step=0)


def load_experiment(folder: Path) -> Any:
    """The experiment of a run's folder, without the config file that made it.

    Raises:
      ConfigError: no run in that folder.
    """
    path = Path(folder) / "config.json"
    try:
        return from_json(json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        hint = f"; it is a sweep, whose runs are {folder}/runs/<name>" if (Path(folder) / "sweep.json").exists() else ""
        raise ConfigError(f"{folder} holds no run: there is no {path.name} in it{hint}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error


def load_run(folder: Path) -> Trained:
    """A run's experiment and its newest parameters.

    Raises:
      ConfigError: no run in that folder, or no checkpoint yet.
    """
    folder = Path(folder)
    experiment = load_experiment(folder)
    t = experiment.training
    if not (folder / "checkpoints").is_dir():
        raise ConfigError(f"{folder} has no checkpoint yet; train it first")
    plan = plan_here(experiment)
    program = program_for(experiment.objective, experiment.optimizer, t.micro_batches, t.ema_decay, plan)
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    try:
        found = checkpoints.restore(program.abstract_state(experiment.optimizer.hyperparameters(t.steps)))
    finally:
        checkpoints.close()
    if found is None:
        raise ConfigError(f"{folder} has no checkpoint yet; train it first")
    state, _ = found
    return Trained(experiment, state.evaluated, int(state.step), program, folder)


def plan_here(experiment: Any) -> Plan:
    """The plan that a run is read back under: its own layout on all devices here, where it fits them.

    Elsewhere, wherever it was trained, batches alone are cut over as many devices as divide a micro-batch; of several
    processes over all.
    """
    t = experiment.training
    if t.layout != Layout():
        try:
            return choose_plan(t.batch_size, t.micro_batches, None, t.layout, experiment.objective)
        except ConfigError as error:
            logging.warning("the run's own layout does not fit the devices here (%s): read without it", error)
    count = len(jax.devices())
    devices = math.gcd(t.batch_size // t.micro_batches, count) if jax.process_count() == 1 else count
    return choose_plan(t.batch_size, t.micro_batches, devices, objective=experiment.objective)


@functools.lru_cache(maxsize=2)
def load_splits(data: Any) -> Splits:
    """The data, loaded once for all runs of a process that use the same."""
    return data.load()


def held_out_batches(splits: Splits, batch_size: int, examples: int, plan: Plan):
    """This process's part of held-out batches that hold each of so many examples (0: all) once, evenly spaced."""
    return sequential_batches(splits.held_out, batch_size, examples or None, plan.rows(batch_size))


def run_evaluations(evaluations: Sequence[Any], program: Program, variables: PyTree, splits: Splits,
                    batch_size: int, watch: Watch = unwatched) -> dict[str, Estimate]:
    """What each evaluation says of `variables`, all in one dict.

    Raises:
      ConfigError: an evaluation reads an output that the objective does not give.
    """
    collect = collector(program, variables, splits, batch_size, watch)
    found: dict[str, Estimate] = {}
    for evaluation in evaluations:
        found |= evaluation.run(collect)
    return found


def collector(program: Program, variables: PyTree, splits: Splits, batch_size: int,
              watch: Watch = unwatched) -> Collect:
    """The function `collect(split, read, examples)` of evaluations (genlab/objectives/probes.py); it remembers."""
    @functools.cache
    def collect(split: str | Source, read: Reading, examples: int = 0) -> dict[str, Any]:
        source = {"train": splits.train, "held_out": splits.held_out}[split] if isinstance(split, str) else split
        batches = sequential_batches(source, batch_size, examples or None, program.plan.rows(batch_size))
        batches = watch(batches, _batch_count(source, batch_size, examples), _reading(read, split))
        return collect_outputs(program, variables, batches, read)

    return collect


def _batch_count(source: Source, batch_size: int, examples: int) -> int:
    return math.ceil(min(examples or len(source), len(source)) / batch_size)


def _reading(read: Reading, split: str | Source) -> str:
    """What is made of batches, for who looks on."""
    name = getattr(read, "__name__", type(read).__name__) if callable(read) else ", ".join(read)
    return f"batches of {split if isinstance(split, str) else 'an evaluation'}, read by {name}"


def saved_data_hash(folder: Path) -> str | None:
    """The hash of the data that a run began on; None where it has not begun."""
    path = folder / "data.json"
    return json.loads(path.read_text())["data_hash"] if path.exists() else None
