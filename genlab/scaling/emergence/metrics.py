"""The metrics of abilities: sharp or smooth, their ranges, which way is better.

A sharp metric gives a whole answer credit or none, so that many parts must be right at once; a smooth one gives credit
for every part (Schaeffer et al. 2023, arXiv 2304.15004, section 2). genlab/objectives/task_scores.py and other people's
tables call them by these names.
"""

import dataclasses
import re
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
      name: as in tables, `{task}/{name}`.
      sharp: whether an answer gets all of the credit or none.
      perfect: the value of one who is always right; better is towards it.
      worst: the other end of its range; may be infinite.
      counts: whether it is a share of questions answered right, so that it is binomially distributed.
      aliases: other names for it in column names.
    """

    name: str
    sharp: bool
    perfect: float
    worst: float
    counts: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def higher_is_better(self) -> bool:
        """Which way is better."""
        return self.perfect > self.worst


_INFINITY = float("inf")
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("exact_match", True, 1.0, 0.0, counts=True, aliases=("exact_str_match", "em")),
        Metric("multiple_choice_grade", True, 1.0, 0.0, counts=True, aliases=("mc_grade",)),
        Metric("accuracy", True, 1.0, 0.0, counts=True, aliases=("acc",)),
        Metric("log_probability", False, 0.0, -_INFINITY, aliases=("logprob", "log_likelihood", "log_prob")),
        Metric("token_accuracy", False, 1.0, 0.0),
        Metric("bleu", False, 100.0, 0.0),
        Metric("edit_distance", False, 0.0, _INFINITY, aliases=("token_edit_distance",)),
        Metric("brier_score", False, 0.0, 2.0, aliases=("brier",)),
        Metric("squared_error", False, 0.0, _INFINITY, aliases=("mse",)),
        Metric("calibration_error", False, 0.0, 1.0, aliases=("ece",)),
    )
}
# Which metric a verdict rests on where a task has several. Calibration is no ability: it is never one of them.
SHARP = ("exact_match", "multiple_choice_grade", "accuracy")
SMOOTH = ("log_probability", "token_accuracy", "bleu", "edit_distance", "brier_score", "squared_error")
DEFAULT = "accuracy"  # of a column that does not say

_NAMES = {alias: metric.name for metric in METRICS.values() for alias in (metric.name, *metric.aliases)}
_LONGEST_FIRST = sorted(_NAMES, key=len, reverse=True)
_BETWEEN = "[ _.:/-]+"


def task_and_metric(name: str) -> tuple[str, str]:
    """The task and the metric in a column's name: "addition/exact_match", "addition_em", "acc_mmlu", "HellaSwag".

    A name that says no metric is an accuracy.
    """
    for form in ("(.+)" + _BETWEEN + "{alias}", "{alias}" + _BETWEEN + "(.+)"):
        for alias in _LONGEST_FIRST:
            if match := re.fullmatch(form.format(alias=alias), name, re.IGNORECASE):
                return match[1], _NAMES[alias]
    return name, DEFAULT


def canonical(name: str) -> str:
    """A metric's own name, where it goes by another; what nobody knows stays as it is."""
    return _NAMES.get(name.lower(), name)


def first_of(names: tuple[str, ...], there: Iterable[str]) -> str:
    """The first of some metrics that a task has; "" for none."""
    there = set(there)
    return next((name for name in names if name in there), "")
