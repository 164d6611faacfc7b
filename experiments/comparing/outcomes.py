"""The results of a comparison: the trials of every method at every point."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.comparing import summary
from experiments.comparing.trials import Trial
from mlr_jax.datasets.pairs import Pairs

REFERENCE = "masked_ridge"
"""The method that the others are compared with."""


class Outcome(NamedTuple):
    """The trials of all methods that could be tried at one point.

    Attributes:
      columns: of the point.
      trials: method -> its trials, one for each split.
    """

    columns: Mapping[str, Any]
    trials: dict[str, list[Trial]]


class Comparison(NamedTuple):
    """The outcomes of a comparison.

    Attributes:
      output_dir: where its tables are, and figures belong.
      outcomes: one for each point.
      title: of figures, the data set and the number of pairs.
      tests: for each point, the test pairs of the first split.
    """

    output_dir: Path
    outcomes: list[Outcome]
    title: str
    tests: list[Pairs]


def summaries(done: Comparison) -> list[dict[str, Any]]:
    """The rows of summary.csv: one for each point and method."""
    return [
        dict(outcome.columns) | row
        for outcome in done.outcomes
        for row in summary.summarize(outcome.trials, REFERENCE)
    ]


def curves(
    done: Comparison, axis: str, measure: str, *, scale: float = 1.0
) -> dict[str, dict[float, list[float]]]:
    """A measure of every method along the points of a run, for `curves.draw`.

    Args:
      done: a comparison whose points differ in `axis`.
      axis: the heading of their place; points where it is no number are left out.
      measure: a column of results.csv.
      scale: it is multiplied by.

    Returns:
      Method -> {place: values, one for each split}.
    """
    found: dict[str, dict[float, list[float]]] = {}
    for outcome in done.outcomes:
        place = outcome.columns[axis]
        if isinstance(place, int | float):
            for name, each in outcome.trials.items():
                values = [trial.row[measure] * scale for trial in each]
                found.setdefault(name, {})[place] = values
    return found


def pictures(trial: Trial) -> np.ndarray:
    """The test pictures of a trial, float32 in [0, 1]."""
    return trial.pictures.astype(np.float32) / 255
