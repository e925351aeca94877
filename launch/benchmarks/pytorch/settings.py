"""What is timed on an accelerator: genlab's own recipes at the sizes of --shapes, with --config.FIELD=VALUE in them."""

import abc
import dataclasses
from pathlib import Path
from typing import Any

import jax

from genlab.configuration import ConfigError, field_names
from genlab.experiment import Experiment
from launch import flags as command
from launch.benchmarks.shapes import TransformerShape

STEPS_PER_DISPATCH = 8
# What decides how genlab's side computes, or decides the same for both.
SETTABLE = ("training.batch_size", "training.steps_per_dispatch", "objective.loss_chunk", *(
    f"objective.model.{name}" for name in ("scan_layers", "remat", "attention_block", "vocab_size", "context_length",
                                           "image_size", "num_classes")))


class TimedShape(TransformerShape, abc.ABC):
    """A Transformer's size, and the experiment that it is timed in."""

    @abc.abstractmethod
    def experiment(self) -> Experiment:
        """genlab's own recipe of this size."""

    def objective(self) -> Any:
        """Of the experiment."""
        return self.experiment().objective


def accelerated() -> bool:
    """Whether this is no CPU, on which only tiny models are tried."""
    return jax.default_backend() != "cpu"


def own_config(file: str, argument: str) -> Experiment:
    """genlab's own experiment, of a file of experiments/."""
    folder = Path(__file__).parents[3] / "experiments"
    return command.load_config(f"{folder / file}:{argument}", override_with=False)


def timed(experiment: Experiment, batch_size: int, objective: Any) -> Experiment:
    """The experiment as it is timed, with --config.FIELD=VALUE in it.

    One device, batches whole, blocks unrolled and nothing computed twice (PyTorch's side does so too), no moving
    average. Raises ConfigError for overrides that the other side cannot follow.
    """
    model = dataclasses.replace(objective.model, dtype="bfloat16", scan_layers=False, remat="none")
    training = dataclasses.replace(experiment.training, batch_size=batch_size, micro_batches=1, ema_decay=None,
                                   steps_per_dispatch=STEPS_PER_DISPATCH, devices=1)
    experiment = dataclasses.replace(experiment, objective=dataclasses.replace(objective, model=model),
                                     training=training)
    found = command.apply_overrides(experiment)
    if _with_settable_fields(found, experiment) != experiment:
        raise ConfigError(f"PyTorch's side follows in nothing but {', '.join(SETTABLE)}: set no other --config.FIELD "
                          "(--shapes sets the model's size)")
    found.objective.validate()
    return found


def _with_settable_fields(config: Any, other: Any, path: str = "") -> Any:
    """A config with another's values in the fields that can be set."""
    changes = {}
    for name in field_names(config):
        mine, its, inner = getattr(config, name), getattr(other, name), f"{path}.{name}".removeprefix(".")
        if inner in SETTABLE:
            changes[name] = its
        elif any(field.startswith(f"{inner}.") for field in SETTABLE):
            changes[name] = _with_settable_fields(mine, its, inner)
    return dataclasses.replace(config, **changes)
