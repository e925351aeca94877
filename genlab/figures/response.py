"""A law of one variable: runs, the curve with its bands, and the residuals."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.table import run_table
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.runs import Runs

_LABELS = {"params": "parameters", "tokens": "training tokens", "flops": "training compute (FLOPs)", "loss": "loss"}


@style.paper_style()
def response(runs: Runs | pd.DataFrame, fit: Fit, names: dict[str, str] | None = None) -> Figure:
    """Draws a law of one variable through its runs, and what is left between them.

    Args:
      runs: the run table, in canonical columns.
      fit: of a law with one input.
      names: what to call a canonical column on an axis, e.g. {"x": "Seen Examples"}.
    """
    (name,) = fit.law.inputs
    labels = {**_LABELS, **(names or {})}
    table = run_table(runs)
    x, y = (pd.to_numeric(table[column], errors="coerce") for column in (name, fit.law.response))
    good = (x > 0) & np.isfinite(y) & (table["status"] == "finished")
    good &= (y > 0) | (fit.law.response_scale == "linear")
    figure = Figure(figsize=(style.PAGE, 3.0))
    if not good.any():
        figure.text(0.5, 0.5, f"nothing to show for the {fit.law.name} law", ha="center")
        return figure
    x, y = x[good].to_numpy(), y[good].to_numpy()
    held_out = (table["role"][good] == "held_out").to_numpy()
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    _draw_curve(left, x, y, held_out, fit)
    _draw_residuals(right, x, y, held_out, fit)
    for axes in (left, right):
        axes.set_xlabel(labels.get(name, name))
    left.set_ylabel(labels.get(fit.law.response, fit.law.response))
    return figure


def _draw_curve(axes: Axes, x: np.ndarray, y: np.ndarray, held_out: np.ndarray, fit: Fit) -> None:
    (name,) = fit.law.inputs
    low, high = fit.ranges[name]
    line = np.geomspace(x.min(), x.max(), 300)
    curve = fit.predict(**{name: line})
    shown = [y, curve]
    if len(fit.samples):
        for band, alpha in ((fit.predict_interval, 0.12), (fit.confidence_interval, 0.25)):
            axes.fill_between(line, *band(**{name: line}), color=style.ACCENT, alpha=alpha, linewidth=0)
    inside = (line >= low * (1 - 1e-9)) & (line <= high * (1 + 1e-9))
    axes.plot(line[inside], curve[inside], color=style.ACCENT, label=f"{style.title(fit.law.name)} law, 95 %")
    for beyond in (line < low, line > high):
        if beyond.any():
            axes.plot(line[beyond], curve[beyond], color=style.ACCENT, linestyle="--")
    _draw_points(axes, x, y, held_out)
    span = max(x.max() / x.min(), 2.0) ** 0.06
    style.quantity_axis(axes.xaxis, x.min() / span, x.max() * span, _short, most=5)
    values = np.concatenate(shown)
    if fit.law.response_scale == "log":
        _positive_axis(axes, values.min() / 1.04, values.max() * 1.04)
    axes.legend(loc="best", borderaxespad=0.3)
    axes.set_title(f"a   {fit.law.text}" if len(fit.law.text) < 46 else f"a   {style.title(fit.law.name)} law")


def _draw_residuals(axes: Axes, x: np.ndarray, y: np.ndarray, held_out: np.ndarray, fit: Fit) -> None:
    (name,) = fit.law.inputs
    logarithmic = fit.law.response_scale == "log"
    predicted = fit.predict(**{name: x})
    error = 100 * (predicted / y - 1) if logarithmic else predicted - y
    scatter = fit.residual_scatter * (100 if logarithmic else 1)
    axes.axhspan(-2 * scatter, 2 * scatter, color=style.FAINT, alpha=0.5, linewidth=0)
    axes.axhline(0, color=style.MUTED, linewidth=0.6)
    _draw_points(axes, x, error, held_out)
    span = max(x.max() / x.min(), 2.0) ** 0.06
    style.quantity_axis(axes.xaxis, x.min() / span, x.max() * span, _short, most=4)
    reach = 1.25 * max(np.abs(error).max(), 2 * scatter, 1e-12)
    axes.set(ylim=(-reach, reach), ylabel="law above measured" + (" (%)" if logarithmic else ""))
    axes.set_title("b   residuals, two std.")


def _draw_points(axes: Axes, x: np.ndarray, y: np.ndarray, held_out: np.ndarray) -> None:
    dots = {"linestyle": "none", "markeredgecolor": "white", "markeredgewidth": 0.4, "color": style.INK, "zorder": 3}
    size = style.marker_size(len(x))
    axes.plot(x[~held_out], y[~held_out], "o", markersize=size, rasterized=len(x) > style.MANY, **dots)
    if held_out.any():
        size, blue = 9 if held_out.sum() < 20 else 5, {**dots, "color": style.CATEGORIES[0]}
        axes.plot(x[held_out], y[held_out], "*", markersize=size, **blue, label="held out")


def _positive_axis(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis: plain numbers for losses, powers of ten for what spans or exceeds thousands."""
    if high > 1e4 or low < 1e-3:
        style.quantity_axis(axes.yaxis, low, high, _short)
    else:
        style.loss_axis(axes.yaxis, low, high)


def _short(value: float) -> str:
    return f"{value:.3g}" if 1e-2 <= value < 1e4 else style.power(value)
