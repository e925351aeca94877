"""Points of the plane on their way from noise to data."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from genlab.figures import style

_PANELS = 5  # of the cloud on its way
_LINES = 60  # trajectories that are drawn; more cover each other


@style.paper_style()
def trajectories(points: np.ndarray, times: np.ndarray, data: np.ndarray) -> Figure:
    """Draws the cloud at five times, from noise to samples, a few points' ways, and the data.

    Args:
      points: [K, N, 2] at K times, falling, of samples on their way.
      times: [K].
      data: [M, 2], for comparison.
    """
    figure = Figure(figsize=(style.PAGE, style.PAGE / (_PANELS + 2) + 0.25))
    axes = figure.subplots(1, _PANELS + 2)
    chosen = np.round(np.linspace(0, len(points) - 1, _PANELS)).astype(int)
    for each, k in zip(axes, chosen, strict=False):
        _cloud(each, points[k], style.CATEGORIES[0], f"t = {times[k]:.2g}", _limit(points[k]))
    limit = _limit(points)
    lines = LineCollection(points[:, :_LINES].swapaxes(0, 1), colors=style.MUTED, linewidths=0.35, alpha=0.7)
    axes[_PANELS].add_collection(lines)
    _cloud(axes[_PANELS], points[-1, :_LINES], style.ACCENT, "ways", limit)
    _cloud(axes[_PANELS + 1], data, style.INK, "data", _limit(points[-1]))
    return figure


def _limit(points: np.ndarray) -> float:
    return 1.1 * float(np.quantile(np.abs(points), 0.999))


def _cloud(axes, points: np.ndarray, colour: str, title: str, limit: float) -> None:
    axes.scatter(*points.T, s=0.6, color=colour, alpha=0.5, linewidths=0, rasterized=True)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, fontsize=6.5, fontweight="normal", loc="center")
