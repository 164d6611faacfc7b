"""A public page of results: verdicts, commands, tables and plots, but no face of a real person.

A published folder keeps its files of each run, so that one experiment can be run and published again without
the others: the page is always made from all files of the folder.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.reporting import markdown, recorded_runs, verdicts
from experiments.running import run_folder
from mlr_jax import checks

_RUN = "run.json"
# The folder of the pictures does not change results.
_PLACE = " --data_dir=FOLDER"
_TABLES = ("summary.csv", "relative.csv", "results.csv", "curves.csv")

_CREDIT = """Data: Face Research Lab London Set (DeBruine and Jones 2017, doi:10.6084/m9.figshare.5047666, CC
BY 4.0), aligned by landmarks; young adult composite faces (DeBruine 2016,
doi:10.6084/m9.figshare.4055130, CC BY 4.0); the astronaut (NASA) and the cat that scikit-image carries;
synthetic faces by `mlr_jax.datasets.synthetic`. What methods make of them is synthetic.
"""


class Column(NamedTuple):
    """A column of a table on the page.

    Attributes:
      name: in the table; for a mean over splits, without `_mean`.
      scale: a factor.
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
      figures: to publish.
      seconds: of the run, if known.
      columns: heading -> column of the table on the page; empty for no table.
      table: on the page.
    """

    name: str
    question: str
    command: str
    figures: Sequence[str]
    seconds: float | None
    columns: Mapping[str, Column] = {}
    table: str = "summary.csv"


def publish(output_dir: Path, folder: Path, command: str, sections: Sequence[Section]) -> None:
    """Copies the tables and figures of all runs, and writes README.md.

    Args:
      output_dir: holds the folders of the runs.
      folder: to publish in; made if needed. Its files of other runs stay on the page.
      command: that makes everything.
      sections: all possible ones, in order.

    Raises:
      InputError: an earlier published run had another command.
    """
    fresh = [section for section in sections if (output_dir / section.name / "config.json").exists()]
    earlier = [each for each in sections if each not in fresh and (folder / each.name / _RUN).exists()]
    for section in earlier:
        published = _run(folder, section)["command"]
        if published.replace(_PLACE, "") != section.command.replace(_PLACE, ""):
            raise checks.InputError(
                f"{folder / section.name} was published from {published!r}, not from {section.command!r}; "
                "publish into another folder, or run that again, too"
            )
    for section in fresh:
        _copy(output_dir / section.name, folder / section.name, section)
    shown = [section for section in sections if section in fresh or section in earlier]
    machine = _run(folder, shown[0])["machine"]
    lines = ["# Results", "", f"    {command}", "", f"Made on {machine}, unless it says otherwise.", ""]
    lines += ["## The claims of the paper", "", verdicts.table(verdicts.judge(folder))]
    lines += ["Judged by `experiments/reporting/verdicts.py` from the tables below.", ""]
    for section in shown:
        lines += _show(folder, section, machine)
    run_folder.write_bytes(folder / "README.md", "\n".join([*lines, "## Credits", "", _CREDIT]).encode())


def _copy(source: Path, target: Path, section: Section) -> None:
    """Publishes a run's files with its command and machine."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (*_TABLES, *section.figures):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    run = {"command": section.command, "seconds": section.seconds, "machine": _machine(source)}
    run_folder.write_json(target / _RUN, run)


def _show(folder: Path, section: Section, usual_machine: str) -> list[str]:
    """A section's lines."""
    name, run = section.name, _run(folder, section)
    tables, figures = (
        [each for each in names if (folder / name / each).exists()] for names in (_TABLES, section.figures)
    )
    lines = [f"## {section.question}", "", f"    {section.command}", ""]
    lines += [f"![{section.question}]({name}/{each})" for each in figures]
    lines += [""] if figures else []
    shown = folder / name / section.table
    if section.columns and shown.exists():
        rows = [[_cell(row, column) for column in section.columns.values()] for row in verdicts.read(shown)]
        lines.append(markdown.table(list(section.columns), rows))
    text = f"Tables: {', '.join(f'[{each}]({name}/{each})' for each in tables)}."
    if run["seconds"] is not None:
        text += f" The run took {run['seconds'] / 60:.0f} minutes."
    if run["machine"] != usual_machine:
        text += f" Made on {run['machine']}."
    return [*lines, text, ""]


def _run(folder: Path, section: Section) -> dict[str, Any]:
    return json.loads((folder / section.name / _RUN).read_text())


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


def _machine(source: Path) -> str:
    """The machine of a run, in words."""
    configuration = recorded_runs.read_configuration(source)
    device, versions = configuration["device"], configuration["versions"]
    machine = f"{device['kind']} ({device['machine']}, {device['cores']} cores)"
    names = ("python", "jax", "mlr_jax")
    return f"{machine}, with " + ", ".join(f"{name} {versions[name]}" for name in names)
