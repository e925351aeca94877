"""What the loop says of a run: while it goes on, and when it has ended."""

from dataclasses import dataclass, field
from typing import Literal

from genlab.objectives.metric import Estimate

Status = Literal["finished", "diverged", "preempted"]


@dataclass(frozen=True)
class Progress:
    """What a listener hears about once a dispatch.

    Attributes:
      step: updates done, whose metrics are known.
      steps: updates in all.
      metrics: means over the newest dispatch.
      examples_per_second: since the start of this process's part of the run, evaluations left out.
      mfu: model FLOPs utilisation, or None where the device's peak is unknown.
      seconds_left: at this speed.
    """

    step: int
    steps: int
    metrics: dict[str, float]
    examples_per_second: float
    mfu: float | None
    seconds_left: float


@dataclass(frozen=True)
class Outcome:
    """How a run ended; the run record is made of it.

    Attributes:
      status: "finished", "diverged" or "preempted".
      steps: updates done; of a diverged run, up to the first bad one.
      metrics: held-out metrics at the end (of the moving average, if there is one).
      evaluations: (step, held-out metrics then) wherever they were taken, the end included.
      train_loss: mean over the last bin of the learning curve.
      curve: (step, training loss) points.
      flops_per_step: training FLOPs of a step, counted from its jaxpr.
      seconds: of all attempts, from state to last checkpoint, compilation and evaluations included; of a killed one
        to the checkpoint that the next went on from.
      seconds_of: `seconds` by part: "compile", "step", "input" (waits for batches), "evaluation",
        "checkpoint" and "other"; they sum up to it.
      examples_per_second: training alone, in this process.
      mfu: model FLOPs utilisation of that, or None where the device's peak is unknown.
      device_kind: as JAX names it.
      device_count: devices the run used.
      error: one line, of a diverged run.
    """

    status: Status
    steps: int
    metrics: dict[str, Estimate] = field(default_factory=dict)
    evaluations: tuple[tuple[int, dict[str, Estimate]], ...] = ()
    train_loss: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    flops_per_step: float = 0.0
    seconds: float = 0.0
    seconds_of: dict[str, float] = field(default_factory=dict)
    examples_per_second: float = 0.0
    mfu: float | None = None
    device_kind: str = ""
    device_count: int = 1
    error: str = ""
