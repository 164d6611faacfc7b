"""Masks: the receptive field of every output pixel, as static index tensors.

A `Mask` says, for every output pixel i, which input pixels form its local receptive field Omega_i. It
is data, made with NumPy before tracing, so that one solver serves windows of any shape and any sparsity
pattern. Pixels are counted row by row: pixel (y, x) of an image of the given
width is y * width + x.

In the mask of a window, entry k of every output pixel is the window's offset k, and is invalid where it
leaves the picture, so that `masked_ridge` weights are one image per offset. Where the receptive field is the
same around every pixel, a `windows.Window` is faster and needs no tensor.

Functions named `..._mask` return a `Mask`; `square_window` and the like are their earlier names. The
functions of `windows` are here, too, for compatibility: `window` is `windows.from_offsets`, and
`check_window` is `windows.check`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax import checks, windows
from mlr_jax.numerics.serialization import exported
from mlr_jax.windows import (
    Entry as Entry,
    View as View,
    Window as Window,
    check as check_window,
    dilated,
    disk,
    foveated,
    from_offsets as window,
    join,
    mirrored,
    square,
)

__all__ = [
    "Mask",
    "across_channels",
    "as_mask",
    "check",
    "check_own",
    "check_window",
    "dilated",
    "dilated_mask",
    "dilated_window",
    "disk",
    "disk_mask",
    "disk_window",
    "entries",
    "foveated",
    "foveated_mask",
    "foveated_window",
    "from_dense",
    "join",
    "mirrored",
    "offset_mask",
    "offset_window",
    "own_entries",
    "reach",
    "square",
    "square_mask",
    "square_window",
    "to_dense",
    "union",
    "views",
    "window",
]


@exported
class Mask(NamedTuple):
    """The inputs that each output sees.

    Attributes:
      indices: int32 `(num_outputs, max_inputs)`, positions in the flattened input.
      valid: bool, the same shape; entries that are false are padding. Padding points at a real input,
        so that a gather is always in range.
    """

    indices: np.ndarray | jax.Array
    valid: np.ndarray | jax.Array

    def __repr__(self) -> str:
        return checks.shown(self)


def square_mask(height: int, width: int, size: int) -> Mask:
    """The published receptive field: `size` x `size` pixels around each pixel, cut at the border.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      size: of the window, odd; 1 is the one-pixel model of Khan et al. (arXiv 2010.14397).

    Returns:
      A mask with `height * width` outputs of `size ** 2` entries.

    Raises:
      InputError: the size is even, not positive, or larger than the picture.

    >>> mask = square_mask(4, 4, 3)
    >>> mask.indices.shape, int(mask.valid[0].sum()), int(mask.valid[5].sum())
    ((16, 9), 4, 9)
    """
    return dilated_mask(height, width, size, 1)


def dilated_mask(height: int, width: int, size: int, dilation: int) -> Mask:
    """`size` x `size` pixels that stand `dilation` pixels apart, cut at the border.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      size: pixels along a side, odd.
      dilation: step between neighbouring entries, 1 or more; 1 is `square_mask`.

    Returns:
      A mask with `height * width` outputs of `size ** 2` entries.

    Raises:
      InputError: the size is even or not positive, the dilation is less than 1, or the window reaches
        over more than the image.
    """
    return offset_mask(height, width, windows.dilated(size, dilation).offsets)


def disk_mask(height: int, width: int, radius: float) -> Mask:
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
    return offset_mask(height, width, windows.disk(radius).offsets)


def offset_mask(height: int, width: int, offsets: Sequence[tuple[int, int]]) -> Mask:
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
    return as_mask(windows.from_offsets(offsets), height, width)


def foveated_mask(
    height: int,
    width: int,
    *,
    size: int = 3,
    outer_size: int = 3,
    dilation: int = 3,
    blur: float = 1.5,
) -> Mask:
    """`windows.foveated` as a mask over the pixels of a picture and, after them, those of its blurred copy.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      size: see `windows.foveated`, as for the others.
      outer_size: of the ring around the centre.
      dilation: step between those pixels.
      blur: of the copy; `window_linear.look` makes both.

    Returns:
      A mask with `height * width` outputs over `2 * height * width` inputs.

    Raises:
      InputError: as for `windows.foveated`, or the window is larger than the picture.
    """
    field = windows.foveated(size=size, outer_size=outer_size, dilation=dilation, blur=blur)
    return as_mask(field, height, width)


def as_mask(window: Window, height: int, width: int) -> Mask:
    """A window as index tensors.

    Args:
      window: entry k of the mask is its offset k.
      height: of the image, in pixels.
      width: of the image, in pixels.

    Returns:
      A mask with `height * width` outputs over the pixels of all distinct views, one view after the other.

    Raises:
      InputError: the window is larger than the picture.
    """
    windows.check(window, "masks", height, width)
    steps = np.asarray(window.offsets, dtype=np.int64)
    # (height, width, offsets): the position of each entry, later clipped to the image.
    y, x = np.broadcast_arrays(
        np.arange(height)[:, None, None] + steps[:, 0], np.arange(width)[:, None] + steps[:, 1]
    )
    valid = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    indices = np.clip(y, 0, height - 1) * width + np.clip(x, 0, width - 1)
    indices = indices + height * width * np.asarray(window.view_places)
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
    both = [(np.asarray(each.indices), np.asarray(each.valid)) for each in (mask, other)]
    num_inputs = int(max(indices.max() for indices, _ in both)) + 1
    keys = [np.nonzero(valid)[0] * num_inputs + indices[valid] for indices, valid in both]
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
    checks.positive_integer("masks.across_channels", "channels", channels)
    num_outputs, num_entries = np.shape(mask.indices)
    shape = (num_outputs, num_entries * channels)
    steps = np.arange(channels, dtype=np.int32)[None, None]
    return Mask(
        (mask.indices[..., None] * channels + steps).reshape(shape),
        mask.valid[..., None].repeat(channels, axis=-1).reshape(shape),
    )


def check(mask: Mask, where: str, *, num_inputs: int | None = None) -> None:
    """Raises unless `mask` is a well-formed `Mask` that fits `num_inputs` inputs, if given."""
    if not isinstance(mask, Mask):
        raise TypeError(
            f"{where}: mask must be a masks.Mask, not a {type(mask).__name__}{_how_to_make(mask)}"
        )
    if np.ndim(mask.indices) != 2 or np.shape(mask.indices) != np.shape(mask.valid):
        raise checks.InputError(
            f"{where}: mask.indices and mask.valid must both be (num_outputs, max_inputs), not "
            f"{np.shape(mask.indices)} and {np.shape(mask.valid)}"
        )
    if not checks.is_concrete(mask) or num_inputs is None or np.size(mask.indices) == 0:
        return
    # NumPy's, since JAX would trace the minimum of a constant of a caller's compiled program.
    indices = np.asarray(mask.indices)
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= num_inputs:
        raise checks.InputError(
            f"{where}: the mask points at input {low if low < 0 else high}, but there are "
            f"{num_inputs} inputs; it was made for another size"
        )


def _how_to_make(given: object) -> str:
    """What makes a mask of something else."""
    if isinstance(given, Window):
        return "; masks.as_mask makes one of a window"
    if np.ndim(given) == 2:  # type: ignore[arg-type]
        return "; masks.from_dense makes one of a bool matrix (num_outputs, num_inputs)"
    if isinstance(given, int):
        return "; masks.square_mask makes one of the side of a window"
    return ""


def own_entries(mask: Mask) -> jax.Array:
    """Where output i sees input i: bool, the shape of `mask.indices`, true at most once for each output."""
    places = jnp.arange(mask.indices.shape[0])[:, None]
    is_own = jnp.asarray(mask.valid) & (jnp.asarray(mask.indices) == places)
    return is_own & (jnp.cumsum(is_own, axis=1) == 1)


def check_own(mask: Mask, where: str) -> None:
    """Raises InputError if it is known that no output i sees input i."""
    if not checks.is_concrete(mask):
        return
    indices, valid = np.asarray(mask.indices), np.asarray(mask.valid)
    if not (valid & (indices == np.arange(len(indices))[:, None])).any():
        raise checks.InputError(
            f"{where}: no output of the mask sees its own input, so that nothing can shrink towards it; use "
            "towards='zero'"
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
    # Padding repeats the row's own first input, which a gather reads anyway.
    return Mask(np.where(valid, indices, indices[:, :1]), valid)


# Earlier names.
square_window = square_mask
dilated_window = dilated_mask
disk_window = disk_mask
offset_window = offset_mask
foveated_window = foveated_mask


def entries(window: Window) -> tuple[Entry, ...]:
    """Earlier name of `Window.entries`."""
    return window.entries


def views(window: Window) -> tuple[tuple[View, ...], tuple[int, ...]]:
    """Earlier name of `Window.distinct_views` and `Window.view_places`."""
    return window.distinct_views, window.view_places


def reach(window: Window) -> tuple[int, int]:
    """Earlier name of `Window.reach`."""
    return window.reach
