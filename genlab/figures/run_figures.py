"""The figures of one run, for what its evaluations hold."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from genlab.figures.evaluations import evaluation_table
from genlab.figures.induction import induction
from genlab.figures.k_shot import k_shot, k_shot_metrics
from genlab.figures.loss_by_position import loss_by_position


def run_figures(evaluations: Sequence[dict[str, Any]]) -> dict[str, Figure]:
    """Figures by name, those for which the column `evaluations` of the run's record has the metrics.

    Raises:
      ConfigError: there is no evaluation.
    """
    table = evaluation_table(evaluations)
    figures = {
        "induction": ("induction/prefix_matching" in table, induction),
        "k_shot": (bool(k_shot_metrics(table)), k_shot),
        "loss_by_position": (any(name.startswith("loss_by_position/") for name in table), loss_by_position),
    }
    return {name: draw(table) for name, (wanted, draw) in figures.items() if wanted}
