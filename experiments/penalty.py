r"""How strong should the penalty be? (Khan et al., IJCV 2020, the choice of lambda = 0.4)

Fits masked ridge with every penalty and window, and measures its error on the training people, on held-out
people of a cross-validation, and on the test people:

    python -m experiments.penalty
    python -m experiments.penalty --dataset=london --data_dir=... --channels=1 --num_seeds=5

Other methods that have a penalty can be named with --methods; what they are given besides are their fixed
values.

Writes into --output_dir: config.json; results.csv, a row for each method, window, penalty and split;
summary.csv, means and standard errors over splits; and penalty.png, the three errors against the penalty.
Stopped, the same command goes on where it was.

Expected: held-out and test people agree on the best penalty, which grows with the window. London, 64 x 64
grey, five splits: 0.4, the paper's, is best for 3 x 3, with a test MSE x 1e3 of 4.91 within 0.03, 0.8 for 5
x 5 and 1.6 for 7 x 7, in two minutes on 2 CPU cores (AMD EPYC) that other jobs shared.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from experiments.comparing import comparison, cross_validation
from experiments.comparing.methods import METHODS, make_method
from experiments.comparing.methods.contract import Grid
from experiments.pictures import splits
from experiments.reporting import averages, curves
from experiments.reporting.curves import Panel
from experiments.running import result_cache, run_folder, script
from mlr_jax.array_file import ArrayFile
from mlr_jax.datasets.pairs import Pairs

OUTPUTS = ("results.csv", "summary.csv", "penalty.png")
# Column -> whose pictures the error is measured on.
MEASURES = {"train_mse": "training people", "held_out_mse": "held-out people", "test_mse": "test people"}

_WINDOWS = flags.DEFINE_multi_integer(
    "windows", [1, 3, 5, 7], "Sides of the windows in pixels, odd.", lower_bound=1
)
_PENALTIES = flags.DEFINE_multi_float(
    "penalties",
    [0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6, 3, 10, 30, 100],
    "Penalties, all above 0.",
    lower_bound=1e-30,
)
flags.adopt_module_key_flags(comparison)


def measure() -> None:
    """The experiment."""
    is_fast = comparison.is_fast()
    windows = [1, 3] if is_fast and not _WINDOWS.present else sorted(set(_WINDOWS.value))
    penalties = sorted(set(_PENALTIES.value), reverse=True)
    penalised = [name for name in METHODS if "penalty" in METHODS[name].fixed]
    names = comparison.methods(penalised, usual=["masked_ridge"])
    sweeps = [
        (name, window)
        for name in names
        for window in (windows if "window" in METHODS[name].fixed else [None])
    ]
    begun = comparison.begin(
        "penalty", OUTPUTS, {"windows": windows, "penalties": penalties, "methods": names}
    )
    rows: list[dict[str, Any]] = []
    code = inspect.getsource(_errors)
    for seed in tqdm(begun.seeds, unit="split", delay=2, leave=False):
        train, test = begun.load(seed, {})
        parts = splits.folds_of_pairs(train, comparison.num_folds(), seed=seed)
        for name, window in sweeps:
            fixed = dict(METHODS[name].fixed) | ({} if window is None else {"window": window})
            grid = {key: (value,) for key, value in fixed.items()} | {"penalty": tuple(penalties)}
            what = {
                "code": code,
                "grid": grid,
                "seed": seed,
                "settings": comparison.settings(),
                "folds": len(parts),
            }
            compute = partial(_errors, name, grid, train, test, parts)
            errors = result_cache.recall_or_compute(begun.kept, name, what, (train, test), compute).arrays
            for place, penalty in enumerate(penalties):
                row = {"method": name, "window": "" if window is None else window, "penalty": penalty}
                row |= {key: float(errors[key][place]) for key in MEASURES}
                rows.append(row | {"seed": seed})
            run_folder.write_csv(begun.output_dir / "results.csv", tuple(rows[0]), rows)
    summaries = averages.over_splits(rows, ("method", "window", "penalty"), tuple(MEASURES))
    run_folder.write_csv(begun.output_dir / "summary.csv", tuple(summaries[0]), summaries)
    # Far from the best penalties the error is many times as high, and of no interest.
    limit = 2e3 * min(row["test_mse_mean"] for row in summaries)
    panels = [
        Panel(f"mean squared error x 1e3, {who}", _curves(rows, key), limit=limit)
        for key, who in MEASURES.items()
    ]
    figure = curves.draw(panels, "penalty", begun.title, is_log=True)
    run_folder.write_bytes(begun.output_dir / "penalty.png", figure)
    print(f"{begun.title}\n")
    for name, window in sweeps:
        best = min(
            (row for row in summaries if (row["method"], row["window"]) == (name, window or "")),
            key=lambda row: row["test_mse_mean"],
        )
        where = name if window is None else f"{name}, window {window}"
        print(
            f"{where}: least test MSE x 1e3 {best['test_mse_mean'] * 1e3:.3f} at penalty {best['penalty']:g}"
        )
    print(f"\nTables, figure and configuration: {begun.output_dir}")


def _errors(
    name: str, grid: Grid, train: Pairs, test: Pairs, parts: Sequence[cross_validation.Fold]
) -> ArrayFile:
    """The error of every penalty on each of the three kinds of people."""
    method = make_method(name, comparison.settings())
    tried = cross_validation.possible(method, grid, parts)
    arrays = {}
    for key, sides in zip(MEASURES, ([(train, train)], parts, [(train, test)]), strict=True):
        arrays[key] = np.array([error for _, error in cross_validation.errors(method, tried, sides)])
    return ArrayFile(arrays, {})


def _curves(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, dict[float, list[float]]]:
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        name = row["method"] + (f" {row['window']} x {row['window']}" if row["window"] else "")
        found.setdefault(name, {}).setdefault(row["penalty"], []).append(row[key] * 1e3)
    return found


if __name__ == "__main__":
    script.run(measure)
