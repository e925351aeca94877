"""What a classifier says of images, and where it looked."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genlab.figures import style

_COLUMNS = 8
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
      attention: how much was looked at each patch [N, rows, columns], drawn beside each image over it.
    """
    panels = 1 if attention is None else 2
    columns = min(len(images), _COLUMNS // panels)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(style.PAGE, rows * style.PAGE / (columns * panels) * 1.25))
    axes = figure.subplots(rows, columns * panels, squeeze=False)
    for each in axes.flat:
        each.set_axis_off()
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        each = axes[row, column * panels]
        show_image(each, image)
        _caption(each, labels[index], probabilities[index], class_names)
        if attention is not None:
            show_attention(axes[row, column * panels + 1], image, attention[index])
    return figure


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Draws an image, uint8 [I, J, C], grey or in colours."""
    grey = image.shape[-1] == 1
    axes.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)


def show_attention(axes: Axes, image: np.ndarray, weights: np.ndarray) -> None:
    """Draws an image, uint8 [I, J, C], under weights [rows, columns] of the patches it was cut into."""
    show_image(axes, image)
    height, width = image.shape[:2]
    axes.imshow(weights, extent=(-0.5, width - 0.5, height - 0.5, -0.5), **_MAP)


def _caption(axes: Axes, label: int, probabilities_K: np.ndarray, class_names: Sequence[str]) -> None:
    said = int(np.argmax(probabilities_K))
    text = f"{class_names[said]} {probabilities_K[said]:.0%}"
    right = said == label
    axes.set_title(text if right else f"{text}\nis {class_names[label]}", fontsize=6.5, fontweight="normal",
                   loc="center", pad=2, color=style.INK if right else style.ACCENT)
