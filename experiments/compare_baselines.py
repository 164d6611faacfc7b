r"""How close does each method come to the real expression? (Khan et al., IJCV 2020, claim a)

Trains every method on the same pairs of faces, and tests it on people that it has not seen:

    python -m experiments.compare_baselines
    python -m experiments.compare_baselines --dataset=london --data_dir=... --channels=1 --num_seeds=5

Every method's hyper-parameters are chosen by cross-validation over people on the training pairs, from the
grids in hyperparameters.py (--select=cv), or are fixed (--select=fixed). Several splits in one run
(--num_seeds) give means, standard errors and paired tests.

Writes into --output_dir: config.json; results.csv, a row for each method and split; summary.csv, a row for
each method; selection.csv, the error of every candidate; errors.csv, the error of every test picture;
summary.png; comparison.png, test faces of the first split. Times are the median of five runs
after compilation and warm-up, on a synchronised device, or of fewer where these take longer than two
seconds; they are those of one fit with the chosen hyper-parameters, and select_seconds those of the search,
compilations included. Expected, on the default (100 synthetic people, 64 x 64 colour): masked ridge has a
lower error than all that do not share its receptive fields.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import jax.numpy as jnp
import numpy as np
from absl import flags
from tqdm import tqdm

from experiments import cross_validation, data, face_sheet, memory, run_folder, script, summary, timing
from experiments.cross_validation import Choice, Grid
from experiments.hyperparameters import FIXED, GRIDS
from experiments.methods import METHODS, Learn, Method, Settings
from experiments.summary import Trial
from mlr_jax import checks, metrics, synthesis
from mlr_jax.datasets.pairs import Pairs, folds

HEADER = (
    "method",
    "mse",
    "psnr",
    "ssim",
    "num_parameters",
    "fit_seconds",
    "predict_seconds",
    "compile_seconds",
    "select_seconds",
    "seed",
    "choice",
)
OUTPUTS = ("results.csv", "summary.csv", "selection.csv", "errors.csv", "summary.png", "comparison.png")

_METHODS = flags.DEFINE_list("methods", list(METHODS), f"Which to compare: {', '.join(METHODS)}.")
_SELECT = flags.DEFINE_enum(
    "select",
    "cv",
    ["cv", "fixed"],
    "How hyper-parameters are found: cross-validation on the training pairs, or fixed values (for masked "
    "ridge those of the paper).",
)
_NUM_FOLDS = flags.DEFINE_integer("num_folds", 5, "Folds of the cross-validation.", lower_bound=2)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds", 1, "How many splits to run, with --seed and the numbers that follow it.", lower_bound=1
)
_WINDOW = flags.DEFINE_integer(
    "window", None, "Side of masked ridge's window in pixels, odd; by default as --select says."
)
_PENALTY = flags.DEFINE_float(
    "penalty", None, "Masked ridge's penalty lambda; by default as --select says.", lower_bound=0
)
_CHANNEL_MODE = flags.DEFINE_enum(
    "channel_mode",
    "independent",
    get_args(synthesis.Channels),
    "How masked ridge treats colour: each channel on its own, one set of weights for all channels, or "
    "windows that see all channels.",
)
_LEARN = flags.DEFINE_enum(
    "learn",
    "expression",
    get_args(Learn),
    "What every regression predicts: the expressive picture, as published, or its difference from the "
    "neutral one.",
)
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(run_folder)
_NUM_FACES = flags.DEFINE_integer("num_faces", 6, "Test faces in comparison.png.", lower_bound=1)

# Below so many numbers in the training pictures no method needs a gigabyte, and asking takes time.
_MANY_NUMBERS = 2**20


class Evaluation(NamedTuple):
    """What a method did: a row of the table, its test pictures with their errors, and where it fell short."""

    row: dict[str, Any]
    pictures: np.ndarray
    errors: np.ndarray
    shortfall: str | None


def evaluate(name: str, method: Method, choice: Choice, train: Pairs, test: Pairs) -> Evaluation:
    """Fits a method with the given hyper-parameters on `train` and measures it on `test`."""
    neutral, expressive = jnp.asarray(train.neutral), jnp.asarray(train.expressive)
    fit = partial(method.fit, **choice)
    params, fit_seconds, fit_compile = timing.compile_and_run(fit, neutral, expressive)
    pictures, predict_seconds, predict_compile = timing.compile_and_run(
        method.predict, params, jnp.asarray(test.neutral)
    )
    if not np.isfinite(pictures).all():
        raise checks.InputError(
            f"{name} has no finite solution on these pairs in {pictures.dtype}; its systems are singular, "
            "or a number is too large for it; more regularisation may help"
        )
    truth = jnp.asarray(test.expressive)
    errors = np.asarray(metrics.mse(pictures, truth))
    return Evaluation(
        {
            "method": name,
            "mse": float(errors.mean()),
            "psnr": float(metrics.psnr(pictures, truth).mean()),
            "ssim": float(metrics.ssim(pictures, truth).mean()),
            "num_parameters": method.num_parameters(params),
            "fit_seconds": fit_seconds,
            "predict_seconds": predict_seconds,
            "compile_seconds": fit_compile + predict_compile,
            "choice": _words(choice),
        },
        np.asarray(pictures),
        errors,
        method.shortfall(params),
    )


def compare(names: Sequence[str], settings: Settings) -> None:
    """The experiment: loads, selects, trains, tests, and writes the output folder."""
    methods = {name: METHODS[name](settings) for name in names}
    seeds = data.seeds(_NUM_SEEDS.value)
    output_dir = run_folder.chosen("compare_baselines")
    train, test = data.load_split(seeds[0], cache_dir=output_dir / "cache")
    # What does not suit the pictures is found before anything is computed, or replaced.
    tried, skipped = _candidates(methods, train, _folds(train, seeds[0]))
    if not tried:
        raise checks.InputError(next(iter(skipped.values())))
    for message in skipped.values():
        print(f"skipped: {message}", file=sys.stderr)
    configuration = run_folder.describe_run(
        data.resolved_flags(),
        {
            "num_train": len(train.subjects),
            "num_test": len(test.subjects),
            "image_shape": train.neutral.shape[1:],
            "test_subjects": test.subjects,
            "grids": {name: _grid(name) for name in names},
            "num_candidates": {name: len(candidates) for name, candidates in tried.items()},
            "skipped": skipped,
        },
    )
    run_folder.start(output_dir, configuration, outputs=OUTPUTS)
    done = _Done([], [], [], {}, {}, {}, [])
    with tqdm(total=len(seeds) * len(tried), unit="method", delay=2, leave=False) as progress:
        for seed in seeds:
            if seed != seeds[0]:
                train, test = data.load_split(seed, cache_dir=output_dir / "cache")
            folds = _folds(train, seed)
            for name in tried:
                progress.set_description(f"{name}, seed {seed}", refresh=False)
                try:
                    _run(done, name, methods[name], tried[name], seed, train, test, folds)
                except checks.InputError as error:
                    # The other methods' results are worth having.
                    done.failed[name] = f"{name}, seed {seed}: {error}"
                _write_tables(output_dir, done)
                progress.update()
            if seed == seeds[0] and done.rows:
                _draw_faces(output_dir, done, test)
    if not done.rows:
        raise checks.InputError(next(iter(done.failed.values())))
    count = f"{len(train.subjects)} pairs to train, {len(test.subjects)} to test"
    if len(seeds) > 1:
        count += f", {len(seeds)} splits"
    figure = summary.draw(done.trials, f"{data.title()}, {count}")
    run_folder.write_bytes(output_dir / "summary.png", figure)
    print(f"{count}, {data.title()}\n")
    if len(seeds) == 1:
        print(_table(_RESULT_COLUMNS, done.rows))
    else:
        print(_table(_SUMMARY_COLUMNS, summary.summarize(done.trials, "masked_ridge")))
    print(f"\nTables, figures and configuration: {output_dir}")
    for message in done.notes:
        print(f"note: {message}", file=sys.stderr)
    for message in done.failed.values():
        print(f"failed: {message}", file=sys.stderr)


class _Done(NamedTuple):
    """What a run has found: rows of the tables, trials and first pictures by method, failures, notes."""

    rows: list[dict[str, Any]]
    candidates: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    trials: dict[str, list[Trial]]
    pictures: dict[str, np.ndarray]
    failed: dict[str, str]
    notes: list[str]


def _run(
    done: _Done,
    name: str,
    method: Method,
    tried: Sequence[Choice],
    seed: int,
    train: Pairs,
    test: Pairs,
    folds: Sequence[cross_validation.Fold],
) -> None:
    """Selects, fits and measures one method on one split, and adds what it found to `done`."""
    start = time.perf_counter()
    selection = cross_validation.select(name, method, tried, folds)
    select_seconds = time.perf_counter() - start
    evaluation = evaluate(name, method, selection.choice, train, test)
    if evaluation.shortfall is not None:
        done.notes.append(f"{name}, seed {seed}: {evaluation.shortfall}")
    row = evaluation.row | {"select_seconds": select_seconds, "seed": seed}
    done.rows.append(row)
    for choice, error in selection.errors:
        chosen = int(choice == selection.choice)
        entry = {"method": name, "seed": seed, "candidate": _words(choice), "mse": error, "chosen": chosen}
        done.candidates.append(entry)
    for subject, error in zip(test.subjects, evaluation.errors, strict=True):
        done.errors.append({"method": name, "seed": seed, "subject": subject, "mse": float(error)})
    people = [data.person(subject, seed) for subject in test.subjects]
    done.trials.setdefault(name, []).append(Trial(row, people, evaluation.errors))
    done.pictures.setdefault(name, evaluation.pictures[: _NUM_FACES.value])


def _write_tables(output_dir: Path, done: _Done) -> None:
    """Writes them anew after every method, so that an interruption loses none that is finished."""
    if not done.rows:
        return
    run_folder.write_csv(output_dir / "results.csv", HEADER, done.rows)
    run_folder.write_csv(output_dir / "errors.csv", ("method", "seed", "subject", "mse"), done.errors)
    header = ("method", "seed", "candidate", "mse", "chosen")
    run_folder.write_csv(output_dir / "selection.csv", header, done.candidates)
    summaries = summary.summarize(done.trials, "masked_ridge")
    run_folder.write_csv(output_dir / "summary.csv", summary.HEADER, summaries)


def _draw_faces(output_dir: Path, done: _Done, test: Pairs) -> None:
    subjects = test.subjects[: _NUM_FACES.value]
    columns = {"input": test.neutral[: len(subjects)]}
    columns |= {name: pictures for name, pictures in done.pictures.items() if name != "copy_input"}
    columns["truth"] = test.expressive[: len(subjects)]
    run_folder.write_bytes(output_dir / "comparison.png", face_sheet.draw(columns, subjects, data.title()))


def _grid(name: str) -> Grid:
    """The values to choose from, one of each where nothing is to be chosen."""
    grid: Grid = GRIDS[name]
    if _SELECT.value == "fixed":
        grid = {key: (value,) for key, value in FIXED[name].items()}
    return dict(grid) | {key: (value,) for key, value in _given(name).items()}


def _given(name: str) -> Choice:
    """The hyper-parameters that have a flag of their own, where it is used."""
    if name != "masked_ridge":
        return {}
    flagged = {"window": _WINDOW.value, "penalty": _PENALTY.value}
    return {key: value for key, value in flagged.items() if value is not None}


def _folds(train: Pairs, seed: int) -> list[cross_validation.Fold]:
    """The folds of the cross-validation, as many as there are people if these are few."""
    if _SELECT.value == "fixed":
        return [(train, train)]  # Nothing is measured on it.
    num_people = len(set(train.subjects))
    if num_people < 2:
        raise checks.InputError("cross-validation needs two people to train on; use --select=fixed")
    return folds(train, num_folds=min(_NUM_FOLDS.value, num_people), seed=seed)


def _candidates(
    methods: Mapping[str, Method], train: Pairs, folds: Sequence[cross_validation.Fold]
) -> tuple[dict[str, list[Choice]], dict[str, str]]:
    """The candidates of each method that can be run, and words on each method that cannot.

    Raises:
      InputError: a value that was asked for by its flag is impossible.
    """
    tried, skipped = {}, {}
    for name, method in methods.items():
        try:
            tried[name] = cross_validation.possible(method, _grid(name), folds)
        except checks.InputError as error:
            if _given(name):
                raise
            skipped[name] = f"{name}: {error}"
            continue
        problem = _memory_problem(method, tried[name], train)
        if problem:
            skipped[name] = f"{name} {problem}"
            del tried[name]
    return tried, skipped


def _memory_problem(method: Method, tried: Sequence[Choice], train: Pairs) -> str | None:
    """Says so if a method would not fit into memory: it would be killed in the middle of its work."""
    height, width, _ = train.neutral.shape[1:]
    available = memory.available_bytes()
    if available is None or train.neutral.size < _MANY_NUMBERS:
        return None
    arrays = jnp.asarray(train.neutral), jnp.asarray(train.expressive)
    needed = memory.needed_bytes(partial(method.fit, **cross_validation.largest(tried)), *arrays)
    if method.fit_path is not None and len(tried) > 1:
        path = partial(method.fit_path, **cross_validation.columns(tried))
        needed = max(needed, memory.needed_bytes(path, *arrays))
    if needed <= available:
        return None
    return (
        f"would need {needed / 2**30:.1f} GiB of memory at {height} x {width}, and "
        f"{available / 2**30:.1f} GiB are free; choose a smaller --image_size, or other --methods"
    )


def _words(choice: Choice) -> str:
    return " ".join(f"{key}={_text(value)}" for key, value in choice.items())


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# Heading -> how a row is shown in it.
_Columns = Mapping[str, Callable[[Mapping[str, Any]], str]]
_RESULT_COLUMNS: _Columns = {
    "method": lambda row: row["method"],
    "MSE x 1e3": lambda row: f"{row['mse'] * 1e3:.3f}",
    "PSNR dB": lambda row: f"{row['psnr']:.2f}",
    "SSIM": lambda row: f"{row['ssim']:.4f}",
    "parameters": lambda row: f"{row['num_parameters']:,}",
    "fit s": lambda row: f"{row['fit_seconds']:.3f}",
    "select s": lambda row: f"{row['select_seconds']:.1f}",
    "choice": lambda row: row["choice"],
}
_SUMMARY_COLUMNS: _Columns = {
    "method": lambda row: row["method"],
    "MSE x 1e3": lambda row: f"{row['mse_mean'] * 1e3:.3f} ± {row['mse_se'] * 1e3:.3f}",
    "PSNR dB": lambda row: f"{row['psnr_mean']:.2f} ± {row['psnr_se']:.2f}",
    "SSIM": lambda row: f"{row['ssim_mean']:.4f} ± {row['ssim_se']:.4f}",
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


def main() -> None:
    """Checks the flags and runs the experiment."""
    for name in _METHODS.value:
        if name not in METHODS:
            raise checks.InputError(f"--methods: there is no method {name!r}; there are {', '.join(METHODS)}")
    if not _METHODS.value or len(set(_METHODS.value)) < len(_METHODS.value):
        raise checks.InputError("--methods must name at least one method, and none twice")
    mode = cast(synthesis.Channels, _CHANNEL_MODE.value)
    compare(_METHODS.value, Settings(mode, cast(Learn, _LEARN.value)))


if __name__ == "__main__":
    script.run(main)
