"""A window, and which sums over pairs of pixels its regressions need.

Entry (a, b) of pixel p's Gram matrix is sum_n x_n[p + a] x_n[p + b], for offsets a, b of the window: the *lag
image* R_d[q] = sum_n x_n[q] x_n[q + d] for d = b - a, at q = p + a. All pixels' matrices together hold one
image for every difference of two offsets, some 2 r^2 for a window of r x r. These tables are static, and
each is built once, when it is first needed.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np

from mlr_jax.numerics.serialization import exported_static


class View(NamedTuple):
    """The copy of a picture that an offset reads.

    Attributes:
      mirrored: whether the copy is mirrored left to right, about the middle of the picture.
      blur: standard deviation in pixels of the Gaussian by which the copy is blurred; 0 leaves it sharp.
    """

    mirrored: bool = False
    blur: float = 0.0


class Entry(NamedTuple):
    """One entry of a window.

    Attributes:
      offset: `(dy, dx)` in pixels.
      view: the copy of the picture that it reads.
    """

    offset: tuple[int, int]
    view: View


class Lag(NamedTuple):
    """One lag image: of channel `left` at q with channel `right` at q + (dy, dx).

    Input channels count from 0, and the targets' channels after them.
    """

    left: int
    right: int
    dy: int
    dx: int


class GramEntry(NamedTuple):
    """Where entry (i, j) of the Gram matrices lies: pixel p's is lag image `lag` at p + (dy, dx)."""

    lag: int
    dy: int
    dx: int


class Input(NamedTuple):
    """An input of output pixel p: channel `channel` at p + (dy, dx)."""

    dy: int
    dx: int
    channel: int


def _from_json(values: tuple[list[list[int]], list[list[Any]]]) -> "Window":
    offsets, views = values
    return Window(tuple((dy, dx) for dy, dx in offsets), tuple(View(*view) for view in views))


@exported_static(tuple, _from_json)
@jax.tree_util.register_static
class Window(NamedTuple):
    """A receptive field that is the same around every pixel, and cut at the border.

    Static: it holds no arrays, and a function that is compiled for one window is not compiled for another.

    Attributes:
      offsets: `(dy, dx)` in pixels.
      views: which copy of the picture each offset reads, distinct together with it; empty if all read the
        picture itself.
    """

    offsets: tuple[tuple[int, int], ...]
    views: tuple[View, ...] = ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The offsets with their views, in order."""
        return tuple(map(Entry, self.offsets, self.views or (View(),) * len(self.offsets)))

    @property
    def distinct_views(self) -> tuple[View, ...]:
        """The views that occur, in ascending order."""
        return _distinct_views(self)

    @property
    def view_places(self) -> tuple[int, ...]:
        """For each offset, the place of its view among the distinct ones."""
        return _view_places(self)

    @property
    def num_views(self) -> int:
        """How many copies of a picture the window reads."""
        return len(_distinct_views(self))

    @property
    def reach(self) -> tuple[int, int]:
        """The largest distance from its middle: `(vertically, horizontally)`, in pixels."""
        return _reach(self)

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of the bounding box."""
        steps = np.asarray(self.offsets)
        rows, columns = (steps.max(axis=0) - steps.min(axis=0) + 1).tolist()
        return rows, columns

    @property
    def is_rectangle(self) -> bool:
        """Whether it is a rectangle of the picture itself, without holes, along which a sum can slide."""
        rows, columns = self.extent
        return not self.views and len(self.offsets) == rows * columns

    def lag_table(self, in_channels: int, out_channels: int) -> "LagTable":
        """Which sums the window's regressions need.

        Args:
          in_channels: of the inputs, all views together: those of the first channel, then of the second.
          out_channels: of the targets.
        """
        return LagTable(self, in_channels, out_channels)


class LagTable(NamedTuple):
    """Which lag images a window's regressions need, and where each regression finds its own. Static.

    Attributes:
      window: any.
      in_channels: of the inputs, all views together.
      out_channels: of the targets.
    """

    window: Window
    in_channels: int
    out_channels: int

    @property
    def lags(self) -> tuple[Lag, ...]:
        """The lag images: each pair of inputs once, targets with inputs, and targets with themselves.

        Those of a smaller window are among those of a larger one.
        """
        return _lags(self)

    @property
    def reach(self) -> tuple[int, int]:
        """The largest distance of the lags: `(vertically, horizontally)`, in pixels."""
        return max(abs(lag.dy) for lag in self.lags), max(abs(lag.dx) for lag in self.lags)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs of an output: offset by offset, channel by channel within each."""
        return _inputs(self)

    @property
    def gram_entries(self) -> tuple[tuple[GramEntry, ...], ...]:
        """The entries of the Gram matrices among the lag images: row by row, in the order of `inputs`."""
        return _gram_entries(self)

    @property
    def cross_entries(self) -> tuple[tuple[int, ...], ...]:
        """For every input and every target: the lag image that is their cross term, at the pixel itself."""
        return _cross_entries(self)

    @property
    def square_entries(self) -> tuple[int, ...]:
        """For every target: the lag image of its squares."""
        index = _index(self)
        targets = range(self.in_channels, self.in_channels + self.out_channels)
        return tuple(index[Lag(target, target, 0, 0)] for target in targets)

    def places_of(self, smaller: Window) -> tuple[np.ndarray, np.ndarray]:
        """Which input channels and which lag images are those of a smaller window, in its order."""
        channels = [
            start + self.window.distinct_views.index(view)
            for start in range(0, self.in_channels, self.window.num_views)
            for view in smaller.distinct_views
        ]
        places = [*channels, *range(self.in_channels, self.in_channels + self.out_channels)]
        needed = smaller.lag_table(len(channels), self.out_channels).lags
        index = _index(self)
        chosen = [index[Lag(places[left], places[right], dy, dx)] for left, right, dy, dx in needed]
        return np.array(channels), np.array(chosen)


@cache
def _distinct_views(window: Window) -> tuple[View, ...]:
    return tuple(sorted(set(window.views))) or (View(),)


@cache
def _view_places(window: Window) -> tuple[int, ...]:
    if not window.views:
        return (0,) * len(window.offsets)
    return tuple(map(_distinct_views(window).index, window.views))


@cache
def _reach(window: Window) -> tuple[int, int]:
    return max(abs(dy) for dy, _ in window.offsets), max(abs(dx) for _, dx in window.offsets)


@cache
def _lags(table: LagTable) -> tuple[Lag, ...]:
    window, in_channels, out_channels = table
    views = range(window.num_views)
    channels = [range(in_channels)[view :: window.num_views] for view in views]
    offsets = [
        [offset for offset, other in zip(window.offsets, window.view_places, strict=True) if other == view]
        for view in views
    ]
    pairs = [
        Lag(left, right, dy, dx)
        for one in views
        for other in views
        for dy, dx in {(b[0] - a[0], b[1] - a[1]) for a in offsets[one] for b in offsets[other]}
        for left in channels[one]
        for right in channels[other]
        if (dy, dx, right) >= (0, 0, left)
    ]
    pairs.sort(key=lambda lag: (lag.dy, lag.dx, lag.left, lag.right))
    crosses = [
        Lag(in_channels + out, channel, *offset)
        for offset, view in zip(window.offsets, window.view_places, strict=True)
        for out in range(out_channels)
        for channel in channels[view]
    ]
    squares = [Lag(in_channels + out, in_channels + out, 0, 0) for out in range(out_channels)]
    return (*pairs, *crosses, *squares)


@cache
def _index(table: LagTable) -> dict[Lag, int]:
    return {lag: place for place, lag in enumerate(table.lags)}


@cache
def _inputs(table: LagTable) -> tuple[Input, ...]:
    window = table.window
    return tuple(
        Input(dy, dx, channel)
        for (dy, dx), view in zip(window.offsets, window.view_places, strict=True)
        for channel in range(view, table.in_channels, window.num_views)
    )


@cache
def _gram_entries(table: LagTable) -> tuple[tuple[GramEntry, ...], ...]:
    index = _index(table)

    def entry(a: Input, b: Input) -> GramEntry:
        lag = Lag(a.channel, b.channel, b.dy - a.dy, b.dx - a.dx)
        return GramEntry(index[lag], a.dy, a.dx) if lag in index else entry(b, a)

    return tuple(tuple(entry(a, b) for b in table.inputs) for a in table.inputs)


@cache
def _cross_entries(table: LagTable) -> tuple[tuple[int, ...], ...]:
    index = _index(table)
    targets = range(table.in_channels, table.in_channels + table.out_channels)
    return tuple(
        tuple(index[Lag(target, channel, dy, dx)] for target in targets) for dy, dx, channel in table.inputs
    )
