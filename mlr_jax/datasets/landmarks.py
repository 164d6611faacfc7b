"""Landmarks of faces, as files have them.

Four points in the pixels of a picture, x to the right and y down: the middles of both eyes and both corners
of the mouth, left and right as seen in the picture. A table has them in the columns `left_eye_x`,
`left_eye_y`, `right_eye_x`, ..., `mouth_left_x`, `mouth_left_y`, `mouth_right_x`, `mouth_right_y`.
"""

import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mlr_jax import alignment, checks
from mlr_jax.datasets import _tables
from mlr_jax.datasets.streams import PairStream

COLUMNS = tuple(
    f"{point}_{axis}" for point in ("left_eye", "right_eye", "mouth_left", "mouth_right") for axis in "xy"
)
"""Of a table of landmarks."""


class LandmarkTable(Mapping[str, np.ndarray]):
    """Landmarks `(4, 2)` float32 by file. Asked for a file whose row is wrong, it raises an InputError."""

    def __init__(
        self, path: Path, rows: Mapping[str, Sequence[tuple[int, Mapping[str, str | None]]]]
    ) -> None:
        self._path, self._rows = path, rows

    def __getitem__(self, file: str) -> np.ndarray:
        (line, row), *others = self._rows[file]
        if others:
            lines = ", ".join(str(number) for number, _ in others)
            raise checks.InputError(f"{self._path}: {file} has several rows, lines {line}, {lines}; keep one")
        return of_row(row, f"{self._path}: the row of {file} (line {line})")

    def __contains__(self, file: object) -> bool:
        return file in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def read_landmarks(path: Path) -> LandmarkTable:
    """Reads a table with the landmarks of many pictures, a row for each.

    Args:
      path: of the table, which has the column `file` besides those of the landmarks.

    Returns:
      `(4, 2)` float32 by file. A row that lacks a landmark, or a second one of the same file, is an error
      only when that file's landmarks are asked for.

    Raises:
      InputError: it is missing, cannot be read, or lacks a column.
    """
    if not path.is_file():
        raise checks.InputError(f"there is no {path}, which says where eyes and mouths are")
    rows: dict[str, list[tuple[int, Mapping[str, str | None]]]] = {}
    for line, row in _tables.read_table(path):
        missing = [column for column in ("file", *COLUMNS) if column not in row]
        if missing:
            raise checks.InputError(
                f"{path} has no column {missing[0]}; its first line is {', '.join(row)}, and must have file, "
                + ", ".join(COLUMNS)
            )
        if row["file"]:
            rows.setdefault(row["file"], []).append((line, row))
    return LandmarkTable(path, rows)


def corresponding_points(stream: PairStream, path: str | os.PathLike[str]) -> np.ndarray:
    """Points of both pictures of each pair, such as the vertices of a face mesh.

    Args:
      stream: of aligned faces.
      path: an npz file with `files` (num_files,), paths relative to its folder, and `points` (num_files,
        num_points, 2), (x, y) in pixels of these files; the i-th point is the same place of every face.

    Returns:
      `(num_pairs, 2, num_points, 2)` float64, (x, y) in pixels of the aligned faces.

    Raises:
      InputError: the faces were not aligned; or the file cannot be read, has other arrays, or lacks a
        picture.
    """
    if stream.places is None:
        raise checks.InputError(
            f"{path}: these pictures were not cut out of files, so it has no points of them"
        )
    try:
        with np.load(path) as table:
            files, points = table["files"], np.asarray(table["points"], np.float64)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise checks.InputError(f"cannot read {path} as arrays `files` and `points`: {reason}") from error
    if files.ndim != 1 or points.ndim != 3 or len(points) != len(files) or points.shape[2] != 2:
        raise checks.InputError(
            f"{path}: files is {files.shape} and points is {points.shape}; they must be (num_files,) and "
            "(num_files, num_points, 2)"
        )
    folder = Path(path).parent
    by_file = {os.path.normpath(folder / str(file)): each for file, each in zip(files, points, strict=True)}
    found = []
    for index in range(len(stream.subjects)):
        for place in stream.places(index):
            own = by_file.get(os.path.normpath(place.path))
            if own is None:
                raise checks.InputError(f"{path} has no points of {place.path}")
            checks.finite(str(path), f"points of {place.path}", own)
            found.append(np.asarray(alignment.apply(alignment.invert(place.affine), own)))
    return np.reshape(np.array(found, np.float64), (len(stream.subjects), 2, -1, 2))


def of_row(row: Mapping[str, str | None], name: str, *, prefix: str = "") -> np.ndarray:
    """The landmarks `(4, 2)` float32 in a row of a table.

    Args:
      row: a text for each column.
      name: of the row, for the message.
      prefix: of the columns' names.

    Raises:
      InputError: one is missing, or no finite number.
    """
    values = []
    for column in COLUMNS:
        value = parse_number(row.get(prefix + column))
        if value is None:
            held = row.get(prefix + column)
            shown = f", but {checks.one_line(held)!r}" if held else ""
            hint = "; write decimals with a point" if held and "," in held else ""
            raise checks.InputError(f"{name} has no number in the column {prefix + column}{shown}{hint}")
        values.append(value)
    return np.array(values, np.float32).reshape(-1, 2)


def parse_number(text: str | None) -> float | None:
    """The finite number that a text holds; None if it holds none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
