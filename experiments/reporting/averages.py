"""Means over splits, with their standard errors."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np


def over_splits(
    rows: Sequence[Mapping[str, Any]], by: Sequence[str], measures: Sequence[str]
) -> list[dict[str, Any]]:
    """Means and standard errors over splits, a row for each setting.

    Args:
      rows: one for each setting and split.
      by: the columns of the setting.
      measures: the columns to average, without empty cells.

    Returns:
      Rows with the columns `by`, `num_seeds`, and for each measure its `_mean` and `_se`, "" if there is
      none.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in by), []).append(row)
    summaries = []
    for setting, group in groups.items():
        summary: dict[str, Any] = dict(zip(by, setting, strict=True)) | {"num_seeds": len(group)}
        for measure in measures:
            values = np.array([row[measure] for row in group if row[measure] != ""])
            summary[f"{measure}_mean"] = float(values.mean()) if len(values) else ""
            summary[f"{measure}_se"] = standard_error(values)
        summaries.append(summary)
    return summaries


def standard_error(values: Sequence[float] | np.ndarray) -> float | Literal[""]:
    """The standard error of the mean; "" for a single value, as in the tables."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else ""
