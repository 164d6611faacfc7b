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


class Section(NamedTuple):
    """One experiment on the page.

    Attributes:
      name: of its folder.
      question: a heading.
      command: that makes it.
      figures: that may be shown.
      seconds: that it took, if that is known.
    """

    name: str
    question: str
    command: str
    figures: Sequence[str]
    seconds: float | None


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
    if section.name.startswith("compare") and summary.exists():
        lines += _comparison(verdicts.read(summary))
    links = ", ".join(f"[{name}]({section.name}/{name})" for name in tables)
    took = "" if section.seconds is None else f" The run took {section.seconds / 60:.0f} minutes."
    return [*lines, f"Tables: {links}.{took}", ""]


def _comparison(rows: Sequence[verdicts.Row]) -> list[str]:
    """The summary of a comparison as a Markdown table."""
    lines = [
        "| method | MSE x 1e3 | PSNR, dB | SSIM | sharpness | parameters | MSE x 1e3 minus masked ridge's "
        "| p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        difference = row["mse_minus_reference"]
        cells = [
            row["method"],
            _with_error(row, "mse", 1e3, 2),
            _with_error(row, "psnr", 1, 2),
            _with_error(row, "ssim", 1, 3),
            _with_error(row, "sharpness", 1, 2),
            f"{int(row['num_parameters']):,}",
            f"{float(difference) * 1e3:+.2f}" if difference else "",
            f"{float(row['p_value']):.1g}" if row["p_value"] else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _with_error(row: Mapping[str, str], column: str, scale: float, digits: int) -> str:
    mean, error = row[f"{column}_mean"], row[f"{column}_se"]
    text = f"{float(mean) * scale:.{digits}f}"
    return f"{text} ± {float(error) * scale:.{digits}f}" if error else text


def _machine(output_dir: Path, sections: Sequence[Section]) -> str:
    """What the first run says of the machine."""
    configuration = json.loads((output_dir / sections[0].name / "config.json").read_text())
    device, versions = configuration["device"], configuration["versions"]
    machine = f"{device['kind']} ({device['machine']}, {device['cores']} cores)"
    names = ("python", "jax", "mlr_jax")
    return f"Made on {machine}, with " + ", ".join(f"{name} {versions[name]}" for name in names) + "."
