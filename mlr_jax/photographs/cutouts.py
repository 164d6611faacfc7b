"""Cuts faces out of photographs, aligned as the pictures that a model was trained on."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mlr_jax import checks
from mlr_jax.alignment import Affine, FaceTemplate
from mlr_jax.photographs import blending, files
from mlr_jax.photographs._numpy import affine_maps, sampling
from mlr_jax.photographs.files import Photograph


class Landmarks(NamedTuple):
    """Where a face is; points are (x, y) in pixels of the photograph.

    Left and right are as seen in it, with the head upright.

    Attributes:
      left_eye: the middle of the eye.
      right_eye: of the other one.
      mouth: the middle between its corners; None if it is unknown, and then the face is not stretched.
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
        ratio = affine_maps.mouth_ratio(eyes[0], eyes[1], np.array(landmarks.mouth, np.float32))
        if not 0.3 < ratio < 3:
            raise checks.InputError(
                f"the mouth {_points([landmarks.mouth])} does not lie below the eyes {_points(eyes)} as in a "
                "face; left and right are as seen with the head upright"
            )
    return affine_maps.crop_from_eyes(eyes[0], eyes[1], ratio, size, template)


def cut_out(photograph: Photograph, landmarks: Landmarks, size: int, template: FaceTemplate) -> Cutout:
    """Cuts a face out, anti-aliased, as `alignment.crop` does; beyond the photograph its border is repeated.

    Computed by NumPy: JAX would compile for every size of photograph.

    Args:
      photograph: with the face.
      landmarks: where it is.
      size: of the aligned face.
      template: where its landmarks go.

    Raises:
      InputError: as for `locate`, or the face lies outside the photograph, or is larger than it, or the
        photograph's levels are not as `Photograph` says.
    """
    files.check("expressions.cut_out", photograph)
    height, width = photograph.levels.shape[:2]
    eyes, diagonal = np.array(landmarks[:2], np.float64), math.hypot(height, width)
    place = f"the picture of {width} x {height} pixels"
    # Work and memory grow with the whole face, not with the visible part of it.
    if np.hypot(*(eyes[1] - eyes[0])) > diagonal:
        raise checks.InputError(f"the eyes {_points(eyes)} are farther apart than {place} is large")
    outside = checks.InputError(f"the face at {_points(eyes)} lies outside {place}")
    if abs(eyes).max() > 10 * diagonal:  # Single precision may not hold such places.
        raise outside
    affine = locate(landmarks, size, template=template)
    box = blending.bounding_box(affine, size)
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = min(box.top + box.height, height), min(box.left + box.width, width)
    if top >= bottom or left >= right:
        raise outside
    part = files.to_unit(photograph.levels[top:bottom, left:right])
    local = Affine(affine.matrix, affine.offset - np.array([left, top], np.float32))
    face = sampling.crop(part, local, size, oversampling=affine_maps.oversampling(affine))
    return Cutout(np.clip(face, 0, 1), part, local, top, left)


def _points(points: Iterable[Sequence[float]]) -> str:
    return " and ".join(f"({x:g}, {y:g})" for x, y in points)
