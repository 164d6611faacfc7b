"""Models on disk: one .npz file that holds all of an `ExpressionModel`, on whichever device it was made.

Its arrays are `weights`, `bias`, and either `offsets` (a window's, `(num_offsets, 2)`) or `mask_indices` and
`mask_valid`; any program that reads NumPy's files can use them.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from mlr_jax import array_file, checks, masks
from mlr_jax.synthesis import ExpressionModel

_KIND = "expression model"
_VERSION = 1


class SavedModel(NamedTuple):
    """What a file holds.

    Attributes:
      model: for `synthesis.synthesize`.
      metadata: what was said about it when it was saved.
    """

    model: ExpressionModel
    metadata: dict[str, Any]


def save(
    path: str | os.PathLike[str],
    model: ExpressionModel,
    *,
    metadata: Mapping[str, Any] | None = None,
    dtype: DTypeLike = np.float32,
) -> None:
    """Writes a model, such that the file is always the old one or the new one.

    Args:
      path: of the file, in a folder that exists; usually ends in .npz.
      model: from `synthesis.fit` or `synthesis.solve`.
      metadata: what is to be known about it, of what JSON can hold.
      dtype: of the weights and the bias in the file. In that of the model it is written to the bit.

    Raises:
      TypeError: the metadata are not JSON.
      OSError: the file cannot be written.
    """
    arrays = {"weights": np.asarray(model.weights, dtype), "bias": np.asarray(model.bias, dtype)}
    if isinstance(model.window, masks.Window):
        arrays["offsets"] = np.array(model.window.offsets, np.int32)
    else:
        arrays |= {
            "mask_indices": np.asarray(model.window.indices),
            "mask_valid": np.asarray(model.window.valid),
        }
    array_file.save(path, _KIND, _VERSION, arrays, metadata or {})


def load(path: str | os.PathLike[str]) -> SavedModel:
    """Reads a model.

    Args:
      path: of the file.

    Returns:
      The model, on the default device, in the dtype of the file (double precision only with x64 on), and its
      metadata.

    Raises:
      InputError: there is no such file, it is damaged, or it holds no model; the message says which.
    """
    arrays, metadata = array_file.load(path, _KIND, _VERSION)
    window = _window(path, arrays)
    for name, axes in (("weights", 5), ("bias", 3)):
        if name not in arrays:
            raise checks.InputError(f"{path} is no whole model: it has no array {name}")
        array = arrays[name]
        if array.ndim != axes or not np.issubdtype(array.dtype, np.floating):
            raise checks.InputError(
                f"{path} is no model: {name} must be floating point with {axes} axes, not {array.dtype} of "
                f"the shape {array.shape}"
            )
        if not np.isfinite(array).all():
            raise checks.InputError(f"{path} is no usable model: {name} holds NaN or infinity")
    weights, bias = arrays["weights"], arrays["bias"]
    out_channels, num_offsets, _, height, width = weights.shape
    num_entries = len(window.offsets) if isinstance(window, masks.Window) else np.shape(window.indices)[1]
    if bias.shape != (out_channels, height, width) or num_offsets != num_entries:
        raise checks.InputError(
            f"{path} is no model: weights of the shape {weights.shape}, a bias of {bias.shape} and a window "
            f"of {num_entries} offsets do not belong together"
        )
    if isinstance(window, masks.Mask):
        masks.check(window, str(path), num_inputs=height * width)
        if len(window.indices) != height * width:
            raise checks.InputError(
                f"{path} is no model: its mask has {len(window.indices)} outputs, not {height * width}"
            )
    return SavedModel(ExpressionModel(jnp.asarray(weights), jnp.asarray(bias), window), metadata)


def _window(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> masks.Window | masks.Mask:
    if "offsets" in arrays:
        offsets = arrays["offsets"]
        if offsets.ndim != 2 or offsets.shape[1] != 2 or not np.issubdtype(offsets.dtype, np.integer):
            raise checks.InputError(
                f"{path} is no model: offsets must be whole numbers (num_offsets, 2), not {offsets.dtype} "
                f"of the shape {offsets.shape}"
            )
        try:
            return masks.window(offsets.tolist())
        except checks.InputError as error:
            raise checks.InputError(f"{path} is no model: {error}") from error
    if "mask_indices" in arrays and "mask_valid" in arrays:
        mask = masks.Mask(arrays["mask_indices"], arrays["mask_valid"])
        if mask.indices.ndim != 2:
            raise checks.InputError(
                f"{path} is no model: mask_indices must be (num_outputs, entries), not {mask.indices.shape}"
            )
        return mask
    raise checks.InputError(f"{path} is no whole model: it has neither a window's offsets nor a mask")
