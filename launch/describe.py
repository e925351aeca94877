"""Says what an experiment would train and cost, without training it.

    python -m launch.describe --config=experiments/language/gpt.py:124M,stdlib
    python -m launch.describe --config=experiments/language/gpt.py:tiny --compile

With --compile, which takes as long as compilation does, XLA's own memory of the step stands beside the estimate.
"""

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from genlab.experiment import FLOPS_CONVENTION, Experiment
from genlab.models import fast_ops
from genlab.scaling.counting.compute import count_flops
from genlab.training.memory import compiled_memory, estimate_training_memory
from genlab.training.program import count_parameters, program_for
from genlab.training.step import initial_state, make_train_step
from launch import flags as command

_CONFIG = command.define_config("experiment")
_COMPILE = flags.DEFINE_bool("compile", False, "Compile the training step for the devices here, and show XLA's memory "
                             "analysis beside the estimate.")
_TREE = flags.DEFINE_bool("tree", True, "Show the shape of every parameter.")


def main() -> int:
    """Prints the parameter tree, parameters, FLOPs under each convention, the plan, and memory."""
    experiment = command.load_config(_CONFIG.value)
    experiment.check()
    console = Console(width=None if Console().is_terminal else 120)
    if _TREE.value:
        console.print(parameter_table(experiment))
    console.print(summary_table(experiment))
    console.print(experiment.training.plan(experiment.objective).describe(), highlight=False, soft_wrap=True)
    console.print(memory_table(experiment, _COMPILE.value))
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
    """Counts, and compute by convention."""
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
    return table


def memory_table(experiment: Experiment, compiled: bool) -> Table:
    """Bytes of a training step on each device, estimated, and beside them XLA's own where it is `compiled`."""
    objective, training = experiment.objective, experiment.training
    batch = objective.dummy_batch(training.batch_size, experiment.data)
    plan = training.plan(objective)
    estimate = estimate_training_memory(objective, experiment.optimizer, batch, training.micro_batches,
                                        training.ema_decay is not None).per_device(**plan.mesh.shape)
    title = f"memory of a step, each of {plan.mesh.size} devices" if plan.mesh.size > 1 else "memory of a step"
    table = Table("what", "estimate", *(("XLA", "estimate / XLA") if compiled else ()), title=title)
    names = ["parameters", "optimizer", "model_state", "moving_average", "gradients", "activations", "total"]
    for name in names:
        size = getattr(estimate, name)
        if size or name == "activations":
            table.add_row(f"memory: {name.replace('_', ' ')}", _bytes(size))
    if compiled:
        program = program_for(objective, experiment.optimizer, training.micro_batches, training.ema_decay, plan)
        found = compiled_memory(program, experiment.optimizer.hyperparameters(training.steps), batch,
                                min(training.steps_per_dispatch, training.steps))
        table.add_section()
        for name, ours, theirs in (
            ("state and batches (arguments)", estimate.state, found.arguments),
            ("gradients and activations (temporary)", estimate.working, found.temporary),
            ("results that take no argument's place", 0, found.outputs - found.aliased),
            ("all", estimate.total, found.total),
        ):
            ratio = f"{ours / theirs:.2f}" if ours and theirs else ""
            table.add_row(f"XLA: {name}", _bytes(ours), _bytes(theirs), ratio)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.2f} GB"


if __name__ == "__main__":
    command.run(main)
