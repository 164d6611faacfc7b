r"""How strong should the penalty be? (Khan et al., IJCV 2020, the choice of lambda = 0.4)

Fits masked ridge with every penalty and window, and measures its error on the training people, on held-out
people of a cross-validation, and on the test people:

    python -m experiments.penalty
    python -m experiments.penalty --dataset=london --data_dir=... --channels=1 --num_seeds=5

--methods may name other methods with a penalty; their other hyper-parameters are fixed.

Writes into --output_dir: config.json; results.csv, a row for each method, window, penalty and split;
summary.csv, means and standard errors over splits; and penalty.png, the three errors against the penalty. The
same command resumes a stopped run.

Expected: held-out and test people agree on the best penalty, which grows with the window. London, 64 x 64
grey, five splits: 0.4, the paper's, is best for 3 x 3, with a test MSE x 1e3 of 4.91 within 0.03, 0.8 for 5
x 5 and 1.6 for 7 x 7, in two minutes on 2 CPU cores (AMD EPYC) that other jobs shared.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from absl import flags

from experiments.comparing import cross_validation, options, sessions, sweep
from experiments.comparing.methods import METHODS, make_method
from experiments.comparing.methods.method import Grid
from experiments.comparing.sessions import Session
from experiments.comparing.sweep import Job, Row
from experiments.pictures import splits
from experiments.reporting import curves
from experiments.reporting.curves import Panel
from experiments.running import flag_values, result_cache, run_folder, script
from mlr_jax.array_file import ArrayFile
from mlr_jax.datasets.pairs import Pairs

OUTPUTS = ("results.csv", "summary.csv", "penalty.png")
SETTING = ("method", "window", "penalty")
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
flags.adopt_module_key_flags(options)


def measure() -> None:
    """The experiment."""
    is_fast = options.apply_fast()
    windows = flag_values.ascending(_WINDOWS, fast=(1, 3) if is_fast else None)
    penalties = flag_values.ascending(_PENALTIES)[::-1]
    penalised = [name for name in METHODS if "penalty" in METHODS[name].fixed]
    names = options.methods(penalised, usual=["masked_ridge"])
    sweeps = [
        (name, window)
        for name in names
        for window in (windows if "window" in METHODS[name].fixed else [None])
    ]
    session = sessions.start(
        "penalty", OUTPUTS, {"windows": windows, "penalties": penalties, "methods": names}
    )
    rows = sweep.run(
        session,
        partial(_jobs, session, sweeps, penalties),
        len(sweeps),
        unit="sweep",
        write=sweep.writer(session, (*SETTING, *MEASURES, "seed")),
        is_strict=True,
    ).rows
    summaries = sweep.summarize(session, rows, SETTING, tuple(MEASURES))
    # Cuts off the many times higher errors far from the best penalties.
    limit = 2e3 * min(row["test_mse_mean"] for row in summaries)
    panels = [
        Panel(f"mean squared error x 1e3, {who}", _curves(rows, key), limit=limit)
        for key, who in MEASURES.items()
    ]
    figure = curves.draw(panels, "penalty", session.title, is_log=True)
    run_folder.write_bytes(session.output_dir / "penalty.png", figure)
    print(f"{session.title}\n")
    for name, window in sweeps:
        best = min(
            (row for row in summaries if (row["method"], row["window"]) == (name, window or "")),
            key=lambda row: row["test_mse_mean"],
        )
        where = name if window is None else f"{name}, window {window}"
        print(
            f"{where}: least test MSE x 1e3 {best['test_mse_mean'] * 1e3:.3f} at penalty {best['penalty']:g}"
        )
    print(f"\nTables, figure and configuration: {session.output_dir}")


def _jobs(
    session: Session, sweeps: Sequence[tuple[str, int | None]], penalties: Sequence[float], seed: int
) -> Iterator[Job]:
    """A job for each method and window."""
    train, test = session.load(seed, {})
    folds = splits.folds_of_pairs(train, options.num_folds(), seed=seed)
    code = inspect.getsource(_errors)

    def measure(name: str, window: int | None) -> list[Row]:
        fixed = dict(METHODS[name].fixed) | ({} if window is None else {"window": window})
        grid = {key: (value,) for key, value in fixed.items()} | {"penalty": tuple(penalties)}
        depends_on = {
            "code": code,
            "grid": grid,
            "seed": seed,
            "settings": options.settings(),
            "folds": len(folds),
        }
        compute = partial(_errors, name, grid, train, test, folds)
        found = result_cache.load_or_compute(session.results, name, depends_on, (train, test), compute)
        own = {"method": name, "window": "" if window is None else window, "seed": seed}
        return [
            own | {"penalty": penalty} | {key: float(found.arrays[key][place]) for key in MEASURES}
            for place, penalty in enumerate(penalties)
        ]

    for name, window in sweeps:
        size = "" if window is None else f", window {window}"
        yield Job(f"{name}{size}, seed {seed}", partial(measure, name, window))


def _errors(
    name: str, grid: Grid, train: Pairs, test: Pairs, parts: Sequence[cross_validation.Fold]
) -> ArrayFile:
    """The error of every penalty on each of the three kinds of people."""
    method = make_method(name, options.settings())
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
