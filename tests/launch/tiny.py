"""Experiments and sweeps that take seconds, for the tests of the commands; WIDTH is get_config's argument."""

import dataclasses

from genlab.data import Bytes, StandardLibrary, Text, TextFiles
from genlab.data.characters import Characters
from genlab.data.tasks import Copying, Parity, TaskMixture
from genlab.experiment import Experiment
from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.objectives.task_scores import TaskScores
from genlab.scaling import ComputeOptimal
from genlab.scaling.emergence.analysis import Emergence
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
        widths = (8, 16) if what == "law" else (16,)
        grid = [get_config(width, steps) for width in widths for steps in (24, 48, 96)]
        analysis = ComputeOptimal(laws=("chinchilla",), resamples=20, starts=8) if what == "law" else None
        return Sweep(grid, [get_config(16, 192)], analysis, name="tiny")
    if what == "seeds":
        return Sweep([dataclasses.replace(get_config(8, 96), name=f"seed{seed}", seed=seed) for seed in (0, 1)])
    if what == "abilities":
        return Sweep([get_abilities(seed) for seed in (0, 1)], analysis=Emergence(), name="abilities")
    if what == "missing file":
        return Sweep([get_config(8), get_config(16, source=TextFiles("/nowhere/*.txt"))])
    return Sweep([get_config(8, 24)])


def get_abilities(seed: int) -> Experiment:
    data = TaskMixture((Copying(length=1), Parity(bits=4)), sequence_length=T, examples=2_000, tokenizer=Characters())
    model = GPT(width=16, depth=1, num_heads=2, context_length=T, vocab_size=data.vocab_size)
    training = Training(steps=64, batch_size=32, evaluate_steps=8, evaluate_growth=2.0, evaluate_examples=64,
                        writers=())
    return Experiment(name=f"seed{seed}", objective=NextToken(model=model), data=data, training=training, seed=seed,
                      optimizer=AdamW(learning_rate=0.02, warmup_steps=5), evaluations=(TaskScores.of(data),))
