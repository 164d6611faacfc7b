"""A page of results for everyone: verdicts, commands, tables and plots, but no face of a real person."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments import run_folder, verdicts
from experiments.verdicts import Verdict

_TABLES = ("summary.csv", "results.csv")

_CREDIT = """Data: Face Research Lab London Set (DeBruine and Jones 2017, doi:10.6084/m9.figshare.5047666, CC
BY 4.0), aligned by landmarks; young adult composite faces (DeBruine 2016,
doi:10.6084/m9.figshare.4055130, CC BY 4.0); the astronaut (NASA) and the cat that scikit-image carries;
synthetic faces by `mlr_jax.datasets.synthetic`. What methods make of them is synthetic.
"""


class Column(NamedTuple):
    """Of a table on the page.

    Attributes:
      name: in summary.csv; of a mean over splits, without `_mean`.
      scale: it is multiplied by.
      digits: after the point; None for one digit in all.
      sign: "+" to show it always.
    """

    name: str
    scale: float = 1
    digits: int | None = 0
    sign: str = ""


class Section(NamedTuple):
    """One experiment on the page.

    Attributes:
      name: of its folder.
      question: a heading.
      command: that makes it.
      figures: that may be shown.
      seconds: that it took, if that is known.
      columns: heading -> column of summary.csv that is shown; none without.
    """

    name: str
    question: str
    command: str
    figures: Sequence[str]
    seconds: float | None
    columns: Mapping[str, Column] = {}


def publish(
    output_dir: Path, folder: Path, command: str, sections: Sequence[Section], found: Sequence[Verdict]
) -> None:
    """Copies the tables and figures of all sections, and writes README.md.

    Args:
      output_dir: holds the folders of the runs.
      folder: to publish in; made where needed.
      command: that makes everything.
      sections: what is published.
      found: the verdicts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Results", "", f"    {command}", "", _machine(output_dir, sections), ""]
    lines += ["## The claims of the paper", "", verdicts.table(found)]
    lines += [
        "Judged by `experiments/verdicts.py` from the tables below. The claim about GANs is not tested yet.",
        "",
    ]
    for section in sections:
        lines += _publish_section(output_dir / section.name, folder / section.name, section)
    run_folder.write_bytes(folder / "README.md", "\n".join([*lines, "## Credits", "", _CREDIT]).encode())


def _publish_section(source: Path, target: Path, section: Section) -> list[str]:
    """Copies a section's files, and returns its lines."""
    target.mkdir(exist_ok=True)
    tables, figures = (
        [name for name in names if (source / name).exists()] for names in (_TABLES, section.figures)
    )
    for name in (*tables, *figures):
        shutil.copyfile(source / name, target / name)
    lines = [f"## {section.question}", "", f"    {section.command}", ""]
    lines += [f"![{section.question}]({section.name}/{name})" for name in figures]
    lines += [""] if figures else []
    summary = source / "summary.csv"
    if section.columns and summary.exists():
        lines += _table(verdicts.read(summary), section.columns)
    links = ", ".join(f"[{name}]({section.name}/{name})" for name in tables)
    took = "" if section.seconds is None else f" The run took {section.seconds / 60:.0f} minutes."
    return [*lines, f"Tables: {links}.{took}", ""]


def _table(rows: Sequence[verdicts.Row], columns: Mapping[str, Column]) -> list[str]:
    """A summary as a Markdown table."""
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(_cell(row, column) for column in columns.values())} |" for row in rows]
    return [*lines, ""]


def _cell(row: verdicts.Row, column: Column) -> str:
    """A number, with its standard error if it is a mean."""
    name, scale, digits, sign = column
    text = row[name] if name in row else row[f"{name}_mean"]
    try:
        value = float(text) * scale
    except ValueError:
        return text
    if digits is None:
        return f"{value:.1g}"
    error = "" if name in row else row[f"{name}_se"]
    spread = f" ± {float(error) * scale:.{digits}f}" if error else ""
    return f"{value:{sign},.{digits}f}{spread}"


def _machine(output_dir: Path, sections: Sequence[Section]) -> str:
    """What the first run says of the machine."""
    configuration = json.loads((output_dir / sections[0].name / "config.json").read_text())
    device, versions = configuration["device"], configuration["versions"]
    machine = f"{device['kind']} ({device['machine']}, {device['cores']} cores)"
    names = ("python", "jax", "mlr_jax")
    return f"Made on {machine}, with " + ", ".join(f"{name} {versions[name]}" for name in names) + "."
