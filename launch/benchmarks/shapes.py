"""What is measured: GPTs of a few shapes on batches of 32 x 64 tokens, as genlab runs them."""

import dataclasses

import numpy as np

from genlab.configuration import ConfigError
from genlab.data import Bytes, StandardLibrary, Text
from genlab.experiment import Experiment
from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training

BATCH_SIZE, SEQUENCE_LENGTH, VOCABULARY = 32, 64, 256
STEPS_PER_DISPATCH = 8

# For both sides; the peer reads the learning rate from the same schedule.
OPTIMIZER = AdamW(learning_rate=1e-3, weight_decay=0.01, clip_norm=1.0)
SCHEDULED_STEPS = 10_000


class Sizes:
    """Numbers that --shapes sets, written as there; a frozen dataclass of them has also a `default` and `objective`."""

    def __str__(self) -> str:
        return ",".join(str(number) for number in dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True)
class TransformerShape(Sizes):
    """A Transformer's size."""

    width: int
    depth: int
    num_heads: int


class Shape(TransformerShape):
    """A GPT's size."""

    default = "16,1,1 32,2,2 64,4,4 128,4,4 256,6,8"

    def objective(self) -> NextToken:
        """Next-byte prediction by a GPT of this size, the rest as nanodo has it."""
        return NextToken(model=GPT(vocab_size=VOCABULARY, context_length=SEQUENCE_LENGTH, **dataclasses.asdict(self)))

    def batches(self, steps: int) -> dict[str, np.ndarray]:
        """Random tokens of so many steps."""
        return {"tokens": random_batches(steps)}

    def experiment(self, steps: int, **training) -> Experiment:
        """A run of so many steps on the standard library's sources; `training`: further fields of its config."""
        return Experiment(
            objective=self.objective(),
            data=Text(source=StandardLibrary(), tokenizer=Bytes(), sequence_length=SEQUENCE_LENGTH),
            optimizer=OPTIMIZER,
            training=Training(steps=steps, batch_size=BATCH_SIZE, steps_per_dispatch=STEPS_PER_DISPATCH,
                              evaluate_examples=512, devices=1, **training),
        )


def parse_shapes(text: str | None, kind: type = Shape) -> list:
    """Shapes of a flag, separated by blanks: a number for every field of `kind`. Raises ConfigError."""
    fields = dataclasses.fields(kind)
    form = ",".join(field.name.removeprefix("num_").upper() for field in fields)
    shapes = []
    for part in (kind.default if text is None else text).split():
        try:
            shape = kind(*(int(number) for number in part.split(",", len(fields) - 1)))
        except (TypeError, ValueError):
            raise ConfigError(f"--shapes: {part!r} is not {form}, e.g. {kind.default.split()[0]}") from None
        shape.objective().validate()
        shapes.append(shape)
    if not shapes:
        raise ConfigError(f"--shapes names no shape; give {form}, separated by blanks")
    return shapes


def random_batches(steps: int, seed: int = 0) -> np.ndarray:
    """Tokens [steps, B, T + 1], int32. None is 0, which the peer's loss leaves out as padding."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, VOCABULARY, (steps, BATCH_SIZE, SEQUENCE_LENGTH + 1), np.int32)
