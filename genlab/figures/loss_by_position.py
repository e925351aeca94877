"""The loss by a token's place in the sequence, as it came to be over training."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.evaluations import chosen_evaluations, evaluation_table, training_axis

_BIN = re.compile(r"loss_by_position/(\d+)_to_(\d+)")


@style.paper_style()
def loss_by_position(evaluations: Sequence[dict[str, Any]] | pd.DataFrame) -> Figure:
    """Draws the loss against the number of tokens read before, and the in-context learning score over training.

    Args:
      evaluations: of a run that has `objectives.loss_by_position.LossByPosition` among them, as its record holds them.

    Raises:
      ConfigError: it has not.
    """
    table = evaluation_table(evaluations, needed="loss_by_position/")
    figure = Figure(figsize=(style.PAGE, 2.6))
    by_place, over_training = figure.subplots(1, 2, width_ratios=(1.3, 1))
    bins = sorted((tuple(map(int, match.groups())), name) for name in table if (match := _BIN.fullmatch(name)))
    middles = np.sqrt([first * last for (first, last), _ in bins])
    for row, colour in chosen_evaluations(table):
        by_place.plot(middles, row[[name for _, name in bins]].astype(float), "o-", color=colour, markersize=2.5,
                      label=f"step {row['step']:,.0f}")
    by_place.set(xscale="log", xlabel="tokens read before", ylabel="loss (nats per token)")
    by_place.set_title("a   loss by position")
    by_place.legend(loc="best")
    score = "loss_by_position/in_context_score"
    if score in table:
        over_training.plot(training_axis(over_training, table), table[score], color=style.INK)
        over_training.axhline(0, color=style.MUTED, linewidth=0.6)
        over_training.set_ylabel("late less early loss (nats)")
        over_training.set_title("b   in-context learning score")
    else:
        over_training.remove()
    return figure
