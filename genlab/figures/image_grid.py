"""Images in a grid, as large as they need to be."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genlab.figures import style

COLUMNS = 8  # that a page holds.
TITLE = {"fontsize": 6.5, "fontweight": "normal", "pad": 2, "parse_math": False}
_LARGEST = 1.7  # inches: one image alone would fill the page, its title lost above it.
_LINE, _CHARACTER = 0.12, 0.056  # inches: a line of a title is so high, its usual letter so wide.


def image_grid(rows: int, columns: int, title_lines: int) -> tuple[Figure, np.ndarray, int]:
    """Makes frameless axes for square images.

    Args:
      rows, columns: of panels.
      title_lines: that are to fit above each row.

    Returns:
      (figure, axes [rows, columns], how many characters of a title fit over a panel).
    """
    size = min(style.PAGE / columns, _LARGEST)
    figure = Figure(figsize=(columns * size, rows * (size + title_lines * _LINE)))
    axes = figure.subplots(rows, columns, squeeze=False)
    for each in axes.flat:
        each.set_axis_off()
    return figure, axes, int(size / _CHARACTER)


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Draws an image, uint8 [I, J, C], grey or in colours."""
    grey = image.shape[-1] == 1
    axes.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)
