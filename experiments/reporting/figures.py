"""What every figure shares: the colours of the methods, axes without ornament, and the bytes of a PNG.

Figures are made with `matplotlib.figure.Figure`, which needs no screen and is forgotten when it is dropped.
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
    """Of one of several methods, the same wherever `names` are the same."""
    if name == OWN:
        return _OWN_COLOUR
    others = [other for other in names if other != OWN]
    return _COLOURS[others.index(name) % len(_COLOURS)]


def marker(name: str, names: Sequence[str]) -> str:
    """Of one of several methods, the same wherever `names` are the same."""
    return _MARKERS[names.index(name) % len(_MARKERS)]


def plain(axes: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    """A light grid and no frame above and to the right."""
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
