"""Where the faces are in pictures that are taken whole, and whether they are aligned."""

import importlib.util
from typing import NamedTuple

import numpy as np

from experiments.running import native_log
from mlr_jax import checks
from mlr_jax.alignment import FaceTemplate
from mlr_jax.datasets.streams import PairStream
from mlr_jax.photographs import faces

_MOST_PICTURES = 9
_FEWEST_PICTURES = 3
# Eyes of aligned faces are nearer to each other, in parts of the distance between the eyes.
_MOST_APART = 0.25


class Measured(NamedTuple):
    """Where faces are in some of the source pictures.

    Attributes:
      template: the median of where eyes and mouths are.
      apart: the largest distance of an eye from the median place, as a part of the distance between the eyes.
      subject: whose eye that is.
      num_pictures: in which a face was found.
    """

    template: FaceTemplate
    apart: float
    subject: str
    num_pictures: int

    @property
    def is_aligned(self) -> bool:
        """Whether eyes are in nearly the same places."""
        return self.apart < _MOST_APART


def measure(opened: PairStream) -> Measured | None:
    """Finds the faces in some source pictures.

    Args:
      opened: pairs of pictures.

    Returns:
      None if the extra `align` is missing, or faces are found in too few pictures, as in drawings; or if
      the pictures are not square, or were aligned by their landmarks.
    """
    height, width, _ = opened.shape
    if height != width or opened.files is None or opened.places is not None:
        return None
    if importlib.util.find_spec("mediapipe") is None:
        return None
    num = min(_MOST_PICTURES, len(opened.subjects))
    subjects, points = [], []
    for index in np.linspace(0, len(opened.subjects) - 1, num).astype(int):
        try:
            picture, _ = opened.read(int(index))
            with native_log.discarded():
                found = faces.find(np.round(picture * 255).astype(np.uint8))
        except checks.InputError:  # Unreadable, which the training says; or MediaPipe does not work here.
            continue
        if len(found) == 1:
            subjects.append(opened.subjects[index])
            points.append((np.array(found[0].landmarks) + 0.5) / width)
    if len(points) < _FEWEST_PICTURES:
        return None
    places = np.array(points)  # (num, 3, 2): eyes and mouth
    left_eye, right_eye, mouth = np.median(places, axis=0)
    distance = float(np.median(np.linalg.norm(places[:, 1] - places[:, 0], axis=-1)))
    apart = np.linalg.norm(places[:, :2] - (left_eye, right_eye), axis=-1).max(axis=-1) / distance
    template = FaceTemplate(distance, float(left_eye[1] + right_eye[1]) / 2, float(mouth[1]))
    return Measured(template, float(apart.max()), subjects[int(apart.argmax())], len(points))
