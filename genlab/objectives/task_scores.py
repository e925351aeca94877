"""How well a language model does its tasks: sharp metrics and smooth ones, each with its chance level."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.data.characters import Characters
from genlab.data.corpora import Corpus
from genlab.data.tasks.edit_distance import edit_distances
from genlab.data.tasks.problem import Task, check_tasks
from genlab.data.tasks.rows import ANSWER, END
from genlab.data.tasks.template import Template
from genlab.data.tokenizers import TokenizerConfig
from genlab.models import generation
from genlab.objectives.calibration import calibration_error
from genlab.objectives.metric import Estimate
from genlab.objectives.next_token import NextToken
from genlab.objectives.probes import Collect
from genlab.objectives.task_questions import Asking, Questions, TaskQuestions, ask

OF_CHOICES = ("multiple_choice_grade", "brier_score", "calibration_error")
METRICS = ("exact_match", "token_accuracy", "log_probability", "edit_distance", *OF_CHOICES)


@dataclass(frozen=True)
class TaskScores:
    """Held-out problems of each task, scored: "addition_3/exact_match" and so on; "addition_3_2shot/..." of 2 shots.

    - exact_match: whether greedy decoding writes the right answer and its end. It does if and only if each of these
      tokens is the likeliest after the right ones before it, by induction over them; so one forward pass tells. With
      worked steps, which may be right in other ways, the answer is written and compared.
    - token_accuracy: the share of the answer's tokens (without the end) that are the likeliest after the right ones.
    - log_probability: of the answer and its end, in nats; with worked steps, after the right ones.
    - edit_distance: in tokens, from the answer that greedy decoding writes.
    - multiple_choice_grade: what the likeliest choice is worth. A task without choices of its own has the right answer
      and some of other problems'.
    - brier_score: the squared distance of the choices' probabilities, which sum up to 1, from their shares of worth.
    - calibration_error: of the likeliest choice's probability against its worth (genlab/objectives/calibration.py).

    Of several right answers, the best one counts for the first two and the fourth, and all together for the third.
    Beside each stands its chance level ("addition_3/exact_match/chance", genlab/data/tasks/chance.py), and of each task
    "examples" and "answer_length" (mean, in tokens). The metrics that take more than a forward pass are of the first
    `detailed_examples`; then "addition_3/edit_distance/examples" says so.

    Attributes:
      tasks: whose problems they are; no training ones (genlab/data/tasks/problem.py).
      template, tokenizer, text: as of the data that the model learns from (genlab/data/tasks/mixture.py).
      shots: solved training problems before each.
      metrics: which of `METRICS`.
      examples: problems of a task, or as many as there are.
      detailed_examples: of these, problems for the metrics of choices and of what is written.
      choices: of a problem that has none of its own.
      seed: of the problems.
    """

    tasks: tuple[Task, ...]
    template: Template = Template()
    tokenizer: TokenizerConfig = Characters()
    text: Corpus | None = None
    shots: int = 0
    metrics: tuple[str, ...] = METRICS
    examples: int = 512
    detailed_examples: int = 64
    choices: int = 4
    seed: int = 0

    def __post_init__(self):
        check_tasks(self.tasks)
        for metric in self.metrics:
            if metric not in METRICS:
                raise ConfigError(f"no chance level is known for a metric {metric!r}; it is for {', '.join(METRICS)}")
        for name, least in (("examples", 2), ("detailed_examples", 2), ("choices", 2), ("shots", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least {least}")

    @classmethod
    def of(cls, data: Any, **settings: Any) -> "TaskScores":
        """Scores on the tasks of a `TaskMixture`, asked as it asks; or, given `tasks`, asked of a model of a `Text`."""
        own = {name: getattr(data, name) for name in ("tasks", "template", "tokenizer", "text") if hasattr(data, name)}
        return cls(**{"text": getattr(data, "source", None)} | own | settings)

    def check(self, objective: Any, data: Any) -> None:
        """See genlab/objectives/probes.py."""
        if not isinstance(objective, NextToken):
            raise ConfigError(f"tasks are asked of language models, not of {type(objective).__name__}")
        if getattr(data, "tokenizer", None) != self.tokenizer:
            raise ConfigError(f"the model learns tokens of {getattr(data, 'tokenizer', None)}, and the tasks are asked "
                              f"in those of {self.tokenizer}; make them one")
        needed, room = self.questions().part.shape[1] - 1, objective.model.context_length
        if needed > room:
            longest = max(self.questions().tasks, key=lambda asked: _row_length(self.questions(), asked))
            raise ConfigError(f"{self._name(longest)} does not fit: its rows have up to {needed} tokens, and the "
                              f"model's context_length is {room}; raise it, or make the task easier or the shots fewer")

    def run(self, collect: Collect) -> dict[str, Estimate]:
        """See genlab/objectives/probes.py."""
        questions = self.questions()
        read = collect(questions.candidates, ("log_probability", "correct"))
        written = self._written(collect, questions) if self._writes() else None
        found: dict[str, Estimate] = {}
        for asked in questions.tasks:
            values = _forced(asked, read, questions.part)
            if self._chooses():
                values |= _of_choices(asked, values["candidates"])
            if written is not None:
                values |= self._of_written(asked, written[asked.prompts])
            found |= self._estimates(asked, values)
        return found

    def questions(self) -> Questions:
        """What is asked; made once in a process."""
        tokenizer = self.tokenizer.prepare(self.text)
        return ask(self.tasks, Asking(self.template, tokenizer, self.shots, self.examples, self.detailed_examples,
                                      self.choices if self._chooses() else 0, self.seed))

    def _name(self, asked: TaskQuestions) -> str:
        return asked.writer.task.name + (f"_{self.shots}shot" if self.shots else "")

    def _chooses(self) -> bool:
        return not set(OF_CHOICES).isdisjoint(self.metrics)

    def _writes(self) -> bool:
        return "edit_distance" in self.metrics or ("exact_match" in self.metrics and self.template.chain_of_thought)

    def _written(self, collect: Collect, questions: Questions) -> np.ndarray:
        """The tokens that greedy decoding writes after each prompt, [prompts, room], -1 after the end."""
        ends = {int(asked.writer.tokenizer.encode(asked.writer.template.end)[-1]) for asked in questions.tasks}
        one_token = all(len(asked.writer.tokenizer.encode(asked.writer.template.end)) == 1 for asked in questions.tasks)
        stop = ends.pop() if one_token and len(ends) == 1 else generation.NO_TOKEN
        return collect(questions.prompts, Greedy(questions.room, stop))["written"]

    def _of_written(self, asked: TaskQuestions, written_NL: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics of what was written: by name, of each problem."""
        writer = asked.writer
        answers = [writer.template.final_answer(writer.tokenizer.decode(row[row >= 0])) for row in written_NL]
        right = [(problem.answer, *problem.also) for problem in asked.problems[: asked.detailed]]
        found = {"edit_distance": _edit_distances(answers, right, writer.tokenizer)}
        if self.template.chain_of_thought:
            found["exact_match"] = np.array([a in r for a, r in zip(answers, right, strict=True)], float)
        return found

    def _estimates(self, asked: TaskQuestions, values: dict[str, Any]) -> dict[str, Estimate]:
        """Means over problems with standard errors, and beside them what does not change."""
        name, found = self._name(asked), {}
        for metric in self.metrics:
            if metric == "calibration_error":
                estimate = calibration_error(values["confidence"], values["multiple_choice_grade"])
            else:
                estimate = _mean(values[metric])
            found[f"{name}/{metric}"] = estimate
            found[f"{name}/{metric}/chance"] = _constant(asked.chance[metric])
            count = len(values["multiple_choice_grade" if metric in OF_CHOICES else metric])
            if count < len(asked.problems):
                found[f"{name}/{metric}/examples"] = _constant(count)
        return found | {f"{name}/examples": _constant(len(asked.problems)),
                        f"{name}/answer_length": _constant(asked.answer_length)}


@dataclass(frozen=True)
class Greedy:
    """Reads what greedy decoding writes after each prompt of a batch: "written", int32 [B, room], -1 after the end."""

    room: int
    stop: int

    def __call__(self, objective: NextToken, variables: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """See genlab/objectives/probes.py.

        All rows get as much room, so one with a long prompt may pass the model's context; what is written there, of the
        last position again and again, comes after where a right answer would have ended.
        """
        B = len(batch["start"])
        greedy = generation.Sampling(jnp.zeros(B), jnp.zeros(B, jnp.int32), jnp.ones(B))
        written, _ = generation.decode(objective.model, variables["params"], batch["prompt"], batch["start"], greedy,
                                       jax.random.key(0), self.room, self.stop, room=self.room)
        return {"written": written}


def _forced(asked: TaskQuestions, read: dict[str, np.ndarray], part: np.ndarray) -> dict[str, Any]:
    """From the right tokens' log-probabilities and whether they are the likeliest: metrics of each problem."""
    part_RT = part[asked.rows][:, 1:]
    log_p_RT = read["log_probability"][asked.rows].astype(np.float64)
    correct_RT = read["correct"][asked.rows]
    answer_RT, written_RT = part_RT == ANSWER, part_RT >= ANSWER
    log_p_R = np.where(written_RT, log_p_RT, 0).sum(axis=1)
    right = asked.right_R
    starts = np.unique(asked.owner_R[right], return_index=True)[1]

    def best(values_R: np.ndarray) -> np.ndarray:
        return np.maximum.reduceat(values_R[right].astype(float), starts)

    return {
        "exact_match": best((correct_RT | ~written_RT).all(axis=1)),
        "token_accuracy": best((correct_RT & answer_RT).sum(axis=1) / answer_RT.sum(axis=1)),
        "log_probability": np.logaddexp.reduceat(log_p_R[right], starts),
        "candidates": log_p_R,
    }


def _of_choices(asked: TaskQuestions, log_p_R: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of the problems with choices, and the "confidence" in the likeliest one."""
    chosen = ~np.isnan(asked.worth_R)
    log_p, worth, owner = log_p_R[chosen], asked.worth_R[chosen], asked.owner_R[chosen]
    starts = np.unique(owner, return_index=True)[1]
    top_N = np.maximum.reduceat(log_p, starts)
    p = np.exp(log_p - top_N[owner])
    p /= np.add.reduceat(p, starts)[owner]
    share = worth / np.add.reduceat(worth, starts)[owner]
    first_best = np.array([start + int(np.argmax(group)) for start, group in
                           zip(starts, np.split(log_p, starts[1:]), strict=True)])
    return {"multiple_choice_grade": worth[first_best], "confidence": p[first_best],
            "brier_score": np.add.reduceat(np.square(p - share), starts)}


def _edit_distances(answers: list[str], right: list[tuple[str, ...]], tokenizer: Any) -> np.ndarray:
    """In tokens, from each answer to the nearest right one."""
    pairs = [(number, answer, one) for number, (answer, several) in enumerate(zip(answers, right, strict=True))
             for one in several]
    owner = np.array([number for number, _, _ in pairs])
    sides = [[tokenizer.encode(pair[i]) for pair in pairs] for i in (1, 2)]
    arrays = []
    for side in sides:
        lengths = np.array([len(ids) for ids in side])
        padded = np.full((len(side), max(1, lengths.max())), -1)
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.concatenate(side)
        arrays += [padded, lengths]
    starts = np.unique(owner, return_index=True)[1]
    return np.minimum.reduceat(edit_distances(*arrays), starts).astype(float)


def _row_length(questions: Questions, asked: TaskQuestions) -> int:
    part = questions.part[asked.rows]
    return int(part.shape[1] - (part[:, ::-1] == END).argmax(axis=1).min())


def _mean(values_N: np.ndarray) -> Estimate:
    error = values_N.std(ddof=1) / np.sqrt(len(values_N)) if len(values_N) > 1 else np.nan
    return Estimate(float(values_N.mean()), float(error))


def _constant(value: float) -> Estimate:
    return Estimate(float(value), float("nan"))


