"""The files of finished runs: configurations, tables and figures, whole or damaged."""

import csv
import datetime
import io
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from PIL import Image

from mlr_jax import checks

_CONFIGURATION = "config.json"
# Of a figure without a resolution, as in browsers.
_PIXELS_PER_INCH = 96

_Content = TypeVar("_Content")


class RecordedTable(NamedTuple):
    """A CSV file.

    Attributes:
      name: of the file.
      header: the columns' names.
      rows: cells as written, as many as in `header`.
    """

    name: str
    header: list[str]
    rows: list[list[str]]


class RecordedFigure(NamedTuple):
    """A PNG or SVG file.

    Attributes:
      name: of the file.
      content: the whole file.
      media_type: for example "image/png".
      inches: width and height as drawn; None for SVG.
    """

    name: str
    content: bytes
    media_type: str
    inches: tuple[float, float] | None


class RecordedRun(NamedTuple):
    """A run's folder.

    Attributes:
      name: the folder, relative to the searched one, or that one's name.
      configuration: of config.json; empty if it cannot be read.
      tables: summaries first, then results, then others by name.
      figures: likewise.
      others: names of all other files, except config.json, hidden files and web pages.
      written: the time of the newest of all these files.
      problems: a line on each file that is missing or damaged.
    """

    name: str
    configuration: dict[str, Any]
    tables: list[RecordedTable]
    figures: list[RecordedFigure]
    others: list[str]
    written: datetime.datetime
    problems: list[str]


def find(root: Path) -> list[RecordedRun]:
    """Reads every run in a folder, at any depth.

    A run is a folder with config.json, or one with tables that has lost it and is in no other run. Hidden
    folders are skipped.

    Args:
      root: the folder to search; may itself be a run.

    Returns:
      The runs, ordered by name.

    Raises:
      InputError: there is no such folder, or no run in it.
    """
    if not root.is_dir():
        raise checks.InputError(f"--runs: there is no folder {root}")
    folders: list[Path] = []
    for place, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        folder = Path(place)
        within = any(parent in folders for parent in folder.parents)
        if _CONFIGURATION in files or (not within and any(map(_is_table, map(Path, files)))):
            folders.append(folder)
    if not folders:
        raise checks.InputError(
            f"--runs: there is no run in {root}; a run is a folder with a {_CONFIGURATION}, as every "
            "experiment writes it to its --output_dir"
        )
    return [_read(folder, _name(folder, root)) for folder in folders]


def importance(name: str) -> tuple[bool, bool, str]:
    """A key that sorts files: summaries first, then results, a table before the figure of the same name."""
    return "summary" not in name, "result" not in name, name


def _name(folder: Path, root: Path) -> str:
    return folder.resolve().name if folder == root else folder.relative_to(root).as_posix()


def _read(folder: Path, name: str) -> RecordedRun:
    """Reads all readable files, and notes the problems of the others."""
    problems: list[str] = []

    def attempt(read: Callable[[Path], _Content], paths: list[Path]) -> list[_Content]:
        contents = []
        for path in paths:
            try:
                contents.append(read(path))
            except checks.InputError as error:
                problems.append(f"{path.name} {error}")
            except OSError as error:
                problems.append(f"{path.name} cannot be read: {error.strerror or 'it is damaged'}")
        return contents

    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    files = sorted((path for path in files if path.suffix != ".html"), key=lambda path: importance(path.name))
    written = max((path.stat().st_mtime for path in files), default=folder.stat().st_mtime)
    configurations = attempt(lambda path: read_configuration(path.parent), [folder / _CONFIGURATION])
    tables = []
    for table, problem in attempt(_read_table, [path for path in files if _is_table(path)]):
        tables.append(table)
        if problem:
            problems.append(f"{table.name} {problem}")
    return RecordedRun(
        name,
        configurations[0] if configurations else {},
        tables,
        attempt(_read_figure, [path for path in files if _is_figure(path)]),
        [
            path.name
            for path in files
            if path.name != _CONFIGURATION and not _is_table(path) and not _is_figure(path)
        ],
        datetime.datetime.fromtimestamp(written, datetime.UTC),
        problems,
    )


def _is_table(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and not path.name.startswith(".")


def _is_figure(path: Path) -> bool:
    return path.suffix.lower() in (".png", ".svg")


def read_configuration(folder: Path) -> dict[str, Any]:
    """Reads config.json of a run's folder.

    Raises:
      InputError: there is none, or it is damaged.
    """
    path = folder / _CONFIGURATION
    if not path.is_file():
        raise checks.InputError("is missing, so it is not known what this run was")
    try:
        configuration = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise checks.InputError(f"is damaged: {error}") from error
    if not isinstance(configuration, dict):
        raise checks.InputError("is damaged: it holds no object of names and values")
    return configuration


def _read_table(path: Path) -> tuple[RecordedTable, str | None]:
    """The table up to its first damaged line, and the problem of that line."""
    try:
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
        header = next(reader, None)
        if header is None:
            raise checks.InputError("is empty")
        table = RecordedTable(path.name, header, [])
        for row in filter(None, reader):
            if len(row) != len(header):
                cells = f"{len(row)} of {len(header)} cells"
                return table, f"is damaged: line {reader.line_num} has {cells}; it is left out from there"
            table.rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise checks.InputError(f"is damaged: {error}") from error
    return table, None


def _read_figure(path: Path) -> RecordedFigure:
    content = path.read_bytes()
    if path.suffix.lower() == ".svg":
        try:
            ET.fromstring(content)
        except (ET.ParseError, ValueError, LookupError) as error:
            raise checks.InputError(f"is damaged: {error}") from error
        return RecordedFigure(path.name, content, "image/svg+xml", None)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.load()
            resolution = [float(each) for each in image.info.get("dpi", ())]
    except Exception as error:  # Decoders raise any exception, and their messages name no file.
        raise checks.InputError("is damaged: it cannot be decoded as PNG") from error
    if len(resolution) != 2 or min(resolution) < 1:
        resolution = [_PIXELS_PER_INCH] * 2
    width, height = (pixels / each for pixels, each in zip(image.size, resolution, strict=True))
    return RecordedFigure(path.name, content, "image/png", (width, height))
