"""Models on disk: one .npz file that holds all of a model, on whichever device it was made.

The arrays of an `ExpressionModel` are `weights`, `bias`, and either `offsets` (a window's,
`(num_offsets, 2)`) or `mask_indices` and `mask_valid`. A window that looks at mirrored or blurred copies of
the picture has `views` besides, `(num_offsets, 2)`: whether mirrored, 0 or 1, and the blur. How a model was
chosen (`selection`) is not saved. A `WarpedModel` has `field_weights`, `field_bias`,
`field_offsets` and `tint` besides. Any program that reads NumPy's files can use them. The `header` is JSON,
and says besides where faces must have eyes and mouth, what the model was made from, and a checksum
(`array_file`).

A file from anywhere can be read: no part of it is run, all of it is checked, and that takes at most six times
its size on disk and 32 MiB.
"""

import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from mlr_jax import array_file, checks, masks, warped_ridge
from mlr_jax.alignment import FaceTemplate
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.warped_ridge import WarpedModel
from mlr_jax.window_linear import WindowLinear

_KIND = "expression model"
_VERSION = 2

_DTYPES = ("float16", "float32", "float64")
_WINDOW_ARRAYS = {"weights", "bias", "offsets"}
_VIEWED_ARRAYS = _WINDOW_ARRAYS | {"views"}
_MASK_ARRAYS = {"weights", "bias", "mask_indices", "mask_valid"}
_FIELD_ARRAYS = {"field_weights", "field_bias", "field_offsets", "tint"}

Model = ExpressionModel | WarpedModel
"""Both kinds of models: the published one, and the one whose pixels move before they mix."""


class SavedModel(NamedTuple):
    """What a file holds.

    Attributes:
      model: for `synthesis.synthesize` or `warped_ridge.synthesize`.
      template: where the faces of its pictures have eyes and mouth, or None if that is not known.
      metadata: what was said about it when it was saved.
    """

    model: Model
    template: FaceTemplate | None
    metadata: dict[str, Any]


def save(
    path: str | os.PathLike[str],
    model: Model,
    *,
    template: FaceTemplate | None = None,
    metadata: Mapping[str, Any] | None = None,
    dtype: DTypeLike = np.float32,
) -> None:
    """Writes a model, such that the file is always the old one or the new one.

    Args:
      path: of the file, in a folder that exists; usually ends in .npz.
      model: from `synthesis.fit`, `synthesis.solve` or `warped_ridge.fit`.
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
    colours = model.change if isinstance(model, WarpedModel) else model
    arrays = {
        "weights": _converted(where, "weights", colours.weights, dtype),
        "bias": _converted(where, "bias", colours.bias, dtype),
    }
    if isinstance(colours.window, masks.Window):
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
            "field_weights": _converted(where, "field_weights", model.field.weights, dtype),
            "field_bias": _converted(where, "field_bias", model.field.bias, dtype),
            "field_offsets": np.asarray(model.field_window.offsets),
            "tint": _converted(where, "tint", model.tint, dtype),
        }
    header = {
        **_describe(arrays["weights"], _windows(where, arrays)[0]),
        "template": template and {name: float(part) for name, part in template._asdict().items()},
        "metadata": dict(metadata or {}),
    }
    _check_finite(where, header)
    parse_template(where, header["template"])
    for name in {"offsets", "field_offsets"} & set(arrays):
        arrays[name] = arrays[name].astype(np.int32)
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
    window, field_window = _windows(where, arrays)
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

    def take(name: str) -> jax.Array:
        # Unlike `jnp.asarray`, this compiles nothing; and nobody else has the array, if its memory is shared.
        return jax.device_put(_converted(where, name, arrays.pop(name), dtype))

    colours = ExpressionModel(take("weights"), take("bias"), window)
    if field_window is None:
        return SavedModel(colours, template, header["metadata"])
    field = WindowLinear(take("field_weights"), take("field_bias"))
    return SavedModel(WarpedModel(field, field_window, colours, take("tint")), template, header["metadata"])


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


def _windows(
    where: str, arrays: Mapping[str, np.ndarray]
) -> tuple[masks.Window | masks.Mask, masks.Window | None]:
    """The windows of a model's colours and of its field, after checking that all arrays belong together."""
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
            f"{where}: its arrays must be weights, bias, and offsets (and views) or mask_indices and "
            "mask_valid, and all or none of those of a field, not "
            + checks.one_line(", ".join(sorted(arrays)) or "none")
        )
    return _window(where, arrays), _field_window(where, arrays) if names & _FIELD_ARRAYS else None


def _field_window(where: str, arrays: Mapping[str, np.ndarray]) -> masks.Window:
    """The window of a field, which is the same for all models but for its size."""
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
                f"{where}: {name} must be {arrays['weights'].dtype} of the shape {shape}, not {array.dtype} "
                f"of {array.shape}"
            )
    return _from_offsets(where, offsets, num, *size)


def _window(where: str, arrays: Mapping[str, np.ndarray]) -> masks.Window | masks.Mask:
    """The window of a model's colours, after checking that its arrays belong together."""
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
        return _from_offsets(where, arrays["offsets"], num_entries, height, width, arrays.get("views"))
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


def _from_offsets(
    where: str, offsets: np.ndarray, num: int, height: int, width: int, views: np.ndarray | None = None
) -> masks.Window:
    if offsets.shape != (num, 2) or offsets.dtype.kind != "i":
        raise checks.InputError(
            f"{where}: offsets must be whole numbers of the shape {(num, 2)}, as many as weights has, not "
            f"{offsets.dtype} of {offsets.shape}"
        )
    # Before they are made a tuple, which takes more memory. What lies beyond is outside of every picture.
    limits = np.array([height, width])
    num_views = 1 if views is None else _num_views(where, views, num, max(height, width))
    if num > num_views * height * width or ((offsets <= -limits) | (offsets >= limits)).any():
        raise checks.InputError(f"{where}: its offsets lead out of its pictures of {height} x {width}")
    try:
        seen = () if views is None else [masks.View(bool(mirror), float(blur)) for mirror, blur in views]
        window = masks.window(offsets.tolist(), views=seen)
    except checks.InputError as error:
        raise checks.InputError(f"{where}: {error}") from error
    masks.check_window(window, where, height, width)
    return window


def _num_views(where: str, views: np.ndarray, num: int, side: int) -> int:
    """How many different ones there are, after checking them."""
    if views.shape != (num, 2) or views.dtype.kind != "f":
        raise checks.InputError(
            f"{where}: views must be floating point of the shape {(num, 2)}, not {views.dtype} of "
            f"{views.shape}"
        )
    mirror, blur = views.T
    if not np.isin(mirror, (0, 1)).all() or not ((blur >= 0) & (blur <= side)).all():
        raise checks.InputError(
            f"{where}: views must be 0 or 1, and a blur from 0 to the picture's side, {side}"
        )
    return len(np.unique(views, axis=0))


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
