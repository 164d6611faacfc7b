"""What each output pixel may see, as static index tensors.

A `Mask` says, for every output pixel i, which input pixels form its local receptive field Omega_i. It
is data, made with NumPy before anything is traced, so that one solver serves windows of any shape and
arbitrary sparsity patterns alike. Pixels are counted row by row: pixel (y, x) of an image of the given
width is y * width + x.

Windows keep their offsets in place: entry k of every output pixel is the same offset, and where the
border cuts it off the entry is invalid. `masked_ridge` weights can so be read as one image per offset.
A `Window` is those offsets alone: it needs no tensor, suits pictures of any size, and lets neighbouring
pixels share their work (`window_statistics`).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from mlr_jax import checks


class Mask(NamedTuple):
    """The inputs that each output sees.

    Attributes:
      indices: int32 `(num_outputs, max_inputs)`, positions in the flattened input.
      valid: bool, the same shape; entries that are false are padding. Padding points at a real input,
        so that a gather is always in range.
    """

    indices: np.ndarray | jax.Array
    valid: np.ndarray | jax.Array


class View(NamedTuple):
    """What is made of a picture before a window looks at it.

    Attributes:
      mirrored: whether left and right change places, about the middle of the picture.
      blur: standard deviation in pixels of the Gaussian by which it is blurred; 0 leaves it as it is.
    """

    mirrored: bool = False
    blur: float = 0.0


@jax.tree_util.register_static
class Window(NamedTuple):
    """A receptive field that is the same around every pixel, and cut at the border.

    Static: it has no arrays, and a function that is compiled for one window is not compiled for another.

    Attributes:
      offsets: `(dy, dx)` in pixels.
      views: what each offset looks at, distinct together with it; empty if all look at the picture itself.
    """

    offsets: tuple[tuple[int, int], ...]
    views: tuple[View, ...] = ()


def window(offsets: Iterable[tuple[int, int]], *, views: Iterable[View] = ()) -> Window:
    """Any window, from its offsets.

    Args:
      offsets: `(dy, dx)` in pixels.
      views: as many, what each offset looks at; by default the picture itself.

    Raises:
      InputError: there is no offset, one occurs twice in a view, there are not as many views, or a blur is
        negative.
    """
    steps = tuple((int(dy), int(dx)) for dy, dx in offsets)
    seen = tuple(View(bool(view.mirrored), float(view.blur)) for view in views)
    if seen and len(seen) != len(steps):
        raise checks.InputError(f"masks: there are {len(steps)} offsets, but {len(seen)} views")
    for view in seen:
        checks.not_negative("masks", "blur", view.blur)
    if not steps or len(set(zip(steps, seen or (View(),) * len(steps), strict=True))) != len(steps):
        raise checks.InputError("masks: offsets must be distinct, and at least one")
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
    if size < 1 or size % 2 == 0:
        raise checks.InputError(
            f"masks: size must be odd and positive, so that a window has a middle, not {size}"
        )
    if dilation < 1:
        raise checks.InputError(f"masks: dilation must be 1 or more, not {dilation}")
    steps = range(-(size // 2) * dilation, size // 2 * dilation + 1, dilation)
    return window((dy, dx) for dy in steps for dx in steps)


def disk(radius: float) -> Window:
    """All pixels at most `radius` pixels away; the radius need not be whole.

    Raises:
      InputError: the radius is negative.
    """
    checks.not_negative("masks", "radius", radius)
    reach = range(-int(radius), int(radius) + 1)
    return window((dy, dx) for dy in reach for dx in reach if dy**2 + dx**2 <= radius**2)


def foveated(*, size: int = 3, outer_size: int = 3, dilation: int = 3, blur: float = 1.5) -> Window:
    """A dense centre, and around it few pixels that stand apart, of a blurred copy of the picture.

    As on a retina, what is far away is seen coarsely: 18 inputs reach 3 pixels far, and the blur further.

    Args:
      size: of the centre, odd.
      outer_size: pixels along a side of what is around it, odd.
      dilation: step between those.
      blur: standard deviation in pixels of the Gaussian by which they are blurred; about half the step.

    Raises:
      InputError: a size is even or not positive, the dilation is less than 1, or the blur is negative.
    """
    return join(square(size), _viewed(dilated(outer_size, dilation), View(blur=blur)))


def mirrored(window: Window, *, size: int = 1) -> Window:
    """The window and, across the vertical axis in the middle of the picture, the mirror pixel.

    Faces are nearly symmetric: what a pixel does not show, its mirror pixel may.

    Args:
      window: to which it is added.
      size: of a square window around the mirror pixel, odd; 1 is the pixel alone.

    Raises:
      InputError: the size is even or not positive.
    """
    return join(window, _viewed(square(size), View(mirrored=True)))


def join(*windows: Window) -> Window:
    """All that any of the windows sees, each once, in the order in which it comes first."""
    distinct = dict.fromkeys(entry for each in windows for entry in entries(each))
    return window([entry.offset for entry in distinct], views=[entry.view for entry in distinct])


class Entry(NamedTuple):
    """One entry of a window.

    Attributes:
      offset: `(dy, dx)` in pixels.
      view: of the picture that it looks at.
    """

    offset: tuple[int, int]
    view: View


def entries(window: Window) -> tuple[Entry, ...]:
    """What a window sees, in its order."""
    seen = window.views or (View(),) * len(window.offsets)
    return tuple(map(Entry, window.offsets, seen))


def views(window: Window) -> tuple[tuple[View, ...], tuple[int, ...]]:
    """The distinct views of a window, in ascending order, and for each offset the place of its own."""
    if not window.views:
        return (View(),), (0,) * len(window.offsets)
    distinct = tuple(sorted(set(window.views)))
    return distinct, tuple(distinct.index(view) for view in window.views)


def _viewed(window: Window, view: View) -> Window:
    return Window(window.offsets, (view,) * len(window.offsets) if view != View() else ())


def reach(window: Window) -> tuple[int, int]:
    """How far a window goes at most: `(vertically, horizontally)`, in pixels from its middle."""
    return max(abs(dy) for dy, _ in window.offsets), max(abs(dx) for _, dx in window.offsets)


def check_window(window: Window, where: str, height: int, width: int) -> None:
    """Raises unless `window` is a `Window` that fits into a picture of `height` x `width`."""
    if not isinstance(window, Window):
        raise TypeError(f"{where}: window must be a masks.Window, not a {type(window).__name__}")
    if height < 1 or width < 1:
        raise checks.InputError(f"{where}: a picture of {height} x {width} has no pixel")
    steps = np.asarray(window.offsets)
    extent = steps.max(axis=0) - steps.min(axis=0) + 1
    if extent[0] > height or extent[1] > width:
        raise checks.InputError(
            f"{where}: a window of {extent[0]} x {extent[1]} pixels is larger than the picture of "
            f"{height} x {width}"
        )


def square_window(height: int, width: int, size: int) -> Mask:
    """The published receptive field: `size` x `size` pixels around each pixel, cut at the border.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      size: of the window, odd; 1 is the one-pixel model of Khan et al. (arXiv 2010.14397).

    Returns:
      A mask with `height * width` outputs of `size ** 2` entries.

    Raises:
      InputError: the size is even, not positive, or larger than the picture.

    >>> mask = square_window(4, 4, 3)
    >>> mask.indices.shape, int(mask.valid[0].sum()), int(mask.valid[5].sum())
    ((16, 9), 4, 9)
    """
    return dilated_window(height, width, size, 1)


def dilated_window(height: int, width: int, size: int, dilation: int) -> Mask:
    """`size` x `size` pixels that stand `dilation` pixels apart, cut at the border.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      size: pixels along a side, odd.
      dilation: step between neighbouring entries, 1 or more; 1 is `square_window`.

    Returns:
      A mask with `height * width` outputs of `size ** 2` entries.

    Raises:
      InputError: the size is even or not positive, the dilation is less than 1, or the window reaches
        over more than the image.
    """
    return offset_window(height, width, dilated(size, dilation).offsets)


def disk_window(height: int, width: int, radius: float) -> Mask:
    """All pixels at most `radius` pixels away, cut at the border.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      radius: in pixels, 0 (the pixel alone) or more; need not be whole.

    Returns:
      A mask with `height * width` outputs.

    Raises:
      InputError: the radius is negative, or the disk is larger than the picture.
    """
    return offset_window(height, width, disk(radius).offsets)


def offset_window(height: int, width: int, offsets: Sequence[tuple[int, int]]) -> Mask:
    """Any window that is the same around every pixel: a list of offsets, cut at the border.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      offsets: distinct `(dy, dx)` in pixels; entry k of the mask is `offsets[k]`.

    Returns:
      A mask with `height * width` outputs of `len(offsets)` entries.

    Raises:
      InputError: there is no offset, one occurs twice, or together they reach over more than the
        image.
    """
    return as_mask(window(offsets), height, width)


def foveated_window(
    height: int,
    width: int,
    *,
    size: int = 3,
    outer_size: int = 3,
    dilation: int = 3,
    blur: float = 1.5,
) -> Mask:
    """`foveated`, as index tensors: over the pixels of a picture and, after them, those of its blurred copy.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      size: see `foveated`, as for the others.
      outer_size: of what is around the centre.
      dilation: step between those pixels.
      blur: of the copy; `window_linear.look` makes both.

    Returns:
      A mask with `height * width` outputs over `2 * height * width` inputs.

    Raises:
      InputError: as for `foveated`, or the window is larger than the picture.
    """
    field = foveated(size=size, outer_size=outer_size, dilation=dilation, blur=blur)
    return as_mask(field, height, width)


def as_mask(window: Window, height: int, width: int) -> Mask:
    """A window as index tensors.

    Args:
      window: entry k of the mask is its offset k.
      height: of the image, in pixels.
      width: of the image, in pixels.

    Returns:
      A mask with `height * width` outputs over the pixels of all `views`, one view after the other.

    Raises:
      InputError: the window is larger than the picture.
    """
    check_window(window, "masks", height, width)
    steps = np.asarray(window.offsets, dtype=np.int64)
    # (height, width, offsets): where each entry would lie, then pulled back into the image.
    y, x = np.broadcast_arrays(
        np.arange(height)[:, None, None] + steps[:, 0], np.arange(width)[:, None] + steps[:, 1]
    )
    valid = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    indices = np.clip(y, 0, height - 1) * width + np.clip(x, 0, width - 1)
    indices = indices + height * width * np.asarray(views(window)[1])
    shape = (height * width, len(steps))
    return Mask(indices.reshape(shape).astype(np.int32), valid.reshape(shape))


def from_dense(dense: np.ndarray, *, allow_empty: bool = False) -> Mask:
    """The mask of a matrix that says for each output which inputs it sees.

    Args:
      dense: bool `(num_outputs, num_inputs)`, the matrix M of Khan et al. (2020).
      allow_empty: whether an output may see no input at all; it is then predicted by its bias only.

    Returns:
      A mask whose entries are in ascending order, as wide as the fullest row.

    Raises:
      TypeError: the matrix is not bool.
      InputError: it is not a matrix, or a row is empty and `allow_empty` is false.

    >>> mask = from_dense(np.array([[True, False, True], [False, True, False]]))
    >>> mask.indices.tolist(), mask.valid.tolist()
    ([[0, 2], [1, 1]], [[True, True], [True, False]])
    """
    dense = np.asarray(dense)
    if dense.dtype != bool:
        raise TypeError(f"masks.from_dense: the matrix must be bool, not {dense.dtype}")
    if dense.ndim != 2 or 0 in dense.shape:
        raise checks.InputError(
            f"masks.from_dense: expected (num_outputs, num_inputs), not the shape {dense.shape}"
        )
    rows, inputs = np.nonzero(dense)
    return _from_entries(rows, inputs, len(dense), "masks.from_dense", allow_empty)


def to_dense(mask: Mask, num_inputs: int) -> np.ndarray:
    """The bool matrix `(num_outputs, num_inputs)` of a mask: the inverse of `from_dense`.

    Raises:
      InputError: the mask was made for more inputs than `num_inputs`.
    """
    check(mask, "masks.to_dense", num_inputs=num_inputs)
    indices, valid = np.asarray(mask.indices), np.asarray(mask.valid)
    dense = np.zeros((len(indices), num_inputs), dtype=bool)
    rows = np.broadcast_to(np.arange(len(indices))[:, None], indices.shape)
    dense[rows[valid], indices[valid]] = True
    return dense


def union(mask: Mask, other: Mask) -> Mask:
    """For each output, the inputs that it sees in either mask, each once, in ascending order.

    An output that is empty in both stays empty. Never builds the dense matrix.

    Raises:
      InputError: the masks are of different numbers of outputs.
    """
    check(mask, "masks.union")
    check(other, "masks.union")
    if len(mask.indices) != len(other.indices):
        raise checks.InputError(
            f"masks.union: the masks have {len(mask.indices)} and {len(other.indices)} outputs; "
            "make both for the same image"
        )
    num_inputs = int(max(np.max(mask.indices), np.max(other.indices))) + 1
    keys = [
        np.nonzero(each.valid)[0] * num_inputs + np.asarray(each.indices)[each.valid]
        for each in (mask, other)
    ]
    rows, inputs = np.divmod(np.unique(np.concatenate(keys)), num_inputs)
    return _from_entries(rows, inputs, len(mask.indices), "masks.union", allow_empty=True)


def across_channels(mask: Mask, channels: int) -> Mask:
    """Lets each pixel's window see all channels of an image whose channel axis comes last.

    Args:
      mask: over pixels.
      channels: of the image, 1 or more.

    Returns:
      A mask with the same outputs, over `num_pixels * channels` inputs. Entry `k * channels + c` is
      channel c of entry k.
    """
    num_outputs, num_entries = np.shape(mask.indices)
    shape = (num_outputs, num_entries * channels)
    steps = np.arange(channels, dtype=np.int32)[None, None]
    return Mask(
        (mask.indices[..., None] * channels + steps).reshape(shape),
        mask.valid[..., None].repeat(channels, axis=-1).reshape(shape),
    )


def check(mask: Mask, where: str, *, num_inputs: int | None = None) -> None:
    """Raises unless `mask` is a well-formed `Mask` and, if told, fits `num_inputs` inputs."""
    if not isinstance(mask, Mask):
        raise TypeError(f"{where}: mask must be a masks.Mask, not a {type(mask).__name__}")
    if np.ndim(mask.indices) != 2 or np.shape(mask.indices) != np.shape(mask.valid):
        raise checks.InputError(
            f"{where}: mask.indices and mask.valid must both be (num_outputs, max_inputs), not "
            f"{np.shape(mask.indices)} and {np.shape(mask.valid)}"
        )
    if not checks.is_concrete(mask) or num_inputs is None or np.size(mask.indices) == 0:
        return
    low, high = int(np.min(mask.indices)), int(np.max(mask.indices))
    if low < 0 or high >= num_inputs:
        raise checks.InputError(
            f"{where}: the mask points at input {low if low < 0 else high}, but there are "
            f"{num_inputs} inputs; it was made for another size"
        )


def _from_entries(
    rows: np.ndarray, inputs: np.ndarray, num_outputs: int, where: str, allow_empty: bool
) -> Mask:
    """The mask in which output `rows[e]` sees `inputs[e]`, for entries in ascending order."""
    counts = np.bincount(rows, minlength=num_outputs)
    if not allow_empty and not counts.all():
        raise checks.InputError(
            f"{where}: output {int(np.argmin(counts))} sees no input ({(counts == 0).sum()} such "
            "outputs); pass allow_empty=True to predict these by their bias only"
        )
    place = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
    shape = (num_outputs, max(int(counts.max()), 1))
    indices, valid = np.zeros(shape, np.int32), np.zeros(shape, bool)
    indices[rows, place], valid[rows, place] = inputs, True
    # Padding repeats the row's own first input, which a gather has at hand anyway.
    return Mask(np.where(valid, indices, indices[:, :1]), valid)
