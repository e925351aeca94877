"""Loss against training compute: every run, the frontier, the law and the run it had to forecast."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.table import Curve, learning_curve, loss_label, measured, not_shown, run_table
from genlab.scaling.approaches.frontier import frontier
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.runs import Runs

_MEASURED = {
    "color": style.INK,
    "markersize": 8.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.6,
    "linestyle": "none",
    "zorder": 7,
}
_FORECAST = {
    "color": style.ACCENT,
    "fmt": "D",
    "markersize": 4.5,
    "markerfacecolor": "white",
    "markeredgewidth": 1.1,
    "capsize": 3,
    "elinewidth": 1.1,
    "zorder": 6,
}
_UNFINISHED = "run that did not finish"


@style.paper_style()
def loss_vs_compute(
    runs: Runs | pd.DataFrame,
    fit: Fit | None = None,
    forecasts: Sequence[dict[str, Any]] = (),
    unit: str = "nats per token",
) -> Figure:
    """Draws every run's learning curve by size, the compute-efficient frontier and the fitted law.

    Args:
      runs: the run table; runs that ended badly are drawn as far as they came, in grey.
      fit: a law of params and tokens; its loss at the compute-optimal size is drawn with 95 % bands.
      forecasts: as in `Analysis.forecasts`; each is drawn at its run's compute.
      unit: of the loss.
    """
    table = run_table(runs)
    shown = measured(table)
    by_name = {forecast["name"]: forecast for forecast in forecasts}
    foretold = shown[(shown["role"] == "held_out") & shown["name"].isin(list(by_name))]
    figure = Figure(figsize=(style.PAGE, 4.2))
    if shown.empty:
        figure.text(0.5, 0.5, "no run has finished yet", ha="center")
        return figure
    if foretold.empty:
        axes = figure.add_subplot()
    else:
        axes, side = figure.subplots(1, 2, width_ratios=(6.2, min(len(foretold), 4) ** 0.5))
        _compare(side, foretold[:4], by_name)
    _draw_main(axes, shown, fit, foretold, by_name)
    axes.set_ylabel(loss_label(unit))
    drawn = shown.index.union(_draw_unfinished(axes, table.drop(shown.index)))
    _legend(axes)
    style.note(figure, not_shown(table, table.loc[drawn]))
    return figure


def _legend(axes: Axes) -> None:
    """In the lower left, which the frontier leaves empty; the forecast beside what was measured."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: (labels[i] == _UNFINISHED, i))
    handles, labels = [handles[i] for i in order], [labels[i] for i in order]
    legend = axes.legend(handles, labels, loc="lower left", borderaxespad=0.8, labelspacing=0.45)
    axes.figure.draw_without_rendering()
    box = legend.get_window_extent().transformed(axes.transAxes.inverted())
    _make_room(axes, right=box.x1 + 0.02, top=box.y1 + 0.03)


def _make_room(axes: Axes, right: float, top: float) -> None:
    """Lowers the foot of the loss axis until no line is in its corner, given as shares of the axes."""
    lines = [np.column_stack(line.get_data()).astype(float) for line in axes.lines]
    points = np.concatenate([line for line in lines if len(line)])
    place = axes.transAxes.inverted().transform(axes.transData.transform(points))
    in_the_way = points[(place[:, 0] > 0) & (place[:, 0] < right)]
    low, high = np.log(axes.get_ylim())
    if len(in_the_way):
        lowest = np.log(np.nanmin(in_the_way[:, 1]))
        low = min(low, (lowest - min(top, 0.6) * high) / (1 - min(top, 0.6)))
    style.loss_axis(axes.yaxis, float(np.exp(low)), float(np.exp(high)))


def _draw_main(axes: Axes, shown: pd.DataFrame, fit: Fit | None, foretold: pd.DataFrame, by_name: dict) -> None:
    colours = style.SizeColours(shown["params"].to_numpy())
    curves = {index: learning_curve(run) for index, run in shown.iterrows()} if "curve" in shown else {}
    has_curves = any(len(curve.flops) > 1 for curve in curves.values())
    _set_limits(axes, shown, has_curves)
    _draw_runs(axes, shown, curves, colours)
    _name_runs(axes, colours, has_curves)
    grid = shown[shown["role"] != "held_out"]
    if len(grid) > 1:
        best = grid.iloc[frontier(grid["flops"].to_numpy(), grid["loss"].to_numpy())]
        line = {"color": style.INK, "linewidth": 1.0, "zorder": 3.5}
        axes.plot(best["flops"], best["loss"], **line, label="compute-efficient frontier")
    if fit is not None and fit.law.allocates:
        _draw_law(axes, fit, shown)
    _draw_held_out(axes, shown, foretold, by_name)
    axes.set_xlabel("training compute (FLOPs)")
    colours.bar(axes, shown["params"].to_numpy())


def _draw_runs(axes: Axes, shown: pd.DataFrame, curves: dict[Any, Curve], colours: style.SizeColours) -> None:
    size = style.marker_size(len(shown))
    if not curves:
        rows = shown[shown["role"] != "held_out"].sort_values("params")
        points = (rows["flops"], rows["loss"], rows["params"])
        edge = {"markeredgecolor": "white", "markeredgewidth": 0.5}
        above = 4 if len(rows) <= style.MANY else 1.5  # a cloud of dots would hide the law
        style.draw_points(axes, *points, colours, marker="o", markersize=size, zorder=above, **edge)
        return
    for index, run in shown.sort_values("params").iterrows():
        colour, curve = colours(run["params"]), curves[index]
        # The last bin of a curve is training loss; the run ends at its held-out loss.
        flops, loss = np.append(curve.flops[:-1], run["flops"]), np.append(curve.loss[:-1], run["loss"])
        axes.plot(flops, loss, color=colour, linewidth=0.7, alpha=0.55, solid_capstyle="round")
        if run["role"] != "held_out":
            axes.plot(
                run["flops"],
                run["loss"],
                "o",
                color=colour,
                markersize=size,
                markeredgecolor="white",
                markeredgewidth=0.5,
                zorder=4,
            )


def _name_runs(axes: Axes, colours: style.SizeColours, has_curves: bool) -> None:
    """The runs' entry in the legend, in the colour of a middling size."""
    middle = colours(np.sqrt(colours.norm.vmin * colours.norm.vmax))
    marker, label = ("-o", "run: training loss, then final loss") if has_curves else ("o", "run")
    axes.plot([], [], marker, color=middle, linewidth=0.7, markersize=4, label=label)


def _draw_unfinished(axes: Axes, others: pd.DataFrame) -> list:
    """Draws what there is of runs that diverged or failed; returns the index of those drawn.

    A curve that leaves the frame is marked where it left.
    """
    drawn, (_, top) = [], axes.get_ylim()
    for index, run in others.iterrows() if "curve" in others else ():
        curve = learning_curve(run)
        if len(curve.flops) < 2:
            continue
        grey = {"color": style.MUTED, "linewidth": 0.7, "markersize": 4.5}
        axes.plot(curve.flops, curve.loss, ":", **grey)
        end = (curve.flops[-1], min(curve.loss[-1], top))
        axes.plot(*end, "x", **grey, clip_on=False, label=None if drawn else _UNFINISHED)
        drawn.append(index)
    return drawn


def _set_limits(axes: Axes, shown: pd.DataFrame, has_curves: bool) -> None:
    """Frames the end points and as much of the curves above them as leaves the end points room."""
    lowest, highest = shown["loss"].min(), shown["loss"].max()
    span = np.clip(highest / lowest, 1.15, 3.0)
    style.loss_axis(axes.yaxis, lowest / span**0.26, highest * span ** (0.75 if has_curves else 0.1))
    least, most = shown["flops"].min(), shown["flops"].max()
    style.quantity_axis(axes.xaxis, least / (most / least) ** 0.25, most * (most / least) ** 0.12 * 1.05)


def _draw_law(axes: Axes, fit: Fit, shown: pd.DataFrame) -> None:
    low, high = axes.get_xlim()
    start = max(low, shown["flops"].min() / 1.5)
    flops = np.geomspace(start, high, 200)
    params, tokens = fit.allocate(flops)
    at = {"params": params, "tokens": tokens}
    curve = fit.predict(**at)
    for interval, alpha in ((fit.predict_interval, 0.13), (fit.confidence_interval, 0.22)):
        below, above = interval(**at)
        axes.fill_between(flops, below, above, color=style.ACCENT, alpha=alpha, linewidth=0, zorder=2)
    fitted = flops <= fit.ranges.get("flops", (0.0, shown["flops"].max()))[1]
    label = f"{style.title(fit.law.name)} law at its best size, with 95 % bands"
    axes.plot(flops[fitted], curve[fitted], color=style.ACCENT, linewidth=1.4, zorder=3, label=label)
    axes.plot(
        flops[~fitted],
        curve[~fitted],
        color=style.ACCENT,
        linewidth=1.4,
        zorder=3,
        linestyle=(0, (4, 1.6)),
        label="the law beyond the runs it was fitted to",
    )


def _draw_held_out(axes: Axes, shown: pd.DataFrame, foretold: pd.DataFrame, by_name: dict) -> None:
    held_out = shown[shown["role"] == "held_out"]
    for run in foretold.itertuples():
        forecast = by_name[run.name]
        axes.errorbar(
            run.flops,
            forecast["predicted"],
            yerr=_bars(forecast),
            **_FORECAST,
            label="forecast of the held-out run, 95 %" if run.Index == foretold.index[0] else None,
        )
    if len(held_out):
        axes.plot(held_out["flops"], held_out["loss"], "*", **_MEASURED, label="held-out run, measured")


def _compare(axes: Axes, foretold: pd.DataFrame, by_name: dict) -> None:
    """Forecast and measured loss of the held-out runs side by side, at a scale that shows the error."""
    losses, texts = [], []
    for place, run in enumerate(foretold.itertuples()):
        forecast = by_name[run.name]
        error = 1.96 * run.loss_se if np.isfinite(run.loss_se) else 0.0
        axes.errorbar(place - 0.18, forecast["predicted"], yerr=_bars(forecast), **_FORECAST)
        axes.errorbar(place + 0.18, run.loss, yerr=error, color=style.INK, linewidth=1.0, capsize=2)
        axes.plot(place + 0.18, run.loss, "*", **_MEASURED)
        text = f"{forecast['relative_error']:+.1%}".replace("-", "\N{MINUS SIGN}")
        losses += [run.loss - error, run.loss + error, *_ends(forecast), forecast["predicted"]]
        texts.append(text)
    low, high = np.nanmin(losses), np.nanmax(losses)
    axes.set(xlim=(-0.5, len(foretold) - 0.5), xticks=range(len(foretold)))
    axes.set_xticklabels(texts)
    margin = 0.15 * max(high - low, 0.01 * high)
    style.loss_axis(axes.yaxis, low - margin, high + margin, most=5)
    axes.set_xlabel("error of\nthe forecast")
    axes.tick_params(axis="x", length=0)
    axes.set_title("held out", fontsize=7.5, fontweight="normal", loc="center")


def _ends(forecast: dict[str, Any]) -> list[float]:
    """The forecast's interval; a fit without a bootstrap has none."""
    return forecast["interval_95"] or [np.nan, np.nan]


def _bars(forecast: dict[str, Any]) -> np.ndarray | None:
    low, high = _ends(forecast)
    if not np.isfinite([low, high]).all():
        return None
    predicted = forecast["predicted"]
    return np.array([[max(predicted - low, 0.0)], [max(high - predicted, 0.0)]])
