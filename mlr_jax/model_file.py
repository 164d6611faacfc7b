"""Models on disk: one .npz file for each, readable on any device.

The arrays of an `ExpressionModel` are `weights`, `bias`, and either `offsets` (a window's,
`(num_offsets, 2)`) or `mask_indices` and `mask_valid`. A window with mirrored or blurred views also has
`views`, `(num_offsets, 2)`: mirrored, 0 or 1, and the blur. A `WarpedModel` also has `field_weights`,
`field_bias`, `field_offsets` and `tint`. How a model was chosen (`selection`) is not saved. Any program that
reads NumPy's files can use the arrays. The `header` is JSON: it describes the arrays, and has the template of
the faces, the metadata and a checksum (`array_file`).

Files from untrusted sources are safe to load: `load` runs no part of a file, checks all of it, and takes at
most six times its size on disk and 32 MiB.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import DTypeLike

from mlr_jax import _model_arrays, array_file, checks
from mlr_jax.alignment import FaceTemplate
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.warped_ridge import WarpedModel
from mlr_jax.window_linear import WindowLinear

_KIND = "expression model"
_VERSION = 2

Model = ExpressionModel | WarpedModel
"""The published model, or one that also moves pixels."""


class SavedModel(NamedTuple):
    """The contents of a file.

    Attributes:
      model: for `synthesis.synthesize` or `warped_ridge.synthesize`.
      template: where its training pictures have eyes and mouth; None if unknown.
      metadata: given to `save`.
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
    """Writes a model atomically: the file is always the old one or the new one, never a part.

    Args:
      path: of the file, in a folder that exists; usually ends in .npz.
      model: from `synthesis.fit`, `synthesis.solve` or `warped_ridge.fit`.
      template: to which the training faces were aligned, if they were.
      metadata: anything else about it, as values that JSON can hold.
      dtype: of the weights and the bias in the file: float16, float32 or float64. In its own dtype the model
        is written to the bit. float16 takes half the space of float32 and keeps three digits.

    Raises:
      TypeError: the metadata are not JSON.
      InputError: the model or the metadata hold NaN or infinity, the model has values that the dtype cannot
        hold, its parts do not belong together, or no face fits the template.
      OSError: the file cannot be written.
    """
    where = "model_file.save"
    dtype = np.dtype(dtype)
    if dtype.name not in _model_arrays.DTYPES:
        raise checks.InputError(
            f"{where}: dtype must be one of {', '.join(_model_arrays.DTYPES)}, not {dtype}"
        )
    with _prefixed(where):
        arrays = _model_arrays.of_model(model, dtype)
        window = _model_arrays.receptive_fields(arrays).colours
        description = _model_arrays.describe(arrays["weights"], window)
    header = {
        **description,
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
      InputError: there is no such file, it is damaged or was altered, it has another version, or it holds no
        model; the message says which.
    """
    arrays, header = array_file.load(path, _KIND, _VERSION)
    where = f"{path} is no usable model"
    with _prefixed(where):
        window, field_window = _model_arrays.receptive_fields(arrays)
    expected = _model_arrays.describe(arrays["weights"], window)
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
        # Unlike `jnp.asarray`, this compiles nothing. It may share the array's memory: nothing else uses it.
        with _prefixed(where):
            return jax.device_put(_model_arrays.converted(name, arrays.pop(name), dtype))

    colours = ExpressionModel(take("weights"), take("bias"), window)
    if field_window is None:
        return SavedModel(colours, template, header["metadata"])
    field = WindowLinear(take("field_weights"), take("field_bias"))
    return SavedModel(WarpedModel(field, field_window, colours, take("tint")), template, header["metadata"])


def parse_template(where: str, parts: Any) -> FaceTemplate | None:
    """The template with these parts, a number for each of its fields; InputError if no face fits it.

    Args:
      where: prefix of an error's message.
      parts: by name; None gives None.
    """
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


def _check_finite(where: str, header: Mapping[str, Any]) -> None:
    try:
        json.dumps(header, allow_nan=False)
    except ValueError as error:
        raise checks.InputError(
            f"{where}: its header holds NaN or infinity, which JSON cannot hold"
        ) from error


@contextlib.contextmanager
def _prefixed(where: str) -> Iterator[None]:
    """Prefixes the message of an InputError with the place."""
    try:
        yield
    except checks.InputError as error:
        raise checks.InputError(f"{where}: {error}") from error
