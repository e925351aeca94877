"""What a classifier says of images, and where it looked."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genlab.figures import style
from genlab.figures.image_grid import COLUMNS, TITLE, image_grid, show_image

_MAP = {"cmap": "inferno", "alpha": 0.55, "interpolation": "bilinear", "vmin": 0}


@style.paper_style()
def predictions(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str],
                attention: np.ndarray | None = None) -> Figure:
    """Draws images with the class that was read, its probability, and, where that is wrong, the right one.

    Args:
      images: uint8 [N, I, J, C], C 1 or 3.
      labels: the right classes [N].
      probabilities: [N, K].
      class_names: of the K classes.
      attention: how much was looked at each patch [N, rows, columns], drawn beside each image over it, from none to
        the image's own most.
    """
    panels = 1 if attention is None else 2
    columns = min(len(images), COLUMNS // panels)
    figure, axes, room = image_grid(-(-len(images) // columns), columns * panels, title_lines=2)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        each = axes[row, column * panels]
        show_image(each, image)
        _caption(each, labels[index], probabilities[index], class_names, room)
        if attention is not None:
            beside = axes[row, column * panels + 1]
            show_attention(beside, image, attention[index])
            if row == 0:
                beside.set_title("attention", loc="center", color=style.MUTED, **TITLE)
    return figure


def show_attention(axes: Axes, image: np.ndarray, weights: np.ndarray) -> None:
    """Draws an image, uint8 [I, J, C], under weights [rows, columns] of the patches it was cut into."""
    show_image(axes, image)
    height, width = image.shape[:2]
    axes.imshow(weights, extent=(-0.5, width - 0.5, height - 0.5, -0.5), **_MAP)


def _caption(axes: Axes, label: int, probabilities_K: np.ndarray, class_names: Sequence[str], room: int) -> None:
    said = int(np.argmax(probabilities_K))
    share = f" {probabilities_K[said]:.0%}"
    text = _cut(class_names[said], room - len(share)) + share
    right = said == label
    if not right:
        text += "\nis " + _cut(class_names[label], room - len("is "))
    axes.set_title(text, loc="center", color=style.INK if right else style.ACCENT, **TITLE)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
