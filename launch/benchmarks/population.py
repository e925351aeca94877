"""Population training against one run after another: runs of one shape, one of the shapes after the other."""

import jax
import numpy as np
from rich.console import Console

from launch.benchmarks.shapes import OPTIMIZER, SCHEDULED_STEPS, STEPS_PER_DISPATCH, Shape, random_batches
from launch.benchmarks.step import program
from launch.benchmarks.timing import Side, compare, milliseconds

MEMBERS = 16
LARGEST_LOSS_ERROR = 1e-5


def run(shapes: list[Shape], turns: int, seconds: float, console: Console) -> tuple[dict, bool]:
    """Measures every shape; returns (results, whether each member's losses are those of its own run)."""
    line = "{:>14} {:>22} {:>22} {:>7} {:>11}".format
    console.print(f"{MEMBERS} GPTs of WIDTH,DEPTH,HEADS, {STEPS_PER_DISPATCH} steps a dispatch; ms a step of all, "
                  "least / median over turns", highlight=False, soft_wrap=True)
    console.print(line("shape", "one after another", "together", "ratio", "loss error"), highlight=False)
    rows = []
    for shape in shapes:
        rows.append(measure(shape, turns, seconds))
        row = rows[-1]
        console.print(line(row["shape"], milliseconds(row["seconds_first"]), milliseconds(row["seconds_second"]),
                           f"{row['ratio']:.2f}", f"{row['loss_error']:.0e}"), highlight=False)
    return {"members": MEMBERS, "rows": rows}, all(row["loss_error"] < LARGEST_LOSS_ERROR for row in rows)


def measure(shape: Shape, turns: int, seconds: float) -> dict:
    """One row: the ratio is that of runs an hour."""
    compiled = program(shape)
    batches = [compiled.plan.put({"tokens": random_batches(STEPS_PER_DISPATCH)})] * MEMBERS

    def fresh() -> list:
        rates = np.geomspace(3e-4, 3e-3, MEMBERS)
        return [compiled.initial_state(seed, OPTIMIZER.hyperparameters(SCHEDULED_STEPS) | {"learning_rate": rate})
                for seed, rate in enumerate(rates)]

    held = {"alone": fresh(), "together": fresh()}

    def alone():
        found = [compiled.steps_alone(state, its) for state, its in zip(held["alone"], batches, strict=True)]
        held["alone"] = [state for state, _ in found]
        return [metrics["loss"] for _, metrics in found]

    def together():
        found = compiled.steps_together(held["together"], batches)
        held["together"] = [state for state, _ in found]
        return [metrics["loss"] for _, metrics in found]

    losses = [np.array([total / weight for total, weight in jax.device_get(side())]) for side in (alone, together)]
    sides = [Side(name, dispatch, jax.block_until_ready, STEPS_PER_DISPATCH)
             for name, dispatch in (("alone", alone), ("together", together))]
    found = compare(*sides, turns, seconds)
    return {"shape": str(shape), "loss_error": float(np.abs(losses[1] / losses[0] - 1).max()), **found.to_json()}
