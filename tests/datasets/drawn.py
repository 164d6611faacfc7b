"""Pictures whose grey level tells their number, with bright dots on the landmarks."""

import numpy as np

from mlr_jax import images

SIDE = 160
SIZE = 64  # Of the aligned face, in pixels.


def landmarks(distance: float, *, tilt: float = 0, mouth: float = 1) -> np.ndarray:
    """Eyes `distance` pixels apart, and a mouth `mouth` distances below them."""
    left = np.array([45.0, 50.0])
    right = left + np.array([distance, tilt])
    middle = (left + right) / 2 + mouth * np.array([-tilt, distance])
    sideways = np.array([9, 0])
    return np.stack([left, right, middle - sideways, middle + sideways])


def draw(path, number: int, points: np.ndarray | None = None) -> None:
    """Writes picture `number`, 0 to 25."""
    y, x = np.mgrid[:SIDE, :SIDE]
    picture = np.full((SIDE, SIDE), (20 + 4 * number) / 255)
    for point in () if points is None else (*points[:2], points[2:].mean(axis=0)):
        picture += 0.5 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 50)
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, picture[..., None])


def numbers(pictures: np.ndarray) -> list[int]:
    """The numbers of these pictures."""
    grey = np.median(pictures.reshape(len(pictures), -1), axis=1)
    found = (grey * 255 - 20) / 4
    np.testing.assert_allclose(found, np.round(found), atol=0.1)
    return [round(number) for number in found.tolist()]


def check_aligned(picture: np.ndarray, *, mouth: float = 1) -> None:
    """Checks that the dots lie on the template; the mouth is `mouth` resting distances below the eyes."""
    for x, y in ((0.305, 0.36), (0.695, 0.36), (0.5, 0.36 + 0.42 * mouth)):
        column, row = round(x * SIZE - 0.5), round(y * SIZE - 0.5)
        patch = picture[row - 5 : row + 6, column - 5 : column + 6, 0]
        assert patch.max() > np.median(picture) + 0.3
        np.testing.assert_allclose(np.unravel_index(patch.argmax(), patch.shape), (5, 5), atol=1)
