"""A run's evaluations over its training, as its record holds them."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from genlab.configuration import ConfigError
from genlab.figures import style

_CURVES = 5  # evaluations that a figure tells apart, the last among them


def evaluation_table(evaluations: Sequence[dict[str, Any]] | pd.DataFrame, needed: str = "") -> pd.DataFrame:
    """One row an evaluation, in the order of steps: step, flops, tokens or examples, loss, and a column a metric.

    Args:
      evaluations: dicts with "step", "loss", "metrics" {name: value} and others, the column `evaluations` of a record;
        or such a table.
      needed: what the name of at least one metric must hold.

    Raises:
      ConfigError: there is no evaluation, or no such metric.
    """
    if not isinstance(evaluations, pd.DataFrame):
        rows = [{**each, **each.get("metrics", {})} for each in evaluations]
        evaluations = pd.DataFrame(rows).drop(columns="metrics", errors="ignore")
    if evaluations.empty:
        raise ConfigError("the run has no evaluation yet")
    if not any(needed in name for name in evaluations):
        raise ConfigError(f'no evaluation of the run has "{needed}" among its metrics; there are: '
                          f"{', '.join(list(evaluations)[:8])}")
    return evaluations.sort_values("step", ignore_index=True)


def training_axis(axes: Axes, table: pd.DataFrame) -> np.ndarray:
    """Makes the horizontal axis one of training, logarithmic where evaluations come at growing distances.

    Returns:
      What was trained on until each evaluation, [evaluations]: tokens, else examples, else updates.
    """
    found, label = table["step"], "updates"
    for name in ("examples", "tokens"):
        if name in table and table[name].notna().all():
            found, label = table[name], f"training {name}"
    gaps = np.diff(table["step"].to_numpy(float))
    axes.set(xlabel=label, xscale="log" if len(gaps) > 1 and gaps.max() > 4 * gaps[0] else "linear")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.count(value)))
    return found.to_numpy(float)


def chosen_evaluations(table: pd.DataFrame) -> list[tuple[pd.Series, tuple[float, ...]]]:
    """A few evaluations, about evenly spaced in the logarithm of the step, the last one too, and a colour each."""
    steps = np.maximum(table["step"].to_numpy(float), 1)
    places = sorted({int(np.abs(np.log(steps / step)).argmin()) for step in np.geomspace(steps[0], steps[-1], _CURVES)})
    colours = matplotlib.colormaps["viridis_r"](np.linspace(0.15, 1, len(places)))
    return [(table.iloc[place], tuple(colour)) for place, colour in zip(places, colours, strict=True)]
