r"""GPT: next-token prediction, from a minute on a laptop to GPT-2 XL.

    python -m launch.train --config=experiments/language/gpt.py:tiny --workdir=runs/gpt
    python -m launch.sample --workdir=runs/gpt --prompt="def main("

The argument is SIZE or SIZE,CORPUS. Sizes: nano, tiny, mini, small (bytes, sized for CPUs), and GPT-2's
124M, 350M, 774M, 1.5B. Corpora: `stdlib`, the Python standard library's sources, the default with
nothing to download; `shakespeare`, TFDS's tiny_shakespeare; `c4`, TFDS's c4/en with byte-pair encoding
(both must be prepared: README, "Data").

Measured on 2 CPU cores, float32, Python 3.11.7, held-out nats per byte:

    tiny               1.5 to 2 min   1.440 (seeds 0, 1, 2: 1.439, 1.433, 1.449; standard error of each .014)
    tiny,shakespeare   1.5 min        1.737 (seed 0; standard error .012), four epochs

Long sequences in little memory (README, "Devices"); the loss is the same:

    python -m launch.train --config=experiments/language/gpt.py:tiny --workdir=runs/gpt \
        --config.objective.loss_chunk=64 --config.objective.model.attention_block=64 \
        --config.objective.model.remat=full

Not measured: mini, small; GPT-2's sizes, which need accelerators (`launch.describe` gives their compute).
The command for 124M on eight devices:

    python -m launch.train --config=experiments/language/gpt.py:124M,c4 --workdir=runs/gpt-124M
"""

import dataclasses

from genlab.configuration import ConfigError
from genlab.data import BytePairEncoding, Bytes, StandardLibrary, Text, TfdsText
from genlab.experiment import Experiment
from genlab.models.gpt import GPT_SIZES
from genlab.objectives.next_token import NextToken
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training

CPU_SIZES = ("nano", "tiny", "mini", "small")

CORPORA = {
    "stdlib": StandardLibrary(),
    "shakespeare": TfdsText(name="tiny_shakespeare"),
    "c4": TfdsText(name="c4/en", held_out_split="validation"),
}


def get_config(argument: str = "tiny") -> Experiment:
    """The experiment for SIZE or SIZE,CORPUS."""
    size, _, corpus = argument.partition(",")
    large = size not in CPU_SIZES
    corpus = corpus or ("c4" if large else "stdlib")
    if size not in GPT_SIZES:
        raise ConfigError(f"there is no GPT size {size!r}; there are: {', '.join(GPT_SIZES)}")
    if corpus not in CORPORA:
        raise ConfigError(f"there is no corpus {corpus!r}; there are: {', '.join(CORPORA)}")
    return accelerator(size, corpus) if large else cpu(size, corpus)


def cpu(size: str, corpus: str) -> Experiment:
    """Bytes, short sequences, small batches: what a CPU can train in minutes."""
    model = GPT_SIZES[size]
    return Experiment(
        name=f"gpt-{size}-{corpus}",
        objective=NextToken(model=model),
        data=Text(source=CORPORA[corpus], tokenizer=Bytes(), sequence_length=model.context_length),
        optimizer=AdamW(learning_rate=0.32 / model.width, weight_decay=0.01),
        training=Training(steps=2_000, batch_size=8, evaluate_steps=500, evaluate_examples=1_024),
    )


def accelerator(size: str, corpus: str) -> Experiment:
    """GPT-2's sizes by the recipe of GPT-3 (Brown et al. 2020, table 2.1): learning rate by size, half a
    million tokens an update, ten billion tokens; bfloat16 with float32 parameters, layers scanned."""
    learning_rate = {"124M": 6e-4, "350M": 3e-4, "774M": 2.5e-4, "1.5B": 2e-4}[size]
    model = dataclasses.replace(GPT_SIZES[size], dtype="bfloat16", scan_layers=True,
                                remat="none" if size == "124M" else "full")
    tokenizer = BytePairEncoding(vocab_size=model.vocab_size)
    return Experiment(
        name=f"gpt-{size}-{corpus}",
        objective=NextToken(model=model),
        data=Text(source=CORPORA[corpus], tokenizer=tokenizer, sequence_length=1_024,
                  max_tokens=11_000_000_000, max_held_out_tokens=100_000_000),
        optimizer=AdamW(learning_rate=learning_rate, beta2=0.95, epsilon=1e-8, weight_decay=0.1,
                        warmup_steps=700, warmup_fraction=0.0, final_fraction=0.1),
        training=Training(batch_size=512, micro_batches=16, steps_per_dispatch=1, evaluate_steps=1_000,
                          evaluate_examples=2_048, checkpoint_steps=1_000, keep_best=1),
    ).train_on(tokens=1e10)
