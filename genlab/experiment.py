"""An experiment: objective, data, optimizer and training bound into one run; and a finished run read back."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from absl import logging

from genlab.configuration import ConfigError, differences, from_json, to_json
from genlab.data.batches import Batches, sequential_batches
from genlab.data.sources import Splits
from genlab.files import write_atomically
from genlab.objectives.metric import Estimate
from genlab.training.checkpoints import Checkpoints
from genlab.training.evaluation import collect_outputs, evaluate
from genlab.training.loop import Outcome, Progress, Training, train
from genlab.training.optimizers import AdamW, Optimizer
from genlab.training.plans import choose_plan
from genlab.training.program import Program, count_parameters, program_for

PyTree = Any

FLOPS_CONVENTION = "matmuls and convolutions of the training step's jaxpr"


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run.

    Attributes:
      objective: what is learnt, with the model in it (genlab/objectives).
      data: what from (genlab/data): `load() -> Splits`, `tokens_per_example`.
      optimizer: how (genlab/training/optimizers.py).
      training: how long, in what portions, and what is written (genlab/training/loop.py).
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
        self._check_start()
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} must be from 0 to 2^32 - 1")
        choose_plan(self.training.batch_size, self.training.micro_batches, self.training.devices)
        if jax.process_count() > 1:
            raise ConfigError(f"{jax.process_count()} processes: one process with all its devices is what works yet")

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
    start = None
    if experiment.start is not None and not Checkpoints.any_in(folder / "checkpoints"):
        found = starting_run(experiment, folder, listeners, should_stop)
        if found is None:
            return Result(Outcome("preempted", 0), **count_parameters(experiment.objective), examples=0, tokens=None,
                          unique_tokens=None, epochs=0.0, flops=0.0, data=dict(splits.description))
        start = functools.partial(_started_from, experiment.objective, found)
    outcome = train(
        objective=experiment.objective, optimizer=experiment.optimizer, training=t, seed=experiment.seed,
        train_batches=batches, held_out_batches=lambda size: held_out_batches(splits, size, t.evaluate_examples),
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
    batches = Batches(splits.train, experiment.training.batch_size, experiment.seed,
                      process_index=jax.process_index(), process_count=jax.process_count())
    return splits, batches


def starting_run(experiment: Experiment, folder: Path, listeners: Sequence[Callable[[Progress], None]] = (),
                 should_stop: Callable[[], bool] = lambda: False) -> "Trained | None":
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


def _started_from(objective: Any, source: "Trained", variables: PyTree) -> PyTree:
    return objective.start_from(variables, source.experiment.objective, source.variables)


def run_evaluations(evaluations: Sequence[Any], program: Program, variables: PyTree, splits: Splits,
                    batch_size: int) -> dict[str, Estimate]:
    """What each evaluation says of `variables`, all in one dict.

    Raises:
      ConfigError: an evaluation reads an output that the objective does not give.
    """
    @functools.cache
    def collect(split: str, names: tuple[str, ...], examples: int = 0) -> dict[str, Any]:
        source = splits.train if split == "train" else splits.held_out
        batches = sequential_batches(source, min(batch_size, len(source)), examples or None,
                                     process_index=jax.process_index(), process_count=jax.process_count())
        return collect_outputs(program, variables, batches, names)

    found: dict[str, Estimate] = {}
    for evaluation in evaluations:
        found |= evaluation.run(collect)
    return found


@functools.lru_cache(maxsize=2)
def load_splits(data: Any) -> Splits:
    """The data, loaded once for all runs of a process that use the same."""
    return data.load()


def held_out_batches(splits: Splits, batch_size: int, examples: int):
    """Held-out batches that hold each of so many examples (0: all) once, evenly spaced."""
    return sequential_batches(splits.held_out, batch_size, examples or None,
                              process_index=jax.process_index(), process_count=jax.process_count())


def claim(experiment: Experiment, folder: Path) -> None:
    """Makes a folder this experiment's by writing config.json, or checks that it is.

    Raises:
      ConfigError: it holds another experiment; the message names the first difference.
    """
    if jax.process_index():
        return
    path = folder / "config.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(to_json(experiment), indent=1) + "\n")
        return
    # By way of the config, so that fields which the saved one lacks take their defaults.
    difference = next(differences(to_json(load_experiment(folder)), to_json(experiment)), None)
    if difference:
        raise ConfigError(f"{folder} holds another experiment ({difference}); give another folder")


def keep_data(splits: Splits, folder: Path) -> None:
    """Writes data.json and the data's own files, or checks that the run's data are still the same.

    Raises:
      ConfigError: the run began on other data; the standard library's text, for one, is that of a Python version.
    """
    if jax.process_index():
        return
    path = folder / "data.json"
    if path.exists():
        if splits.description["data_hash"] != _saved_data_hash(folder):
            raise ConfigError(f"{folder} began on other data than there is now (its hash differs); give another "
                              "folder, or bring the data back")
        return
    for name, content in splits.files.items():
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / name).write_bytes(content)
    write_atomically(path, json.dumps(dict(splits.description), indent=1) + "\n")


def _saved_data_hash(folder: Path) -> str | None:
    path = folder / "data.json"
    return json.loads(path.read_text())["data_hash"] if path.exists() else None


@dataclass(frozen=True)
class Trained:
    """A run's folder read back: what sampling, evaluation and transfer start from.

    Attributes:
      experiment: as it was run.
      variables: collections of the newest checkpoint, or their moving average where there is one.
      step: of that checkpoint.
      program: compiled functions for it.
      folder: where it came from.
    """

    experiment: Experiment
    variables: PyTree
    step: int
    program: Program
    folder: Path

    def evaluate(self, examples: int = 0, evaluations: Sequence[Any] = ()) -> dict[str, Estimate]:
        """Held-out metrics over so many examples, all by default; and what further evaluations say."""
        splits = load_splits(self.experiment.data)
        t = self.experiment.training
        batches = held_out_batches(splits, t.batch_size // t.micro_batches, examples)
        if splits.description.get("data_hash") != _saved_data_hash(self.folder):
            logging.warning("%s was trained on other data than there is now: its hash differs", self.folder)
        found = evaluate(self.program, self.variables, batches)
        size = t.batch_size // t.micro_batches
        return found | run_evaluations(evaluations, self.program, self.variables, splits, size)

    def untrained(self) -> "Trained":
        """The same run with fresh parameters, not those of a run it began with: the baseline of a probe."""
        t = self.experiment.training
        state = self.program.initial_state(self.experiment.seed, self.experiment.optimizer.hyperparameters(t.steps))
        return dataclasses.replace(self, variables=state.variables, step=0)


def load_experiment(folder: Path) -> Experiment:
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
    # Wherever it was trained: as many of the devices here as divide a micro-batch.
    devices = math.gcd(t.batch_size // t.micro_batches, len(jax.devices()))
    plan = choose_plan(t.batch_size, t.micro_batches, devices)
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
