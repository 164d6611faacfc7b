"""Windows: receptive fields that are the same around every pixel.

A `Window` is a tuple of offsets. It needs no index tensor, suits pictures of any size, and lets neighbouring
pixels share their work (`window_statistics`, `window_dual`). For any other pattern, `masks` has index
tensors. The functions here return a `Window`.
"""

from collections.abc import Iterable

import numpy as np

from mlr_jax import checks
from mlr_jax._window_regression.window import Entry, View, Window

__all__ = [
    "Entry",
    "View",
    "Window",
    "check",
    "dilated",
    "disk",
    "foveated",
    "from_offsets",
    "join",
    "mirrored",
    "square",
]


def from_offsets(offsets: Iterable[tuple[int, int]], *, views: Iterable[View] = ()) -> Window:
    """Any window, from its offsets.

    Args:
      offsets: `(dy, dx)` in pixels.
      views: for each offset, the copy of the picture that it reads; by default the picture itself.

    Raises:
      InputError: there is no offset, one occurs twice in a view, there are not as many views, or a blur is
        negative.
    """
    given = [tuple(offset) for offset in offsets]
    for offset in given:
        if len(offset) != 2 or any(int(step) != step for step in offset):
            raise checks.InputError(f"windows: offsets must be (dy, dx) in whole pixels, not {offset}")
    steps = tuple((int(dy), int(dx)) for dy, dx in given)
    seen = tuple(View(bool(view.mirrored), float(view.blur)) for view in views)
    if seen and len(seen) != len(steps):
        raise checks.InputError(f"windows: there are {len(steps)} offsets, but {len(seen)} views")
    for view in seen:
        checks.not_negative("windows", "blur", view.blur)
    if not steps or len(set(zip(steps, seen or (View(),) * len(steps), strict=True))) != len(steps):
        raise checks.InputError("windows: offsets must be distinct, and at least one")
    return Window(steps, seen if any(view != View() for view in seen) else ())


def square(size: int) -> Window:
    """The published receptive field: `size` x `size` pixels.

    Raises:
      InputError: the size is even or not positive.

    >>> square(3).offsets[:4]
    ((-1, -1), (-1, 0), (-1, 1), (0, -1))
    """
    return dilated(size, 1)


def dilated(size: int, dilation: int) -> Window:
    """`size` x `size` pixels that stand `dilation` pixels apart.

    Raises:
      InputError: the size is even or not positive, or the dilation is less than 1.
    """
    _whole("size", size)
    _whole("dilation", dilation)
    if size < 1 or size % 2 == 0:
        raise checks.InputError(
            f"windows: size must be odd and positive, so that a window has a middle, not {size}"
        )
    if dilation < 1:
        raise checks.InputError(f"windows: dilation must be 1 or more, not {dilation}")
    steps = range(-(size // 2) * dilation, size // 2 * dilation + 1, dilation)
    return from_offsets((dy, dx) for dy in steps for dx in steps)


def disk(radius: float) -> Window:
    """All pixels at most `radius` pixels away; the radius need not be whole.

    Raises:
      InputError: the radius is negative.
    """
    checks.not_negative("windows", "radius", radius)
    reach = range(-int(radius), int(radius) + 1)
    return from_offsets((dy, dx) for dy in reach for dx in reach if dy**2 + dx**2 <= radius**2)


def foveated(*, size: int = 3, outer_size: int = 3, dilation: int = 3, blur: float = 1.5) -> Window:
    """A dense centre, and around it a few distant pixels of a blurred copy of the picture.

    As on a retina, distant pixels are seen coarsely: 18 inputs reach 3 pixels far, and the blur further.

    Args:
      size: of the centre, odd.
      outer_size: pixels along a side of the ring around it, odd.
      dilation: step between those.
      blur: standard deviation in pixels of the Gaussian by which they are blurred; about half the step.

    Raises:
      InputError: a size is even or not positive, the dilation is less than 1, or the blur is negative.
    """
    return join(square(size), _read(dilated(outer_size, dilation), View(blur=blur)))


def mirrored(window: Window, *, size: int = 1) -> Window:
    """The window and, across the vertical axis in the middle of the picture, the mirror pixel.

    Faces are nearly symmetric: a mirror pixel may show what a pixel does not.

    Args:
      window: to which it is added.
      size: of a square window around the mirror pixel, odd; 1 is the pixel alone.

    Raises:
      InputError: the size is even or not positive.
    """
    return join(window, _read(square(size), View(mirrored=True)))


def join(*windows: Window) -> Window:
    """The union of windows: each entry once, in order of its first occurrence."""
    distinct = dict.fromkeys(entry for each in windows for entry in each.entries)
    return from_offsets([entry.offset for entry in distinct], views=[entry.view for entry in distinct])


def _whole(name: str, value: int, where: str = "windows") -> None:
    if not isinstance(value, int | np.integer):
        raise checks.InputError(f"{where}: {name} must be a whole number, not {value!r}; use int(...)")


def _read(window: Window, view: View) -> Window:
    return Window(window.offsets, (view,) * len(window.offsets) if view != View() else ())


def check(window: Window, where: str, height: int, width: int) -> None:
    """Raises unless `window` is a `Window` that fits into a picture of `height` x `width`."""
    if not isinstance(window, Window):
        raise TypeError(f"{where}: window must be a windows.Window, not a {type(window).__name__}")
    _whole("height", height, where)
    _whole("width", width, where)
    if height < 1 or width < 1:
        raise checks.InputError(f"{where}: a picture of {height} x {width} has no pixel")
    extent = window.extent
    if extent[0] > height or extent[1] > width:
        raise checks.InputError(
            f"{where}: a window of {extent[0]} x {extent[1]} pixels is larger than the picture of "
            f"{height} x {width}"
        )
