"""The rolling backtest: how far each law's forecasts were off, against how far it had to reach."""

import numpy as np
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.scaling.forecasts.backtest import Backtest


@style.paper_style()
def backtest(result: Backtest | None) -> Figure:
    """Draws the error of every forecast of the backtest against its extrapolation factor, by law.

    A panel a law, the best first, on one scale; the band is plus and minus its root mean square.
    """
    laws = [] if result is None else sorted(result.scores, key=result.scores.get)
    if not laws or result.table.empty:
        figure = Figure(figsize=(style.PAGE, 1.2))
        figure.text(0.5, 0.5, "no backtest: one law only, or too few runs", ha="center")
        return figure
    columns = min(len(laws), 3)
    rows = -(-len(laws) // columns)
    figure = Figure(figsize=(style.PAGE, 0.5 + 2.3 * rows))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    table = result.table
    reach = 1.15 * 100 * np.abs(table["relative_error"]).max()
    furthest = max(table["extrapolation"].max(), 2.0)
    for place, axes in enumerate(grid.flat):
        if place >= len(laws):
            axes.set_axis_off()
            continue
        law, colour = laws[place], style.CATEGORIES[place % len(style.CATEGORIES)]
        of_law = table[table["law"] == law]
        score = 100 * result.scores[law]
        axes.axhspan(-score, score, color=colour, alpha=0.14, linewidth=0)
        axes.axhline(0, color=style.MUTED, linewidth=0.6)
        axes.plot(
            of_law["extrapolation"],
            100 * of_law["relative_error"],
            style.MARKERS[place % 6],
            color=colour,
            markersize=style.marker_size(len(of_law)),
            markeredgecolor="white",
            markeredgewidth=0.5 if len(of_law) <= style.MANY else 0.0,
            rasterized=len(of_law) > style.MANY,
        )
        chosen = " (chosen)" if law == result.choice else ""
        axes.set_title(
            f"{style.title(law)}{chosen}: {score:.{1 if score >= 1 else 2}f} %", fontsize=7.5
        )
        axes.set_ylim(-reach, reach)
        style.factor_axis(axes.xaxis, furthest)
    along = "compute" if result.along == "flops" else result.along
    figure.supxlabel(f"{along} of the run / largest {along} fitted (titles: root mean square error)", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("forecast above measured (%)")
    return figure
