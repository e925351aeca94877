"""Induction heads as they form, with the bump in the loss: both over the evaluations of one run."""

import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.evaluations import evaluation_table, training_axis

_HEAD = re.compile(r"induction/(prefix_matching|previous_token)_block_(\d+)_head_(\d+)")
_DASHES = ("-", "--", "-.")  # of the heads that are named, the best at the end first


@style.paper_style()
def induction(evaluations: Sequence[dict[str, Any]] | pd.DataFrame) -> Figure:
    """Draws the held-out loss and the loss on a repeated pattern above every head's scores, over training.

    After Olsson et al. 2022 (arXiv 2209.11895), argument 1: where prefix matching rises, the loss bends.

    Args:
      evaluations: of a run that has `objectives.induction.InductionHeads` among them, as its record holds them.

    Raises:
      ConfigError: it has not.
    """
    table = evaluation_table(evaluations, needed="induction/prefix_matching")
    figure = Figure(figsize=(style.PAGE, 4.8))
    losses, matching, previous = figure.subplots(3, 1, sharex=True, height_ratios=(1.3, 1, 1))
    x = training_axis(previous, table)
    losses.plot(x, table["loss"], color=style.INK, label="held-out data")
    for name, colour, what in (("first_loss", style.MUTED, "random pattern, new"),
                               ("repeated_loss", style.ACCENT, "random pattern, repeated")):
        losses.plot(x, table[f"induction/{name}"], color=colour, label=what)
    losses.set_ylabel("loss (nats per token)")
    losses.set_title("a   loss")
    losses.legend(loc="best")
    _draw_heads(matching, x, table, "prefix_matching")
    matching.set_title("b   prefix matching: attention to what followed the same token before")
    _draw_heads(previous, x, table, "previous_token")
    previous.set_title("c   attention to the previous token")
    return figure


def _draw_heads(axes: Axes, x: np.ndarray, table: pd.DataFrame, score: str) -> None:
    """One line a head, in the colour of its layer; the best ones are named, and chance is dotted."""
    heads = {name: (int(match[2]), int(match[3])) for name in table
             if (match := _HEAD.fullmatch(name)) and match[1] == score}
    layers = sorted({layer for layer, _ in heads.values()})
    colours = dict(zip(layers, matplotlib.colormaps["viridis"](np.linspace(0, 0.8, len(layers))), strict=True))
    best = sorted(heads, key=lambda name: -table[name].iloc[-1])[:len(_DASHES)]
    for name, (layer, _) in heads.items():
        if name not in best:
            axes.plot(x, table[name], color=colours[layer], linewidth=0.6)
    for name, dashes in zip(best, _DASHES, strict=False):
        layer, head = heads[name]
        axes.plot(x, table[name], color=colours[layer], linestyle=dashes, linewidth=1.3,
                  label=f"layer {layer}, head {head}")
    axes.axhline(table[f"induction/{score}/chance"].iloc[-1], color=style.MUTED, linewidth=0.8, linestyle=":",
                 label="chance")
    axes.set(ylim=(0, 1), ylabel="attention")
    axes.legend(loc="upper left")
