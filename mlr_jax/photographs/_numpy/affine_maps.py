"""Affine maps of points, and of aligned faces. See `alignment`, whose arguments these are.

Computed in double precision, since single precision does not hold places in a large photograph.
"""

import math

import numpy as np

from mlr_jax.alignment import Affine, FaceTemplate


def doubled(affine: Affine) -> Affine:
    """The map as NumPy's arrays, in double precision."""
    return Affine(np.asarray(affine.matrix, np.float64), np.asarray(affine.offset, np.float64))


def apply(affine: Affine, points: np.ndarray) -> np.ndarray:
    """See `alignment.apply`."""
    matrix, offset = doubled(affine)
    return np.asarray(points, np.float64) @ matrix.T + offset


def invert(affine: Affine) -> Affine:
    """The map back, see `alignment.invert`."""
    matrix, offset = doubled(affine)
    (a, b), (c, d) = matrix
    back = np.array([[d, -b], [-c, a]]) / (a * d - b * c)
    return Affine(back, -back @ offset)


def pixels_per_pixel(affine: Affine) -> float:
    """See `alignment.pixels_per_pixel`."""
    return float(np.linalg.norm(doubled(affine).matrix, 2))


def oversampling(affine: Affine) -> int:
    """The samples along each side of a pixel that a map needs, see `alignment.crop`."""
    return max(1, math.ceil(pixels_per_pixel(affine) - 1e-3))


def mouth_ratio(left_eye: np.ndarray, right_eye: np.ndarray, mouth: np.ndarray) -> float:
    """See `alignment.mouth_ratio`."""
    left_eye, right_eye, mouth = (np.asarray(point, np.float64) for point in (left_eye, right_eye, mouth))
    right, down = across = right_eye - left_eye
    below = mouth - (left_eye + right_eye) / 2
    return float(below @ np.array([-down, right]) / (across @ across))


def crop_from_eyes(
    left_eye: np.ndarray, right_eye: np.ndarray, mouth_ratio: float, size: int, template: FaceTemplate
) -> Affine:
    """See `alignment.crop_from_eyes`; the map is in single precision."""
    left_eye, right_eye = (np.asarray(point, np.float64) for point in (left_eye, right_eye))
    right, down = across = right_eye - left_eye
    middle, downwards = (left_eye + right_eye) / 2, np.array([-down, right])
    eye_distance, eye_height, mouth_height = map(float, template)
    # From the middle between the eyes, in pixels of the crop.
    to_right, to_mouth = eye_distance * size, (mouth_height - eye_height) * size
    matrix = np.stack([across / to_right, mouth_ratio * downwards / to_mouth], axis=1)
    offset = middle - matrix @ np.array([0.5 * size - 0.5, eye_height * size - 0.5])
    return Affine(matrix.astype(np.float32), offset.astype(np.float32))
