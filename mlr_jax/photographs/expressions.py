"""Puts a learned expression on a face in a photograph.

The face is cut out and aligned as the model's training pictures were (`cutouts`), the model changes it, and
the change is put back. `Cutout`, `Landmarks`, `cut_out` and `locate` of `cutouts` are importable from here,
too.
"""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, images, synthesis, warped_ridge
from mlr_jax.alignment import FaceTemplate
from mlr_jax.model_file import Model
from mlr_jax.numerics.blurring import blur
from mlr_jax.photographs import blending, files
from mlr_jax.photographs._numpy import affine_maps, compositing, prediction
from mlr_jax.photographs.cutouts import Cutout, Landmarks, cut_out, locate
from mlr_jax.photographs.files import Photograph
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.warped_ridge import WarpedModel

__all__ = [
    "Cutout",
    "Detail",
    "Effect",
    "Landmarks",
    "blend",
    "cut_out",
    "effect",
    "locate",
    "model_size",
    "put_back",
    "synthesize",
    "transferable",
]

Detail = Literal["transfer", "none"]
"""Whether details finer than the model's pixels are kept.

"transfer": the photograph's own pixels move, if the model moves any, and the change of their colours is added
to them, so that pores, hair and glasses stay. The change is smoothed (`warped_ridge.SMOOTHING`): its own
finest details are mostly the model's blur, which would remove the photograph's. "none": the model's output
replaces the face; it is softer than the photograph.
"""


class Effect(NamedTuple):
    """The change that an expression makes to a face, as NumPy's arrays or JAX's, see `effect`.

    Attributes:
      output: `(size, size, channels)`, the face with the expression, as the model predicts it.
      change: `(size, size, channels)`, added to the photograph after its pixels have moved.
      field: `(size, size, 2)`, how pixels move, in pixels of the face; None if they do not.
      num_folded: at how many pixels of the face the field folded, and was repaired; None without a field.
    """

    output: jax.Array | np.ndarray
    change: jax.Array | np.ndarray
    field: jax.Array | np.ndarray | None
    num_folded: jax.Array | np.ndarray | None = None


def synthesize(
    model: Model,
    photograph: Photograph,
    landmarks: Landmarks,
    *,
    template: FaceTemplate = FaceTemplate(),
    intensity: float = 1.0,
    detail: Detail = "transfer",
) -> Photograph:
    """Puts the learned expression on one face; every pixel outside it stays the same, to the bit.

    Args:
      model: for square pictures, from `synthesis.fit`, `warped_ridge.fit` or `model_file.load`.
      photograph: with the face, grey or colour; a grey one stays grey.
      landmarks: where the face is.
      template: where the landmarks were in the model's training pictures.
      intensity: see `mlr_jax.synthesis.synthesize`; with 0, "transfer" changes nothing.
      detail: see `Detail`.

    Raises:
      InputError: as for `cut_out`, or the model is not for square pictures.
    """
    cutout = cut_out(photograph, landmarks, model_size(model), template)
    return put_back(photograph, cutout, effect(model, cutout, intensity=intensity), detail=detail)


def model_size(model: Model) -> int:
    """Side in pixels of the faces that a model is for; InputError if they are not square."""
    height, width = _colours(model).bias.shape[1:]
    if height != width:
        raise checks.InputError(f"the model is for pictures of {width} x {height} pixels; faces are square")
    return height


def effect(model: Model, cutout: Cutout, *, intensity: float = 1.0) -> Effect:
    """Applies a model to a face. A grey face under a model for colour gets the luma of its output.

    NumPy computes it, so that nothing is compiled, if the model has windows and all values are concrete. JAX
    computes it if the model has masks, or inside a transformation.
    """
    num_channels = len(model.tint) if isinstance(model, WarpedModel) else len(model.weights)
    is_grey_in_colour = num_channels == 3 and cutout.face.shape[-1] == 1
    seen = np.repeat(cutout.face, 3, axis=-1) if is_grey_in_colour else cutout.face
    by_numpy = prediction.supports(model) and checks.is_concrete(model, seen, intensity)
    if isinstance(model, WarpedModel) and num_channels == 1:
        # A model of grey pictures serves every channel.
        shape = (seen.shape[-1], *model.tint.shape[1:])
        tint: Any = np.broadcast_to(model.tint, shape) if by_numpy else jnp.broadcast_to(model.tint, shape)
        model = model._replace(tint=tint)
    found = (_effect_by_numpy if by_numpy else _effect)(model, seen, intensity)
    if is_grey_in_colour:
        luma = np.array(images.LUMA, np.float32)[:, None]
        return found._replace(output=found.output @ luma, change=found.change @ luma)
    return found


def _effect(model: Model, seen: np.ndarray, intensity: ArrayLike) -> Effect:
    face = jnp.asarray(seen)
    if isinstance(model, WarpedModel):
        (output,), parts = warped_ridge.apply(model, face[None], intensity=intensity)
        return Effect(output, parts.changes[0], parts.fields[0], parts.num_folded[0])
    output = synthesis.synthesize(model, face[None], intensity=intensity)[0]
    return Effect(output, blur(output - face, warped_ridge.SMOOTHING), None)


def _effect_by_numpy(model: Model, face: np.ndarray, intensity: float) -> Effect:
    if isinstance(model, WarpedModel):
        warped_ridge.check_images(model, face[None], intensity)
        output, field, change, num_folded = prediction.apply(model, face, intensity=intensity)
        return Effect(output, change, field, np.array(num_folded, np.int32))
    synthesis.check_images(model, "synthesis.synthesize", face[None], intensity)
    output = prediction.synthesize(model, face, intensity=intensity)
    return Effect(output, prediction.blur(output - face, warped_ridge.SMOOTHING), None)


def transferable(difference: ArrayLike) -> np.ndarray | jax.Array:
    """The part of a change `(size, size, channels)` that is added to a photograph, see `Detail`."""
    if checks.is_concrete(difference):
        return prediction.blur(np.asarray(difference), warped_ridge.SMOOTHING)
    return blur(jnp.asarray(difference), warped_ridge.SMOOTHING)


def put_back(
    photograph: Photograph, cutout: Cutout, found: Effect, *, detail: Detail = "transfer"
) -> Photograph:
    """Puts a changed face back into its photograph, with a soft edge.

    Args:
      photograph: the one that the face was cut out of.
      cutout: the face.
      found: from `effect`.
      detail: see `Detail`.

    Returns:
      The photograph with the changed face; every level outside it is the same.

    Raises:
      InputError: `detail` is none of `Detail`, or the photograph's levels are not as `Photograph` says.
    """
    files.check("expressions.put_back", photograph)
    laid = blend(cutout, found, detail=detail)
    height, width, _ = laid.shape
    levels = photograph.levels.copy()
    place = levels[cutout.top : cutout.top + height, cutout.left : cutout.left + width]
    place[:] = files.to_levels(np.asarray(laid), levels.dtype)
    return photograph._replace(levels=levels)


def blend(cutout: Cutout, found: Effect, *, detail: Detail = "transfer") -> np.ndarray | jax.Array:
    """The part of a photograph around a face, with the face changed; arguments and errors as `put_back`.

    Returns:
      `(height, width, channels)` floating point, as `cutout.part`, not rounded to levels. NumPy's, so that
      nothing is compiled; JAX's inside a transformation.
    """
    if detail not in get_args(Detail):
        raise checks.InputError(f"detail must be one of {', '.join(get_args(Detail))}, not {detail!r}")
    adds = detail == "transfer"
    layer, field = (found.change, found.field) if adds else (found.output, None)
    gain, samples = float(adds), affine_maps.oversampling(affine_maps.invert(cutout.affine))
    if not checks.is_concrete(cutout.part, layer, field):
        return blending.put_back(
            jnp.asarray(cutout.part), layer, cutout.affine, field=field, gain=gain, oversampling=samples
        )
    return compositing.put_back(
        np.asarray(cutout.part),
        np.asarray(layer),
        cutout.affine,
        field=None if field is None else np.asarray(field),
        gain=gain,
        feather=blending.FEATHER,
        oversampling=samples,
    )


def _colours(model: Model) -> ExpressionModel:
    """The part of a model that changes colours."""
    return model.change if isinstance(model, WarpedModel) else model
