"""The three approaches to compute-optimality in one figure: best size against compute, and its exponent."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.scaling.approaches.comparison import Comparison, Estimate

_NAMES = {
    "envelope": "1  envelope",
    "isoflop parabola": "2  isoFLOP, parabola",
    "isoflop akima": "2  isoFLOP, Akima",
}


@style.paper_style()
def approaches(comparison: Comparison) -> Figure:
    """Draws N_opt(C) of every approach with its 95 % band, beside the exponents with their intervals.

    Args:
      comparison: from `compare_approaches`; an approach that says nothing is named with its reason.
    """
    figure = Figure(figsize=(style.PAGE, 3.1))
    spoken = [estimate for estimate in comparison.estimates if not estimate.unavailable]
    if not spoken:
        reasons = "\n".join(f"{_name(e)}: {e.unavailable}" for e in comparison.estimates)
        figure.text(0.5, 0.5, f"no approach says anything\n{reasons}", ha="center", va="center", wrap=True)
        return figure
    left, right = figure.subplots(1, 2, width_ratios=(1.55, 1))
    colours = {e.name: style.CATEGORIES[i % len(style.CATEGORIES)] for i, e in enumerate(comparison.estimates)}
    _draw_sizes(left, spoken, colours)
    _draw_exponents(right, spoken, colours)
    silent = [f"{_name(e)} says nothing" for e in comparison.estimates if e.unavailable]
    pairs = len(comparison.disagreements)
    if pairs:
        silent.append(f"{pairs} pair{'s' * (pairs > 1)} of intervals without overlap")
    style.note(figure, "; ".join(silent))
    return figure


def _name(estimate: Estimate) -> str:
    law = estimate.name.removeprefix("parametric").strip()
    return _NAMES.get(estimate.name, f"3  {style.title(law)} law" if law else "3  parametric fit")


def _draw_sizes(axes: Axes, spoken: list[Estimate], colours: dict[str, str]) -> None:
    sizes, flops = [], np.array(spoken[0].curve["flops"])
    budget = spoken[0].budgets[0]
    most = budget["flops"] / budget["extrapolation"]
    for marker, estimate in zip(style.MARKERS * 2, spoken, strict=False):
        colour = colours[estimate.name]
        at, best, low, high = (np.array(estimate.curve[k]) for k in ("flops", "params", "low", "high"))
        label = rf"{_name(estimate)}: $N \propto C^{{{estimate.exponent:.3f}}}$"
        measured = at <= most * (1 + 1e-9)
        axes.plot(at[measured], best[measured], color=colour, label=label, zorder=3)
        axes.plot(at[measured.sum() - 1 :], best[measured.sum() - 1 :], color=colour, linestyle="--", zorder=3)
        sizes += [best.min(), best.max()]
        if estimate.has_interval:
            axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        if estimate.points:
            points = estimate.points
            edge = {"markeredgecolor": "white", "markeredgewidth": 0.4}
            axes.plot(points["flops"], points["params"], marker, color=colour, markersize=4, zorder=4, **edge)
            sizes += points["params"]
    span = max(max(sizes) / min(sizes), 2.0)
    margin = (flops[-1] / flops[0]) ** 0.03
    style.quantity_axis(axes.xaxis, flops[0] / margin, flops[-1] * margin)
    # A third of the height is kept free at the top for the legend; bands may leave the frame.
    style.quantity_axis(axes.yaxis, min(sizes) / span**0.08, max(sizes) * span**0.45, style.count)
    axes.legend(loc="upper left", borderaxespad=0.2)
    axes.set(xlabel="training compute (FLOPs)", ylabel="best number of parameters", title="a   best size")


def _draw_exponents(axes: Axes, spoken: list[Estimate], colours: dict[str, str]) -> None:
    for row, (marker, estimate) in enumerate(zip(style.MARKERS * 2, spoken, strict=False)):
        colour, (low, high) = colours[estimate.name], estimate.exponent_interval_95
        said = f"{_name(estimate)}   {estimate.exponent:.3f}"
        if estimate.has_interval:
            axes.plot([low, high], [row, row], color=colour, linewidth=1.6)
            said += f" ({low:.3f} to {high:.3f})"
        axes.plot(estimate.exponent, row, marker, color=colour, markersize=6, markeredgecolor="white")
        clear = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        axes.text(0.0, row - 0.2, said, transform=axes.get_yaxis_transform(), fontsize=7, va="bottom", bbox=clear)
    axes.axvline(0.5, color=style.FAINT, linewidth=0.8, zorder=0)
    axes.set_ylim(len(spoken) - 0.5, -0.75)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.08)
    axes.set(xlabel=r"exponent $a$ of $N \propto C^a$", title="b   exponent, 95 % interval")
