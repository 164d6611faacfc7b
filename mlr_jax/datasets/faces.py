"""What the data sets on disk share: pairs of faces that are aligned by landmarks, or taken whole.

Landmarks are four points in the pixels of a picture, x to the right and y down: the middles of both eyes and
both corners of the mouth, left and right as seen in the picture. A table has them in columns `left_eye_x`,
`left_eye_y`, `right_eye_x`, ..., `mouth_left_x`, `mouth_left_y`, `mouth_right_x`, `mouth_right_y`.
"""

import csv
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from mlr_jax import alignment, checks, images
from mlr_jax.datasets import cache
from mlr_jax.datasets.source import Place, Source

COLUMNS = tuple(
    f"{point}_{axis}" for point in ("left_eye", "right_eye", "mouth_left", "mouth_right") for axis in "xy"
)
"""Of a table of landmarks."""

_LEAST_EYE_DISTANCE = 8

_Shot = TypeVar("_Shot")


class Face(NamedTuple):
    """A face in a picture.

    Attributes:
      path: of the picture.
      landmarks: `(4, 2)` float32: left eye, right eye, left and right corner of the mouth.
      table: the file that has the landmarks.
    """

    path: str
    landmarks: np.ndarray
    table: str


def check_options(
    where: str,
    *,
    image_size: int | None,
    channels: int,
    source: str,
    target: str,
    expressions: Iterable[str] | None = None,
) -> None:
    """Raises InputError unless the options of a data set are as they should be.

    Args:
      where: the data set, for the message.
      image_size: 1 or more, or None.
      channels: 1 or 3.
      source: an expression.
      target: another one.
      expressions: those that the data set has; None if they are not known yet.
    """
    if image_size is not None:
        checks.positive_integer(where, "image_size", image_size)
    if channels not in (1, 3):
        raise checks.InputError(f"{where}: channels must be 1 (grey) or 3 (colour), not {channels}")
    for option, name in (("source", source), ("target", target)):
        if expressions is not None and name not in expressions:
            raise checks.InputError(
                f"{where} has no expression {name!r} for {option}; it has {', '.join(expressions)}"
            )
    if source == target:
        raise checks.InputError(f"{where}: source and target are both {source!r}; they must differ")


def pair_shots(
    sources: Mapping[str, Sequence[_Shot]], targets: Mapping[str, Sequence[_Shot]]
) -> list[tuple[str, _Shot, _Shot]]:
    """Puts a subject's i-th source beside its i-th target, and leaves out what is left over.

    Args:
      sources: for each subject, in order.
      targets: the same.

    Returns:
      `(subject, source, target)`, subject by subject in alphabetical order.
    """
    return [
        (subject, *pair)
        for subject in sorted(sources.keys() & targets.keys())
        for pair in zip(sources[subject], targets[subject], strict=False)
    ]


def aligned(
    pairs: Sequence[tuple[str, Face, Face]],
    *,
    loader: tuple[str, int],
    image_size: int,
    channels: int,
    template: alignment.FaceTemplate,
    files: Iterable[str | os.PathLike[str]] = (),
) -> Source:
    """Opens pairs of faces that are aligned by their landmarks.

    Each picture is aligned by its own eyes. The distance from eyes to mouth is made the same for all
    people, measured on each one's source picture, which is all that there is when the expression is put on a
    photograph: mouths coincide in the sources, and what the expression moves is moved in the targets.

    Args:
      pairs: `(subject, source, target)`.
      loader: the data set and the version of what it makes of the same files.
      image_size: side of the aligned face, in pixels.
      channels: 1 (grey) or 3.
      template: where eyes and mouth come to lie.
      files: what else the pairs depend on.

    Returns:
      The pairs. Whoever reads a picture that cannot be read, or whose landmarks are wrong, gets an
      InputError that names it.

    Raises:
      InputError: a file is not there.
    """
    faces = [face for _, *both in pairs for face in both]
    tables = dict.fromkeys(face.table for face in faces)
    key = {
        "loader": loader,
        "files": cache.fingerprint([*(face.path for face in faces), *tables, *files]),
        "image_size": image_size,
        "channels": channels,
        "template": template,
    }

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        _, source, target = pairs[index]
        first, second = (_align(face, source, image_size, channels, template) for face in (source, target))
        return first, second

    def places(index: int) -> tuple[Place, Place]:
        _, source, target = pairs[index]
        first, second = (
            Place(face.path, _affine(face, source, image_size, template)) for face in (source, target)
        )
        return first, second

    subjects = tuple(subject for subject, _, _ in pairs)
    return Source(subjects, (image_size, image_size, channels), read, key, places)


def whole(
    subjects: Sequence[str],
    path: Callable[[int, int], str],
    *,
    loader: tuple[str, int],
    image_size: int | None,
    channels: int,
    files: Iterable[str | os.PathLike[str]] = (),
) -> Source:
    """Opens pairs of pictures that are aligned already and of one size.

    Args:
      subjects: of the pairs, one at least.
      path: of a picture: `path(side, index)`, side 0 being the source and 1 the target.
      loader: the data set and the version of what it makes of the same files.
      image_size: length in pixels that the shorter side is scaled to; None keeps the pictures' own size.
      channels: 1 (grey) or 3.
      files: what else the pairs depend on.

    Returns:
      The pairs, of which the first source picture has been read to know its size. Whoever reads another one
      that cannot be read, or differs in size, gets an InputError that names it.

    Raises:
      InputError: a file is not there, or the first picture cannot be read.
    """
    first = images.to_channels(images.read(path(0, 0)), channels)

    def scale(picture: np.ndarray) -> np.ndarray:
        if image_size in (None, min(picture.shape[:2])):
            return picture  # As it is, without a way over the device.
        return images.resize(picture, image_size)

    def read_one(side: int, index: int) -> np.ndarray:
        picture = images.to_channels(images.read(path(side, index)), channels)
        if picture.shape != size:
            raise checks.InputError(
                f"{path(side, index)} is {picture.shape[1]} x {picture.shape[0]} pixels, but {path(0, 0)} is "
                f"{size[1]} x {size[0]}; all pictures must be of one size"
            )
        return scale(picture)

    def paths() -> Iterable[str | os.PathLike[str]]:
        yield from (path(side, index) for side in (0, 1) for index in range(len(subjects)))
        yield from files

    size = first.shape
    height, width, _ = scale(first).shape
    key = {
        "loader": loader,
        "files": cache.fingerprint(paths()),
        "image_size": image_size,
        "channels": channels,
    }
    return Source(
        tuple(subjects),
        (height, width, channels),
        lambda index: (read_one(0, index), read_one(1, index)),
        key,
    )


def read_text(path: Path) -> str:
    """Reads a text file in UTF-8; InputError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise checks.InputError(f"cannot read {path}: {reason}") from error


def read_table(path: Path) -> list[tuple[int, dict[str, str | None]]]:
    """Reads a table of comma-separated values, as spreadsheets write them too.

    Args:
      path: of the table, whose first line has the names of its columns.

    Returns:
      For each row the number of its line, and its texts by column; None where it is too short.

    Raises:
      InputError: it cannot be read.
    """
    try:
        reader = csv.DictReader(read_text(path).splitlines())
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise checks.InputError(f"cannot read {path}: {error}") from error


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """Reads a table with the landmarks of many pictures, a row for each.

    Args:
      path: of the table, which has the column `file` besides those of the landmarks.

    Returns:
      `(4, 2)` float32 by file.

    Raises:
      InputError: it is missing or cannot be read, or a row lacks a landmark.
    """
    if not path.is_file():
        raise checks.InputError(f"there is no {path}, which says where eyes and mouths are")
    found = {}
    for _, row in read_table(path):
        file = row.get("file") or "(no file)"
        found[file] = landmarks_of(row, f"{path}: the row of {file}")
    return found


def corresponding_points(source: Source, path: str | os.PathLike[str]) -> np.ndarray:
    """Points of both pictures of each pair, such as the vertices of a face mesh.

    Args:
      source: of aligned faces.
      path: an npz file with `files` (num_files,), paths relative to its folder, and `points` (num_files,
        num_points, 2), (x, y) in pixels of these files; the i-th point is the same place of every face.

    Returns:
      `(num_pairs, 2, num_points, 2)` float64, (x, y) in pixels of the aligned faces.

    Raises:
      InputError: the faces were not aligned, the file cannot be read or is not as said, or lacks a picture.
    """
    if source.places is None:
        raise checks.InputError(
            f"{path}: there are no points of these pictures, which were not cut out of files"
        )
    try:
        with np.load(path) as table:
            files, points = table["files"], np.asarray(table["points"], np.float64)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise checks.InputError(f"cannot read {path} as arrays `files` and `points`: {error}") from error
    if files.ndim != 1 or points.ndim != 3 or len(points) != len(files) or points.shape[2] != 2:
        raise checks.InputError(
            f"{path}: files is {files.shape} and points is {points.shape}; they must be (num_files,) and "
            "(num_files, num_points, 2)"
        )
    folder = Path(path).parent
    by_file = {os.path.normpath(folder / str(file)): each for file, each in zip(files, points, strict=True)}
    found = []
    for index in range(len(source.subjects)):
        for place in source.places(index):
            own = by_file.get(os.path.normpath(place.path))
            if own is None:
                raise checks.InputError(f"{path} has no points of {place.path}")
            checks.finite(str(path), f"points of {place.path}", own)
            found.append(np.asarray(alignment.apply(alignment.invert(place.affine), own)))
    return np.reshape(np.array(found, np.float64), (len(source.subjects), 2, -1, 2))


def landmarks_of(row: Mapping[str, str | None], where: str, *, prefix: str = "") -> np.ndarray:
    """The landmarks `(4, 2)` float32 in a row of a table.

    Args:
      row: a text for each column.
      where: it stands, for the message.
      prefix: of the columns' names.

    Raises:
      InputError: one is missing, or no finite number.
    """
    values = []
    for column in COLUMNS:
        value = parse_number(row.get(prefix + column))
        if value is None:
            raise checks.InputError(f"{where} has no number in the column {prefix + column}")
        values.append(value)
    return np.array(values, np.float32).reshape(-1, 2)


def parse_number(text: str | None) -> float | None:
    """The finite number that a text says, if it does."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _align(
    face: Face, source: Face, image_size: int, channels: int, template: alignment.FaceTemplate
) -> np.ndarray:
    picture = images.to_channels(images.read(face.path), channels)
    height, width, _ = picture.shape
    _check_landmarks(face, width, height)
    _check_landmarks(source)
    affine = _affine(face, source, image_size, template)
    oversampling = math.ceil(float(alignment.pixels_per_pixel(affine)))
    # A mean of values in [0, 1] may miss the range by rounding.
    return np.clip(alignment.crop(picture, affine, image_size, oversampling=oversampling), 0, 1)


def _affine(face: Face, source: Face, image_size: int, template: alignment.FaceTemplate) -> alignment.Affine:
    """From points of the aligned face to points of the picture; `source` is the source picture's face."""
    left_eye, right_eye, *corners = source.landmarks
    ratio = alignment.mouth_ratio(left_eye, right_eye, np.mean(corners, axis=0))
    left_eye, right_eye = face.landmarks[:2]
    return alignment.crop_from_eyes(left_eye, right_eye, ratio, image_size, template=template)


def _check_landmarks(face: Face, width: float = math.inf, height: float = math.inf) -> None:
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
