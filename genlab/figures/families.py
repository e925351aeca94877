"""Several families in one figure: loss and error against training compute, with each family's law and forecast."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.table import loss_label, not_shown, run_table, table_columns
from genlab.scaling.approaches.frontier import frontier
from genlab.scaling.families import Families, Family
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.metrics_column import with_metrics
from genlab.scaling.runs import Runs

_PALEST = 0.35  # of a family's colour is left in its smallest size
_BEYOND = (0, (4, 1.6))
_FAR = 1.5  # times the sizes tried


@style.paper_style()
def families(runs: Runs | pd.DataFrame, found: Families, unit: str = "") -> Figure:
    """Draws every family's runs against training compute, a panel for the loss and each column with a frontier.

    A family has a colour and a marker, darker for more parameters. Its thin line joins the runs that no cheaper one
    outdoes; the law is that of this frontier with its 95 % band or, for a loss without one, the law of size and data
    at the size it holds best, where that is near the sizes tried; a star is a held-out run, the diamond its forecast.

    Args:
      runs: the run table.
      found: what was found in it.
      unit: of the loss.
    """
    table = run_table(runs, table_columns(runs, found.columns))
    table = table[table[found.by].astype(str).isin(list(found.families))]
    loss = found.columns.get("loss", "loss")
    columns = dict.fromkeys([loss, *(column for family in found.families.values() for column in family.frontiers)])
    figure = Figure(figsize=(style.PAGE, 3.6))
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    values, drawn = with_metrics(table), table.index[:0]
    for letter, axes, column in zip("abcdef", panels, columns, strict=False):
        shown = table.assign(y=pd.to_numeric(values[column], errors="coerce"))
        shown = shown[(shown["status"] == "finished") & (shown["flops"] > 0) & (shown["y"] > 0)]
        drawn = drawn.union(shown.index)
        _draw_panel(axes, shown, column, column == loss, found)
        axes.set_ylabel(loss_label(unit) if column == loss else column.replace("_", " "))
        axes.set_title(f"{letter}   {column.replace('_', ' ')}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4), columnspacing=1.4)
    style.note(figure, not_shown(table, table.loc[drawn]))
    return figure


def _draw_panel(axes: Axes, shown: pd.DataFrame, column: str, is_loss: bool, found: Families) -> None:
    if shown.empty:
        axes.text(0.5, 0.5, "no run has finished yet", ha="center", transform=axes.transAxes)
        return
    low, high = shown["flops"].min(), shown["flops"].max()
    style.quantity_axis(axes.xaxis, low / (high / low) ** 0.06, high * (high / low) ** 0.06, most=5)
    axes.set_xlabel("training compute (FLOPs)")
    reach = [shown["y"].min(), shown["y"].max()]
    for place, (name, family) in enumerate(found.families.items()):
        rows = shown[shown[found.by].astype(str) == name]
        colour, marker = style.CATEGORIES[place % len(style.CATEGORIES)], style.MARKERS[place % len(style.MARKERS)]
        _draw_runs(axes, rows[rows["role"] != "held_out"], colour, marker, name)
        _draw_law(axes, _law(family, column, is_loss), rows, colour)
        reach += _draw_forecasts(axes, rows[rows["role"] == "held_out"], _forecasts(family, column, is_loss), colour)
    span = max(np.nanmax(reach) / np.nanmin(reach), 1.1)
    style.loss_axis(axes.yaxis, np.nanmin(reach) / span**0.06, np.nanmax(reach) * span**0.06)
    _name_marks(axes)


def _draw_runs(axes: Axes, grid: pd.DataFrame, colour: str, marker: str, name: str) -> None:
    axes.plot([], [], marker, color=colour, markersize=4.5, label=name)
    if grid.empty:
        return
    size, log_params = style.marker_size(len(grid)), np.log(grid["params"])
    share = (log_params - log_params.min()) / max(np.ptp(log_params), 1e-12)
    for (_, run), depth in zip(grid.iterrows(), _PALEST + (1 - _PALEST) * share, strict=True):
        shade = tuple(1 - depth * (1 - np.array(to_rgb(colour))))
        edge = {"markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": 4}
        axes.plot(run["flops"], run["y"], marker, color=shade, markersize=size, **edge)
    best = grid.iloc[frontier(grid["flops"].to_numpy(), grid["y"].to_numpy(), convex=False)]
    axes.plot(best["flops"], best["y"], color=colour, linewidth=0.6, alpha=0.7, zorder=3)


def _law(family: Family, column: str, is_loss: bool) -> Fit | None:
    """The law that is drawn: of the frontier, or of size and data at its best size."""
    if column in family.frontiers:
        return family.frontiers[column].fit
    return family.analysis.fit if is_loss and family.analysis.fit.law.allocates else None


def _draw_law(axes: Axes, fit: Fit | None, rows: pd.DataFrame, colour: str) -> None:
    if fit is None or rows.empty:
        return
    flops = np.geomspace(rows["flops"].min(), rows["flops"].max() * 1.3, 200)
    if fit.law.inputs == ("x",):
        at = {"x": flops}
    else:
        params, tokens = fit.allocate(flops)
        # A best size far from those tried says what the table cannot: runs all too large, or all too small.
        near = (params > rows["params"].min() / _FAR) & (params < rows["params"].max() * _FAR)
        flops, at = flops[near], {"params": params[near], "tokens": tokens[near]}
        if not len(flops):
            return
    curve = fit.predict(**at)
    if len(fit.samples):
        axes.fill_between(flops, *fit.confidence_interval(**at), color=colour, alpha=0.13, linewidth=0, zorder=2)
    inside = flops <= fit.ranges.get("x", fit.ranges.get("flops", (0.0, np.inf)))[1]
    axes.plot(flops[inside], curve[inside], color=colour, linewidth=1.4, zorder=3.5)
    axes.plot(flops[~inside], curve[~inside], color=colour, linewidth=1.4, zorder=3.5, linestyle=_BEYOND)


def _forecasts(family: Family, column: str, is_loss: bool) -> list[dict[str, Any]]:
    """The forecasts that count: of the loss by the law of size and data, of anything else by its frontier's."""
    if is_loss:
        return family.analysis.forecasts
    return family.frontiers[column].forecasts if column in family.frontiers else []


def _draw_forecasts(axes: Axes, held_out: pd.DataFrame, told: list[dict[str, Any]], colour: str) -> list[float]:
    """Stars and diamonds; returns the forecasts, which the axis has to reach."""
    by_name, reach = {row["name"]: row for row in told}, []
    for run in held_out.itertuples():
        star = {"markersize": 11, "markeredgecolor": style.INK, "markeredgewidth": 0.6, "zorder": 6}
        axes.plot(run.flops, run.y, "*", color=colour, **star)
        if run.name not in by_name:
            continue
        predicted, ends = by_name[run.name]["predicted"], by_name[run.name]["interval_95"]
        bars = None if ends is None else np.abs(np.array(ends)[:, None] - predicted)
        diamond = {"markersize": 3.8, "markerfacecolor": "white", "markeredgewidth": 1.1, "capsize": 3, "zorder": 7}
        axes.errorbar(run.flops, predicted, yerr=bars, fmt="D", color=colour, elinewidth=1.0, **diamond)
        reach.append(predicted)
    return reach


def _name_marks(axes: Axes) -> None:
    """What the marks of every family mean, in grey, for the legend."""
    grey = {"color": style.MUTED}
    axes.plot([], [], "-", linewidth=1.4, label="law, 95 %; dashed beyond its runs", **grey)
    axes.plot([], [], "*", markersize=8, label="held-out run, measured", **grey)
    axes.errorbar([], [], yerr=[], fmt="D", markersize=4.5, markerfacecolor="white", label="its forecast, 95 %", **grey)
