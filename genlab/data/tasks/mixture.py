"""Training data of many tasks, beside natural text."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genlab.configuration import ConfigError, json_hash, to_json
from genlab.data.cache import cached
from genlab.data.characters import Characters
from genlab.data.corpora import Corpus, Split
from genlab.data.sources import Example, InMemory, Source, Splits, TokenWindows
from genlab.data.streams import token_stream
from genlab.data.tasks.bigbench import BigBench
from genlab.data.tasks.problem import HELD_OUT_SHARE, Task, check_tasks
from genlab.data.tasks.rows import STEPS, Rows, Writer
from genlab.data.tasks.template import Template
from genlab.data.tokenizers import Bytes, Tokenizer, TokenizerConfig

CACHE_VERSION = 1  # to be raised when the same config would give other rows


@dataclass(frozen=True)
class TaskMixture:
    """Rows of one problem each, or of several, and windows of natural text, in fixed shares.

    Examples are {"tokens": [sequence_length + 1], "loss_mask": bool, the same}; a row begins with a separator and is
    filled up with separators.

    Attributes:
      tasks: of different names.
      weights: each task's share of the rows of tasks, in any unit; equal ones by default.
      template: how problems are written (genlab/data/tasks/template.py).
      shots: solved problems before the last one in a training row; all of a row's answers are learnt.
      sequence_length: targets in a row; the longest problem must fit.
      tokenizer: what makes tokens of them.
      examples: training rows in all; a run that takes more sees them again.
      held_out_examples: problems held out of each task, or as many as there are.
      loss_on: what is learnt: "answer" with worked steps and end, or "all" of a row but what fills it up; of a text
        all.
      text: where natural text comes from; none for tasks alone.
      text_share: of the training rows, in [0, 1).
      seed: of the problems that are drawn.
    """

    tasks: tuple[Task, ...]
    weights: tuple[float, ...] = ()
    template: Template = Template()
    shots: int = 0
    sequence_length: int = 32
    tokenizer: TokenizerConfig = Characters()
    examples: int = 100_000
    held_out_examples: int = 512
    loss_on: Literal["answer", "all"] = "answer"
    text: Corpus | None = None
    text_share: float = 0.5
    seed: int = 0

    def __post_init__(self):
        check_tasks(self.tasks)
        if self.weights and (len(self.weights) != len(self.tasks) or min(self.weights) <= 0):
            raise ConfigError(f"weights {self.weights} must be positive, one for each of the {len(self.tasks)} tasks")
        for name in ("sequence_length", "examples", "held_out_examples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} must be at least 1")
        if self.shots < 0:
            raise ConfigError(f"shots {self.shots} must not be negative")
        if self.text is None and not isinstance(self.tokenizer, Characters | Bytes):
            raise ConfigError(f"{type(self.tokenizer).__name__} is trained on text, and there is none; set `text`, or "
                              "use Characters()")
        if not 0 <= self.text_share < 1:
            raise ConfigError(f"text_share {self.text_share} lies in [0, 1)")

    @property
    def vocab_size(self) -> int:
        """The tokenizer's vocabulary."""
        return self.tokenizer.vocab_size

    @property
    def tokens_per_example(self) -> int:
        """Targets in a row, those that are not learnt included: what a step computes."""
        return self.sequence_length

    @property
    def num_classes(self) -> int:
        """0: rows have no labels."""
        return 0

    def load(self) -> Splits:
        """The rows of both splits.

        Raises:
          ConfigError: a problem that does not fit into sequence_length, or a task without problems on a side.
        """
        tokenizer = self.load_tokenizer()
        counts = self._counts()
        sources: dict[Split, list[tuple[Source, int]]] = {"train": [], "held_out": []}
        facts: dict[str, Any] = {}
        digest = hashlib.sha256(json_hash(to_json(self)).encode())
        for task, count in zip(self.tasks, counts, strict=True):
            for split, rows in (("train", count), ("held_out", self.held_out_examples)):
                source, contents = self._task_rows(task, tokenizer, split, rows)
                sources[split].append((source, rows if split == "train" else len(source)))
                digest.update(source.arrays["tokens"].tobytes())
                facts[f"{task.name}_{split}"] = {"rows": len(source), "contents": contents}
        if self.text is not None:
            for split, count in (("train", self.examples - sum(counts)), ("held_out", self.held_out_examples)):
                stream = token_stream(self.text, self.tokenizer, split)
                source = _AllLearnt(TokenWindows(stream.tokens, self.sequence_length))
                digest.update(stream.sha256.encode())
                sources[split].append((source, count if split == "train" else min(count, len(source))))
                facts |= {f"text_{split}_{name}": value for name, value in stream.facts().items()}
        splits = {split: Interleaved(*zip(*parts, strict=True)) for split, parts in sources.items()}
        description = {
            "data_hash": digest.hexdigest(), "tokenizer": type(self.tokenizer).__name__,
            "vocab_size": self.vocab_size, "sequence_length": self.sequence_length,
            "held_out_share": HELD_OUT_SHARE, "recalled": [task.name for task in self.tasks if task.recall],
            "train_tokens": len(splits["train"]) * self.sequence_length, **facts,
        }
        return Splits(**splits, description=description, files=tokenizer.files())

    def load_tokenizer(self, folder: Path | None = None) -> Tokenizer:
        """The tokenizer ready for use: from a finished run's data folder, or from the text."""
        return self.tokenizer.prepare(self.text) if folder is None else self.tokenizer.restore(folder)

    def _counts(self) -> list[int]:
        """Training rows of each task: its share, rounded so that all of them add up."""
        weights = np.array(self.weights or [1.0] * len(self.tasks))
        total = round(self.examples * (1 - self.text_share)) if self.text is not None else self.examples
        ends = np.round(np.cumsum(weights) / weights.sum() * total).astype(int)
        return [max(1, int(n)) for n in np.diff(ends, prepend=0)]

    def _task_rows(self, task: Task, tokenizer: Tokenizer, split: Split, count: int) -> tuple[InMemory, int]:
        """(a task's rows, how many different problems are in them): kept on disk, as they take 20 us each to make."""
        if isinstance(task, BigBench):
            return self._make_task_rows(task, tokenizer, split, count)

        def make(folder: Path) -> None:
            rows, contents = self._make_task_rows(task, tokenizer, split, count)
            np.savez(folder / "rows.npz", contents=contents, **rows.arrays)

        settings = [to_json(part) for part in (task, self.template, self.tokenizer)]
        tokenizer_files = [hashlib.sha256(file).hexdigest() for file in tokenizer.files().values()]
        # The first problems tell when a task's own code has changed.
        first = task.problems(split, 8, self.seed)
        key = [CACHE_VERSION, *settings, first, tokenizer_files, split, count, self.shots, self.sequence_length,
               self.loss_on, self.seed]
        with np.load(cached("task_rows", key, make) / "rows.npz") as file:
            return InMemory(tokens=file["tokens"], loss_mask=file["loss_mask"]), int(file["contents"])

    def _make_task_rows(self, task: Task, tokenizer: Tokenizer, split: Split, count: int) -> tuple[InMemory, int]:
        shots = self.shots
        problems = task.problems(split, count * (shots + 1), self.seed)
        groups = [problems[i:i + shots + 1] for i in range(0, len(problems) - shots, shots + 1)]
        if not groups:
            raise ConfigError(f"{task.name} has {len(problems)} {split.replace('_', '-')} problems, too few for a row "
                              f"of shots={shots}")
        writer = Writer(task, self.template, tokenizer)
        written = [writer.pieces(group[-1], shots=group[:-1], learn_shots=True) for group in groups]
        rows = writer.rows(written, self.sequence_length)
        contents = len({problem.content for problem in problems})
        return InMemory(tokens=rows.tokens, loss_mask=self._learnt(rows)), contents

    def _learnt(self, rows: Rows) -> np.ndarray:
        if self.loss_on == "answer":
            return rows.part >= STEPS
        lengths = rows.part.shape[1] - (rows.part[:, ::-1] > 0).argmax(axis=1)  # A row ends with its answer's end.
        return np.arange(rows.part.shape[1]) < lengths[:, None]


class Interleaved:
    """Sources one after another, each repeated or thinned out to so many examples."""

    def __init__(self, sources: tuple[Source, ...], counts: tuple[int, ...]):
        self.sources, self.counts = sources, np.array(counts)
        self.ends = np.cumsum(counts)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no example {index} among {len(self)}")
        return {name: array[0] for name, array in self.gather(np.array([index])).items()}

    def gather(self, indices: np.ndarray) -> Example:
        """The examples at `indices` [n], each array with leading axis n."""
        part = np.searchsorted(self.ends, indices, side="right")
        within = indices - (self.ends - self.counts)[part]
        found: Example = {}
        for number in np.unique(part):
            mine, source = part == number, self.sources[number]
            length, count = len(source), self.counts[number]
            # Longer ones evenly thinned out: their neighbours are alike.
            chosen = within[mine] % length if length <= count else within[mine] * length // count
            for name, array in source.gather(chosen).items():
                if name not in found:
                    found[name] = np.empty((len(indices), *array.shape[1:]), array.dtype)
                found[name][mine] = array
        return found


class _AllLearnt:
    """Windows of text, every token of which is learnt."""

    def __init__(self, windows: TokenWindows):
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Example:
        return {name: array[0] for name, array in self.gather(np.array([index])).items()}

    def gather(self, indices: np.ndarray) -> Example:
        tokens = self.windows.gather(indices)["tokens"]
        return {"tokens": tokens, "loss_mask": np.ones(tokens.shape, bool)}
