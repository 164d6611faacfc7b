"""The measures of the benchmark as lines of text, a Markdown table and a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.reporting import figures, markdown

HEADER = (
    "case",
    "way",
    "seconds",
    "fastest",
    "slowest",
    "compile_seconds",
    "peak_megabytes",
    "scaled_from",
    "error",
    "times_as_long",
    "over_floor",
    "pairs_per_second",
    "cpu_seconds",
    "programs",
    "warm_seconds",
    "note",
)


def line(row: Mapping[str, Any]) -> str:
    """A row as text, to print while the benchmark runs."""
    if row["seconds"] == "":
        return f"{row['case']:40}  {row['way']:20}  not measured: {row['note']}"
    parts = [f"{row['case']:40}  {row['way']:20}  {_milliseconds(row)} ms"]
    if row["times_as_long"] != "":
        parts.append(f"{row['times_as_long']:.3g} x the first")
    if row["over_floor"] != "":
        parts.append(f"{row['over_floor']:.1f} x the floor")
    if row["error"] != "":
        parts.append(f"error {row['error']:.0e}")
    if row["peak_megabytes"] != "":
        parts.append(f"{row['peak_megabytes']:.0f} MB")
    if row["scaled_from"]:
        parts.append(f"scaled from {row['scaled_from']}")
    if row["compile_seconds"]:
        parts.append(f"compiled in {row['compile_seconds']:.1f} s")
    if row["programs"] != "":
        parts.append(f"{row['programs']} programs, {row['cpu_seconds']:.1f} s of processors")
    if row["warm_seconds"] != "":
        parts.append(f"again {1e3 * row['warm_seconds']:.3g} ms")
    if row["pairs_per_second"] != "":
        parts.append(f"{row['pairs_per_second']:.0f} pairs a second")
    return "  ".join(parts)


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """All rows as a table."""
    columns = {
        "case": lambda row: row["case"],
        "way": lambda row: row["way"] + (f" ({row['scaled_from']}, scaled)" if row["scaled_from"] else ""),
        "ms (fastest to slowest)": _milliseconds,
        "times the first": lambda row: _number(row["times_as_long"]),
        "times the floor": lambda row: _number(row["over_floor"]),
        "error": lambda row: "" if row["error"] == "" else f"{row['error']:.0e}",
        "memory, MB": lambda row: "" if row["peak_megabytes"] == "" else f"{row['peak_megabytes']:.0f}",
        "compile, s": lambda row: f"{row['compile_seconds']:.1f}" if row["compile_seconds"] else "",
        "pairs/s": lambda row: "" if row["pairs_per_second"] == "" else f"{row['pairs_per_second']:.0f}",
    }
    if any(row["programs"] != "" for row in rows):
        columns |= {
            "programs": lambda row: str(row["programs"]),
            "CPU, s": lambda row: "" if row["cpu_seconds"] == "" else f"{row['cpu_seconds']:.1f}",
            "again, ms": lambda row: "" if row["warm_seconds"] == "" else f"{1e3 * row['warm_seconds']:.3g}",
        }
    cells = [[show(row) for show in columns.values()] for row in rows]
    return markdown.table(list(columns), cells)


def draw(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Seconds of every case and way, on a logarithmic axis."""
    rows = [row for row in rows if row["seconds"] != ""]
    figure = Figure(figsize=(8, 0.3 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    labels = [f"{row['case']}: {row['way']}" for row in rows]
    ours = ("mlr_jax", "experiments.train")
    colours = ["tab:blue" if row["way"] in ours else "tab:grey" for row in rows]
    axes.barh(range(len(rows)), [row["seconds"] for row in rows], color=colours)
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("seconds")
    return figures.png(figure, dpi=100)


def _milliseconds(row: Mapping[str, Any]) -> str:
    if row["seconds"] == "":
        return f"not measured: {row['note']}"
    values = [f"{1e3 * row[name]:.3g}" for name in ("seconds", "fastest", "slowest")]
    return values[0] if values[1] == values[2] else f"{values[0]} ({values[1]} to {values[2]})"


def _number(value: Any) -> str:
    return "" if value == "" else f"{value:.2g}"
