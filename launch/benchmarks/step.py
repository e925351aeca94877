"""The compiled training step against a peer's: same shapes, parameters, batches and optimizer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from genlab.training.plans import choose_plan
from genlab.training.program import Program, program_for
from genlab.training.step import TrainState
from launch.benchmarks.gradients import gradient_error
from launch.benchmarks.peer import Peer, PeerStep
from launch.benchmarks.shapes import BATCH_SIZE, OPTIMIZER, SCHEDULED_STEPS, STEPS_PER_DISPATCH
from launch.benchmarks.timing import Comparison, Side, compare, geometric_mean, milliseconds

# Rounding: float32 sums in another order, through at most six layers.
LARGEST_LOSS_ERROR, LARGEST_GRADIENT_ERROR = 1e-5, 1e-4


def program(shape: Any) -> Program:
    """genlab's own compiled functions for this shape, on one device."""
    return program_for(shape.objective(), OPTIMIZER, 1, None, choose_plan(BATCH_SIZE, devices=1))


class Trainer:
    """A program's training step on the same stacked host batches again and again, K steps a dispatch."""

    def __init__(self, program: Program, state: TrainState, batches: dict[str, np.ndarray]):
        self.program, self.state = program, state
        self.steps = len(next(iter(batches.values())))
        self.batches = program.plan.put(batches)

    def dispatch(self) -> Any:
        """Starts K steps; returns their losses [K] as (total, weight)."""
        self.state, metrics = self.program.train_steps(self.state, self.batches)
        return metrics["loss"]

    def side(self, name: str = "genlab") -> Side:
        """For timing."""
        return Side(name, self.dispatch, jax.block_until_ready, self.steps)


def trainer(shape: Any, params: Any = None, batches: dict[str, np.ndarray] | None = None) -> Trainer:
    """genlab's step at this shape, from `params` or fresh ones, on `batches` or random ones."""
    its = program(shape)
    state = its.initial_state(0, OPTIMIZER.hyperparameters(SCHEDULED_STEPS))
    if params is not None:
        # Copied, because the step gives its state up.
        state = state._replace(params=jax.device_put(jax.tree.map(jnp.copy, params), its.plan.replicated))
    return Trainer(its, state, shape.batches(STEPS_PER_DISPATCH) if batches is None else batches)


def peer_side(peer: Peer, step: PeerStep, shape: Any, params: Any) -> Side:
    """The peer's step, one a dispatch."""
    state = step.initial_state(params)
    batch = {name: jnp.asarray(array[0]) for name, array in shape.batches(1).items()}

    def dispatch():
        nonlocal state
        state, loss = step.step(state, batch)
        return loss

    return Side(peer.name, dispatch, jax.block_until_ready)


def agreement(step: PeerStep, shape: Any, params: Any) -> dict[str, float]:
    """How far the two sides are apart: loss, gradient, and losses of the first K steps of training."""
    batches = shape.batches(STEPS_PER_DISPATCH)
    batches = [{name: array[k] for name, array in batches.items()} for k in range(STEPS_PER_DISPATCH)]
    loss, gradient = jax.jit(step.loss_and_gradient)(params, batches[0])

    def genlab_loss(params):
        return shape.objective().loss({"params": params}, batches[0], jax.random.key(0), True)[0]

    our_loss, our_gradient = jax.jit(jax.value_and_grad(genlab_loss))(step.as_genlab(params))
    total, weight = (np.asarray(part) for part in trainer(shape, step.as_genlab(params)).dispatch())
    state, losses = step.initial_state(params), []
    for batch in batches:
        state, peer_loss = step.step(state, batch)
        losses.append(float(peer_loss))
    losses_of_ours = total.reshape(len(losses), -1).sum(1) / weight.reshape(len(losses), -1).sum(1)
    trajectory = np.abs(losses_of_ours - losses).max()
    return {"loss": float(our_loss), "loss_error": abs(float(our_loss - loss)) / float(loss),
            "gradient_error": gradient_error(our_gradient, step.as_genlab(gradient)),
            "trajectory_error": float(trajectory)}


def alike(rows: list[dict]) -> bool:
    """Whether the two sides' losses and gradients differ by no more than rounding."""
    return all(row["loss_error"] < LARGEST_LOSS_ERROR and row["gradient_error"] < LARGEST_GRADIENT_ERROR
               for row in rows)


def run(peer: Peer, shapes: list, turns: int, seconds: float, console: Console) -> tuple[dict, bool]:
    """Compares every shape and prints a table; returns (results, whether the two compute the same)."""
    rows = []
    line = "{:>14}  {:>18}  {:>18}  {:>6}  {:>9}  {:>8}  {:>8}  {:>8}".format
    console.print("milliseconds a step, least / median over turns; errors of loss, gradient and "
                  f"{STEPS_PER_DISPATCH} steps' losses", highlight=False, soft_wrap=True)
    console.print(line("shape", peer.name, "genlab", "ratio", "of minima", "loss", "gradient", "steps"),
                  highlight=False, soft_wrap=True)
    for shape in shapes:
        step = peer.step(shape)
        params = step.initial_params()
        errors = agreement(step, shape, params)
        ours = trainer(shape, step.as_genlab(params)).side()
        found: Comparison = compare(peer_side(peer, step, shape, params), ours, turns, seconds)
        rows.append({"shape": str(shape), **errors, **found.to_json()})
        console.print(line(
            str(shape), milliseconds(found.first), milliseconds(found.second), f"{found.ratio:.2f}",
            f"{found.ratio_of_minima:.2f}", *(f"{errors[name]:.0e}" for name in (
                "loss_error", "gradient_error", "trajectory_error"))), highlight=False, soft_wrap=True)
    means = {name: geometric_mean([row[name] for row in rows]) for name in ("ratio", "ratio_of_minima")}
    console.print(f"geometric mean {means['ratio']:.2f} (of minima {means['ratio_of_minima']:.2f})",
                  highlight=False, soft_wrap=True)
    if not alike(rows):
        console.print("the two sides do not compute the same")
    return {"shapes": rows, "geometric_mean": means}, alike(rows)
