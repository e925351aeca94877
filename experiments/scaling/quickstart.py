"""From nothing to a law in minutes: GPTs on the Python standard library, a fit, a checked forecast.

    python -m launch.sweep --config=experiments/scaling/quickstart.py --workdir=runs/quickstart

Fifteen runs of 11,000 to 119,000 parameters, at four compute budgets; the fit sees fourteen. The form of
the law, Chinchilla's, Kaplan's or Busbridge's, is chosen by backtest among the fourteen (the rule:
genlab/scaling/forecasts/backtest.py), and its forecast of the fifteenth, with three times the compute of any other,
is checked.

2 CPU cores, no cache, Python 3.11.7: 2 min 45 s in all (1 min 45 s on another machine). Busbridge's form was
chosen (backtest error 1.1 %; Kaplan's 2.2 %, Chinchilla's 2.3 %) and forecast 1.299 [1.268, 1.351] nats per byte;
measured 1.328 +- .008, an error of -2.2 %. The three forms were listed when earlier sweeps of this kind were known.

What keeps runs this small well-behaved: 512 tokens an update, a learning rate of 0.16 / width, a
warm-up of a twentieth, a cosine to a twentieth over each run's own length, at least 1,000 updates.
"""

from genlab.data import Bytes, StandardLibrary, Text
from genlab.experiment import Experiment
from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.scaling import ComputeOptimal
from genlab.sweeps import Sweep
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training

DEPTH, SEQUENCE_LENGTH, VOCABULARY = 2, 64, 256

GRID = {  # FLOPs: widths, chosen so that the best of each budget lies inside
    1.3e11: (16, 24, 32),
    2.65e11: (16, 24, 32, 48),
    5.3e11: (24, 32, 48, 64),
    1.06e12: (32, 48, 64),
}
HELD_OUT = {3.2e12: (64,)}


def flops_per_token(width: int) -> float:
    """6 (N' + V D) + 12 L T D: all the matmuls of training (genlab/scaling/counting/conventions.py)."""
    blocks = 12 * DEPTH * width**2
    return 6 * (blocks + VOCABULARY * width) + 12 * DEPTH * SEQUENCE_LENGTH * width


def get_config(width: int | str = 32, flops: float = 2.65e11) -> Experiment:
    """One run of the sweep."""
    width = int(width)
    model = GPT(width=width, depth=DEPTH, num_heads=2, context_length=SEQUENCE_LENGTH, vocab_size=VOCABULARY)
    return Experiment(
        objective=NextToken(model=model),
        data=Text(source=StandardLibrary(), tokenizer=Bytes(), sequence_length=SEQUENCE_LENGTH),
        optimizer=AdamW(learning_rate=0.16 / width),
        training=Training(batch_size=8, evaluate_examples=4_096, log_steps=200, writers=()),
        name=f"width{width}-{flops:.3g}".replace("e+", "e"),
    ).train_on(tokens=flops / flops_per_token(width))


def get_sweep() -> Sweep:
    """The grid, the held-out run and the analysis."""

    def runs(budgets):
        return [get_config(width, flops) for flops, widths in budgets.items() for width in widths]

    analysis = ComputeOptimal(laws=("chinchilla", "kaplan", "busbridge"), params="params_non_embedding")
    return Sweep(runs(GRID), held_out=runs(HELD_OUT), analysis=analysis, name="quickstart")
