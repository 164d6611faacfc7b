"""Models on disk: one .npz file that holds all of an `ExpressionModel`, on whichever device it was made.

Its arrays are `weights`, `bias`, and either `offsets` (a window's, `(num_offsets, 2)`) or `mask_indices` and
`mask_valid`; any program that reads NumPy's files can use them. Its `header` is JSON, and says besides where
faces must have eyes and mouth, what the model was made from, and a checksum (`array_file`).

A file from anywhere can be read: no part of it is run, all of it is checked, and that takes at most six times
its size on disk and 32 MiB.
"""

import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from mlr_jax import array_file, checks, masks
from mlr_jax.alignment import FaceTemplate
from mlr_jax.synthesis import ExpressionModel

_KIND = "expression model"
_VERSION = 2

_DTYPES = ("float16", "float32", "float64")
_WINDOW_ARRAYS = {"weights", "bias", "offsets"}
_MASK_ARRAYS = {"weights", "bias", "mask_indices", "mask_valid"}


class SavedModel(NamedTuple):
    """What a file holds.

    Attributes:
      model: for `synthesis.synthesize`.
      template: where the faces of its pictures have eyes and mouth, or None if that is not known.
      metadata: what was said about it when it was saved.
    """

    model: ExpressionModel
    template: FaceTemplate | None
    metadata: dict[str, Any]


def save(
    path: str | os.PathLike[str],
    model: ExpressionModel,
    *,
    template: FaceTemplate | None = None,
    metadata: Mapping[str, Any] | None = None,
    dtype: DTypeLike = np.float32,
) -> None:
    """Writes a model, such that the file is always the old one or the new one.

    Args:
      path: of the file, in a folder that exists; usually ends in .npz.
      model: from `synthesis.fit` or `synthesis.solve`.
      template: by which the faces were aligned that it was made from, if they were.
      metadata: what is to be known about it, of what JSON can hold.
      dtype: of the weights and the bias in the file: float16, float32 or float64. In that of the model it is
        written to the bit. float16 takes half the space of float32 and keeps three digits.

    Raises:
      TypeError: the metadata are not JSON.
      InputError: the model or the metadata hold NaN or infinity, the model has values that the dtype cannot
        hold, its parts do not belong together, or the template is none.
      OSError: the file cannot be written.
    """
    where = "model_file.save"
    dtype = np.dtype(dtype)
    if dtype.name not in _DTYPES:
        raise checks.InputError(f"{where}: dtype must be one of {', '.join(_DTYPES)}, not {dtype}")
    arrays = {
        "weights": _converted(where, "weights", model.weights, dtype),
        "bias": _converted(where, "bias", model.bias, dtype),
    }
    if isinstance(model.window, masks.Window):
        arrays["offsets"] = np.asarray(model.window.offsets)
    else:
        arrays |= {
            "mask_indices": np.asarray(model.window.indices),
            "mask_valid": np.asarray(model.window.valid),
        }
    header = {
        **_describe(arrays["weights"], _window(where, arrays)),
        "template": template and {name: float(part) for name, part in template._asdict().items()},
        "metadata": dict(metadata or {}),
    }
    _check_finite(where, header)
    parse_template(where, header["template"])
    if "offsets" in arrays:
        arrays["offsets"] = arrays["offsets"].astype(np.int32)
    array_file.save(path, _KIND, _VERSION, arrays, header)


def load(path: str | os.PathLike[str]) -> SavedModel:
    """Reads a model.

    Args:
      path: of the file.

    Returns:
      The model, on the default device, in single precision (in double if it is saved so and x64 is on), its
      template and its metadata.

    Raises:
      InputError: there is no such file, it is damaged or was altered, it is of another version, or it holds
        no model; the message says which.
    """
    arrays, header = array_file.load(path, _KIND, _VERSION)
    where = f"{path} is no usable model"
    window = _window(where, arrays)
    expected = _describe(arrays["weights"], window)
    if set(header) != {*expected, "template", "metadata"} or not isinstance(header["metadata"], dict):
        parts = ", ".join((*expected, "template", "metadata"))
        raise checks.InputError(f"{where}: its header must have the parts {parts}")
    for name, value in expected.items():
        if header[name] != value:
            raise checks.InputError(
                f"{where}: {name} is {value}, but its header says {checks.one_line(header[name])}"
            )
    _check_finite(where, header)
    template = parse_template(where, header["template"])
    dtype = jax.dtypes.canonicalize_dtype(np.promote_types(arrays["weights"].dtype, np.float32))
    weights, bias = (
        jnp.asarray(_converted(where, name, arrays.pop(name), dtype)) for name in ("weights", "bias")
    )
    return SavedModel(ExpressionModel(weights, bias, window), template, header["metadata"])


def parse_template(where: str, parts: Any) -> FaceTemplate | None:
    """The template of which these are the parts by name, if any; InputError if no face fits it."""
    if parts is None:
        return None
    is_whole = isinstance(parts, dict) and set(parts) == set(FaceTemplate._fields)
    if is_whole and all(type(part) is float for part in parts.values()):
        template = FaceTemplate(**parts)
        if 0 < template.eye_distance < 1 and 0 < template.eye_height < template.mouth_height < 1:
            return template
    raise checks.InputError(
        f"{where}: a template must have an eye_distance, and eyes above the mouth, between 0 and 1, not "
        + checks.one_line(parts)
    )


def _converted(where: str, name: str, array: ArrayLike, dtype: np.dtype) -> np.ndarray:
    before = np.asarray(array)
    with np.errstate(over="ignore"):
        after = before.astype(dtype, copy=False)
    if np.isfinite(after).all():
        return after
    if not np.isfinite(before).all():
        raise checks.InputError(f"{where}: {name} holds NaN or infinity")
    raise checks.InputError(
        f"{where}: {name} holds values of up to {np.abs(before).max():g}, which {dtype} cannot hold; use a "
        "wider dtype"
    )


def _window(where: str, arrays: Mapping[str, np.ndarray]) -> masks.Window | masks.Mask:
    """The window of a model's arrays, after checking that all of them belong together."""
    if set(arrays) not in (_WINDOW_ARRAYS, _MASK_ARRAYS):
        raise checks.InputError(
            f"{where}: its arrays must be weights, bias, and offsets or mask_indices and mask_valid, not "
            + checks.one_line(", ".join(sorted(arrays)) or "none")
        )
    weights, bias = arrays["weights"], arrays["bias"]
    for name, array, axes in (("weights", weights, 5), ("bias", bias, 3)):
        if array.dtype.name not in _DTYPES or array.ndim != axes or 0 in array.shape:
            raise checks.InputError(
                f"{where}: {name} must be {', '.join(_DTYPES)} with {axes} axes, none of them empty, not "
                f"{array.dtype} of the shape {array.shape}"
            )
    out_channels, num_entries, in_channels, height, width = weights.shape
    if (
        bias.shape != (out_channels, height, width)
        or bias.dtype != weights.dtype
        or in_channels not in (1, out_channels)
    ):
        raise checks.InputError(
            f"{where}: {weights.dtype} weights of the shape {weights.shape} and a {bias.dtype} bias of "
            f"{bias.shape} do not belong together"
        )
    if "offsets" in arrays:
        return _from_offsets(where, arrays["offsets"], num_entries, height, width)
    indices, valid = arrays["mask_indices"], arrays["mask_valid"]
    expected = (height * width, num_entries)
    kinds = indices.dtype.kind + valid.dtype.kind
    if kinds != "ib" or not indices.shape == valid.shape == expected:
        raise checks.InputError(
            f"{where}: its mask must be whole numbers and truth values of the shape {expected}, not "
            f"{indices.dtype} of {indices.shape} and {valid.dtype} of {valid.shape}"
        )
    mask = masks.Mask(indices, valid)
    masks.check(mask, where, num_inputs=height * width)
    return masks.Mask(indices.astype(np.int32), valid)


def _from_offsets(where: str, offsets: np.ndarray, num: int, height: int, width: int) -> masks.Window:
    if offsets.shape != (num, 2) or offsets.dtype.kind != "i":
        raise checks.InputError(
            f"{where}: offsets must be whole numbers of the shape {(num, 2)}, as many as weights has, not "
            f"{offsets.dtype} of {offsets.shape}"
        )
    # Before they are made a tuple, which takes more memory. What lies beyond is outside of every picture.
    limits = np.array([height, width])
    if num > height * width or ((offsets <= -limits) | (offsets >= limits)).any():
        raise checks.InputError(f"{where}: its offsets lead out of its pictures of {height} x {width}")
    try:
        window = masks.window(offsets.tolist())
    except checks.InputError as error:
        raise checks.InputError(f"{where}: {error}") from error
    masks.check_window(window, where, height, width)
    return window


def _describe(weights: np.ndarray, window: masks.Window | masks.Mask) -> dict[str, Any]:
    """What the header says of the arrays, for those who read nothing else."""
    out_channels, num_entries, in_channels, height, width = weights.shape
    side = math.isqrt(num_entries)
    is_square = isinstance(window, masks.Window) and side % 2 == 1 and window == masks.square(side)
    return {
        "dtype": weights.dtype.name,
        "image_size": [height, width],
        "channels": {"out": out_channels, "in": in_channels},
        "window": {"entries": num_entries, "side": side if is_square else None},
    }


def _check_finite(where: str, header: Mapping[str, Any]) -> None:
    try:
        json.dumps(header, allow_nan=False)
    except ValueError as error:
        raise checks.InputError(f"{where}: its header holds NaN or infinity, which JSON has not") from error
