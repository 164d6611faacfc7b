"""Pictures that lie anywhere, listed in a table: for sets that have no loader of their own.

A table of comma-separated values has a row for each pair of pictures, and these columns:

    subject      who it is; one person may have many rows
    neutral      the neutral picture, a path relative to the table
    expressive   the other picture
    expression   its expression, in any word but neutral

If the pictures are not aligned, it also has the landmarks of both, in the columns of `faces` with a prefix
that says whose they are: `neutral_left_eye_x`, ..., `neutral_mouth_right_y`, `expressive_left_eye_x`, ...,
`expressive_mouth_right_y`. Then the pictures may be of any size. Other columns are ignored.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mlr_jax import alignment, checks
from mlr_jax.datasets import faces, source as sources
from mlr_jax.datasets.pairs import Pairs

_COLUMNS = ("subject", "neutral", "expressive", "expression")
_LANDMARKS = tuple(f"{side}_{column}" for side in ("neutral", "expressive") for column in faces.COLUMNS)

# Raised by whoever changes what is made of the same files, so that no old pictures are reused.
_VERSION = 2


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
    """Reads all pairs of `stream` into memory; arguments as there.

    Pictures are kept in `cache_dir` for the next time, if it is given. `progress` wraps the subjects whose
    pairs are read, such as `tqdm.tqdm`.

    Raises:
      InputError: as for `stream`, or a picture cannot be read; the message names it.
    """
    opened = stream(
        data_dir, image_size=image_size, channels=channels, source=source, target=target, template=template
    )
    return sources.load(opened, f"the pictures of {data_dir}", cache_dir=cache_dir, progress=progress)


def stream(
    data_dir: str | os.PathLike[str],
    *,
    image_size: int = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    template: alignment.FaceTemplate = alignment.FaceTemplate(),
) -> sources.Source:
    """Opens the pictures, to be read pair by pair.

    Args:
      data_dir: the table, or a folder that has it by the name `manifest.csv`.
      image_size: side of the aligned face or, without landmarks, of the pictures' shorter side, in pixels.
      channels: 1 (grey) or 3.
      source: "neutral", or an expression of the table.
      target: an expression of the table, or "neutral" if the source is not.
      template: where eyes and mouth come to lie, if there are landmarks.

    Returns:
      The pairs in the order of the table's rows. With landmarks they are aligned as `faces.aligned` says.

    Raises:
      InputError: the table cannot be read, lacks a column or a value, or has no row of the expression; or a
        picture is not there. Whoever reads a picture that cannot be read, whose landmarks are wrong, or that
        differs in size where there are no landmarks, gets an InputError that names it.
    """
    faces.check_options("manifest", image_size=image_size, channels=channels, source=source, target=target)
    if "neutral" not in (source, target):
        raise checks.InputError(
            f"manifest: source or target must be 'neutral', not {source!r} and {target!r}"
        )
    table = Path(data_dir)
    if table.is_dir():
        table /= "manifest.csv"
    rows = _rows(table, target if source == "neutral" else source)
    sides = ("neutral", "expressive") if source == "neutral" else ("expressive", "neutral")
    if not any(column in rows[0] for column in _LANDMARKS):
        return faces.whole(
            [row["subject"] for row in rows],
            lambda side, index: str(table.parent / rows[index][sides[side]]),
            loader=("manifest", _VERSION),
            image_size=image_size,
            channels=channels,
            files=[table],
        )
    pairs = []
    for row in rows:
        both = _faces(table, row)
        pairs.append((row["subject"], both[sides[0]], both[sides[1]]))
    return faces.aligned(
        pairs, loader=("manifest", _VERSION), image_size=image_size, channels=channels, template=template
    )


def _rows(table: Path, expression: str) -> list[dict[str, str]]:
    """The rows of an expression."""
    if not table.is_file():
        raise checks.InputError(f"there is no table {table}; data_dir must be the table or its folder")
    rows = []
    for line, texts in faces.read_table(table):
        row = {column: text.strip() for column, text in texts.items() if isinstance(text, str)}
        for column in _COLUMNS:
            if not row.get(column):
                raise checks.InputError(
                    f"{table}: line {line} has nothing in the column {column}; a row needs "
                    + ", ".join(_COLUMNS)
                )
        rows.append(row)
    chosen = [row for row in rows if row["expression"] == expression]
    if not chosen:
        known = ", ".join(sorted({row["expression"] for row in rows})) or "no rows"
        raise checks.InputError(f"{table} has no row of the expression {expression!r}; it has {known}")
    return chosen


def _faces(table: Path, row: Mapping[str, str]) -> Mapping[str, faces.Face]:
    """The faces of a row, which has landmarks."""
    neutral, expressive = (
        faces.Face(
            str(table.parent / row[side]),
            faces.landmarks_of(row, f"{table}: the row of {row[side]}", prefix=f"{side}_"),
            str(table),
        )
        for side in ("neutral", "expressive")
    )
    return {"neutral": neutral, "expressive": expressive}
