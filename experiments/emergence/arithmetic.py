"""Sums, differences and products in one GPT, plainly, with the least digit first, or after worked steps.

    python -m launch.sweep --config=experiments/emergence/arithmetic.py --workdir=runs/arithmetic
    python -m launch.train --config=experiments/emergence/arithmetic.py:cpu,48 --workdir=runs/sums
    python -m launch.train --config=experiments/emergence/arithmetic.py:cpu_worked,32 --workdir=runs/worked

Scales: `cpu` and `cpu_worked` (the same with a chain of thought: the digits' sums with their carries, and so on);
`accelerator` and `accelerator_worked`, up to six digits, not run yet.

Neither sweep was run to its end yet; no number is known.
"""

from dataclasses import replace

from experiments.emergence.scales import Scale, named, one_run
from genlab.data.tasks import Addition, ModularAddition, Multiplication, Subtraction
from genlab.experiment import Experiment
from genlab.sweeps import Sweep

CPU = Scale(
    tasks=(
        Addition(digits=2, tag="A"), Addition(digits=3, tag="B"), Addition(digits=3, reversed=True, tag="C"),
        Subtraction(digits=2, tag="D"), Subtraction(digits=3, tag="E"), Multiplication(digits=2, tag="F"),
        ModularAddition(modulus=31, tag="G"),
    ),
    widths=(16, 24, 32, 48), seeds=2, held_out=(64,), steps=4_000, sequence_length=16, batch_size=112,
)  # fmt: skip
ACCELERATOR = Scale(
    tasks=tuple(task for digits in range(2, 7) for task in (
        Addition(digits=digits, tag=f"A{digits}"), Addition(digits=digits, reversed=True, tag=f"a{digits}"),
        Subtraction(digits=digits, tag=f"S{digits}"),
    )) + tuple(Multiplication(digits=digits, tag=f"M{digits}") for digits in (2, 3, 4))
    + tuple(ModularAddition(modulus=modulus, tag=f"O{modulus}") for modulus in (97, 499)),
    widths=(64, 128, 256, 512), seeds=3, held_out=(768,), steps=50_000, sequence_length=96, batch_size=512,
    examples=4_000_000, shots=2, depth=6, dtype="bfloat16",
)  # fmt: skip
SCALES = {
    "cpu": CPU, "cpu_worked": replace(CPU, chain_of_thought=True, sequence_length=48),
    "accelerator": ACCELERATOR,
    "accelerator_worked": replace(ACCELERATOR, chain_of_thought=True, shots=0, sequence_length=128),
}  # fmt: skip


def get_config(argument: str = "cpu") -> Experiment:
    """One run: SCALE or SCALE,WIDTH."""
    return one_run(SCALES, argument)


def get_sweep(scale: str = "cpu") -> Sweep:
    """All widths and seeds of a scale."""
    return named(SCALES, scale)[0].sweep("arithmetic")
