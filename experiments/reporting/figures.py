"""Shared by all figures: the colours of the methods, plain axes, and the bytes of a PNG.

Figures are instances of `matplotlib.figure.Figure`, which needs no screen and no closing.
"""

import io
from collections.abc import Sequence
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Masked ridge is red in every figure.
OWN, _OWN_COLOUR = "masked_ridge", "tab:red"
_COLOURS = [
    f"tab:{name}" for name in ("blue", "green", "orange", "purple", "brown", "pink", "olive", "cyan", "gray")
] + ["black"]
_MARKERS = "osv^D<>pX*"


def colour(name: str, names: Sequence[str]) -> str:
    """The colour of a method, the same in all figures of the same `names`."""
    if name == OWN:
        return _OWN_COLOUR
    others = [other for other in names if other != OWN]
    return _COLOURS[others.index(name) % len(_COLOURS)]


def marker(name: str, names: Sequence[str]) -> str:
    """The marker of a method, the same in all figures of the same `names`."""
    return _MARKERS[names.index(name) % len(_MARKERS)]


def plain(axes: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    """Adds a light grid, and removes the frame above and to the right."""
    axes.grid(axis=grid, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Figure, num_columns: int) -> None:
    """One legend for all axes, below them; each label once."""
    handles: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=num_columns, fontsize=8, frameon=False
    )


def png(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()
