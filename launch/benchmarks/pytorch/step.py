"""genlab's training step on one accelerator against PyTorch's: the same model, batches, optimizer and precision.

    pip install -e ".[cuda]" torch timm     # timm is for ViT and DiT; torch in a build for the same CUDA
    python -m launch.benchmark torch --peer=../nanoGPT --output=gpt.json
    python -m launch.benchmark torch --family=vit --output=vit.json
    python -m launch.benchmark torch --family=dit --peer=../DiT --output=dit.json

First both sides' loss and gradient are compared in float32 for the same parameters, whose names and shapes must all
agree; then both steps take turns in one process in bfloat16, from the same parameters, and the losses of their first
steps are compared too. genlab's is that of its own recipe (experiments/) with its blocks unrolled and nothing computed
twice, as PyTorch's has it, K steps a dispatch. Fields of that experiment can be set (settings.py says which); what
concerns both sides holds for both:

    --config.training.batch_size=16               where the memory of one device is too small for both
    --config.objective.model.scan_layers=true     as the recipe has it: compiles faster
    --config.objective.model.remat=full           or loss_chunk=256: FLOPs are still counted without what is repeated
    --compile=max-autotune                        of torch.compile

Both hold the device's memory at once; so JAX takes what it needs, and not three quarters at the start
(XLA_PYTHON_CLIENT_PREALLOCATE=false, unless the variable is set).

FLOPs are those of the matmuls of genlab's step (genlab/scaling/counting/compute.py: a causal square counts whole), for
both sides; genlab's MFU by the textbook conventions stands beside. The floors are the roofline's: these FLOPs at the
device's peak rate, and at its bandwidth the bytes that no step is without: parameters and moments read and written,
gradients written and read, the batch.

Not measured on a GPU. On two CPU cores, with tiny models in place of these (--shapes=16,2,2), losses and gradients of
all three families agreed to 3e-6 in float32 with PyTorch 2.13 and timm 1.0.31; the times there say nothing.
"""

import dataclasses
from collections.abc import Sequence
from statistics import median
from typing import Any

import jax
import numpy as np
from rich.console import Console

from genlab.configuration import ConfigError
from genlab.experiment import Experiment
from genlab.scaling.counting.devices import floors, missing_peak, model_flops_utilization
from genlab.scaling.counting.memory import tree_bytes
from genlab.training.program import Program, program_for
from launch.benchmarks.gradients import gradient_error
from launch.benchmarks.pytorch.peer import TorchPeer, check_devices, float32, random_batches
from launch.benchmarks.pytorch.weights import noised, unrolled
from launch.benchmarks.step import Trainer
from launch.benchmarks.timing import Comparison, compare, milliseconds

# Rounding through at most 24 layers in float32, and of one loss in bfloat16.
LARGEST_LOSS_ERROR, LARGEST_GRADIENT_ERROR, LARGEST_START_ERROR = 1e-5, 1e-3, 1e-2


@dataclasses.dataclass(frozen=True)
class Work:
    """What a step does, whoever does it.

    Attributes:
      parameters: of the model.
      unit: what is counted: "tokens" or "images".
      units: a step.
      flops: a step, of its matmuls.
      num_bytes: a step moves at least.
      conventions: FLOPs of a unit by other conventions.
    """

    parameters: int
    unit: str
    units: int
    flops: float
    num_bytes: float
    conventions: dict[str, float]

    def rates(self, seconds: Sequence[float], kind: str, dtype: str) -> dict:
        """Units a second and MFU of steps that took so long, by the median; MFU None where no peak is known."""
        steps = 1 / median(seconds)
        by_convention = {name: model_flops_utilization(steps * self.units * flops, kind, 1, dtype)
                         for name, flops in self.conventions.items()}
        return {"per_second": steps * self.units, "mfu": model_flops_utilization(steps * self.flops, kind, 1, dtype),
                "mfu_by_convention": by_convention}


def timed_program(experiment: Experiment) -> Program:
    """The compiled functions of an experiment, as its training has them."""
    plan = experiment.training.plan(experiment.objective)
    return program_for(experiment.objective, experiment.optimizer, 1, None, plan)


def hyperparameters(experiment: Experiment) -> dict[str, float]:
    """Those of the experiment's optimizer."""
    return experiment.optimizer.hyperparameters(experiment.training.steps)


def work(experiment: Experiment) -> Work:
    """Of a step of this experiment."""
    objective, batch_size = experiment.objective, experiment.training.batch_size
    batch = objective.dummy_batch(batch_size)
    counted = timed_program(dataclasses.replace(experiment, objective=_computed_once(objective)))
    state = counted.abstract_state(hyperparameters(experiment))
    flops = counted.count_flops(state, jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), batch))
    held = tree_bytes(state.params) + tree_bytes(state.opt_state)
    of_text = "tokens" in batch
    return Work(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        unit="tokens" if of_text else "images",
        units=batch_size * (batch["tokens"].shape[1] - 1 if of_text else 1),
        flops=flops,
        num_bytes=2 * held + 2 * tree_bytes(state.params) + tree_bytes(batch),
        conventions=objective.flops_conventions(),
    )


def agreement(peer: TorchPeer, objective: Any, params: Any) -> dict[str, float]:
    """How far loss and gradient are apart in float32, relatively; the gradient's error as launch.benchmark step's."""
    from launch.benchmarks.pytorch import side

    objective = float32(objective)
    batch, ours, theirs = peer.exact(objective)
    with jax.default_matmul_precision("highest"):
        loss, gradient = jax.jit(jax.value_and_grad(ours))(params, batch)
    if "x" not in batch:
        batch = peer.batch(batch)
    their_loss, their_gradient = side.loss_and_gradient(peer, objective.model, params, theirs, batch)
    gradient = {name: np.asarray(array) for name, array in peer.as_torch(gradient, objective.model).items()}
    return {"loss": float(loss), "loss_error": abs(float(loss) - their_loss) / abs(their_loss),
            "gradient_error": gradient_error(gradient, their_gradient)}


def alike(row: dict) -> bool:
    """Whether the two sides differ by no more than rounding."""
    start = row["start_error"]
    return (row["loss_error"] < LARGEST_LOSS_ERROR and row["gradient_error"] < LARGEST_GRADIENT_ERROR
            and (start is None or start < LARGEST_START_ERROR))


def measure(peer: TorchPeer, experiment: Experiment, turns: int, seconds: float, mode: str) -> dict:
    """Compares the sides and times them: errors, seconds, and how far the losses of the first steps are apart."""
    from launch.benchmarks.pytorch import side

    objective, training = experiment.objective, experiment.training
    program = timed_program(experiment)
    state = program.initial_state(0, hyperparameters(experiment))
    params = noised(state.params)
    blocks = unrolled(params)
    errors = agreement(peer, objective, blocks)
    side.release()
    batches = random_batches(objective, training.batch_size, training.steps_per_dispatch)
    one_by_one = [{name: array[k] for name, array in batches.items()} for k in range(training.steps_per_dispatch)]
    theirs = side.TorchTrainer(peer, objective.model, blocks, one_by_one, experiment.optimizer, mode)
    ours = Trainer(program, state._replace(params=jax.device_put(params, program.plan.replicated)), batches)
    del state
    their_start = float(theirs.dispatch())
    total, weight = (np.asarray(part) for part in ours.dispatch())
    our_start = float(total[0] / weight[0])
    found: Comparison = compare(theirs.side(), ours.side(), turns, seconds)
    return {**errors, "start": [their_start, our_start],
            "start_error": None if peer.draws else abs(our_start / their_start - 1), **found.to_json()}


def run(peer: TorchPeer, shapes: list, turns: int, seconds: float, mode: str, console: Console) -> tuple[dict, bool]:
    """Compares every shape and prints what was found; returns (results, whether the two compute the same)."""
    from launch.benchmarks.pytorch import side

    check_devices()
    experiments = [shape.experiment() for shape in shapes]
    rows = []
    for shape, experiment in zip(shapes, experiments, strict=True):
        try:
            row = measure(peer, experiment, turns, seconds, mode)
        except RuntimeError as error:  # JAX's own is one too.
            if not (side.out_of_memory(error) or "RESOURCE_EXHAUSTED" in str(error)):
                raise
            raise ConfigError(f"{shape}: both sides together do not fit into the device's memory; give smaller batches "
                              f"than {experiment.training.batch_size}: --config.training.batch_size=N") from error
        rows.append(report(str(shape), peer.name, experiment, work(experiment), row, console))
        side.release()
    good = all(alike(row) for row in rows)
    if not good:
        console.print("the two sides do not compute the same")
    return {"peer": peer.name, "torch": side.versions(), "mode": mode, "shapes": rows}, good


def report(name: str, peer: str, experiment: Experiment, its: Work, row: dict, console: Console) -> dict:
    """Prints a shape's figures beside its floors; returns its row for the results."""
    kind, dtype = jax.devices()[0].device_kind, experiment.objective.dtype
    lowest = floors(its.flops, its.num_bytes, kind, dtype)
    sides = {peer: row["seconds_first"], "genlab": row["seconds_second"]}
    rates = {side: its.rates(spent, kind, dtype) for side, spent in sides.items()}

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    say(f"{name}: {its.parameters:,} parameters, batches of {experiment.training.batch_size}, {its.units:,} {its.unit} "
        f"a step, {its.flops:.3g} FLOPs by the matmul count, {dtype}, {kind}; milliseconds a step, least / median")
    for side, spent in sides.items():
        utilization = "" if rates[side]["mfu"] is None else f"MFU {rates[side]['mfu']:.1%}"
        say(f"  {side:>8}  {milliseconds(spent)}  {rates[side]['per_second']:,.0f} {its.unit}/s  {utilization}")
    if lowest is None:
        say(f"    floors  unknown for this device; {missing_peak(kind, dtype)}")
    else:
        say(f"    floors  {(lowest.arithmetic or 0) * 1e3:.2f} (arithmetic) and {lowest.memory * 1e3:.2f} (bytes)  "
            f"{its.units / lowest.seconds:,.0f} {its.unit}/s")
        shares = rates["genlab"]["mfu_by_convention"].items()
        say("  genlab's MFU by " + ", ".join(f"{convention} {share:.1%}" for convention, share in shares if share))
    say(f"  genlab is {row['ratio']:.2f} times as fast (of minima {row['ratio_of_minima']:.2f})")
    start = "drawn by each" if row["start_error"] is None else f"{row['start_error']:.0e}"
    say(f"  errors: loss {row['loss_error']:.0e}, gradient {row['gradient_error']:.0e}, first step's loss {start}")
    return {"shape": name, "batch_size": experiment.training.batch_size, **dataclasses.asdict(its), "rates": rates,
            "floors": None if lowest is None else dataclasses.asdict(lowest), **row}


def _computed_once(objective: Any) -> Any:
    """The objective without recomputation, whose FLOPs are the model's own."""
    changed = {"loss_chunk": None} if hasattr(objective, "loss_chunk") else {}
    return dataclasses.replace(objective, model=dataclasses.replace(objective.model, remat="none"), **changed)
