"""What k examples in the prompt are worth: a metric against k, as it came to be over training."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genlab.configuration import ConfigError
from genlab.figures import style
from genlab.figures.evaluations import chosen_evaluations, evaluation_table

# A task, k, a metric, and what stands beside it: chance, ridge regression, the Bayes classifier.
_NAME = re.compile(r"(?P<task>.+)_(?P<k>\d+)shot/(?P<metric>[^/]+?)(/(?P<beside>[^/]+))?")
_DASHES = ("--", ":", "-.", (0, (1, 3)))
_LEFT_OUT = ("examples", "answer_length")


@style.paper_style()
def k_shot(evaluations: Sequence[dict[str, Any]] | pd.DataFrame, metrics: Sequence[str] = ()) -> Figure:
    """Draws metrics against the number of examples in the prompt, a panel a task and metric.

    Solid lines are evaluations of the run; others what the last one names beside a metric, such as chance and ridge
    regression.

    Args:
      evaluations: of a run, as its record holds them, with metrics such as "linear_regression_8shot/squared_error".
      metrics: which to draw; all by default.

    Raises:
      ConfigError: there is none of more than one number of examples.
    """
    table = evaluation_table(evaluations, needed="shot/")
    parsed = {name: match.groupdict() for name in table
              if not name.endswith("_se") and (match := _NAME.fullmatch(name))}
    panels = sorted({(each["task"], each["metric"]) for each in parsed.values()
                     if not each["beside"] and each["metric"] not in _LEFT_OUT
                     and (not metrics or each["metric"] in metrics)})
    panels = [panel for panel in panels if len(_curve(table.iloc[-1], parsed, *panel, None)[0]) > 1]
    if not panels:
        raise ConfigError("no metric of the run was taken with more than one number of examples in the prompt")
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(style.PAGE if columns > 1 else style.COLUMN, 2.6 * rows))
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(every, panels, strict=False):
        _draw(axes, table, parsed, *panel)
    for axes in every[len(panels):]:
        axes.remove()
    return figure


def _curve(row: pd.Series, parsed: dict[str, dict], task: str, metric: str, beside: str | None):
    """(k, values) of one evaluation, k rising."""
    found = {int(each["k"]): row[name] for name, each in parsed.items()
             if (each["task"], each["metric"], each["beside"]) == (task, metric, beside)}
    return np.array(sorted(found)), np.array([found[k] for k in sorted(found)], float)


def _draw(axes: Axes, table: pd.DataFrame, parsed: dict[str, dict], task: str, metric: str) -> None:
    shown = []
    for row, colour in chosen_evaluations(table):
        shots, values = _curve(row, parsed, task, metric, None)
        axes.plot(shots, values, color=colour, label=f"step {row['step']:,.0f}")
        shown.append(values)
    beside = sorted({each["beside"] for each in parsed.values() if (each["task"], each["metric"]) == (task, metric)
                     and each["beside"] and not each["beside"].startswith("over_")})
    for name, dashes in zip(beside, _DASHES, strict=False):
        shots, values = _curve(table.iloc[-1], parsed, task, metric, name)
        axes.plot(shots, values, color=style.MUTED if name == "chance" else style.ACCENT, linestyle=dashes,
                  label=name.replace("_", " "))
        shown += [] if name == "least_squares" else [values]  # Its error of as many points as dimensions has no mean.
    low, high = np.nanmin(np.concatenate(shown)), np.nanmax(np.concatenate(shown))
    if low > 0 and high > 8 * low:
        style.loss_axis(axes.yaxis, low / 1.15, high * 1.3)
    else:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set(xlabel="examples in the prompt", ylabel=metric.replace("_", " "))
    axes.set_title(task.replace("_", " "))
    axes.legend(fontsize=6)
