"""The figures of one run, for what its evaluations hold."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from genlab.figures.evaluations import evaluation_table
from genlab.figures.induction import induction
from genlab.figures.k_shot import k_shot
from genlab.figures.loss_by_position import loss_by_position


def run_figures(evaluations: Sequence[dict[str, Any]]) -> dict[str, Figure]:
    """Figures by name, those for which the column `evaluations` of the run's record has the metrics.

    Raises:
      ConfigError: there is no evaluation.
    """
    table = evaluation_table(evaluations)
    figures = {"induction": ("induction/prefix_matching", induction), "k_shot": ("_0shot/", k_shot),
               "loss_by_position": ("loss_by_position/", loss_by_position)}
    return {name: draw(table) for name, (needed, draw) in figures.items() if any(needed in column for column in table)}
