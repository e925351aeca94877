"""How a GPT learns a mixture of small tasks, and a sweep of such runs: what the configs of this folder share.

Constant learning rates, so that every evaluation on the way is of a finished run of that many steps, and weights
averaged over the last hundred; a rate of 0.16 / width; evaluations at steps a tenth of a decade apart.
"""

from dataclasses import dataclass

from genlab.configuration import ConfigError
from genlab.data import Corpus
from genlab.data.characters import Characters
from genlab.data.tasks import Task, TaskMixture, Template
from genlab.data.tokenizers import TokenizerConfig
from genlab.experiment import Experiment
from genlab.models.gpt import GPT
from genlab.objectives.next_token import NextToken
from genlab.objectives.task_scores import TaskScores
from genlab.scaling.emergence.analysis import Emergence
from genlab.sweeps import Sweep
from genlab.training.optimizers import AdamW
from genlab.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A mixture of tasks and the models that learn it.

    Attributes:
      tasks: in equal shares.
      widths: of the models that are judged.
      seeds: of each of these widths.
      held_out: widths of models that are only forecast, with one seed.
      steps: updates of a run.
      sequence_length: tokens of a row; the longest problem must fit, with its shots.
      batch_size: rows of an update.
      examples: training rows, all tasks together.
      shots: solved problems before the last in a training row; evaluations are then zero-shot and of so many.
      depth: of the models.
      head_width: of their heads; narrower models have two heads.
      dtype: of their matmuls.
      chain_of_thought: whether worked steps stand before answers.
      tokenizer, text, text_share: as of the data (genlab/data/tasks/mixture.py).
    """

    tasks: tuple[Task, ...]
    widths: tuple[int, ...]
    seeds: int = 1
    held_out: tuple[int, ...] = ()
    steps: int = 3_000
    sequence_length: int = 20
    batch_size: int = 128
    examples: int = 240_000
    shots: int = 0
    depth: int = 2
    head_width: int = 64
    dtype: str = "float32"
    chain_of_thought: bool = False
    tokenizer: TokenizerConfig = Characters()
    text: Corpus | None = None
    text_share: float = 0.5

    def experiment(self, width: int, seed: int = 0) -> Experiment:
        """One run."""
        data = TaskMixture(
            self.tasks, template=Template(chain_of_thought=self.chain_of_thought), shots=self.shots,
            sequence_length=self.sequence_length, examples=self.examples, tokenizer=self.tokenizer, text=self.text,
            text_share=self.text_share)
        model = GPT(width=width, depth=self.depth, num_heads=max(2, width // self.head_width), dtype=self.dtype,
                    context_length=self.sequence_length, vocab_size=data.vocab_size)
        return Experiment(
            name=f"width{width}-seed{seed}",
            objective=NextToken(model=model),
            data=data,
            optimizer=AdamW(learning_rate=0.16 / width, decay="constant", warmup_steps=100, warmup_fraction=0.0),
            training=Training(steps=self.steps, batch_size=self.batch_size, ema_decay=0.99, evaluate_steps=48,
                              evaluate_growth=10**0.1, evaluate_examples=1_024, log_steps=200, writers=()),
            evaluations=tuple(TaskScores.of(data, shots=shots) for shots in sorted({0, self.shots})),
            seed=seed,
        )

    def sweep(self, name: str) -> Sweep:
        """Every width with every seed, and those held out, judged by `Emergence`."""
        grid = [self.experiment(width, seed) for seed in range(self.seeds) for width in self.widths]
        return Sweep(grid, [self.experiment(width) for width in self.held_out], Emergence(), name)


def named(scales: dict[str, Scale], argument: str) -> tuple[Scale, str]:
    """(the scale that "SCALE" or "SCALE,REST" names, the rest).

    Raises:
      ConfigError: there is no such scale.
    """
    name, _, rest = argument.partition(",")
    if name not in scales:
        raise ConfigError(f"there is no scale {name!r}; there are: {', '.join(scales)}")
    return scales[name], rest


def one_run(scales: dict[str, Scale], argument: str) -> Experiment:
    """The run that "SCALE" (its median width) or "SCALE,WIDTH" names."""
    scale, width = named(scales, argument)
    if width and not width.isdigit():
        raise ConfigError(f"{width!r} is no width; give SCALE,WIDTH, such as {next(iter(scales))},32")
    return scale.experiment(int(width) if width else scale.widths[len(scale.widths) // 2])
