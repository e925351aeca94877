"""An experiment: objective, data, optimizer and training bound into one run."""

import dataclasses
import functools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from genlab.configuration import ConfigError, differences, to_json
from genlab.data.batches import Batches
from genlab.data.sources import Splits
from genlab.files import write_atomically
from genlab.trained import (
    Trained,
    held_out_batches,
    load_experiment,
    load_run,
    load_splits,
    run_evaluations,
    saved_data_hash,
)
from genlab.training import hosts
from genlab.training.checkpoints import Checkpoints
from genlab.training.loop import train
from genlab.training.optimizers import AdamW, Optimizer
from genlab.training.outcome import Outcome, Progress
from genlab.training.plans import Layout
from genlab.training.program import count_parameters
from genlab.training.settings import Training

PyTree = Any

# A network's file system may show a new file so much later.
_NETWORK_SECONDS = 30.0
FLOPS_CONVENTION = "matmuls and convolutions of the training step's jaxpr"


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run.

    Attributes:
      objective: what is learnt, with the model in it (genlab/objectives).
      data: what from (genlab/data): `load() -> Splits`, `tokens_per_example`.
      optimizer: how (genlab/training/optimizers.py).
      training: how long, in what portions, and what is written (genlab/training/settings.py).
      start: the folder of a finished run whose variables this one begins with, or an experiment, which is then
        trained first, in the folder `start` of this run's; what is taken from it is the objective's business
        (`start_from`): a trunk to fine-tune, a teacher.
      evaluations: further evaluations of the held-out data beside the loss (genlab/objectives/probes.py and
        others), wherever that is taken; their numbers stand in the record's metrics.
      name: of the run; a sweep names its runs itself where this is empty.
      seed: of parameters, order of the data, dropout and noise.
    """

    objective: Any
    data: Any
    optimizer: Optimizer = AdamW()
    training: Training = Training()
    start: Any = None
    evaluations: tuple[Any, ...] = ()
    name: str = ""
    seed: int = 0

    def check(self) -> None:
        """Raises one clear ConfigError if this cannot run: before anything is loaded or compiled."""
        try:
            self.objective.validate()
            self.objective.check_data(self.data)
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if self.optimizer.layer_decay == 0 and "batch_stats" in jax.eval_shape(self.objective.init, jax.random.key(0)):
            raise ConfigError("optimizer.layer_decay=0 freezes parameters, but not the running statistics of BatchNorm "
                              "in this model; take a small layer_decay, or a model with another norm")
        self._check_start()
        # Evaluations run last: what they lack would cost the run.
        for evaluation in self.evaluations:
            evaluation.check(self.objective, self.data)
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} must be from 0 to 2^32 - 1")
        self.training.plan(self.objective)

    def _check_start(self) -> None:
        """Whether the objective can take over from the run to start from, by the shapes of both."""
        kind = type(self.objective).__name__
        if self.start is None:
            if getattr(self.objective, "needs_start", False):
                raise ConfigError(f"{kind} needs a run to start from: set `start` to its folder, or to an experiment")
            return
        if not hasattr(self.objective, "start_from"):
            raise ConfigError(f"{kind} cannot start from another run")
        if isinstance(self.start, Experiment):
            source = self.start
            source.check()
        else:
            source = load_experiment(Path(self.start))
            if not Checkpoints.any_in(Path(self.start) / "checkpoints"):
                raise ConfigError(f"{self.start} has no checkpoint yet; train it first")
        shapes = [jax.eval_shape(objective.init, jax.random.key(0)) for objective in (self.objective, source.objective)]
        jax.eval_shape(lambda own, theirs: self.objective.start_from(own, source.objective, theirs), *shapes)

    def train_on(self, *, tokens: float | None = None, examples: float | None = None) -> "Experiment":
        """This experiment with as many steps as see so many tokens, or examples.

        Rounded up to whole dispatches: a shorter last one would be another compilation.
        """
        if (tokens is None) == (examples is None):
            raise ConfigError("train_on takes either tokens or examples")
        if tokens is not None:
            if self.data.tokens_per_example is None:
                raise ConfigError(f"{type(self.data).__name__} has no tokens; use train_on(examples=...)")
            examples = tokens / self.data.tokens_per_example
        portion = self.training.steps_per_dispatch
        steps = math.ceil(examples / self.training.batch_size / portion) * portion
        return dataclasses.replace(self, training=dataclasses.replace(self.training, steps=steps))

    @property
    def tokens_per_step(self) -> int | None:
        """Training tokens of an update, or None for data without tokens."""
        per_example = self.data.tokens_per_example
        return None if per_example is None else per_example * self.training.batch_size


@dataclass(frozen=True)
class Result:
    """A run that came to an end, with what a run record says of it beyond the training's outcome.

    Attributes:
      outcome: of the training loop.
      params: parameters, all of them.
      params_non_embedding: without embeddings (`count_parameters`).
      examples: training examples seen, repeats counted.
      tokens: training tokens seen, repeats counted, or None.
      unique_tokens: different training tokens there were, or None.
      epochs: passes over the training data.
      flops: training FLOPs by `FLOPS_CONVENTION`.
      data: facts about the data, "data_hash" among them.
    """

    outcome: Outcome
    params: int
    params_non_embedding: int
    examples: int
    tokens: int | None
    unique_tokens: int | None
    epochs: float
    flops: float
    data: dict[str, Any]


def run(
    experiment: Experiment,
    folder: Path,
    listeners: Sequence[Callable[[Progress], None]] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Trains in a folder from where it was left, or from the start.

    The folder gets config.json (the experiment), data.json and data/ (what the data was, and what it needs
    to be used again), metrics.jsonl and checkpoints/.

    Raises:
      ConfigError: an experiment that cannot run, a folder that holds another one, or other data than before.
    """
    splits, batches = prepare(experiment)
    folder, t = Path(folder), experiment.training
    claim(experiment, folder)
    keep_data(splits, folder)
    _see(folder)
    start = None
    begun = hosts.gather("the run's first look into its folder", Checkpoints.any_in(folder / "checkpoints"))[0]
    if experiment.start is not None and not begun:
        found = starting_run(experiment, folder, listeners, should_stop)
        if found is None:
            return Result(Outcome("preempted", 0), **count_parameters(experiment.objective), examples=0, tokens=None,
                          unique_tokens=None, epochs=0.0, flops=0.0, data=dict(splits.description))
        start = functools.partial(_started_from, experiment.objective, found)
    outcome = train(
        objective=experiment.objective, optimizer=experiment.optimizer, training=t, seed=experiment.seed,
        train_batches=batches,
        held_out_batches=lambda size: held_out_batches(splits, size, t.evaluate_examples, t.plan(experiment.objective)),
        folder=folder, start=start, listeners=listeners, should_stop=should_stop,
        evaluations=lambda program, variables: run_evaluations(experiment.evaluations, program, variables, splits,
                                                               t.batch_size // t.micro_batches),
    )
    tokens = experiment.tokens_per_step
    return Result(
        outcome=outcome, **count_parameters(experiment.objective),
        examples=outcome.steps * t.batch_size,
        tokens=None if tokens is None else outcome.steps * tokens,
        unique_tokens=splits.description.get("train_tokens"),
        epochs=batches.epoch(outcome.steps), flops=outcome.flops_per_step * outcome.steps,
        data=dict(splits.description),
    )


def prepare(experiment: Experiment) -> tuple[Splits, Batches]:
    """The data and its training batches, with everything checked that can be without compiling.

    Raises:
      ConfigError: an experiment that cannot run.
    """
    experiment.check()
    splits = load_splits(experiment.data)
    size = experiment.training.batch_size
    rows = experiment.training.plan(experiment.objective).rows(size)
    return splits, Batches(splits.train, size, experiment.seed, rows=rows)


def starting_run(experiment: Experiment, folder: Path, listeners: Sequence[Callable[[Progress], None]] = (),
                 should_stop: Callable[[], bool] = lambda: False) -> Trained | None:
    """The run that `experiment.start` names; an experiment is trained first. None if that was told to stop.

    Raises:
      ConfigError: no such run, one without a checkpoint, or one that diverged.
    """
    if not isinstance(experiment.start, Experiment):
        return load_run(Path(experiment.start))
    outcome = run(experiment.start, folder / "start", listeners, should_stop).outcome
    if outcome.status == "diverged":
        raise ConfigError(f"the run to start from, {folder / 'start'}, diverged: {outcome.error}")
    return load_run(folder / "start") if outcome.status == "finished" else None


def _started_from(objective: Any, source: Trained, variables: PyTree) -> PyTree:
    return objective.start_from(variables, source.experiment.objective, source.variables)


def claim(experiment: Experiment, folder: Path) -> None:
    """Makes a folder this experiment's by writing config.json, or checks that it is.

    Raises:
      ConfigError: it holds another experiment; the message names the first difference.
    """
    if not hosts.is_first():
        return
    path = folder / "config.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(to_json(experiment), indent=1) + "\n")
        return
    # By way of the config, so that fields which the saved one lacks take their defaults. A run may go on elsewhere.
    saved, ours = (_anywhere(e) for e in (load_experiment(folder), experiment))
    difference = next(differences(to_json(saved), to_json(ours)), None)
    if difference:
        raise ConfigError(f"{folder} holds another experiment ({difference}); give another folder")


def _see(folder: Path) -> None:
    """Waits until process 0 has claimed the folder.

    Raises:
      ConfigError: this process does not see that: its host has another folder of that name.
    """
    path, began = folder / "config.json", time.monotonic()
    hosts.gather(f"{path} to be written")
    while not path.exists():
        if time.monotonic() - began > _NETWORK_SECONDS:
            raise ConfigError(f"{path}, which process 0 has written, is not here; all hosts need one shared folder")
        time.sleep(0.1)


def _anywhere(experiment: Experiment) -> Experiment:
    training = dataclasses.replace(experiment.training, devices=None, layout=Layout())
    return dataclasses.replace(experiment, training=training)


def keep_data(splits: Splits, folder: Path) -> None:
    """Writes data.json and the data's own files, or checks that the run's data are still the same.

    Raises:
      ConfigError: the run began on other data; the standard library's text, for one, is that of a Python version.
    """
    if not hosts.is_first():
        return
    path = folder / "data.json"
    if path.exists():
        if splits.description["data_hash"] != saved_data_hash(folder):
            raise ConfigError(f"{folder} began on other data than there is now (its hash differs); give another "
                              "folder, or bring the data back")
        return
    for name, content in splits.files.items():
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / name).write_bytes(content)
    write_atomically(path, json.dumps(dict(splits.description), indent=1) + "\n")
