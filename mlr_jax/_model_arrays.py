"""A model as named arrays, and the checks that arrays of a file are those of one model.

`model_file` describes the arrays, and prefixes the messages with the name of the file or the function.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, masks, warped_ridge, windows
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.warped_ridge import WarpedModel

DTYPES = ("float16", "float32", "float64")
"""The types of weights and biases in a file."""

_WINDOW_ARRAYS = {"weights", "bias", "offsets"}
_VIEWED_ARRAYS = _WINDOW_ARRAYS | {"views"}
_MASK_ARRAYS = {"weights", "bias", "mask_indices", "mask_valid"}
_FIELD_ARRAYS = {"field_weights", "field_bias", "field_offsets", "tint"}


class Windows(NamedTuple):
    """The receptive fields of a model.

    Attributes:
      colours: the window or mask of the colours.
      field: the window of the displacement field; None without one.
    """

    colours: windows.Window | masks.Mask
    field: windows.Window | None


def of_model(model: ExpressionModel | WarpedModel, dtype: np.dtype) -> dict[str, np.ndarray]:
    """The arrays of a model, by their names in a file.

    Args:
      model: to be saved.
      dtype: of its weights and biases in the file.

    Raises:
      InputError: it holds NaN, infinity, or values that the dtype cannot hold.
    """
    colours = model.change if isinstance(model, WarpedModel) else model
    arrays = {
        "weights": converted("weights", colours.weights, dtype),
        "bias": converted("bias", colours.bias, dtype),
    }
    if isinstance(colours.window, windows.Window):
        arrays["offsets"] = np.asarray(colours.window.offsets)
        if colours.window.views:
            arrays["views"] = np.asarray(colours.window.views, np.float64)
    else:
        arrays |= {
            "mask_indices": np.asarray(colours.window.indices),
            "mask_valid": np.asarray(colours.window.valid),
        }
    if isinstance(model, WarpedModel):
        arrays |= {
            "field_weights": converted("field_weights", model.field.weights, dtype),
            "field_bias": converted("field_bias", model.field.bias, dtype),
            "field_offsets": np.asarray(model.field_window.offsets),
            "tint": converted("tint", model.tint, dtype),
        }
    return arrays


def converted(name: str, array: ArrayLike, dtype: np.dtype) -> np.ndarray:
    """An array in another dtype; InputError if a value is not finite, or too large for the dtype."""
    before = np.asarray(array)
    with np.errstate(over="ignore"):
        after = before.astype(dtype, copy=False)
    if np.isfinite(after).all():
        return after
    if not np.isfinite(before).all():
        raise checks.InputError(f"{name} holds NaN or infinity")
    raise checks.InputError(
        f"{name} holds values of up to {np.abs(before).max():g}, which {dtype} cannot hold; use a wider dtype"
    )


def receptive_fields(arrays: Mapping[str, np.ndarray]) -> Windows:
    """The windows of a model's colours and of its field, after checking that all arrays belong together.

    Raises:
      InputError: they are not the arrays of one model.
    """
    names = set(arrays)
    if names - _FIELD_ARRAYS not in (
        _WINDOW_ARRAYS,
        _VIEWED_ARRAYS,
        _MASK_ARRAYS,
    ) or names & _FIELD_ARRAYS not in (
        set(),
        _FIELD_ARRAYS,
    ):
        raise checks.InputError(
            "its arrays must be weights, bias, and offsets (and views) or mask_indices and mask_valid, and "
            "all or none of those of a field, not " + checks.one_line(", ".join(sorted(arrays)) or "none")
        )
    return Windows(_window(arrays), _field_window(arrays) if names & _FIELD_ARRAYS else None)


def describe(weights: np.ndarray, window: windows.Window | masks.Mask) -> dict[str, Any]:
    """The part of the header that describes the arrays, for programs that read nothing else."""
    out_channels, num_entries, in_channels, height, width = weights.shape
    side = math.isqrt(num_entries)
    is_square = isinstance(window, windows.Window) and side % 2 == 1 and window == windows.square(side)
    return {
        "dtype": weights.dtype.name,
        "image_size": [height, width],
        "channels": {"out": out_channels, "in": in_channels},
        "window": {"entries": num_entries, "side": side if is_square else None},
    }


def _window(arrays: Mapping[str, np.ndarray]) -> windows.Window | masks.Mask:
    """The window of a model's colours, after checking that its arrays belong together."""
    weights, bias = arrays["weights"], arrays["bias"]
    for name, array, axes in (("weights", weights, 5), ("bias", bias, 3)):
        if array.dtype.name not in DTYPES or array.ndim != axes or 0 in array.shape:
            raise checks.InputError(
                f"{name} must be {', '.join(DTYPES)} with {axes} axes, none of them empty, not "
                f"{array.dtype} of the shape {array.shape}"
            )
    out_channels, num_entries, in_channels, height, width = weights.shape
    if (
        bias.shape != (out_channels, height, width)
        or bias.dtype != weights.dtype
        or in_channels not in (1, out_channels)
    ):
        raise checks.InputError(
            f"{weights.dtype} weights of the shape {weights.shape} and a {bias.dtype} bias of "
            f"{bias.shape} do not belong together"
        )
    if "offsets" in arrays:
        return _from_offsets(arrays["offsets"], num_entries, height, width, arrays.get("views"))
    indices, valid = arrays["mask_indices"], arrays["mask_valid"]
    expected = (height * width, num_entries)
    kinds = indices.dtype.kind + valid.dtype.kind
    if kinds != "ib" or not indices.shape == valid.shape == expected:
        raise checks.InputError(
            f"its mask must be whole numbers and truth values of the shape {expected}, not "
            f"{indices.dtype} of {indices.shape} and {valid.dtype} of {valid.shape}"
        )
    mask = masks.Mask(indices, valid)
    masks.check(mask, "its mask", num_inputs=height * width)
    return masks.Mask(indices.astype(np.int32), valid)


def _field_window(arrays: Mapping[str, np.ndarray]) -> windows.Window:
    """The window of a displacement field; all models have fields of one size."""
    weights, bias, offsets = (arrays[name] for name in ("field_weights", "field_bias", "field_offsets"))
    size = (warped_ridge.FIELD_SIZE, warped_ridge.FIELD_SIZE)
    num = len(offsets) if offsets.ndim else 0
    out_channels, height, width = arrays["bias"].shape
    tint = arrays["tint"]
    channels = len(tint) if out_channels == 1 and tint.ndim == 3 and len(tint) in (1, 3) else out_channels
    for name, array, shape in (
        ("field_weights", weights, (2, num, 1, *size)),
        ("field_bias", bias, (2, *size)),
        ("tint", tint, (channels, height, width)),
    ):
        if array.dtype != arrays["weights"].dtype or array.shape != shape or num == 0:
            raise checks.InputError(
                f"{name} must be {arrays['weights'].dtype} of the shape {shape}, not {array.dtype} "
                f"of {array.shape}"
            )
    return _from_offsets(offsets, num, *size)


def _from_offsets(
    offsets: np.ndarray, num: int, height: int, width: int, views: np.ndarray | None = None
) -> windows.Window:
    if offsets.shape != (num, 2) or offsets.dtype.kind != "i":
        raise checks.InputError(
            f"offsets must be whole numbers of the shape {(num, 2)}, as many as weights has, not "
            f"{offsets.dtype} of {offsets.shape}"
        )
    # Checked before they become a tuple, which takes more memory.
    limits = np.array([height, width])
    num_views = 1 if views is None else _num_views(views, num, max(height, width))
    if num > num_views * height * width or ((offsets <= -limits) | (offsets >= limits)).any():
        raise checks.InputError(f"its offsets lead out of its pictures of {height} x {width}")
    seen = () if views is None else [windows.View(bool(mirror), float(blur)) for mirror, blur in views]
    window = windows.from_offsets(offsets.tolist(), views=seen)
    windows.check(window, "its offsets", height, width)
    return window


def _num_views(views: np.ndarray, num: int, side: int) -> int:
    """The number of different views, after checking them."""
    if views.shape != (num, 2) or views.dtype.kind != "f":
        raise checks.InputError(
            f"views must be floating point of the shape {(num, 2)}, not {views.dtype} of {views.shape}"
        )
    mirror, blur = views.T
    if not np.isin(mirror, (0, 1)).all() or not ((blur >= 0) & (blur <= side)).all():
        raise checks.InputError(f"views must be 0 or 1, and a blur from 0 to the picture's side, {side}")
    return len(np.unique(views, axis=0))
