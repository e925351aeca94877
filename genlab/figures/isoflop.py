"""IsoFLOP curves: loss against size at fixed compute, their minima, and how the best size grows."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, LogNorm
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.table import loss_label
from genlab.scaling.approaches.isoflop import IsoFlop, optimal_power_laws
from genlab.scaling.fitting.fitted import Fit

_MOST_NAMES = 7  # More budgets than that are told by a colour bar: their names would not fit beside the curves.
_REFUSED = "#a6a6a6"
_LINES = {"parabola": "-", "akima": (0, (4, 1.5))}
_MINIMA = {"parabola": "D", "akima": "s"}
_LAWS = {"parabola": "--", "akima": ":"}


@style.paper_style()
def isoflop(curves: Sequence[IsoFlop], fit: Fit | None = None, unit: str = "nats per token") -> Figure:
    """Draws isoFLOP curves with their minima beside the best size against compute.

    Args:
      curves: from `isoflop_minima`, of one method or of both together; a refused one is drawn without a
        line, in grey.
      fit: a law of params and tokens; its compute-optimal size is drawn with its 95 % band.
      unit: of the loss.
    """
    figure = Figure(figsize=(style.PAGE, 3.1))
    if not curves:
        figure.text(0.5, 0.5, "no three sizes share a training compute", ha="center")
        return figure
    left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
    budgets = {curve.flops: [c for c in curves if c.flops == curve.flops] for curve in curves}
    colours = _Colours(list(budgets))
    _draw_curves(left, budgets, colours)
    left.set_ylabel(loss_label(unit))
    _draw_best_size(right, curves, colours, fit)
    style.note(figure, _small_print(curves, budgets))
    return figure


def _small_print(curves: Sequence[IsoFlop], budgets: dict[float, list[IsoFlop]]) -> str:
    refused = sum(not any(map(_found, here)) for here in budgets.values())
    notes = [f"{refused} of {len(budgets)} budgets without a minimum among their sizes (grey)"] * (refused > 0)
    if any(curve.interpolated for curve in curves):
        notes.append("hollow points are interpolated between two runs of one size")
    if any(curve.interval_95 for curve in curves):
        notes.append("bars are 95 % intervals from the losses' noise")
    if {curve.method for curve in curves} == {"parabola", "akima"}:
        notes.append("solid lines: parabola; dashed: Akima's spline")
    return "; ".join(notes)


def _found(curve: IsoFlop) -> bool:
    return curve.best_params is not None


class _Colours:
    """A colour for every budget, on the logarithm of its FLOPs."""

    def __init__(self, flops: list[float]):
        self.flops = flops
        self.norm = LogNorm(min(flops) / 1.05, max(flops) * 1.05)
        # Plasma without its last fifth, which is too pale for lines on white.
        self.map: Colormap = ListedColormap(matplotlib.colormaps["plasma"](np.linspace(0, 0.8, 256)))

    @property
    def named(self) -> bool:
        """Whether the budgets are few enough for a name beside each curve."""
        return len(self.flops) <= _MOST_NAMES

    def __call__(self, flops: float) -> tuple:
        return self.map(self.norm(flops))

    def bar(self, axes: Axes) -> None:
        """Adds a colour bar with round numbers of FLOPs."""
        mappable = ScalarMappable(self.norm, self.map)
        bar = axes.figure.colorbar(mappable, ax=axes, location="right", pad=0.02, aspect=30, fraction=0.04)
        bar.outline.set_visible(False)
        style.quantity_axis(bar.ax.yaxis, self.norm.vmin, self.norm.vmax)
        bar.ax.tick_params(length=2, pad=1.5, which="both")
        bar.set_label("training compute (FLOPs)", labelpad=3)


def _draw_curves(axes: Axes, budgets: dict[float, list[IsoFlop]], colours: _Colours) -> None:
    every = [here[0] for here in budgets.values()]
    params = np.concatenate([curve.params for curve in every])
    losses = np.concatenate([curve.loss for curve in every])
    width = params.max() / params.min()
    # A quarter of the axis is kept free on the right for the budgets' names.
    right = params.max() * width ** (0.36 if colours.named else 0.06)
    style.quantity_axis(axes.xaxis, params.min() / width**0.06, right, style.count)
    style.loss_axis(axes.yaxis, losses.min() / 1.03, losses.max() * 1.03)
    ends = []
    for flops, here in budgets.items():
        first, found = here[0], [curve for curve in here if _found(curve)]
        colour = colours(flops) if found else _REFUSED
        face = "white" if first.interpolated else colour
        size = style.marker_size(len(params))
        axes.plot(first.params, first.loss, "o", color=colour, markerfacecolor=face, markersize=size, zorder=4)
        for curve in found:
            sizes = np.geomspace(curve.params[0], curve.params[-1], 200)
            axes.plot(sizes, curve.curve(sizes), color=colour, linewidth=1.0, linestyle=_LINES[curve.method])
            _mark(axes, curve.best_params, curve.best_loss, style.INK, curve.method)
        if not found:
            axes.plot(first.params, first.loss, color=colour, linewidth=0.8, linestyle=":")
        name_colour = colour if found else style.MUTED
        ends.append((first.params[-1], first.loss[-1], f"{style.power(flops)} FLOPs", name_colour))
    if colours.named:
        style.label_points(axes, ends)
    else:
        colours.bar(axes)
    axes.set(xlabel="parameters", title="a   loss at fixed compute")


def _mark(axes: Axes, x: float, y: float, colour, method: str) -> None:
    """One minimum."""
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.7}
    axes.plot(x, y, _MINIMA[method], color=colour, markersize=4.5, zorder=5, **edge)


def _draw_best_size(axes: Axes, curves: Sequence[IsoFlop], colours: _Colours, fit: Fit | None) -> None:
    found = [curve for curve in curves if _found(curve)]
    flops = np.array(colours.flops)
    span = max(flops.max() / flops.min(), 10.0) ** 0.15
    line = np.geomspace(flops.min() / span, flops.max() * span, 100)
    sizes = [end for curve in found for end in (curve.best_params, *(curve.interval_95 or ()))]
    best = fit.allocate(line)[0] if fit is not None and fit.law.allocates else np.zeros(1)
    if (np.isfinite(best) & (best > 0)).all():  # a law of a table without any trend has no best size
        if len(fit.samples):
            refits, _ = fit.law.allocate(fit.samples, line, fit.cost)
            low, high = np.percentile(refits, [2.5, 97.5], axis=0)
            axes.fill_between(line, low, high, color=style.ACCENT, alpha=0.18, linewidth=0)
        axes.plot(line, best, color=style.ACCENT, label=f"{style.title(fit.law.name)} law, 95 %")
        sizes += [best.min(), best.max()]
    methods = list(dict.fromkeys(curve.method for curve in found))
    for method in methods:
        laws = optimal_power_laws([curve for curve in found if curve.method == method])
        if laws is not None:
            what = "minima" if len(methods) == 1 else style.title(method)
            label = rf"{what}: $N \propto C^{{{laws[0].exponent:.2f}}}$"
            axes.plot(line, laws[0](line), _LAWS[method], color=style.INK, linewidth=1.0)
            key = _LAWS[method] + _MINIMA[method]
            axes.plot([], [], key, color=style.INK, linewidth=1.0, markersize=4, label=label)
            sizes += list(laws[0](line[[0, -1]]))
    for curve in found:
        if curve.interval_95:
            axes.plot([curve.flops] * 2, curve.interval_95, color=colours(curve.flops), linewidth=0.9, zorder=3)
        _mark(axes, curve.flops, curve.best_params, colours(curve.flops), curve.method)
    style.quantity_axis(axes.xaxis, line[0], line[-1])
    if sizes:
        # A quarter of the height is kept free at the top for the legend.
        span = max(max(sizes) / min(sizes), 2.0)
        style.quantity_axis(axes.yaxis, min(sizes) / span**0.08, max(sizes) * span**0.3, style.count)
        axes.legend(loc="upper left", borderaxespad=0.2)
    axes.set(xlabel="training compute (FLOPs)", ylabel="best number of parameters", title="b   best size")
