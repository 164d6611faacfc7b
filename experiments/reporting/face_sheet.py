"""A figure of faces: a row for each person, a labelled column for each method."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from experiments.reporting import figures

_INCHES_PER_FACE = 1.5


def draw(
    columns: Mapping[str, np.ndarray], rows: Sequence[str], title: str, *, inches: float = _INCHES_PER_FACE
) -> bytes:
    """Draws faces side by side.

    Args:
      columns: label -> pictures `(num_rows, height, width, channels)`, clipped to [0, 1].
      rows: a label for each row.
      title: above all faces.
      inches: width of a face, which has 150 pixels for each.

    Returns:
      The figure as PNG.
    """
    height, width = next(iter(columns.values())).shape[1:3]
    figure = Figure(
        figsize=(
            inches * len(columns) + 0.3,
            inches * len(rows) * height / width + 0.6,
        ),
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0),
    )
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for column, (label, pictures) in enumerate(columns.items()):
        axes[0, column].set_title(label.replace("_", " "), fontsize=10)
        for row, picture in enumerate(np.clip(pictures, 0, 1)):
            axis = axes[row, column]
            axis.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
    for row, label in enumerate(rows):
        axes[row, 0].set_ylabel(label if len(label) <= 16 else f"…{label[-15:]}", fontsize=8)
    figure.suptitle(title, fontsize=11)
    return figures.png(figure)
