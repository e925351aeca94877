"""Induction heads: when a GPT learns that what followed a token before follows it again, and what the loss makes of it.

    python -m launch.train --config=experiments/emergence/induction.py:patterns --workdir=runs/induction
    python -m launch.report --workdir=runs/induction
    python -m launch.sample --workdir=runs/induction --prompt=genlabXYgenla --tokens=8 --temperature=0
    python -m launch.sample --workdir=runs/induction --prompt=genlabXYgenlabXY --attention

The argument is

    patterns    a GPT of two layers on random patterns of letters that repeat themselves
    one_layer   the same of one layer, in which no head can read what another wrote, that looked one token back (Olsson
                et al. 2022, arXiv 2209.11895, "Argument 1": such models never have induction heads)
    gpt2        GPT-2's 124M on C4 (README, "Data"), for accelerators, its heads scored some 50 times on the way

launch.report draws every head's scores with the loss (induction.png) and the loss by position.

Measured on one of two shared cores (all were busy), float32, Python 3.11.7; 1 to 1.5 min of processor time, a third of
it evaluations:

    patterns    all heads of the second layer look at what followed the same letter before, the best with .90 of its
                attention (chance .02): more than .1 from step 408, .5 from 456 (seed 1: 456, 504). Meanwhile the loss
                falls from 3.54 to 1.84 nats, and that on a repeated pattern from 3.5 to .7, at the end .08
    one_layer   at most .04 by any head; loss 3.40, with no sudden fall

Of bytes of the standard library's text a GPT of two layers (width 64, 1,600 steps of 16 x 128) has none: what follows
one byte says little. Not measured: gpt2.
"""

import dataclasses

from experiments.language.gpt import get_config as gpt
from genlab.configuration import ConfigError
from genlab.data import Patterns
from genlab.experiment import Experiment
from genlab.models.gpt import GPT
from genlab.objectives.induction import InductionHeads
from genlab.objectives.loss_by_position import LossByPosition
from genlab.objectives.next_token import NextToken
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training

DATA = Patterns(sequence_length=64)


def get_config(argument: str = "patterns") -> Experiment:
    """The experiment of a name."""
    if argument == "gpt2":
        return on_text()
    if argument not in ("patterns", "one_layer"):
        raise ConfigError(f"there is no experiment {argument!r}; there are: patterns, one_layer, gpt2")
    depth = 2 if argument == "patterns" else 1
    # Rotary positions: a head that looks one token back is then the same at every place.
    model = GPT(vocab_size=DATA.vocab_size, context_length=DATA.sequence_length, width=64, depth=depth, num_heads=4,
                positions="rotary")
    return Experiment(
        name=f"induction-{argument}",
        objective=NextToken(model=model),
        data=DATA,
        optimizer=AdamW(learning_rate=0.2 / model.width),
        training=Training(steps=1_200, batch_size=32, evaluate_steps=24, evaluate_examples=256, writers=()),
        evaluations=(InductionHeads(examples=32), LossByPosition(held_out_examples=128)),
    )


def on_text() -> Experiment:
    """GPT-2's 124M on C4, evaluated at steps 32, 36, 42 and so on."""
    experiment = gpt("124M,c4")
    training = dataclasses.replace(experiment.training, evaluate_steps=32, evaluate_growth=1.15)
    return dataclasses.replace(experiment, name="induction-gpt2", training=training,
                               evaluations=(InductionHeads(length=128, examples=256), LossByPosition()))
