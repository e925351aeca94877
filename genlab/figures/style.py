"""How every figure looks: type, colours, readable logarithmic axes, and where files go."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from matplotlib.typing import ColorType

COLUMN, PAGE = 3.4, 6.9  # Widths of a column and of a page's text, inches.
INK, MUTED, FAINT = "#1a1a1a", "#6b6b6b", "#d9d9d9"
# Okabe and Ito (2008): told apart under the common colour-vision deficiencies.
ACCENT = "#d55e00"
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
MARKERS = ("o", "s", "^", "D", "v", "P")
MANY = 2_000  # Dots of one axes: more are drawn together, see `draw_points`.
_SHADES = 64

# DejaVu ships with matplotlib, so that a figure is the same on every machine.
_SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.2,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "genlab",  # The same table gives the same file, byte for byte.
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Sets type, lines and colours for the figures made inside the block, and only there."""
    with matplotlib.rc_context(_SETTINGS):
        yield


@paper_style()
def save(figure: Figure, directory: Path, name: str) -> dict[str, Path]:
    """Writes `name`.png (200 dots an inch) and `name`.svg; returns file name -> path."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = {f"{name}.{kind}": directory / f"{name}.{kind}" for kind in ("png", "svg")}
    for path in paths.values():
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=200, metadata=metadata)
        figure.set_layout_engine("none")  # Laid out by the first; again would cost 0.2 s a figure.
    return paths


class SizeColours:
    """A perceptually uniform colour for every model size, on the logarithm of its parameters."""

    def __init__(self, params: np.ndarray):
        """`params`: all sizes to be shown, of which at least one is positive."""
        low, high = float(np.min(params)), float(np.max(params))
        if high / low < 1.05:  # One size only: a colour bar from itself to itself has no middle.
            low, high = low / 2, high * 2
        # Viridis without its last tenth, which is too pale for lines on white.
        self.map: Colormap = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.9, 256)))
        self.norm = LogNorm(low, high)

    def __call__(self, params: float) -> tuple[float, float, float, float]:
        return self.map(self.norm(params))

    def bar(self, axes: Axes, sizes: np.ndarray, most: int = 8) -> None:
        """Adds a colour bar labelled with the sizes themselves, with round numbers if there are many."""
        mappable = ScalarMappable(self.norm, self.map)
        bar = axes.figure.colorbar(mappable, ax=axes, location="top", pad=0.02, aspect=60, fraction=0.03, anchor=(0, 0))
        bar.outline.set_visible(False)
        bar.ax.xaxis.set_minor_locator(NullLocator())
        sizes = np.unique(sizes)
        ticks = spread(sizes, least_ratio=(self.norm.vmax / self.norm.vmin) ** 0.07)
        if len(sizes) > most:
            ticks = round_ticks(self.norm.vmin, self.norm.vmax, most)
        bar.set_ticks(ticks, labels=[count(tick) for tick in ticks])
        bar.ax.tick_params(length=2, pad=1.5)
        bar.set_label("parameters", labelpad=4)


def spread(values: np.ndarray, least_ratio: float) -> list[float]:
    """The values that stand at least a ratio apart, from the smallest up."""
    kept: list[float] = []
    for value in map(float, np.sort(values)):
        if not kept or value / kept[-1] >= least_ratio:
            kept.append(value)
    return kept


def count(value: float) -> str:
    """A number of parameters or tokens for reading: 950, 3.2k, 124M, 1.5B, 12T."""
    if not math.isfinite(value):
        return "n/a"
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def marker_size(number: int) -> float:
    """The size of a dot, in points, when so many share an axes."""
    return 4.2 if number <= 60 else 2.8 if number <= MANY else 1.4


def draw_points(axes: Axes, x, y, params, colours: SizeColours, **marker) -> None:
    """Draws dots in the colours of their sizes, [points] each.

    In a large table dots of nearly one colour are one line of markers, and pixels in an SVG file: 100,000 single
    ones would take minutes and tens of megabytes.
    """
    x, y, params = (np.asarray(values, dtype=np.float64) for values in (x, y, params))
    if len(x) <= MANY:
        for across, up, size in zip(x, y, params, strict=True):
            axes.plot(across, up, color=colours(size), **marker)
        return
    marker |= {"linestyle": "none", "markeredgewidth": 0.0, "rasterized": True}
    shade = np.round(colours.norm(params) * (_SHADES - 1)).astype(int)
    for here in np.unique(shade):
        part = shade == here
        colour = colours(float(np.median(params[part])))
        axes.plot(x[part], y[part], color=colour, **marker)


def title(law: str) -> str:
    """A law's name as a title: "chinchilla" becomes "Chinchilla"."""
    return law[:1].upper() + law[1:].replace("_", " ")


def for_text(colour: ColorType) -> tuple[float, ...]:
    """A colour dark enough to read as text on white: what is too light is mixed with black."""
    rgb = np.array(to_rgb(colour))
    lightness = rgb @ (0.2126, 0.7152, 0.0722)
    return tuple(rgb * min(1.0, 0.42 / max(lightness, 1e-6)))


def power(value: float) -> str:
    """A large number as mathtext, 3.2 x 10^13; whole powers of ten without a mantissa."""
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = f"{value / 10**exponent:.1f}".removesuffix(".0")
    return rf"$10^{{{exponent}}}$" if mantissa == "1" else rf"${mantissa}\times10^{{{exponent}}}$"


def loss_axis(axis, low: float, high: float, most: int = 7) -> None:
    """Makes a log axis from `low` to `high` with plain numbers at no more than `most` round places."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})
    ticks = round_ticks(low, high, most)
    decimals = max((len(f"{tick:.10g}".partition(".")[2]) for tick in ticks), default=0)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{decimals}f}"))
    axis.set_minor_locator(NullLocator())


def quantity_axis(axis, low: float, high: float, text: Callable[[float], str] = power, most: int = 6) -> None:
    """Makes a log axis of large numbers, named by `text` (`power` or `count`) at round places."""
    if high / low < 1.5:  # All but one quantity: it stands in the middle.
        low, high = low / 3, high * 3
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_locator(FixedLocator(round_ticks(low, high, most)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


# Leading digits of ticks, sparse to dense; a step of s is every multiple of s between 1 and 10.
_MANTISSAS = (
    *((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)),
    np.arange(1, 10, 0.5),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9),
    *(np.arange(1, 10, step) for step in (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4)),
)


def round_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """As many round numbers in [low, high] as fit under `most`, evenly on a logarithmic scale."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    best: list[float] = []
    for mantissas in _MANTISSAS:
        ticks = [float(f"{m * 10.0**d:.10g}") for d in decades for m in mantissas]
        ticks = sorted({tick for tick in ticks if low <= tick <= high})
        if len(ticks) <= most:
            # .96, .98, 1 and 1.2 would crowd below the decade's end.
            crowded = any(b / a < (high / low) ** (0.35 / most) for a, b in itertools.pairwise(ticks))
            best = best if crowded else max(best, ticks, key=len)
            continue
        if len(best) < 2:
            best = ticks[:: math.ceil(len(ticks) / most)]
        if len(ticks) > 4 * most:  # The rest is denser still.
            break
    return best


def factor_axis(axis, high: float) -> None:
    """Makes a log axis of factors from 1 up to a little above `high`, labelled 1x, 2x, 5x."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (0.93, high**1.06)})
    axis.set_major_locator(FixedLocator(round_ticks(1.0, high**1.06, most=6)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}\N{MULTIPLICATION SIGN}"))
    axis.set_minor_locator(NullLocator())


def label_points(axes: Axes, points: list[tuple]) -> None:
    """Names points of (x, y, text, colour) to their right, moved up where two texts would touch.

    Both axes are logarithmic. A text takes about a 17th of the height and a quarter of the width.
    """
    (left, right), (low, high) = np.log(axes.get_xlim()), np.log(axes.get_ylim())
    placed: list[tuple[float, float]] = []
    for x, y, text, colour in sorted(points, key=lambda point: point[1]):
        across, up = np.log(x), np.log(y)
        for other_across, other_up in placed:
            if abs(across - other_across) < (right - left) / 4:
                up = max(up, other_up + (high - low) / 17)
        placed.append((across, up))
        height = 72 * 0.75 * axes.figure.get_figheight()
        axes.annotate(
            text,
            (x, y),
            xytext=(6, height * (up - np.log(y)) / (high - low)),
            textcoords="offset points",
            ha="left",
            va="center",
            color=for_text(colour),
            fontsize=7,
        )


def note(figure: Figure, text: str) -> None:
    """A line of small print under the figure; nothing where there is nothing to say."""
    if text:
        figure.supxlabel(text, x=0.99, ha="right", fontsize=6.5, color=MUTED)
