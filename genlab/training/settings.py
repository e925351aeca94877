"""How long a run trains, in what portions and on which devices, and what it leaves on the way."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from genlab.configuration import ConfigError
from genlab.training.plans import Layout, Plan, choose_plan


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long, how much at a time, and what is written on the way.

    Attributes:
      steps: updates of the parameters.
      batch_size: examples an update, over all devices and hosts.
      micro_batches: parts of a batch that run one after another (gradient accumulation).
      steps_per_dispatch: updates a call of the compiled program; 8 hides dispatch and allocation.
      ema_decay: moving average of the parameters, which evaluations and samples then use.
      evaluate_steps: updates between evaluations, each at the next end of a dispatch; 0 for one at the
        end only.
      evaluate_growth: how many times later the next evaluation is, the first being after `evaluate_steps`; 1 for one
        every `evaluate_steps`.
      evaluate_examples: held-out examples an evaluation, evenly spaced; 0 for all there are.
      log_steps: updates between lines in the log.
      checkpoint_steps: updates between checkpoints, each at the next end of a dispatch; 0 to go by the
        clock.
      checkpoint_seconds: seconds between checkpoints when `checkpoint_steps` is 0.
      keep_last: newest checkpoints kept; two at least, so that there is one to fall back to.
      keep_best: checkpoints with the lowest held-out loss kept beside them.
      divergence_factor: the run ends as diverged when the loss is not finite, or above its first value
        by (factor - 1) times that value (at least 1).
      writers: logs beside the JSON lines: "tensorboard", "wandb".
      devices: how many devices to use; none for all.
      layout: how batches, parameters and optimizer state lie on them (genlab/training/plans.py).
    """

    steps: int = 1000
    batch_size: int = 32
    micro_batches: int = 1
    steps_per_dispatch: int = 8
    ema_decay: float | None = None
    evaluate_steps: int = 0
    evaluate_growth: float = 1.0
    evaluate_examples: int = 4096
    log_steps: int = 100
    checkpoint_steps: int = 0
    checkpoint_seconds: float = 60.0
    keep_last: int = 2
    keep_best: int = 0
    divergence_factor: float = 3.0
    writers: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    devices: int | None = None
    layout: Layout = Layout()

    def __post_init__(self):
        for name in ("steps", "batch_size", "micro_batches", "steps_per_dispatch", "log_steps", "keep_last"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name}={getattr(self, name)} must be at least 1")
        for name in ("evaluate_steps", "evaluate_examples", "checkpoint_steps", "checkpoint_seconds", "keep_best"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"training.{name}={getattr(self, name)} must not be negative")
        if not self.evaluate_growth >= 1:
            raise ConfigError(f"training.evaluate_growth={self.evaluate_growth} must be at least 1")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ConfigError(f"training.ema_decay={self.ema_decay} lies in [0, 1), or is none")
        if not self.divergence_factor > 1:
            raise ConfigError(f"training.divergence_factor={self.divergence_factor} must be above 1")

    def evaluates_within(self, start: int, stop: int) -> bool:
        """Whether an evaluation is due after step `start`, up to `stop`; the one at the end is always due."""
        period, growth = self.evaluate_steps, self.evaluate_growth
        if stop == self.steps:
            return True
        if not period or growth == 1:
            return bool(period) and stop // period > start // period
        # The number of the last one up to `stop`; sums of logarithms may miss a whole number.
        latest = math.floor(math.log(stop / period) / math.log(growth) + 1e-9)
        return latest >= 0 and start < period * growth**latest * (1 - 1e-9)

    def plan(self, objective: Any) -> Plan:
        """Where an objective's run lives on the devices there are; errors as in `choose_plan`."""
        return choose_plan(self.batch_size, self.micro_batches, self.devices, self.layout, objective)
