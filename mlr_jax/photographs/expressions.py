"""Puts a learned expression on a face in a photograph.

The face is cut out and aligned as the model's training pictures were, the model changes it, and what it
changed is put back.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, images, synthesis, warped_ridge
from mlr_jax.alignment import Affine, FaceTemplate
from mlr_jax.model_file import Model
from mlr_jax.numerics.blurring import blur
from mlr_jax.photographs import blending, files, models_on_host, on_host
from mlr_jax.photographs.files import Photograph
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.warped_ridge import WarpedModel

Detail = Literal["transfer", "none"]
"""What becomes of what is finer than the model's pixels.

"transfer": the photograph's own pixels move, if the model moves any, and the change of their colours is added
to them, so that pores, hair and glasses stay. It is smoothed (`warped_ridge.SMOOTHING`): what is finer in it
is mostly the model's own blur, which would take the photograph's details away. "none": the face is replaced
by the model's output, which is softer than the photograph.
"""


class Effect(NamedTuple):
    """What an expression does to a face; NumPy's arrays, or JAX's, see `effect`.

    Attributes:
      output: `(size, size, channels)`, the face with the expression, as the model makes it.
      change: `(size, size, channels)`, what is added to a photograph of it, whose pixels have moved.
      field: `(size, size, 2)`, how they move, in pixels of the face; None if they do not.
      num_folded: at how many pixels of the face the field folded, and was repaired; None without a field.
    """

    output: jax.Array | np.ndarray
    change: jax.Array | np.ndarray
    field: jax.Array | np.ndarray | None
    num_folded: jax.Array | np.ndarray | None = None


class Landmarks(NamedTuple):
    """Where a face is; points are (x, y) in pixels of the photograph.

    Left and right are as seen in it, with the head upright.

    Attributes:
      left_eye: the middle of the eye.
      right_eye: of the other one.
      mouth: the middle between its corners, or None if nobody knows: then the face is not stretched.
    """

    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    mouth: tuple[float, float] | None = None


class Cutout(NamedTuple):
    """A face that was cut out of a photograph.

    Attributes:
      face: `(size, size, channels)` float32 in [0, 1], aligned.
      part: `(height, width, channels)` float32 in [0, 1], the part of the photograph around it.
      affine: from points of `face` to points of `part`.
      top: row of the photograph in which the part begins.
      left: column in which it begins.
    """

    face: np.ndarray
    part: np.ndarray
    affine: Affine
    top: int
    left: int


def locate(landmarks: Landmarks, size: int, *, template: FaceTemplate = FaceTemplate()) -> Affine:
    """The map from an aligned crop of `size` x `size` pixels to the photograph.

    Args:
      landmarks: of the face.
      size: of the crop.
      template: where the landmarks go in it.

    Raises:
      InputError: the landmarks are not those of a face: eyes in one place, or the mouth not below them.
    """
    eyes = np.array(landmarks[:2], np.float32)
    distance = float(np.linalg.norm(eyes[1] - eyes[0]))
    if not np.isfinite(eyes).all() or distance < 1:
        raise checks.InputError(f"the eyes {_points(eyes)} must be two points, a pixel or more apart")
    if landmarks.mouth is None:
        ratio = (template.mouth_height - template.eye_height) / template.eye_distance
    else:
        ratio = on_host.mouth_ratio(eyes[0], eyes[1], np.array(landmarks.mouth, np.float32))
        if not 0.3 < ratio < 3:
            raise checks.InputError(
                f"the mouth {_points([landmarks.mouth])} does not lie below the eyes {_points(eyes)} as in a "
                "face; left and right are as seen with the head upright"
            )
    return on_host.crop_from_eyes(eyes[0], eyes[1], ratio, size, template)


def cut_out(photograph: Photograph, landmarks: Landmarks, size: int, template: FaceTemplate) -> Cutout:
    """Cuts a face out, anti-aliased, as `alignment.crop` does; beyond the photograph its border is repeated.

    NumPy does it, so that nothing is compiled, whatever the photograph's size.

    Args:
      photograph: with the face.
      landmarks: where it is.
      size: of the aligned face.
      template: where its landmarks go.

    Raises:
      InputError: as for `locate`, or the face lies outside the photograph, or is larger than it.
    """
    height, width = photograph.levels.shape[:2]
    eyes, diagonal = np.array(landmarks[:2], np.float64), math.hypot(height, width)
    place = f"the picture of {width} x {height} pixels"
    # Work and memory grow with the face, and not with the part of it that is seen.
    if np.hypot(*(eyes[1] - eyes[0])) > diagonal:
        raise checks.InputError(f"the eyes {_points(eyes)} are farther apart than {place} is large")
    outside = checks.InputError(f"the face at {_points(eyes)} lies outside {place}")
    if abs(eyes).max() > 10 * diagonal:  # And single precision may not hold where.
        raise outside
    affine = locate(landmarks, size, template=template)
    box = blending.bounding_box(affine, size)
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = min(box.top + box.height, height), min(box.left + box.width, width)
    if top >= bottom or left >= right:
        raise outside
    part = files.to_unit(photograph.levels[top:bottom, left:right])
    local = Affine(affine.matrix, affine.offset - np.array([left, top], np.float32))
    face = on_host.crop(part, local, size, oversampling=_oversampling(affine))
    return Cutout(np.clip(face, 0, 1), part, local, top, left)


def synthesize(
    model: Model,
    photograph: Photograph,
    landmarks: Landmarks,
    *,
    template: FaceTemplate = FaceTemplate(),
    intensity: float = 1.0,
    detail: Detail = "transfer",
) -> Photograph:
    """Puts the learned expression on one face; whatever lies outside it stays as it is, to the bit.

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
    """What an expression does to a face. Of a grey face under a model for colour, it has the luma.

    NumPy computes it, so that nothing is compiled, as long as pixels see windows. Where a model has masks,
    where another transformation of JAX is at work, JAX does.
    """
    num_channels = len(model.tint) if isinstance(model, WarpedModel) else len(model.weights)
    is_grey_in_colour = num_channels == 3 and cutout.face.shape[-1] == 1
    seen = np.repeat(cutout.face, 3, axis=-1) if is_grey_in_colour else cutout.face
    by_numpy = models_on_host.can_do(model) and checks.is_concrete(model, seen, intensity)
    if isinstance(model, WarpedModel) and num_channels == 1:
        # What it has learned from grey pictures holds for every channel.
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
        output, field, change, num_folded = models_on_host.apply(model, face, intensity=intensity)
        return Effect(output, change, field, np.array(num_folded, np.int32))
    synthesis.check_images(model, "synthesis.synthesize", face[None], intensity)
    output = models_on_host.synthesize(model, face, intensity=intensity)
    return Effect(output, models_on_host.blur(output - face, warped_ridge.SMOOTHING), None)


def transferable(difference: ArrayLike) -> np.ndarray | jax.Array:
    """The part of a change `(size, size, channels)` that is added to a photograph, see `Detail`."""
    if checks.is_concrete(difference):
        return models_on_host.blur(np.asarray(difference), warped_ridge.SMOOTHING)
    return blur(jnp.asarray(difference), warped_ridge.SMOOTHING)


def put_back(
    photograph: Photograph, cutout: Cutout, found: Effect, *, detail: Detail = "transfer"
) -> Photograph:
    """Puts what an expression does to a face into the photograph, with a soft edge.

    Args:
      photograph: that the face was cut out of.
      cutout: the face.
      found: from `effect`.
      detail: see `Detail`.

    Returns:
      The photograph with the changed face; every level outside it is the same.

    Raises:
      InputError: there is no such way with details.
    """
    laid = blend(cutout, found, detail=detail)
    height, width, _ = laid.shape
    levels = photograph.levels.copy()
    place = levels[cutout.top : cutout.top + height, cutout.left : cutout.left + width]
    place[:] = files.to_levels(np.asarray(laid), levels.dtype)
    return photograph._replace(levels=levels)


def blend(cutout: Cutout, found: Effect, *, detail: Detail = "transfer") -> np.ndarray | jax.Array:
    """The part of a photograph around a face, with the face changed; arguments and errors as `put_back`.

    Returns:
      `(height, width, channels)` floating point, as `cutout.part`, not rounded to levels. By NumPy, so that
      nothing is compiled, or of JAX where another transformation of it is at work.
    """
    if detail not in get_args(Detail):
        raise checks.InputError(f"detail must be one of {', '.join(get_args(Detail))}, not {detail!r}")
    adds = detail == "transfer"
    layer, field = (found.change, found.field) if adds else (found.output, None)
    gain, oversampling = float(adds), _oversampling(on_host.invert(cutout.affine))
    if not checks.is_concrete(cutout.part, layer, field):
        return blending.put_back(
            jnp.asarray(cutout.part), layer, cutout.affine, field=field, gain=gain, oversampling=oversampling
        )
    return on_host.put_back(
        np.asarray(cutout.part),
        np.asarray(layer),
        cutout.affine,
        field=None if field is None else np.asarray(field),
        gain=gain,
        feather=blending.FEATHER,
        oversampling=oversampling,
    )


def _colours(model: Model) -> ExpressionModel:
    """The part of a model that changes colours."""
    return model.change if isinstance(model, WarpedModel) else model


def _oversampling(affine: Affine) -> int:
    """Samples along each side of a pixel that are enough, see `alignment.crop`."""
    return max(1, math.ceil(on_host.pixels_per_pixel(affine) - 1e-3))


def _points(points: Iterable[Sequence[float]]) -> str:
    return " and ".join(f"({x:g}, {y:g})" for x, y in points)
