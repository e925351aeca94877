"""Tasks from files in BIG-bench's format (Srivastava et al. 2022, arXiv 2206.04615; its docs/doc.md)."""

import functools
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from genlab.configuration import ConfigError
from genlab.data.corpora import Split
from genlab.data.tasks.problem import Problem, Task, side
from genlab.data.tasks.template import Template


@dataclass(frozen=True)
class BigBench(Task):
    """The examples of a task.json, or of a file with one such example a line.

    An example has an "input" and a "target" (a text, or several of equal worth) or "target_scores" (choices and what
    each is worth), or both. A task.json's "name", "task_prefix", "example_input_prefix", "example_output_prefix",
    "choice_prefix", "append_choices_to_input" and "few_shot_example_separator" have their meaning and defaults there.

    Attributes:
      path: of the file, *.json or *.jsonl.
      trained_on: whether training may use it: then only a share of it is held out; otherwise all of it.
      label: the task's name in records; by default that of the file, or its folder's of a task.json.
      tag: stands nowhere unless a template asks for it.
    """

    path: str
    trained_on: bool = False
    label: str = ""
    tag: str = ""

    @property
    def name(self) -> str:
        """See the class."""
        path = Path(self.path)
        return self.label or (path.resolve().parent.name if path.name == "task.json" else path.stem)

    def format(self, template: Template) -> Template:
        """The file's own prefixes around input and answer, in place of the template's."""
        header = read_task(self.path)[0]
        question = header["example_input_prefix"] + "{prompt}" + header["example_output_prefix"]
        return replace(template, question=question, prefix=header["task_prefix"],
                       end=header["few_shot_example_separator"] or template.end)

    def problem(self, random: Random) -> Problem:
        """One of the file's."""
        return random.choice(read_task(self.path)[1])

    def problems(self, split: Split, count: int, seed: int = 0) -> list[Problem]:
        """So many of a side, each once, in an order of the seed; or as many as there are."""
        problems = [p for p in read_task(self.path)[1] if (side(p.content) if self.trained_on else "held_out") == split]
        if not problems:
            hint = "" if self.trained_on else ", as trained_on is off"
            raise ConfigError(f"{self.name} has no {split.replace('_', '-')} problem{hint}")
        return Random(f"{self.name} {split} {seed}").sample(problems, min(count, len(problems)))


_HEADER = {"task_prefix": "", "example_input_prefix": "\nQ: ", "example_output_prefix": "\nA: ",
           "choice_prefix": "\n  choice: ", "append_choices_to_input": True, "few_shot_example_separator": "\n"}


def read_task(path: str) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """(a task's header, its problems); examples of one content are one problem.

    Raises:
      ConfigError: no such file, or one that is not of the format; the message names the example.
    """
    try:
        stat = Path(path).stat()
    except OSError:
        raise ConfigError(f"there is no task file {path}") from None
    return _read_task(path, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _read_task(path: str, modified: int) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    text = Path(path).read_text(encoding="utf-8")
    try:
        if path.endswith(".jsonl"):
            content: dict[str, Any] = {"examples": [json.loads(line) for line in text.splitlines() if line.strip()]}
        else:
            content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict) or not content.get("examples"):
        raise ConfigError(f"{path} is no BIG-bench task: it has no \"examples\"")
    header = _HEADER | {name: content[name] for name in _HEADER if name in content}
    problems: dict[str, Problem] = {}
    for number, example in enumerate(content["examples"], start=1):
        found = _problem(example, header, f"{path}, example {number}")
        problems.setdefault(found.content, found)
    return header, tuple(problems.values())


def _problem(example: Any, header: dict[str, Any], where: str) -> Problem:
    if not isinstance(example, dict) or not isinstance(example.get("input"), str):
        raise ConfigError(f'{where} has no text as its "input"')
    prompt, target, scores = example["input"], example.get("target"), example.get("target_scores")
    targets = (target,) if isinstance(target, str) else tuple(target or ())
    if scores is not None:
        if not isinstance(scores, dict) or len(scores) < 2 or not all(isinstance(s, int | float)
                                                                      for s in scores.values()):
            raise ConfigError(f'{where}: "target_scores" must have two choices or more, each with a number')
        if max(scores.values()) <= 0:
            raise ConfigError(f'{where}: no choice among its "target_scores" is worth more than 0')
        # The likeliest answer to be right stands first; a target that is no choice adds to the right answers.
        targets = tuple(dict.fromkeys([*(c for c, s in scores.items() if s == max(scores.values())), *targets]))
        if header["append_choices_to_input"]:
            listed = sorted(scores, key=lambda c: hashlib.blake2b((prompt + c).encode()).digest())
            prompt += "".join(header["choice_prefix"] + choice for choice in listed)
    if not targets or not all(isinstance(t, str) and t for t in targets):
        raise ConfigError(f'{where} has neither a "target" nor "target_scores"')
    choices = tuple(scores or ())
    worth = tuple(float(scores[c]) for c in choices) if scores else ()
    return Problem(prompt, targets[0], f"bigbench {example['input']}", choices=choices, worth=worth, also=targets[1:])
