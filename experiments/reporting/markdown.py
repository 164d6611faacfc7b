"""Tables of Markdown."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, a line for the header, for the rule below it, and for each row; the last line ends, too."""
    lines = [_line(header), "|" + "---|" * len(header), *map(_line, rows)]
    return "".join(f"{line}\n" for line in lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
