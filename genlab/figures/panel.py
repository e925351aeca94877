"""A figure with its name and its caption."""

from typing import NamedTuple

from matplotlib.figure import Figure


class Panel(NamedTuple):
    """A figure, the name of its files, and its caption."""

    name: str
    figure: Figure
    caption: str
