"""A figure of curves: how measures of several methods change along an axis."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting import averages, figures

# Over a wider range, labels at powers of ten are enough.
_MANY_TIMES = 200


class Panel(NamedTuple):
    """One measure.

    Attributes:
      label: of the vertical axis.
      curves: name -> {place on the horizontal axis: values, one for each split}.
      references: name -> value, drawn as a dotted line.
      is_log: whether the vertical axis is logarithmic.
      limit: upper end of the vertical axis, if given.
    """

    label: str
    curves: Mapping[str, Mapping[float, Sequence[float]]]
    references: Mapping[str, float] = {}
    is_log: bool = False
    limit: float | None = None


def draw(panels: Sequence[Panel], axis_label: str, title: str, *, is_log: bool = False) -> bytes:
    """Draws panels side by side, three in one row or two in each.

    Curves are means over splits, with bands of one standard error if there are several.

    Args:
      panels: at least one; curves of the same name look the same in all.
      axis_label: of the horizontal axis, which they share.
      title: above all panels.
      is_log: whether the horizontal axis is logarithmic.

    Returns:
      The figure as PNG.
    """
    num_columns = 3 if len(panels) == 3 else min(2, len(panels))
    num_rows = -(-len(panels) // num_columns)
    figure = Figure(figsize=(4.6 * num_columns, 3.3 * num_rows + 0.9), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    for axis, panel in zip(axes.flat, panels, strict=False):
        for name, curve in panel.curves.items():
            places = np.array(sorted(curve))
            means = np.array([np.mean(curve[place]) for place in places])
            own = name == figures.OWN
            axis.plot(
                places,
                means,
                color=figures.colour(name, names),
                marker=figures.marker(name, names),
                markersize=5,
                linewidth=2.2 if own else 1.4,
                zorder=3 if own else 2,
                label=name.replace("_", " "),
            )
            spread = np.array([averages.standard_error(curve[place]) or 0.0 for place in places])
            if spread.any():
                band = means - spread, means + spread
                axis.fill_between(places, *band, color=figures.colour(name, names), alpha=0.15, linewidth=0)
        for name, value in panel.references.items():
            axis.axhline(value, color="grey", linestyle=":", label=name.replace("_", " "))
        _finish(axis, panel, axis_label, is_log)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(title, fontsize=11)
    figures.legend_below(figure, 5)
    return figures.png(figure)


def _finish(axis: Axes, panel: Panel, axis_label: str, is_log: bool) -> None:
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
    figures.plain(axis)
