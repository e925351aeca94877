"""How well a law of several variables fits: loss against tokens for each size with the law's lines (where
the law has these two inputs and the sizes are few), else predicted against measured; and the residuals."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.table import loss_label, measured, not_shown, run_table
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.runs import Runs

_MOST_LINES = 10  # More sizes than that are not told apart by lines with names.


@style.paper_style()
def law_fit(runs: Runs | pd.DataFrame, fit: Fit, unit: str = "nats per token", data: str = "tokens") -> Figure:
    """Draws measured losses beside the law, and what is left between them, by size.

    Args:
      runs: the run table; with many sizes the left panel is the law against the measured losses.
      fit: a law that depends on params, on tokens or on both, and perhaps on more.
      unit: of the loss.
      data: what the column `tokens` counts.
    """
    table = run_table(runs)
    shown = measured(table)
    figure = Figure(figsize=(style.PAGE, 3.1))
    if set(fit.law.inputs) <= set(shown):
        inputs = shown[list(fit.law.inputs)].apply(pd.to_numeric, errors="coerce")
        shown = shown[(inputs > 0).all(axis=1)]
    if shown.empty or not set(fit.law.inputs) <= set(shown) or fit.law.response != "loss":
        figure.text(0.5, 0.5, f"nothing to show for the {fit.law.name} law", ha="center")
        return figure
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    colours = style.SizeColours(shown["params"].to_numpy())
    if shows_lines(shown) and fit.law.allocates:
        _draw_lines(left, shown, fit, colours)
        left.set(xlabel=f"training {data}", ylabel=loss_label(unit))
    else:
        _draw_agreement(left, shown, fit, colours)
        left.set(xlabel=f"{loss_label(unit)}, measured", ylabel=f"{loss_label(unit)}, law")
    _draw_residuals(right, shown, fit, colours)
    style.note(figure, not_shown(table, shown))
    return figure


def shows_lines(table: pd.DataFrame) -> bool:
    """Whether the sizes are few enough for a line each; else the law is drawn against the runs."""
    return table["params"].nunique() <= _MOST_LINES


def _draw_lines(axes: Axes, shown: pd.DataFrame, fit: Fit, colours: style.SizeColours) -> None:
    low, high = shown["tokens"].min(), shown["tokens"].max()
    span = max(high / low, 2.0)
    style.quantity_axis(axes.xaxis, low / span**0.06, high * span**0.22, style.count)
    predicted = _predicted(shown, fit)
    losses = np.append(predicted, shown["loss"])
    style.loss_axis(axes.yaxis, losses.min() / 1.04, losses.max() * 1.04)
    names = []
    for size, rows in shown.groupby("params"):
        colour = colours(size)
        tokens = np.geomspace(rows["tokens"].min(), rows["tokens"].max(), 60)
        if len(rows) > 1:
            axes.plot(tokens, fit.predict(params=size, tokens=tokens), color=colour, linewidth=1.0)
        for held_out, part in rows.groupby(rows["role"] == "held_out"):
            axes.plot(part["tokens"], part["loss"], color=colour, **_marker(held_out, len(shown)))
        last = rows.loc[rows["tokens"].idxmax()]
        names.append((last["tokens"], last["loss"], style.count(size), colour))
    style.label_points(axes, names)
    axes.set_title(f"a   {style.title(fit.law.name)} law (lines) and runs, by parameters")


def _draw_agreement(axes: Axes, shown: pd.DataFrame, fit: Fit, colours: style.SizeColours) -> None:
    """The law's loss against the measured one, for tables of many sizes."""
    predicted = _predicted(shown, fit)
    losses = np.append(predicted, shown["loss"])
    low, high = losses.min() / 1.03, losses.max() * 1.03
    style.loss_axis(axes.xaxis, low, high)
    style.loss_axis(axes.yaxis, low, high)
    axes.plot([low, high], [low, high], color=style.MUTED, linewidth=0.6)
    _draw_points(axes, shown, shown["loss"], predicted, colours)
    axes.set_title(f"a   {style.title(fit.law.name)} law and runs")
    colours.bar(axes, shown["params"].to_numpy(), most=5)


def _predicted(shown: pd.DataFrame, fit: Fit) -> np.ndarray:
    return fit.predict(**{name: pd.to_numeric(shown[name]).to_numpy(float) for name in fit.law.inputs})


def _draw_points(axes: Axes, shown: pd.DataFrame, x, y, colours: style.SizeColours) -> None:
    """Every run's dot, [runs] each, and the held-out runs' stars."""
    star = (shown["role"] == "held_out").to_numpy()
    for held_out in (False, True):
        points = (np.asarray(values)[star == held_out] for values in (x, y, shown["params"]))
        style.draw_points(axes, *points, colours, **_marker(held_out, len(shown)))


def _marker(held_out: bool, number: int) -> dict[str, Any]:
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.4, "linestyle": "none", "rasterized": number > style.MANY}
    if held_out:
        return {"marker": "*", "markersize": 9, **edge}
    return {"marker": "o", "markersize": style.marker_size(number), **edge}


def _draw_residuals(axes: Axes, shown: pd.DataFrame, fit: Fit, colours: style.SizeColours) -> None:
    predicted = _predicted(shown, fit)
    error = 100 * (predicted / shown["loss"].to_numpy() - 1)
    scatter = 100 * fit.residual_scatter
    axes.axhspan(-2 * scatter, 2 * scatter, color=style.FAINT, alpha=0.5, linewidth=0)
    axes.axhline(0, color=style.MUTED, linewidth=0.6)
    _draw_points(axes, shown, shown["flops"], error, colours)
    span = shown["flops"].max() / shown["flops"].min()
    style.quantity_axis(axes.xaxis, shown["flops"].min() / span**0.06, shown["flops"].max() * span**0.06, most=4)
    reach = 1.25 * max(np.abs(error).max(), 2 * scatter)
    axes.set(ylim=(-reach, reach), xlabel="training compute (FLOPs)", ylabel="law above measured (%)")
    axes.set_title("b   residuals")
    axes.text(
        0.02,
        2 * scatter,
        " two standard deviations",
        transform=axes.get_yaxis_transform(),
        va="bottom",
        fontsize=6.5,
        color=style.MUTED,
    )
