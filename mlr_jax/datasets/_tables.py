"""Text files and tables of comma-separated values, read with clear errors."""

import csv
from pathlib import Path

from mlr_jax import checks


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
