"""Pictures that lie anywhere, listed in a table: for sets that have no loader of their own.

A table of comma-separated values has a row for each pair of pictures, and these columns:

    subject      the person's id; one person may have many rows
    neutral      the neutral picture, a path relative to the table
    expressive   the other picture
    expression   its expression, in any word but neutral

If the pictures are not aligned, it also has the landmarks of both, in the columns of `datasets.landmarks`
with a prefix for each picture: `neutral_left_eye_x`, ..., `neutral_mouth_right_y`, `expressive_left_eye_x`,
..., `expressive_mouth_right_y`. Then the pictures may be of any size. Other columns are ignored.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from mlr_jax import alignment, checks
from mlr_jax.datasets import _tables, landmarks, streams
from mlr_jax.datasets._aligned_crops import LandmarkedPicture, aligned
from mlr_jax.datasets._options import check_options
from mlr_jax.datasets._whole_pictures import whole
from mlr_jax.datasets.streams import PairStream

_COLUMNS = ("subject", "neutral", "expressive", "expression")
_LANDMARKS = tuple(f"{side}_{column}" for side in ("neutral", "expressive") for column in landmarks.COLUMNS)

# Raise it when the same files give other pictures, so that cached ones are not used again.
_VERSION = 3


def stream(
    data_dir: str | os.PathLike[str],
    *,
    image_size: int = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    template: alignment.FaceTemplate = alignment.FaceTemplate(),
) -> PairStream:
    """Opens the pictures, to be read pair by pair.

    With landmarks, each picture is aligned by its own eyes, and stretched by the distance from eyes to mouth
    in its pair's source picture.

    Args:
      data_dir: the table, or a folder that has it by the name `manifest.csv`.
      image_size: side of the aligned face or, without landmarks, of the pictures' shorter side, in pixels.
      channels: 1 (grey) or 3.
      source: "neutral", or an expression of the table.
      target: an expression of the table, or "neutral" if the source is not.
      template: where eyes and mouth come to lie, if there are landmarks.

    Returns:
      The pairs in the order of the table's rows.

    Raises:
      InputError: the table cannot be read, lacks a column or a value, or has no row of the expression; or a
        picture is not there. Reading a picture that cannot be decoded, whose landmarks are wrong, or that
        differs in size where there are no landmarks, raises an InputError that names it.
    """
    check_options("manifest", image_size=image_size, channels=channels, source=source, target=target)
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
        return whole(
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
    return aligned(
        pairs, loader=("manifest", _VERSION), image_size=image_size, channels=channels, template=template
    )


load = streams.loader(stream, "the pictures of {data_dir}")


def _rows(table: Path, expression: str) -> list[dict[str, str]]:
    """The rows of an expression."""
    if not table.is_file():
        raise checks.InputError(f"there is no table {table}; data_dir must be the table or its folder")
    rows = []
    for line, texts in _tables.read_table(table):
        row = {column: text.strip() for column, text in texts.items() if isinstance(text, str)}
        for column in _COLUMNS:
            if not row.get(column):
                raise checks.InputError(
                    f"{table}: line {line} has nothing in the column {column}; a row needs "
                    + ", ".join(_COLUMNS)
                )
        if os.path.normpath(row["neutral"]) == os.path.normpath(row["expressive"]):
            raise checks.InputError(
                f"{table}: line {line} has {row['neutral']} as both its neutral and its expressive picture"
            )
        rows.append(row)
    spellings: dict[str, str] = {}
    for row in rows:
        first = spellings.setdefault(row["subject"].casefold(), row["subject"])
        if first != row["subject"]:
            raise checks.InputError(
                f"{table}: the subjects {first!r} and {row['subject']!r} differ only in capitals; spell one "
                "person's id in one way, and two persons' differently"
            )
    chosen = [row for row in rows if row["expression"] == expression]
    if not chosen:
        known = ", ".join(sorted({row["expression"] for row in rows})) or "no rows"
        raise checks.InputError(f"{table} has no row of the expression {expression!r}; it has {known}")
    return chosen


def _faces(table: Path, row: Mapping[str, str]) -> Mapping[str, LandmarkedPicture]:
    """The faces of a row, which has landmarks."""
    neutral, expressive = (
        LandmarkedPicture(
            str(table.parent / row[side]),
            landmarks.of_row(row, f"{table}: the row of {row[side]}", prefix=f"{side}_"),
            str(table),
        )
        for side in ("neutral", "expressive")
    )
    return {"neutral": neutral, "expressive": expressive}
