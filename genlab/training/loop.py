"""The training loop: any objective, any data, any plan. It starts, resumes, watches and ends a run."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genlab.objectives.metric import Estimate
from genlab.scaling.counting.devices import model_flops_utilization
from genlab.training import hosts
from genlab.training.checkpoints import Checkpoints
from genlab.training.clock import Clock
from genlab.training.curve import LearningCurve
from genlab.training.evaluation import evaluate
from genlab.training.logs import MetricLog, NoLog
from genlab.training.optimizers import Optimizer
from genlab.training.outcome import Outcome, Progress, Status
from genlab.training.program import Program, program_for
from genlab.training.settings import Training
from genlab.training.step import TrainState, with_variables

PyTree = Any


class _Diverged(Exception):
    def __init__(self, step: int, loss: float):
        super().__init__(f"loss {loss:.4g} at step {step}")
        self.step = step


def train(
    *,
    objective: Any,
    optimizer: Optimizer,
    training: Training,
    seed: int,
    train_batches: Any,
    held_out_batches: Callable[[int], Iterable[dict[str, np.ndarray]]],
    folder: Path,
    start: Callable[[PyTree], PyTree] | None = None,
    evaluations: Callable[[Program, PyTree], dict[str, Estimate]] = lambda program, variables: {},
    listeners: Sequence[Callable[[Progress], None]] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Trains from the folder's newest checkpoint, or from the start, to the end.

    Args:
      objective: what to train; see genlab/objectives.
      optimizer: how.
      training: how long and in what portions.
      seed: of parameters, dropout and noise.
      train_batches: `stack(start, stop)` gives this process's examples of steps [start, stop).
      held_out_batches: given a batch size, batches that hold each example once.
      folder: gets metrics.jsonl and checkpoints/.
      start: where there is no checkpoint, makes the first variables of fresh ones, say with those of another run.
      evaluations: further held-out metrics, of (program, variables), wherever the held-out loss is taken.
      listeners: called with a `Progress` a dispatch.
      should_stop: asked a dispatch; when true in any process the run writes a checkpoint and ends as "preempted".
    """
    run = _Run(objective, optimizer, training, seed, train_batches, held_out_batches, Path(folder), start,
               evaluations, listeners, should_stop)
    try:
        return run.go()
    finally:
        run.close()


class _Run:
    """One run of `train` within this process: its state, its clock and its files."""

    def __init__(self, objective, optimizer, training, seed, train_batches, held_out_batches, folder, start,
                 evaluations, listeners, should_stop):
        self.training = training
        self.train_batches = train_batches
        self.held_out_batches = held_out_batches
        self.evaluations = evaluations
        self.listeners = listeners
        self.should_stop = should_stop
        plan = training.plan(objective)
        self.program: Program = program_for(objective, optimizer, training.micro_batches, training.ema_decay, plan)
        self.clock = Clock(lambda: self.program.compile_seconds)
        self.checkpoints = Checkpoints(folder / "checkpoints", training.keep_last, training.keep_best)
        self.curve = LearningCurve(training.steps)
        self.first_loss: float | None = None
        self.last_checkpoint = time.perf_counter()
        self.held_out: dict[str, Estimate] = {}
        self.evaluated: list[tuple[int, dict[str, Estimate]]] = []
        state = self.program.initial_state(seed, optimizer.hyperparameters(training.steps))
        self.state, self.step = self._restored(state, start)
        self.log = MetricLog(folder, self.step, training.writers) if hosts.is_first() else NoLog()

    def go(self) -> Outcome:
        """Dispatches ahead and reads metrics one dispatch late, until the last step."""
        status, error = "finished", ""
        try:
            with self.clock.part("step"):
                if not self._steps_to_the_end():
                    status = "preempted"
            if status == "finished" and not self.held_out:
                self.held_out = self._evaluate()
                self._save()
        except _Diverged as divergence:
            self.step = divergence.step
            status, error = "diverged", str(divergence)
        finally:
            with self.clock.part("checkpoint"):
                self.checkpoints.wait()
        return self._outcome(status, error)

    def _steps_to_the_end(self) -> bool:
        """Whether it came there, and was not stopped."""
        pending = None
        while self.step < self.training.steps:
            start, stop = self.step, self._dispatch_end(self.step)
            batches = self._batches(start, stop, pending)
            self.state, metrics = self._dispatch(batches)
            if pending:
                self._read(*pending)
            pending = (start, stop, metrics)
            self.step = stop
            due, asked_to_stop = self._agreed(start, stop)
            if due or asked_to_stop:
                self._read(*pending)
                pending = None
                self._pause(start, stop)
                if asked_to_stop and stop < self.training.steps:
                    return False
        return True

    def _agreed(self, start: int, stop: int) -> tuple[bool, bool]:
        """What all processes do after `stop`, by the clock of process 0 and whoever was told to stop."""
        due, asked = zip(*hosts.gather(f"step {stop}", (self._is_due(start, stop), self.should_stop())), strict=True)
        return due[0], any(asked)

    def close(self) -> None:
        """Lets go of files and threads."""
        self.log.close()
        self.checkpoints.close()

    def _restored(self, state: TrainState, start) -> tuple[TrainState, int]:
        found = self.checkpoints.restore(state)
        if found is None:
            return (state if start is None else with_variables(state, start(state.variables))), 0
        state, progress = found
        self.curve.restore(progress["curve"])
        self.first_loss = progress["first_loss"]
        self.clock.restore(progress.get("seconds_of", {"other": progress["seconds"]}))
        self.held_out = {name: Estimate(*pair) for name, pair in progress["held_out"].items()}
        self.evaluated = [(step, {name: Estimate(*pair) for name, pair in metrics.items()})
                          for step, metrics in progress.get("evaluations", [])]
        return state, int(state.step)

    def _dispatch_end(self, step: int) -> int:
        """End of the dispatch that starts at `step`: a function of the step alone, so that a resumed
        run cuts its steps into the same dispatches and ends with the same bits. All but the last are
        of one length, because another length is another compilation."""
        per_dispatch = self.training.steps_per_dispatch
        return min((step // per_dispatch + 1) * per_dispatch, self.training.steps)

    def _batches(self, start: int, stop: int, pending: tuple | None) -> Any:
        """Stacked batches on the devices; their making is a wait if the steps before have ended meanwhile."""
        began = time.perf_counter()
        with self.clock.part("input"):
            batches = self.program.plan.put(self.train_batches.stack(start, stop))
        if pending and not all(x.is_ready() for x in jax.tree.leaves(pending[-1])):
            self.clock.hide(time.perf_counter() - began)
        return batches

    def _dispatch(self, batches):
        if not self.program.flops_per_step:
            with self.clock.part("compile"):
                self.program.count_flops(self.state, batches)
        return self.program.train_steps(self.state, batches)

    def _is_due(self, start: int, stop: int) -> bool:
        t = self.training
        by_clock = not t.checkpoint_steps and time.perf_counter() - self.last_checkpoint > t.checkpoint_seconds
        by_steps = t.evaluates_within(start, stop) or _crosses(start, stop, t.checkpoint_steps)
        return by_clock or by_steps or stop == t.steps

    def _pause(self, start: int, stop: int) -> None:
        """Evaluates and saves what is due at `stop`."""
        t = self.training
        hosts.waiting_for(f"step {stop}")
        jax.block_until_ready(self.state.step)
        loss = None
        if t.evaluates_within(start, stop):
            self.held_out = self._evaluate()
            loss = self.held_out["loss"].mean
            if not math.isfinite(loss):
                raise _Diverged(stop, loss)
        self._save(loss)

    def _read(self, start: int, stop: int, metrics: Any) -> None:
        """Takes the metrics of steps (start, stop] off the devices: curve, divergence, log, listeners."""
        hosts.waiting_for(f"the metrics of step {stop}")
        host = {name: (np.asarray(total, np.float64), np.asarray(weight, np.float64))
                for name, (total, weight) in jax.device_get(metrics).items()}
        totals, weights = host["loss"]
        losses = totals / weights
        if self.first_loss is None:
            self.first_loss = float(losses[0])
        self._check_divergence(start, losses)
        self.curve.add(start, totals, weights)
        means = {name: float(total.sum() / weight.sum()) for name, (total, weight) in host.items()}
        self.clock.count(stop - start)
        progress = self._progress(stop, means)
        if _crosses(start, stop, self.training.log_steps) or stop == self.training.steps:
            speed = {"examples_per_second": progress.examples_per_second, "mfu": progress.mfu}
            speed["seconds_per_step"] = self.clock.seconds_per_step()
            parts = {f"seconds/{name}": round(seconds, 6) for name, seconds in self.clock.seconds().items()}
            self.log.write(stop, means | {k: v for k, v in speed.items() if v} | parts)
        for listener in self.listeners:
            listener(progress)

    def _check_divergence(self, start: int, losses: np.ndarray) -> None:
        first = self.first_loss
        limit = first + (self.training.divergence_factor - 1) * max(abs(first), 1.0)
        bad = ~np.isfinite(losses) | (losses > limit) | (not math.isfinite(first))
        if bad.any():
            index = int(np.argmax(bad))
            raise _Diverged(start + index + 1, float(losses[index]))

    def _evaluate(self) -> dict[str, Estimate]:
        # What fits in memory for a training step fits for an evaluation.
        size = self.training.batch_size // self.training.micro_batches
        hosts.waiting_for(f"the held-out evaluation at step {self.step}")
        with self.clock.part("evaluation"):
            found = evaluate(self.program, self.state.evaluated, self.held_out_batches(size))
            found |= self.evaluations(self.program, self.state.evaluated)
        self.evaluated.append((self.step, found))
        values = {f"held_out/{name}": estimate.mean for name, estimate in found.items()}
        errors = {f"held_out/{name}_se": estimate.standard_error for name, estimate in found.items()
                  if not math.isnan(estimate.standard_error)}
        self.log.write(self.step, values | errors)
        return found

    def _save(self, loss: float | None = None) -> None:
        progress = {
            "curve": self.curve.to_json(),
            "first_loss": self.first_loss,
            "seconds": self.clock.total(),
            "seconds_of": self.clock.seconds(),
            "held_out": {name: list(pair) for name, pair in self.held_out.items()} if self._ended() else {},
            "evaluations": [(step, {name: list(pair) for name, pair in metrics.items()})
                            for step, metrics in self.evaluated],
        }
        hosts.waiting_for(f"checkpoint {self.step} to be written")
        with self.clock.part("checkpoint"):
            self.checkpoints.save(self.state, progress, loss)
        self.last_checkpoint = time.perf_counter()

    def _ended(self) -> bool:
        return self.step == self.training.steps

    def _speed(self) -> tuple[float, float | None]:
        steps_per_second = self.clock.rate()
        device = self.program.plan.mesh.devices.flat[0]
        mfu = model_flops_utilization(
            self.program.flops_per_step * steps_per_second, device.device_kind, self.program.plan.mesh.size,
            getattr(self.program.objective, "dtype", "float32"))
        return steps_per_second * self.training.batch_size, mfu

    def _progress(self, step: int, means: dict[str, float]) -> Progress:
        rate, mfu = self._speed()
        left = (self.training.steps - step) * self.training.batch_size
        return Progress(step, self.training.steps, means, rate, mfu, left / rate if rate else math.nan)

    def _outcome(self, status: Status, error: str = "") -> Outcome:
        rate, mfu = self._speed()
        device = self.program.plan.mesh.devices.flat[0]
        flops = self.program.count_flops(self.state, self.program.plan.put(self.train_batches.stack(0, 1)))
        parts = self.clock.seconds()
        return Outcome(
            status=status, steps=self.step, metrics=self.held_out if status == "finished" else {},
            evaluations=tuple(self.evaluated), train_loss=self.curve.last(), curve=tuple(self.curve.points()),
            flops_per_step=flops,
            seconds=sum(parts.values()), seconds_of=parts,
            examples_per_second=rate, mfu=mfu, device_kind=device.device_kind,
            device_count=self.program.plan.mesh.size, error=error,
        )


def _crosses(start: int, stop: int, period: int) -> bool:
    """Whether a multiple of `period` (0 for none) lies in (start, stop]."""
    return bool(period) and stop // period > start // period
