"""Which sums over pairs of pixels a window's regressions need, and where each finds its own.

Entry (a, b) of pixel p's Gram matrix is sum_n x_n[p + a] x_n[p + b], for offsets a, b of the window: the *lag
image* R_d[q] = sum_n x_n[q] x_n[q + d] for d = b - a, at q = p + a. All pixels' matrices together hold one
image for every difference of two offsets, some 2 r^2 for a window of r x r. These tables are static.
"""

from functools import cache
from typing import NamedTuple

from mlr_jax import masks


class Lag(NamedTuple):
    """One lag image: of channel `left` at q with channel `right` at q + (dy, dx).

    Input channels count from 0, and the targets' channels after them.
    """

    left: int
    right: int
    dy: int
    dx: int


class Entry(NamedTuple):
    """Where the Gram matrices' entry (i, j) is: pixel p's is lag image `lag` at p + (dy, dx)."""

    lag: int
    dy: int
    dx: int


class Input(NamedTuple):
    """One of the numbers that an output sees: channel `channel` at its own place + (dy, dx)."""

    dy: int
    dx: int
    channel: int


@cache
def needed(window: masks.Window, in_channels: int, out_channels: int) -> tuple[Lag, ...]:
    """All that a window needs: every pair of inputs once, as it is symmetric; all targets with all inputs;
    and every target with itself, for the errors.

    What a smaller window needs is among what a larger one needs.
    """
    distinct, places = masks.views(window)
    channels = [range(in_channels)[place :: len(distinct)] for place in range(len(distinct))]
    offsets = [
        [offset for offset, other in zip(window.offsets, places, strict=True) if other == place]
        for place in range(len(distinct))
    ]
    pairs = [
        Lag(left, right, dy, dx)
        for one in range(len(distinct))
        for other in range(len(distinct))
        for dy, dx in {(b[0] - a[0], b[1] - a[1]) for a in offsets[one] for b in offsets[other]}
        for left in channels[one]
        for right in channels[other]
        if (dy, dx, right) >= (0, 0, left)
    ]
    pairs.sort(key=lambda lag: (lag.dy, lag.dx, lag.left, lag.right))
    crosses = [
        Lag(in_channels + out, channel, *offset)
        for offset, place in zip(window.offsets, places, strict=True)
        for out in range(out_channels)
        for channel in channels[place]
    ]
    squares = [Lag(in_channels + out, in_channels + out, 0, 0) for out in range(out_channels)]
    return (*pairs, *crosses, *squares)


def reach(lags: tuple[Lag, ...]) -> tuple[int, int]:
    """How far lags go at most: `(vertically, horizontally)`, in pixels."""
    return max(abs(lag.dy) for lag in lags), max(abs(lag.dx) for lag in lags)


def inputs(window: masks.Window, in_channels: int) -> list[Input]:
    """All that an output sees: offset by offset, its channels within each.

    `in_channels` are those of all views: the first channel of each, then the second of each, and so on.
    """
    distinct, places = masks.views(window)
    return [
        Input(dy, dx, channel)
        for (dy, dx), place in zip(window.offsets, places, strict=True)
        for channel in range(place, in_channels, len(distinct))
    ]


@cache
def gram_entries(window: masks.Window, in_channels: int, out_channels: int) -> tuple[tuple[Entry, ...], ...]:
    """The Gram matrices' entries among the lag images of `needed`: row by row, inputs as in `inputs`."""
    index = {lag: i for i, lag in enumerate(needed(window, in_channels, out_channels))}
    seen = inputs(window, in_channels)

    def entry(a: Input, b: Input) -> Entry:
        lag = Lag(a.channel, b.channel, b.dy - a.dy, b.dx - a.dx)
        return Entry(index[lag], a.dy, a.dx) if lag in index else entry(b, a)

    return tuple(tuple(entry(a, b) for b in seen) for a in seen)


@cache
def cross_entries(window: masks.Window, in_channels: int, out_channels: int) -> tuple[tuple[int, ...], ...]:
    """For every input and every target: the lag image that is their cross term, at the pixel itself."""
    index = {lag: i for i, lag in enumerate(needed(window, in_channels, out_channels))}
    return tuple(
        tuple(index[Lag(in_channels + out, channel, dy, dx)] for out in range(out_channels))
        for dy, dx, channel in inputs(window, in_channels)
    )


@cache
def square_entries(window: masks.Window, in_channels: int, out_channels: int) -> tuple[int, ...]:
    """For every target: the lag image of its squares."""
    index = {lag: i for i, lag in enumerate(needed(window, in_channels, out_channels))}
    return tuple(index[Lag(in_channels + out, in_channels + out, 0, 0)] for out in range(out_channels))
