"""IsoFLOP curves: loss against size at fixed compute, their minima, and how the best size grows."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.table import loss_label
from genlab.scaling.fitted import Fit
from genlab.scaling.isoflop import IsoFlop, optimal_exponent


@style.paper_style()
def isoflop(curves: Sequence[IsoFlop], fit: Fit | None = None, unit: str = "nats per token") -> Figure:
    """Draws isoFLOP curves with their minima beside the best size against compute.

    Args:
      curves: from `isoflop_minima`; a refused one is drawn without a parabola, in grey.
      fit: a law of params and tokens; its compute-optimal size is drawn with its 95 % band.
      unit: of the loss.
    """
    figure = Figure(figsize=(style.PAGE, 3.1))
    if not curves:
        figure.text(0.5, 0.5, "no three sizes share a training compute", ha="center")
        return figure
    left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
    colours = _budget_colours(curves)
    _draw_curves(left, curves, colours)
    left.set_ylabel(loss_label(unit))
    _draw_best_size(right, curves, colours, fit)
    refused = sum(not curve.coefficients for curve in curves)
    notes = [f"{refused} of {len(curves)} budgets without a minimum among their sizes (grey)"] * (refused > 0)
    if any(curve.interpolated for curve in curves):
        notes.append("hollow points are interpolated between two runs of one size")
    style.note(figure, "; ".join(notes))
    return figure


def _budget_colours(curves: Sequence[IsoFlop]) -> dict[float, tuple]:
    flops = [curve.flops for curve in curves]
    norm = LogNorm(min(flops) / 1.05, max(flops) * 1.05)
    plasma = matplotlib.colormaps["plasma"]
    return {value: plasma(0.78 * norm(value)) for value in flops}


def _draw_curves(axes: Axes, curves: Sequence[IsoFlop], colours: dict[float, tuple]) -> None:
    params = np.concatenate([curve.params for curve in curves])
    losses = np.concatenate([curve.loss for curve in curves])
    width = params.max() / params.min()
    # A quarter of the axis is kept free on the right for the budgets' names.
    style.quantity_axis(axes.xaxis, params.min() / width**0.06, params.max() * width**0.36, style.count)
    style.loss_axis(axes.yaxis, losses.min() / 1.03, losses.max() * 1.03)
    ends = []
    for curve in curves:
        found = bool(curve.coefficients)
        colour = colours[curve.flops] if found else "#a6a6a6"
        face = "white" if curve.interpolated else colour
        axes.plot(
            curve.params,
            curve.loss,
            "o",
            color=colour,
            markerfacecolor=face,
            markersize=style.marker_size(len(params)),
            zorder=4,
        )
        if found:
            sizes = np.geomspace(curve.params[0], curve.params[-1], 100)
            axes.plot(sizes, curve.curve(sizes), color=colour, linewidth=1.1)
            axes.plot(
                curve.best_params,
                curve.best_loss,
                "D",
                color=style.INK,
                markersize=4.5,
                zorder=5,
                markeredgecolor="white",
                markeredgewidth=0.7,
            )
        else:
            axes.plot(curve.params, curve.loss, color=colour, linewidth=0.8, linestyle=":")
        name_colour = colour if found else style.MUTED
        ends.append((curve.params[-1], curve.loss[-1], f"{style.power(curve.flops)} FLOPs", name_colour))
    style.label_points(axes, ends)
    axes.set(xlabel="parameters", title="a   loss at fixed compute")


def _draw_best_size(axes: Axes, curves: Sequence[IsoFlop], colours: dict, fit: Fit | None) -> None:
    found = [curve for curve in curves if curve.best_params is not None]
    flops = np.array([curve.flops for curve in curves])
    span = max(flops.max() / flops.min(), 10.0) ** 0.15
    line = np.geomspace(flops.min() / span, flops.max() * span, 100)
    sizes = [curve.best_params for curve in found]
    if fit is not None and {"params", "tokens"} <= set(fit.law.inputs):
        best, _ = fit.allocate(line)
        if len(fit.samples):
            refits, _ = fit.law.allocate(fit.samples, line, fit.cost)
            low, high = np.percentile(refits, [2.5, 97.5], axis=0)
            axes.fill_between(line, low, high, color=style.ACCENT, alpha=0.18, linewidth=0)
        axes.plot(line, best, color=style.ACCENT, label=f"{style.title(fit.law.name)} law, 95 %")
        sizes += [best.min(), best.max()]
    power_law = optimal_exponent(list(curves))
    if power_law is not None:
        exponent, constant = power_law
        label = rf"minima: $N \propto C^{{{exponent:.2f}}}$"
        axes.plot(line, constant * line**exponent, "--", color=style.INK, linewidth=0.9, label=label)
        sizes += list(constant * line[[0, -1]] ** exponent)
    for curve in found:
        axes.plot(
            curve.flops,
            curve.best_params,
            "D",
            color=colours[curve.flops],
            markersize=5,
            zorder=4,
            markeredgecolor="white",
            markeredgewidth=0.7,
        )
    style.quantity_axis(axes.xaxis, line[0], line[-1])
    if sizes:
        margin = max(max(sizes) / min(sizes), 2.0) ** 0.12
        style.quantity_axis(axes.yaxis, min(sizes) / margin, max(sizes) * margin, style.count)
        axes.legend(loc="upper left", borderaxespad=0.2)
    axes.set(xlabel="training compute (FLOPs)", ylabel="best number of parameters", title="b   best size")
