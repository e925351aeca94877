"""What a masked autoencoder saw of images, and what it made of it."""

import numpy as np
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.predictions import show_image

_COLUMNS = 8


@style.paper_style()
def reconstructions(images: np.ndarray, seen: np.ndarray, filled: np.ndarray) -> Figure:
    """Draws images in groups of three rows: as they are, with what was masked in grey, and filled in.

    Args:
      images, seen, filled: uint8 [N, I, J, C], C 1 or 3.
    """
    columns = min(len(images), _COLUMNS)
    groups = -(-len(images) // columns)
    figure = Figure(figsize=(style.PAGE, 3 * groups * style.PAGE / columns))
    axes = figure.subplots(3 * groups, columns, squeeze=False)
    for each in axes.flat:
        each.set_axis_off()
    for index in range(len(images)):
        group, column = divmod(index, columns)
        for row, pictures in enumerate((images, seen, filled)):
            show_image(axes[3 * group + row, column], pictures[index])
    for row, name in enumerate(("image", "seen", "filled in")):
        axes[row, 0].set_title(name, fontsize=7, fontweight="normal", pad=2)
    return figure
