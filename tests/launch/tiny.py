"""Experiments and sweeps that take seconds, for the tests of the commands; WIDTH is get_config's argument."""

from genlab.data import Bytes, StandardLibrary, Text, TextFiles
from genlab.experiment import Experiment
from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.scaling import ComputeOptimal
from genlab.sweeps import Sweep
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training

T = 16


def get_config(width: str | int = 8, steps: int = 48, source=None) -> Experiment:
    return Experiment(
        objective=NextToken(model=GPT(width=int(width), depth=1, num_heads=2, context_length=T)),
        data=Text(source=source or StandardLibrary(), tokenizer=Bytes(), sequence_length=T),
        optimizer=AdamW(learning_rate=0.02, warmup_steps=5),
        training=Training(steps=steps, batch_size=8, evaluate_examples=64, log_steps=16, checkpoint_steps=16,
                          writers=()),
    )


def get_sweep(what: str = "law") -> Sweep:
    if what in ("law", "table"):
        grid = [get_config(width, steps) for width in (8, 16) for steps in (24, 48, 96)]
        analysis = ComputeOptimal(laws=("chinchilla",), resamples=20, starts=8) if what == "law" else None
        return Sweep(grid, [get_config(16, 192)], analysis, name="tiny")
    if what == "missing file":
        return Sweep([get_config(8), get_config(16, source=TextFiles("/nowhere/*.txt"))])
    return Sweep([get_config(8, 24)])
