"""Where every head of every layer looks, over the tokens of a sequence."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from genlab.figures import style

_LABELLED = 64  # More tokens than these are numbered and not spelled out: their names would touch.
_SIGNS = {" ": "\N{OPEN BOX}", "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\t": "\N{RIGHTWARDS ARROW}",
          "$": r"\$"}


@style.paper_style()
def attention_maps(weights: np.ndarray, tokens: Sequence[str]) -> Figure:
    """Draws attention weights, a row of panels a layer and a column a head; a row of a map is one query's.

    Args:
      weights: [L, H, T, T], rows that sum to 1.
      tokens: names of the T tokens.
    """
    layers, heads, length, _ = weights.shape
    names = [spelled(token) for token in tokens]
    labelled = length <= _LABELLED
    side = float(np.clip(0.085 * length, 1.3, 3.5))
    figure = Figure(figsize=(0.9 + heads * (side + 0.15), 0.4 + layers * (side + 0.25)))
    panels = figure.subplots(layers, heads, squeeze=False)
    for layer, head in np.ndindex(layers, heads):
        axes = panels[layer, head]
        axes.imshow(weights[layer, head], cmap="Blues", vmin=0, vmax=1, interpolation="none", rasterized=True)
        axes.set_title(f"layer {layer}, head {head}", fontsize=6.5, fontweight="normal", loc="center", pad=2)
        axes.tick_params(length=1, pad=1, labelsize=4.5 if labelled else 6)
        axes.tick_params(axis="x", rotation=90 if max(map(len, names)) > 1 and labelled else 0)
        for axis, shown in ((axes.yaxis, head == 0), (axes.xaxis, layer == layers - 1)):
            if not shown:
                axis.set_major_locator(NullLocator())
            elif labelled:
                axis.set_major_locator(FixedLocator(range(length)))
                axis.set_major_formatter(FixedFormatter(names))
            else:
                axis.set_major_locator(MaxNLocator(5, integer=True))
    bar = figure.colorbar(panels[0, 0].images[0], ax=panels, fraction=0.02, aspect=30)
    bar.set_label("attention")
    figure.supylabel("the token that looks", fontsize=7)
    figure.supxlabel("the token looked at", fontsize=7)
    return figure


def spelled(token: str) -> str:
    """A token as it can be read on an axis: white space and what cannot be printed as signs."""
    return "".join(_SIGNS.get(sign, sign if sign.isprintable() else "\N{WHITE SQUARE}") for sign in token) or '""'
