"""Transliteration by hidden tables, of growing difficulty, beside the word games that share its letters.

    python -m launch.sweep --config=experiments/emergence/transliteration.py --workdir=runs/transliteration
    python -m launch.train --config=experiments/emergence/transliteration.py:cpu,32 --workdir=runs/letters

A table of letters is learnt at once, one of pairs of letters entry by entry. Scales: `cpu`, and `accelerator` (longer
words, larger lists), not run yet.

Measured, the cpu sweep (nine runs of 8,064 to 105,984 parameters; two shared cores, other work on them: one to four
minutes a run), judged by itself at 84 scales:

    sharp in both               copying_7 leaves chance at 2.1e10 FLOPs, transliteration_3 and _7 (of letters) both at
                                2.7e10, transliteration_7_pairs at 1.4e11: exact match makes 98 % of its rise or more
                                within a doubling, log-probability 58 to 89 %
    sharp only in the metric    unscrambling_5 at 1.7e11: 78 and 35 %, log-probability from 1.6e10
    undecided                   unscrambling_7 at 3.7e11: 81 and 40 % (34 to 53); transliteration_3_pairs at 1.3e11: 80
                                and 46 % (40 to 48), where 45 % in a doubling is the line

The held-out run of width 64 does all seven without an error. So a table of letters comes suddenly however it is
measured, at the same time for short and for long words; which word it was, gradually underneath.
"""

from experiments.emergence.scales import Scale, named, one_run
from genlab.data.tasks import Copying, Transliteration, Unscrambling
from genlab.experiment import Experiment
from genlab.sweeps import Sweep

CPU = Scale(
    tasks=(
        Transliteration(length=3, tag="A"), Transliteration(length=7, table_seed=1, tag="B"),
        Transliteration(length=3, pairs=True, symbols=12, tag="C"),
        Transliteration(length=7, pairs=True, symbols=12, table_seed=1, tag="D"),
        Unscrambling(length=5, tag="E"), Unscrambling(length=7, tag="F"), Copying(length=7, tag="G"),
    ),
    widths=(16, 24, 32, 48), seeds=2, held_out=(64,), steps=4_000, sequence_length=18, batch_size=112,
)  # fmt: skip
ACCELERATOR = Scale(
    tasks=tuple(task for length in (4, 8, 16) for task in (
        Transliteration(length=length, table_seed=length, tag=f"T{length}"),
        Transliteration(length=length, pairs=True, table_seed=length, tag=f"C{length}"),
        Copying(length=length, tag=f"P{length}"),
    )) + tuple(Unscrambling(length=length, words=20_000, tag=f"U{length}") for length in (6, 8, 10)),
    widths=(64, 128, 256, 512), seeds=3, held_out=(768,), steps=50_000, sequence_length=128, batch_size=512,
    examples=4_000_000, shots=2, depth=6, dtype="bfloat16",
)  # fmt: skip
SCALES = {"cpu": CPU, "accelerator": ACCELERATOR}


def get_config(argument: str = "cpu") -> Experiment:
    """One run: SCALE or SCALE,WIDTH."""
    return one_run(SCALES, argument)


def get_sweep(scale: str = "cpu") -> Sweep:
    """All widths and seeds of a scale."""
    return named(SCALES, scale)[0].sweep("transliteration")
