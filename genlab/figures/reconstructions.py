"""What a masked autoencoder saw of images, and what it made of it."""

import numpy as np
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.image_grid import COLUMNS, TITLE, image_grid, show_image


@style.paper_style()
def reconstructions(images: np.ndarray, seen: np.ndarray, filled: np.ndarray) -> Figure:
    """Draws images in groups of three rows: as they are, with what was masked in grey, and filled in.

    Args:
      images, seen, filled: uint8 [N, I, J, C], C 1 or 3.
    """
    rows = {"image": images, "seen": seen, "filled in": filled}
    columns = min(len(images), COLUMNS)
    groups = -(-len(images) // columns)
    figure, axes, _ = image_grid(len(rows) * groups, columns, title_lines=1)
    for row, (name, pictures) in enumerate(rows.items()):
        for index, picture in enumerate(pictures):
            group, column = divmod(index, columns)
            each = axes[len(rows) * group + row, column]
            show_image(each, picture)
            if column == 0:
                each.set_title(name, loc="left", color=style.MUTED, **TITLE)
    return figure
