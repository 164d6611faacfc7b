"""Tables of Markdown."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table: a line for the header, the rule and each row, each with a line end."""
    lines = [_line(header), "|" + "---|" * len(header), *map(_line, rows)]
    return "".join(f"{line}\n" for line in lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
