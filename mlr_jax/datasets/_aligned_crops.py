"""Faces that are cut out of pictures and brought into the same place by their landmarks."""

import math
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mlr_jax import alignment, checks, images
from mlr_jax.datasets import cache
from mlr_jax.datasets.streams import PairStream, Place

_LEAST_EYE_DISTANCE = 8


class LandmarkedPicture(NamedTuple):
    """A picture with the landmarks of the face in it.

    Attributes:
      path: of the picture.
      landmarks: `(4, 2)` float32: left eye, right eye, left and right corner of the mouth.
      table: the file that has the landmarks.
    """

    path: str
    landmarks: np.ndarray
    table: str


def aligned(
    pairs: Sequence[tuple[str, LandmarkedPicture, LandmarkedPicture]],
    *,
    loader: tuple[str, int],
    image_size: int,
    channels: int,
    template: alignment.FaceTemplate,
    files: Iterable[str | os.PathLike[str]] = (),
) -> PairStream:
    """Opens pairs of faces that are aligned by their landmarks.

    Each picture is aligned by its own eyes. The distance from eyes to mouth is made the same for all
    people, measured on each one's source picture, the only one there is when the expression is put on a
    photograph: mouths coincide in the sources, and move with the expression in the targets.

    Args:
      pairs: `(subject, source, target)`.
      loader: the data set, and the version of the pictures that it makes of the same files.
      image_size: side of the aligned face, in pixels.
      channels: 1 (grey) or 3.
      template: where eyes and mouth come to lie.
      files: others on which the pairs depend.

    Returns:
      The pairs. Reading a picture that cannot be decoded, or whose landmarks are wrong, raises an InputError
      that names it.

    Raises:
      InputError: a file is not there.
    """
    pictures = [picture for _, *both in pairs for picture in both]
    tables = dict.fromkeys(picture.table for picture in pictures)
    key = {
        "loader": loader,
        "files": cache.fingerprint([*(picture.path for picture in pictures), *tables, *files]),
        "image_size": image_size,
        "channels": channels,
        "template": template,
    }

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        _, source, target = pairs[index]
        first, second = (_align(each, source, image_size, channels, template) for each in (source, target))
        return first, second

    def places(index: int) -> tuple[Place, Place]:
        _, source, target = pairs[index]
        first, second = (
            Place(each.path, _affine(each, source, image_size, template)) for each in (source, target)
        )
        return first, second

    subjects = tuple(subject for subject, _, _ in pairs)
    return PairStream(
        subjects,
        (image_size, image_size, channels),
        read,
        key,
        places,
        files=lambda index: (pairs[index][1].path, pairs[index][2].path),
    )


def _align(
    face: LandmarkedPicture,
    source: LandmarkedPicture,
    image_size: int,
    channels: int,
    template: alignment.FaceTemplate,
) -> np.ndarray:
    picture = images.to_channels(images.read(face.path), channels)
    height, width, _ = picture.shape
    _check_landmarks(face, width, height)
    _check_landmarks(source)
    affine = _affine(face, source, image_size, template)
    oversampling = math.ceil(float(alignment.pixels_per_pixel(affine)))
    # A mean of values in [0, 1] may miss the range by rounding.
    return np.clip(alignment.crop(picture, affine, image_size, oversampling=oversampling), 0, 1)


def _affine(
    face: LandmarkedPicture, source: LandmarkedPicture, image_size: int, template: alignment.FaceTemplate
) -> alignment.Affine:
    """From points of the aligned face to points of its picture; `source` is the pair's source picture."""
    left_eye, right_eye, *corners = source.landmarks
    ratio = alignment.mouth_ratio(left_eye, right_eye, np.mean(corners, axis=0))
    left_eye, right_eye = face.landmarks[:2]
    return alignment.crop_from_eyes(left_eye, right_eye, ratio, image_size, template=template)


def _check_landmarks(face: LandmarkedPicture, width: float = math.inf, height: float = math.inf) -> None:
    """Raises InputError unless the landmarks are those of an upright face in a picture of that size."""
    left_eye, right_eye, *corners = face.landmarks
    mouth = np.mean(corners, axis=0)
    if (face.landmarks < 0).any() or (face.landmarks > (width, height)).any():
        problem = f"lies outside the picture of {width} x {height} pixels"
    elif right_eye[0] - left_eye[0] < _LEAST_EYE_DISTANCE:
        problem = f"is wrong: the right eye is not {_LEAST_EYE_DISTANCE} pixels to the right of the left one"
    elif mouth[1] < (left_eye[1] + right_eye[1]) / 2 + 0.5 * (right_eye[0] - left_eye[0]):
        problem = "is wrong: the mouth is not well below the eyes"
    else:
        return
    raise checks.InputError(f"{face.path}: a landmark of this picture in {face.table} {problem}")
