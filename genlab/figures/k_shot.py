"""What k examples in the prompt are worth: a metric against k, as it came to be over training."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genlab.configuration import ConfigError
from genlab.figures import style
from genlab.figures.evaluations import chosen_evaluations, evaluation_table

_NAME = re.compile(r"(?P<task>[^/]+?)(_(?P<k>\d+)shot)?/(?P<metric>[^/]+)(/(?P<beside>[^/]+))?")
_DASHES = ("--", ":", "-.", (0, (1, 3)))
_LEFT_OUT = ("examples", "answer_length")


class Named(NamedTuple):
    """What a metric's name says.

    Attributes:
      task: without its "_{k}shot".
      k: examples in the prompt.
      metric: such as squared_error.
      beside: what stands beside it, such as chance, ridge, bayes; "" for the model's own.
    """

    task: str
    k: int
    metric: str
    beside: str


def k_shot_metrics(names: Iterable[str]) -> dict[str, Named]:
    """Those of the names that are metrics of tasks with more than one number of examples; "addition_2/..." has none."""
    found = {}
    for name in names:
        match = _NAME.fullmatch(name)
        if match and not name.endswith("_se") and match["metric"] not in _LEFT_OUT:
            found[name] = Named(match["task"], int(match["k"] or 0), match["metric"], match["beside"] or "")
    shots: dict[tuple[str, str], set[int]] = {}
    for each in found.values():
        shots.setdefault((each.task, each.metric), set()).add(each.k)
    return {name: each for name, each in found.items() if len(shots[each.task, each.metric]) > 1}


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
    table = evaluation_table(evaluations)
    named = k_shot_metrics(table)
    panels = sorted({(each.task, each.metric) for each in named.values() if not metrics or each.metric in metrics})
    if not panels:
        raise ConfigError("no metric of the run was taken with more than one number of examples in the prompt")
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(style.PAGE if columns > 1 else style.COLUMN, 2.6 * rows))
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(every, panels, strict=False):
        _draw(axes, table, named, *panel)
    for axes in every[len(panels):]:
        axes.remove()
    return figure


def _curve(row: pd.Series, named: dict[str, Named], task: str, metric: str, beside: str):
    """(k, values) of one evaluation, k rising."""
    found = {each.k: row[name] for name, each in named.items() if each == Named(task, each.k, metric, beside)}
    return np.array(sorted(found)), np.array([found[k] for k in sorted(found)], float)


def _draw(axes: Axes, table: pd.DataFrame, named: dict[str, Named], task: str, metric: str) -> None:
    shown = []
    for row, colour in chosen_evaluations(table):
        shots, values = _curve(row, named, task, metric, "")
        axes.plot(shots, values, color=colour, label=f"step {row['step']:,.0f}")
        shown.append(values)
    beside = sorted({each.beside for each in named.values() if (each.task, each.metric) == (task, metric)
                     and each.beside and not each.beside.startswith("over_")})
    for name, dashes in zip(beside, _DASHES, strict=False):
        shots, values = _curve(table.iloc[-1], named, task, metric, name)
        axes.plot(shots, values, color=style.MUTED if name == "chance" else style.ACCENT, linestyle=dashes,
                  label=name.replace("_", " "))
        shown += [] if name == "least_squares" else [values]  # Its error of as many points as dimensions has no mean.
    low, high = np.nanmin(np.concatenate(shown)), np.nanmax(np.concatenate(shown))
    if low > 0 and high > 8 * low:
        style.loss_axis(axes.yaxis, low / 1.15, high * 1.3)
    else:
        margin = 0.05 * max(high - low, 1e-3)
        axes.set_ylim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set(xlabel="examples in the prompt", ylabel=metric.replace("_", " "))
    axes.set_title(task.replace("_", " "))
    axes.legend(fontsize=6)
