"""Sums, differences and products in one GPT, plainly, with the least digit first, or after worked steps.

    python -m launch.sweep --config=experiments/emergence/arithmetic.py --workdir=runs/arithmetic
    python -m launch.train --config=experiments/emergence/arithmetic.py:cpu,48 --workdir=runs/sums
    python -m launch.train --config=experiments/emergence/arithmetic.py:cpu_worked,32 --workdir=runs/worked

Scales: `cpu` and `cpu_worked` (the same with a chain of thought: the digits' sums with their carries, and so on);
`accelerator` and `accelerator_worked`, up to six digits, not run yet.

Measured, the cpu sweep (nine runs of 8,032 to 105,856 parameters; two shared cores, other work on them: 36 s to 4 min a
run), judged by itself at 84 scales, chance in brackets:

    sharp only in the metric    addition_2 leaves chance (.011) at 2.3e11 FLOPs and makes 77 % of its rise within a
                                doubling, log-probability from 1.2e10 and 39 %; addition_3 at 1.2e12 and 88 %,
                                log-probability from 1.4e10 and 35 %; subtraction_2 at 1.4e11, 72 and 43 %
    sharp in both               modular_addition_31 at 2.8e11, 79 and 60 %; addition_3_reversed at 1.2e12, 97 and 56 %
    flat at chance, rising      subtraction_3 and multiplication_2: log-probability has made 37 and 41 % of its way,
    underneath                  exact match at most 7.2 and 4.3 %

The held-out run of width 64 ends at exact matches of 1.000, .914, 1.000, .995, .08, .049 and .981 in the order of the
tasks. The sweep with worked steps was not run to its end.
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
