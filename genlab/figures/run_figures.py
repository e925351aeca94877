"""The figures of one run, for what its evaluations hold."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from genlab.figures.evaluations import evaluation_table
from genlab.figures.induction import induction
from genlab.figures.k_shot import k_shot, k_shot_metrics
from genlab.figures.loss_by_position import loss_by_position

_OF_EXAMPLES = ("accuracy", "exact_match", "squared_error")  # shown against examples, of tasks with many metrics


def run_figures(evaluations: Sequence[dict[str, Any]]) -> dict[str, Figure]:
    """Figures by name, those for which the column `evaluations` of the run's record has the metrics.

    Raises:
      ConfigError: there is no evaluation.
    """
    table = evaluation_table(evaluations)
    figures = {
        "induction": ("induction/prefix_matching" in table, induction),
        "k_shot": (bool(k_shot_metrics(table)), _against_examples),
        "loss_by_position": (any(name.startswith("loss_by_position/") for name in table), loss_by_position),
    }
    return {name: draw(table) for name, (wanted, draw) in figures.items() if wanted}


def _against_examples(table: pd.DataFrame) -> Figure:
    there = {each.metric for each in k_shot_metrics(table).values()}
    return k_shot(table, [metric for metric in _OF_EXAMPLES if metric in there])
