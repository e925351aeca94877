"""Says what an experiment would train and cost, without training it.

    python -m launch.describe --config=experiments/language/gpt.py:124M,stdlib
"""

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from genlab.experiment import FLOPS_CONVENTION, Experiment
from genlab.models import fast_ops
from genlab.scaling.counting.compute import count_flops
from genlab.scaling.counting.memory import estimate_memory
from genlab.training.program import count_parameters
from genlab.training.step import TrainState, initial_state, make_train_step
from launch import flags as command

_CONFIG = command.define_config("experiment")
_TREE = flags.DEFINE_bool("tree", True, "Show the shape of every parameter.")


def main() -> int:
    """Prints parameters, FLOPs under each convention, memory and the parameter tree."""
    experiment = command.load_config(_CONFIG.value)
    experiment.check()
    console = Console(width=None if Console().is_terminal else 120)
    if _TREE.value:
        console.print(parameter_table(experiment))
    console.print(summary_table(experiment))
    return 0


def parameter_table(experiment: Experiment) -> Table:
    """Every parameter's path, shape and size."""
    table = Table("parameter", "shape", "count", title=f"{experiment.name or type(experiment.objective).__name__}")
    table.columns[2].justify = "right"
    tree = jax.eval_shape(experiment.objective.init, jax.random.key(0))["params"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = "/".join(str(getattr(key, "key", key)) for key in path)
        table.add_row(name, str(tuple(leaf.shape)), f"{np.prod(leaf.shape, dtype=np.int64):,}")
    return table


def summary_table(experiment: Experiment) -> Table:
    """Counts, compute by convention, and memory of one replica."""
    objective, training = experiment.objective, experiment.training
    counts = count_parameters(objective)
    batch = objective.dummy_batch(training.batch_size, experiment.data)
    hyperparameters = experiment.optimizer.hyperparameters(training.steps)
    state = jax.eval_shape(
        lambda seed: initial_state(objective, experiment.optimizer, seed, hyperparameters,
                                   training.ema_decay is not None), np.uint32(0))
    step = make_train_step(objective, experiment.optimizer, micro_batches=training.micro_batches)
    with fast_ops.disabled():  # as Program.count_flops does
        flops_per_step = count_flops(step, state, batch).flops
    tokens = experiment.tokens_per_step
    unit, per_step = ("token", tokens) if tokens else ("example", training.batch_size)

    table = Table("what", "how much", title="summary")
    table.columns[1].justify = "right"
    table.add_row("parameters", f"{counts['params']:,}")
    table.add_row("parameters without embeddings", f"{counts['params_non_embedding']:,}")
    table.add_row(f"training: {training.steps:,} steps of {training.batch_size:,} examples, in {unit}s",
                  f"{training.steps * per_step:,}")
    table.add_row("training FLOPs", f"{flops_per_step * training.steps:.4g}")
    table.add_section()
    table.add_row(f"FLOPs per {unit}: {FLOPS_CONVENTION}", f"{flops_per_step / per_step:,.0f}")
    for name, flops in objective.flops_conventions(experiment.data).items():
        table.add_row(f"FLOPs per {unit}: {name}", f"{flops:,.0f}")
    table.add_section()
    for name, size in memory_rows(experiment, state, batch):
        table.add_row(name, size)
    return table


def memory_rows(experiment: Experiment, state: TrainState, batch) -> list[tuple[str, str]]:
    """Bytes of one replica that is not sharded, by what holds them."""
    objective, parts = experiment.objective, experiment.training.micro_batches
    micro_batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((x.shape[0] // parts, *x.shape[1:]), x.dtype), batch)
    memory = estimate_memory(
        lambda p, s, b, k: objective.loss({"params": p, **s}, b, k, True)[0], state.params, state.opt_state,
        state.model_state, micro_batch, jax.eval_shape(lambda: jax.random.key(0)))
    names = ("parameters", "gradients", "optimizer", "activations")
    rows = [(f"memory: {name}", _bytes(getattr(memory, name))) for name in names]
    if experiment.training.ema_decay is not None:
        rows.append(("memory: moving average", _bytes(memory.parameters)))
    return [*rows, ("memory: all, an estimate that knows no fusion", _bytes(memory.total))]


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.2f} GB"


if __name__ == "__main__":
    command.run(main)
