"""Several runs of a comparison as one table and one figure: means, standard errors, paired tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.comparing.trials import Trial
from experiments.reporting import averages, figures

METRICS = ("mse", "psnr", "ssim", "sharpness")
HEADER = (
    "method",
    "num_seeds",
    *(f"{metric}_{suffix}" for metric in METRICS for suffix in ("mean", "se")),
    "num_parameters",
    "fit_seconds",
    "select_seconds",
    "mse_minus_reference",
    "mse_minus_reference_se",
    "p_value",
    "num_people",
    "reference",
)


def summarize(trials: Mapping[str, Sequence[Trial]], reference: str) -> list[dict[str, Any]]:
    """One row for each method.

    Means and standard errors are over splits (the standard error is empty for a single one). The paired test
    compares each method with the reference person by person: the differences in error, averaged over the
    splits in which a person is tested, go through Wilcoxon's signed-rank test, two-sided, without a
    correction for several methods. Splits share most of their people, so standard errors are too small for
    what another data set would give, and a p-value says how regular a difference is among these people.

    Args:
      trials: method -> its trials, one for each split.
      reference: the method that the others are compared with; if it has no trials, nothing is.

    Returns:
      Rows as in `HEADER`; empty cells are "".
    """
    rows = []
    for name, each in trials.items():
        row: dict[str, Any] = {"method": name, "num_seeds": len(each)}
        for metric in METRICS:
            values = np.array([trial.row[metric] for trial in each])
            row[f"{metric}_mean"] = float(values.mean())
            row[f"{metric}_se"] = averages.standard_error(values)
        for column in ("num_parameters", "fit_seconds", "select_seconds"):
            row[column] = float(np.median([trial.row[column] for trial in each]))
        row["num_parameters"] = round(row["num_parameters"])
        if name != reference and reference in trials:
            row |= _compare(each, trials[reference]) | {"reference": reference}
        rows.append({column: row.get(column, "") for column in HEADER})
    return rows


def _compare(trials: Sequence[Trial], reference: Sequence[Trial]) -> dict[str, Any]:
    # Only splits that both have: after an interruption they may differ.
    own = {trial.row["seed"]: trial for trial in trials}
    other = {trial.row["seed"]: trial for trial in reference}
    by_person: dict[str, list[float]] = {}
    for seed in own.keys() & other.keys():
        errors = own[seed].errors - other[seed].errors
        for person, difference in zip(own[seed].people, errors, strict=True):
            by_person.setdefault(person, []).append(float(difference))
    people = sorted(by_person)
    differences = np.array([np.mean(by_person[person]) for person in people])
    result: dict[str, Any] = {"num_people": len(people)}
    if people:
        result |= {
            "mse_minus_reference": float(differences.mean()),
            "mse_minus_reference_se": averages.standard_error(differences),
        }
    if len(people) > 1 and differences.any():
        result["p_value"] = float(stats.wilcoxon(differences).pvalue)
    return result


def draw(trials: Mapping[str, Sequence[Trial]], title: str) -> bytes:
    """Draws the error of each method on every split, and its mean with the standard error.

    Args:
      trials: method -> its trials, one for each split.
      title: above the figure.

    Returns:
      The figure as PNG.
    """
    figure = Figure(figsize=(7, 0.42 * len(trials) + 1.3), layout="constrained")
    axis = figure.subplots()
    for place, (name, each) in enumerate(trials.items()):
        errors = 1e3 * np.array([trial.row["mse"] for trial in each])
        colour = figures.colour(name, ["masked_ridge", name])
        axis.plot(errors, np.full(len(errors), place), "o", color=colour, alpha=0.3, markersize=5)
        axis.errorbar(
            errors.mean(),
            place,
            xerr=averages.standard_error(errors) or None,
            fmt="D",
            color=colour,
            capsize=4,
            markersize=6,
        )
    if "copy_input" in trials:
        copied = 1e3 * np.mean([trial.row["mse"] for trial in trials["copy_input"]])
        axis.axvline(copied, color="grey", linewidth=1, linestyle=":", zorder=0)
    axis.set_yticks(range(len(trials)), [name.replace("_", " ") for name in trials])
    axis.invert_yaxis()
    figures.plain(axis, grid="x")
    axis.set_xlabel("mean squared error on test people x 1e3 (dots: splits; diamonds: mean, s.e.)")
    axis.set_title(title, fontsize=11)
    return figures.png(figure)
