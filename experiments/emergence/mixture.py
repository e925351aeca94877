"""Eleven small tasks in one GPT: abilities that come suddenly, gradually, or not at all.

    python -m launch.sweep --config=experiments/emergence/mixture.py --workdir=runs/emergence
    python -m launch.emergence --runs=runs/emergence/runs.csv --output=runs/emergence/abilities
    python -m launch.train --config=experiments/emergence/mixture.py:cpu,32 --workdir=runs/mixture

Scales: `cpu` (4,920 to 106,112 parameters, 3,000 updates, three seeds; one run of the widest model is held out) and
`accelerator` (1 to 100 million parameters, longer problems beside the standard library's text, zero-shot and after two
solved problems; not run yet).

Measured, the cpu sweep from nothing to its report: 10 min 43 s on two cores, 20 min of processor time; done again, its
losses are the same to the last digit. Verdicts at 95 scales, with the share of its rise that exact match and
log-probability make within a doubling of compute (45 % is the line), and where exact match leaves chance, in FLOPs:

    sharp only in the metric    unscrambling_6 80, 44 %, 4.4e11; addition_2 73, 37 %, 4.3e11; sorting_8 49, 40 %, 1.1e11
    smooth in both              brackets_8 35, 40 %, 2.7e10; facts_500 31, 30 %, 5.4e10
    sharp in both               copying_6 87, 61 %, 2.7e10; transliteration_6 94, 83 %, 2.7e10; reversal_6 97, 53 %,
                                6.8e10; bigrams_16 79, 73 %, 4.9e11
    flat at chance              parity_12; multiplication_2, whose log-probability has made 42 % of its way

Unscrambling lies near the line; log-probability of it leaves its own chance 20 times earlier, of sums 25 times.
"""

from experiments.emergence.scales import Scale, named, one_run
from genlab.data import Bytes, StandardLibrary
from genlab.data.tasks import (
    Addition,
    Bigrams,
    Brackets,
    Classification,
    Copying,
    Facts,
    Induction,
    ModularAddition,
    Multiplication,
    Parity,
    Reversal,
    Sorting,
    Subtraction,
    Transliteration,
    Unscrambling,
    Variables,
)
from genlab.experiment import Experiment
from genlab.sweeps import Sweep

CPU = Scale(
    tasks=(
        Unscrambling(length=6), Facts(facts=500), Parity(bits=12), Copying(length=6), Reversal(length=6),
        Bigrams(symbols=16), Multiplication(digits=2), Addition(digits=2), Sorting(length=8), Brackets(length=8),
        Transliteration(length=6),
    ),
    widths=(12, 16, 24, 32, 48), seeds=3, held_out=(64,), batch_size=132,
)  # fmt: skip
ACCELERATOR = Scale(
    tasks=(
        Unscrambling(length=8, words=20_000), Facts(facts=100_000, subject_length=6, object_length=4), Parity(bits=24),
        Copying(length=16), Reversal(length=16), Bigrams(symbols=26), Multiplication(digits=3), Addition(digits=5),
        Addition(digits=5, reversed=True, tag="a"), Subtraction(digits=5), ModularAddition(modulus=997),
        Sorting(length=16), Brackets(length=20, kinds=4, depth=8), Transliteration(length=12, pairs=True),
        Variables(statements=5), Induction(length=16, repeated=6), Classification(items=10, labels=4),
    ),
    widths=(128, 192, 256, 384, 512, 768), seeds=3, held_out=(1_024,), steps=50_000, sequence_length=128,
    batch_size=512, examples=4_000_000, shots=2, depth=8, dtype="bfloat16", tokenizer=Bytes(), text=StandardLibrary(),
    text_share=0.25,
)  # fmt: skip
SCALES = {"cpu": CPU, "accelerator": ACCELERATOR}


def get_config(argument: str = "cpu") -> Experiment:
    """One run: SCALE or SCALE,WIDTH."""
    return one_run(SCALES, argument)


def get_sweep(scale: str = "cpu") -> Sweep:
    """All widths and seeds of a scale."""
    return named(SCALES, scale)[0].sweep("emergence")
