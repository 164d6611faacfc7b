"""The Face Research Lab London Set: people with a neutral and a smiling face, seen from the front.

DeBruine and Jones (2017), figshare, doi:10.6084/m9.figshare.5047666, CC BY 4.0. Expected in a folder:

    neutral_front/NNN_03.jpg   smiling_front/NNN_08.jpg   landmarks5.csv

where `landmarks5.csv` has a row for each picture, in its pixels, x to the right and y down: `file` (such as
neutral_front/001_03.jpg), `left_eye_x`, `left_eye_y`, `right_eye_x`, ..., `mouth_left_x`, `mouth_left_y`,
`mouth_right_x`, `mouth_right_y`; left and right as seen in the picture.
"""

import csv
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from mlr_jax import alignment, checks, images
from mlr_jax.datasets import cache, source as sources
from mlr_jax.datasets.pairs import Pairs

_FOLDERS = {
    "neutral": ("neutral_front", "03"),
    "happy": ("smiling_front", "08"),
    "smiling": ("smiling_front", "08"),
}
_LEAST_EYE_DISTANCE = 8
_POINTS = ("left_eye", "right_eye", "mouth_left", "mouth_right")

# Raised by whoever changes what is made of the same files, so that no old pictures are reused.
_VERSION = 1


def load(
    data_dir: str | os.PathLike[str],
    *,
    image_size: int = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    template: alignment.FaceTemplate = alignment.FaceTemplate(),
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[Sequence], Iterable] = iter,
) -> Pairs:
    """Loads and aligns all people.

    Each picture is aligned by its own eyes. The distance from eyes to mouth is made the same for all
    people, measured on each one's neutral picture, so that resting mouths coincide and smiles move.

    Args:
      data_dir: the folder of the set.
      image_size: side of the aligned face, in pixels.
      channels: 1 (grey) or 3.
      source: "neutral" or "happy" ("smiling" means the same), the expression to start from.
      target: the other one, the expression to reach.
      template: where eyes and mouth come to lie.
      cache_dir: where aligned faces are kept for the next time, if anywhere.
      progress: wraps the list of people that are read, such as `tqdm.tqdm`.

    Returns:
      One pair for each person, in the order of their numbers, which are the subjects.

    Raises:
      InputError: the folder has another layout, a picture has no partner or no landmarks, or cannot be
        read; the message names it.
    """
    opened = stream(
        data_dir, image_size=image_size, channels=channels, source=source, target=target, template=template
    )
    return sources.load(opened, f"the London set in {data_dir}", cache_dir=cache_dir, progress=progress)


def stream(
    data_dir: str | os.PathLike[str],
    *,
    image_size: int = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    template: alignment.FaceTemplate = alignment.FaceTemplate(),
) -> sources.Source:
    """Opens the set, to be read person by person.

    Args:
      data_dir: as for `load`, like all that follow.
      image_size: as there.
      channels: as there.
      source: as there.
      target: as there.
      template: as there.

    Returns:
      The pairs that `load` would load.

    Raises:
      InputError: the folder has another layout, or a picture has no partner or no landmarks. Whoever reads a
        picture that cannot be read, or whose landmarks are wrong, gets an InputError that names it.
    """
    checks.positive_integer("london", "image_size", image_size)
    if channels not in (1, 3):
        raise checks.InputError(f"london: channels must be 1 (grey) or 3 (colour), not {channels}")
    root = Path(data_dir)
    for option, name in (("source", source), ("target", target)):
        if name not in _FOLDERS:
            raise checks.InputError(
                f"the London set has no expression {name!r} for {option}; it has neutral and happy"
            )
    if _FOLDERS[source] == _FOLDERS[target]:
        raise checks.InputError(
            f"source {source!r} and target {target!r} are the same expression; they must differ"
        )
    subjects = _subjects(root)
    points = _landmarks(root / "landmarks5.csv")
    files = [_file(name, subject) for name in (source, target) for subject in subjects]
    for file in files:
        if file not in points:
            raise checks.InputError(f"{root / 'landmarks5.csv'} has no row for {file}")
    key = {
        "loader": ("london", _VERSION),
        "files": cache.fingerprint([root / file for file in [*files, "landmarks5.csv"]]),
        "image_size": image_size,
        "channels": channels,
        "template": template,
    }

    def read_one(name: str, subject: str) -> np.ndarray:
        rest, own = (points[_file(each, subject)] for each in ("neutral", name))
        picture = images.to_channels(images.read(root / _file(name, subject)), channels)
        _check_landmarks(root / _file(name, subject), own, picture.shape)
        return _align(picture, rest, own, image_size, template)

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        return read_one(source, subjects[index]), read_one(target, subjects[index])

    return sources.Source(tuple(subjects), (image_size, image_size, channels), read, key)


def _file(expression: str, subject: str) -> str:
    folder, code = _FOLDERS[expression]
    return f"{folder}/{subject}_{code}.jpg"


def _subjects(root: Path) -> list[str]:
    """The numbers of all people, after checking that each one has both pictures."""
    numbers: dict[str, set[str]] = {}
    for expression in ("neutral", "happy"):
        folder, code = _FOLDERS[expression]
        if not (root / folder).is_dir():
            raise checks.InputError(
                f"there is no folder {root / folder}; data_dir must be the folder of the London set, "
                "which holds neutral_front, smiling_front and landmarks5.csv"
            )
        matches = (re.fullmatch(rf"(\w+)_{code}\.jpg", path.name) for path in (root / folder).iterdir())
        numbers[expression] = {match[1] for match in matches if match}
    for own, other in (("neutral", "happy"), ("happy", "neutral")):
        for subject in sorted(numbers[own] - numbers[other]):
            raise checks.InputError(
                f"{root / _file(own, subject)} has no partner {root / _file(other, subject)}"
            )
    if not numbers["neutral"]:
        raise checks.InputError(f"there are no pictures NNN_03.jpg in {root / 'neutral_front'}")
    return sorted(numbers["neutral"])


def _landmarks(path: Path) -> dict[str, np.ndarray]:
    """For each file the points `_POINTS`, (4, 2)."""
    if not path.is_file():
        raise checks.InputError(f"there is no {path}, which says where eyes and mouths are")
    points = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise checks.InputError(f"cannot read {path}: {error}") from error
    for row in csv.DictReader(lines):
        try:
            values = [[float(row[f"{point}_{axis}"]) for axis in "xy"] for point in _POINTS]
            if not all(math.isfinite(value) for point in values for value in point):
                raise ValueError("not finite")
            points[row["file"]] = np.array(values, np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise checks.InputError(
                f"{path}: a landmark is missing or no number in the row of "
                f"{row.get('file', '(no file)')} ({error})"
            ) from error
    return points


def _check_landmarks(path: Path, points: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raises InputError unless the landmarks are those of an upright face in a picture of that shape."""
    left_eye, right_eye, *corners = points
    mouth = np.mean(corners, axis=0)
    if (points < 0).any() or (points > (shape[1], shape[0])).any():
        problem = f"lies outside the picture of {shape[1]} x {shape[0]} pixels"
    elif right_eye[0] - left_eye[0] < _LEAST_EYE_DISTANCE:
        problem = f"is wrong: the right eye is not {_LEAST_EYE_DISTANCE} pixels to the right of the left one"
    elif mouth[1] < (left_eye[1] + right_eye[1]) / 2 + 0.5 * (right_eye[0] - left_eye[0]):
        problem = "is wrong: the mouth is not well below the eyes"
    else:
        return
    raise checks.InputError(f"{path}: a landmark of this picture in landmarks5.csv {problem}")


def _align(
    picture: np.ndarray,
    rest: np.ndarray,
    own: np.ndarray,
    image_size: int,
    template: alignment.FaceTemplate,
) -> np.ndarray:
    """The face of one picture, with the person's proportions taken from the resting face."""
    ratio = alignment.mouth_ratio(rest[0], rest[1], rest[2:].mean(axis=0))
    affine = alignment.crop_from_eyes(own[0], own[1], ratio, image_size, template=template)
    oversampling = math.ceil(float(alignment.pixels_per_pixel(affine)))
    # A mean of values in [0, 1] may miss the range by rounding.
    return np.clip(alignment.crop(picture, affine, image_size, oversampling=oversampling), 0, 1)
