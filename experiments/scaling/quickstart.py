"""From nothing to a law in minutes: GPTs on the Python standard library, a fit, a checked forecast.

    python -m launch.sweep --config=experiments/scaling/quickstart.py --workdir=runs/quickstart

Thirteen runs of five widths by one to four million tokens (bytes), 12,000 to 120,000 parameters; the
fit sees twelve. The form of the law, Chinchilla's or Kaplan's, is chosen by backtest among the twelve
(the rule: genlab/scaling/backtest.py), and its forecast of the thirteenth, with 3.4 times the compute of
any other, is checked.

What keeps runs this small well-behaved: 512 tokens an update, a learning rate of 0.16 / width, a
warm-up of a twentieth, a cosine to a twentieth over each run's own length, at least 1,000 updates.
"""

from genlab.data import Bytes, StandardLibrary, Text
from genlab.experiment import Experiment
from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.scaling import ComputeOptimal
from genlab.sweeps import Sweep
from genlab.training.loop import Training
from genlab.training.optimizers import AdamW

MILLION = 1_000_000

GRID = {  # width: millions of tokens
    16: (1.024, 2.048, 4.096),
    24: (1.024, 2.048, 4.096),
    32: (1.024, 2.048, 4.096),
    48: (1.024, 2.048),
    64: (1.024,),
}
HELD_OUT = {64: (4.096,)}


def get_config(width: int | str = 32, tokens: float = 2.048 * MILLION) -> Experiment:
    """One run of the sweep."""
    width = int(width)
    return Experiment(
        objective=NextToken(model=GPT(width=width, depth=2, num_heads=2, context_length=64)),
        data=Text(source=StandardLibrary(), tokenizer=Bytes(), sequence_length=64),
        optimizer=AdamW(learning_rate=0.16 / width),
        training=Training(batch_size=8, evaluate_examples=4_096, log_steps=200, writers=()),
        name=f"width{width}-{tokens / MILLION:.1f}M",
    ).train_on(tokens=tokens)


def get_sweep() -> Sweep:
    """The grid, the held-out run and the analysis."""

    def runs(table):
        return [get_config(width, m * MILLION) for width, millions in table.items() for m in millions]

    return Sweep(runs(GRID), held_out=runs(HELD_OUT), analysis=ComputeOptimal(laws=("chinchilla", "kaplan")),
                 name="quickstart")
