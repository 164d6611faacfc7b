"""A figure of curves: how measures of several methods change along an axis."""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt, ticker
from matplotlib.lines import Line2D

# Masked ridge is red in every figure.
_OWN, _OWN_COLOUR = "masked_ridge", "tab:red"
_COLOURS = [
    f"tab:{name}" for name in ("blue", "green", "orange", "purple", "brown", "pink", "olive", "cyan", "gray")
] + ["black"]
# Over a wider range, powers of ten are labels enough.
_MANY_TIMES = 200
_MARKERS = "osv^D<>pX*"


class Panel(NamedTuple):
    """One measure.

    Attributes:
      label: of the vertical axis.
      curves: name -> {place on the horizontal axis: values, one for each split}.
      references: name -> value, drawn as a dotted line.
      is_log: whether the vertical axis is logarithmic.
      limit: above which the vertical axis is cut, if anywhere.
    """

    label: str
    curves: Mapping[str, Mapping[float, Sequence[float]]]
    references: Mapping[str, float] = {}
    is_log: bool = False
    limit: float | None = None


def draw(panels: Sequence[Panel], axis_label: str, title: str, *, is_log: bool = False) -> bytes:
    """Draws panels side by side, three in one row or two in each.

    Means over splits, with bands of one standard error where there are several splits.

    Args:
      panels: at least one; curves of the same name look the same in all.
      axis_label: of the horizontal axis, which they share.
      title: above it all.
      is_log: whether the horizontal axis is logarithmic.

    Returns:
      The figure as PNG.
    """
    num_columns = 3 if len(panels) == 3 else min(2, len(panels))
    num_rows = -(-len(panels) // num_columns)
    figure, axes = plt.subplots(
        num_rows,
        num_columns,
        figsize=(4.6 * num_columns, 3.3 * num_rows + 0.9),
        squeeze=False,
        layout="constrained",
    )
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    handles: dict[str, Line2D] = {}
    for axis, panel in zip(axes.flat, panels, strict=False):
        for name, curve in panel.curves.items():
            places = np.array(sorted(curve))
            means = np.array([np.mean(curve[place]) for place in places])
            own = name == _OWN
            (line,) = axis.plot(
                places,
                means,
                color=colour(name, names),
                marker=marker(name, names),
                markersize=5,
                linewidth=2.2 if own else 1.4,
                zorder=3 if own else 2,
                label=name.replace("_", " "),
            )
            handles.setdefault(name, line)
            spread = np.array([standard_error(curve[place]) for place in places])
            if spread.any():
                band = means - spread, means + spread
                axis.fill_between(places, *band, color=colour(name, names), alpha=0.15, linewidth=0)
        for name, value in panel.references.items():
            line = axis.axhline(value, color="grey", linestyle=":", label=name.replace("_", " "))
            handles.setdefault(name, line)
        _finish(axis, panel, axis_label, is_log)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(title, fontsize=11)
    lines = list(handles.values())
    figure.legend(handles=lines, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    plt.close(figure)
    return content.getvalue()


def _finish(axis: plt.Axes, panel: Panel, axis_label: str, is_log: bool) -> None:
    places = sorted({place for curve in panel.curves.values() for place in curve})
    if is_log:
        axis.set_xscale("log")
    if len(places) <= 12:
        axis.set_xticks(places, [f"{place:g}" for place in places], fontsize=8)
        axis.xaxis.set_minor_locator(ticker.NullLocator())
    if panel.is_log:
        axis.set_yscale("log")
        low, high = axis.get_ylim()
        if high / low < _MANY_TIMES:
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axis.yaxis.set_minor_locator(ticker.NullLocator())
    if panel.limit is not None:
        least = min(float(np.mean(values)) for curve in panel.curves.values() for values in curve.values())
        axis.set_ylim(0.9 * least, panel.limit)
    axis.set_xlabel(axis_label)
    axis.set_ylabel(panel.label)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def colour(name: str, names: Sequence[str]) -> str:
    """Of one of several curves, the same wherever `names` are the same."""
    if name == _OWN:
        return _OWN_COLOUR
    others = [other for other in names if other != _OWN]
    return _COLOURS[others.index(name) % len(_COLOURS)]


def marker(name: str, names: Sequence[str]) -> str:
    """Of one of several curves."""
    return _MARKERS[names.index(name) % len(_MARKERS)]


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; 0 for a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
