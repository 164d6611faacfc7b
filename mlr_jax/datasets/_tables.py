"""Text files and tables of comma-separated values, read with clear errors."""

import csv
import re
from pathlib import Path

from mlr_jax import checks

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def read_text(path: Path) -> str:
    """Reads a text file in UTF-8; InputError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise checks.InputError(f"cannot read {path}: {reason}") from error


def read_table(path: Path) -> list[tuple[int, dict[str, str | None]]]:
    """Reads a table, as spreadsheets write them: with commas, or semicolons or tabs, between its values.

    With semicolons or tabs, numbers may have a decimal comma, as in many languages. Spaces around names and
    values do not count.

    Args:
      path: of the table, whose first line has the names of its columns.

    Returns:
      For each row the number of its line, and its texts by column, a decimal comma being a point; None where
      it is too short.

    Raises:
      InputError: it cannot be read.
    """
    lines = read_text(path).splitlines()
    separator = max(",;\t", key=(lines[0] if lines else "").count)

    def clean(text: str | None) -> str | None:
        if text is None:
            return None
        text = text.strip()
        has_decimal_comma = separator != "," and _DECIMAL_COMMA.fullmatch(text)
        return text.replace(",", ".") if has_decimal_comma else text

    try:
        reader = csv.DictReader(lines, delimiter=separator, skipinitialspace=True)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        return [
            (reader.line_num, {name: clean(text) for name, text in row.items() if isinstance(name, str)})
            for row in reader
        ]
    except csv.Error as error:
        raise checks.InputError(f"cannot read {path}: {error}") from error
