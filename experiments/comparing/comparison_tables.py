"""The tables of a comparison: as files, and printed."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from experiments.comparing import summary, trials
from experiments.comparing.methods import METHODS
from experiments.comparing.outcomes import Comparison, summaries
from experiments.comparing.trials import Trial
from experiments.running import run_folder

# Heading -> how a row is shown in it.
_Columns = Mapping[str, Callable[[Mapping[str, Any]], str]]


def write(done: Comparison) -> None:
    """Replaces the tables after a trial, so that an interruption loses no finished one."""
    headings = tuple(done.outcomes[0].columns)
    every = [
        (dict(outcome.columns), trial)
        for outcome in done.outcomes
        for each in outcome.trials.values()
        for trial in each
    ]
    every.sort(key=lambda entry: entry[1].row["seed"])
    results, candidates, errors = [], [], []
    for columns, trial in every:
        results.append(columns | dict(trial.row) | {"at_end": trials.at_end(trial)})
        common = columns | {"method": trial.row["method"], "seed": trial.row["seed"]}
        for choice, error in trial.candidates:
            chosen = int(choice == trial.row["choice"])
            candidates.append(common | {"candidate": choice, "mse": error, "chosen": chosen})
        for person, error in zip(trial.people, trial.errors, strict=True):
            errors.append(common | {"subject": person, "mse": float(error)})
    write_csv = run_folder.write_csv
    write_csv(done.output_dir / "results.csv", headings + trials.HEADER, results)
    write_csv(done.output_dir / "summary.csv", headings + summary.HEADER, summaries(done))
    write_csv(
        done.output_dir / "selection.csv",
        (*headings, "method", "seed", "candidate", "mse", "chosen"),
        candidates,
    )
    write_csv(done.output_dir / "errors.csv", (*headings, "method", "seed", "subject", "mse"), errors)


def print_tables(done: Comparison) -> None:
    """Prints a line for each point and method, and the output folder."""
    headings = {key: _cell(key) for key in done.outcomes[0].columns}
    print(f"{done.title}\n")
    rows = [
        dict(outcome.columns) | dict(trial.row)
        for outcome in done.outcomes
        for each in outcome.trials.values()
        for trial in each
    ]
    if len({row["seed"] for row in rows}) == 1:
        print(_table(headings | dict(_RESULT_COLUMNS), rows))
    else:
        print(_table(headings | dict(_SUMMARY_COLUMNS), summaries(done)))
    print(f"\nTables, figures and configuration: {done.output_dir}")


def show_row(trial: Trial, *, is_first: bool) -> None:
    """Writes a row above the progress bar, with fixed widths, since later rows are not known yet."""
    widths = {"method": max(map(len, METHODS)), "choice": 0}
    lines = [{heading: heading for heading in _RESULT_COLUMNS}] if is_first else []
    lines.append({heading: show(trial.row) for heading, show in _RESULT_COLUMNS.items()})
    for line in lines:
        cells = [
            cell.ljust(widths[heading]) if heading in widths else cell.rjust(max(len(heading), 10))
            for heading, cell in line.items()
        ]
        tqdm.write("  ".join(cells).rstrip(), file=sys.stderr)


def _cell(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: str(row[key])


def _with_error(row: Mapping[str, Any], metric: str, scale: float, digits: int) -> str:
    mean, error = row[f"{metric}_mean"], row[f"{metric}_se"]
    text = f"{mean * scale:.{digits}f}"
    # A method that was skipped on all splits but one has no standard error.
    return text if error == "" else f"{text} ± {error * scale:.{digits}f}"


_RESULT_COLUMNS: _Columns = {
    "method": lambda row: row["method"],
    "MSE x 1e3": lambda row: f"{row['mse'] * 1e3:.3f}",
    "PSNR dB": lambda row: f"{row['psnr']:.2f}",
    "SSIM": lambda row: f"{row['ssim']:.4f}",
    "sharpness": lambda row: f"{row['sharpness']:.2f}",
    "parameters": lambda row: f"{row['num_parameters']:,}",
    "fit s": lambda row: f"{row['fit_seconds']:.3f}",
    "select s": lambda row: f"{row['select_seconds']:.1f}",
    "choice": lambda row: row["choice"],
}
_SUMMARY_COLUMNS: _Columns = {
    "method": lambda row: row["method"],
    "MSE x 1e3": lambda row: _with_error(row, "mse", 1e3, 3),
    "PSNR dB": lambda row: _with_error(row, "psnr", 1, 2),
    "SSIM": lambda row: _with_error(row, "ssim", 1, 4),
    "sharpness": lambda row: _with_error(row, "sharpness", 1, 2),
    "parameters": lambda row: f"{row['num_parameters']:,}",
    "fit s": lambda row: f"{row['fit_seconds']:.3f}",
    "MSE x 1e3 minus masked ridge's": lambda row: (
        "" if row["mse_minus_reference"] == "" else f"{row['mse_minus_reference'] * 1e3:+.3f}"
    ),
    "p": lambda row: "" if row["p_value"] == "" else f"{row['p_value']:.2g}",
}


def _table(columns: _Columns, rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as aligned text, words to the left and numbers to the right."""
    lines = [list(columns), *([show(row) for show in columns.values()] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if heading in ("method", "choice") else cell.rjust(width)
            for heading, cell, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )
