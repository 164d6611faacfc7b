r"""How close does each method come to the real expression? (Khan et al., IJCV 2020, claim a)

Trains every method on the same pairs of faces, and tests it on people that it has not seen:

    python -m experiments.compare_baselines
    python -m experiments.compare_baselines --dataset=london --data_dir=... --channels=1 --num_seeds=5

Every method's hyper-parameters are chosen by cross-validation over people on the training pairs, from the
grids in hyperparameters.py (--select=cv), or are fixed (--select=fixed). Several splits in one run
(--num_seeds) give means, standard errors and paired tests.

Writes into --output_dir: config.json; results.csv, a row for each method and split; summary.csv, a row for
each method; summary.png; comparison.png, test faces of the first split. Times are the median of three runs
after compilation and warm-up, on a synchronised device, or of a single run for what takes longer than two
seconds; they are those of one fit with the chosen hyper-parameters, and select_seconds those of the search,
compilations included. Expected, on the default (100 synthetic people, 64 x 64 colour): masked ridge has a
lower error than all that do not share its receptive fields.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
OUTPUTS = ("results.csv", "summary.csv", "summary.png", "comparison.png")

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

# Below so many inputs per channel no method needs a gigabyte, and asking takes longer than computing.
_MANY_INPUTS = 8192


class Evaluation(NamedTuple):
    """What a method did: a row of the table, and its test pictures with their errors."""

    row: dict[str, Any]
    pictures: np.ndarray
    errors: np.ndarray


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
            "or a number is too large for it. A larger --penalty may help"
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
            "choice": " ".join(f"{key}={_text(value)}" for key, value in choice.items()),
        },
        np.asarray(pictures),
        errors,
    )


def compare(names: Sequence[str], settings: Settings) -> None:
    """The experiment: loads, selects, trains, tests, and writes the output folder."""
    methods = {name: METHODS[name](settings) for name in names}
    seeds = data.seeds(_NUM_SEEDS.value)
    output_dir = run_folder.chosen("compare_baselines")
    splits = {seed: data.load_split(seed, cache_dir=output_dir / "cache") for seed in seeds}
    train, test = splits[seeds[0]]
    held_out = {seed: _folds(split[0], seed) for seed, split in splits.items()}
    # What does not suit the pictures is found before anything is computed, or replaced.
    tried, skipped = _candidates(methods, [fold for each in held_out.values() for fold in each], train)
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
            "test_subjects_by_seed": {seed: split[1].subjects for seed, split in splits.items()},
            "grids": {name: _grid(name) for name in names},
            "skipped": skipped,
        },
    )
    run_folder.start(output_dir, configuration, outputs=OUTPUTS)

    rows: list[dict[str, Any]] = []
    trials: dict[str, list[Trial]] = {name: [] for name in tried}
    shown: dict[str, np.ndarray] = {}
    steps = [(seed, name) for seed in seeds for name in trials]
    with tqdm(steps, unit="method", delay=2, leave=False) as progress:
        for seed, name in progress:
            progress.set_description(f"{name}, seed {seed}", refresh=False)
            train, test = splits[seed]
            start = time.perf_counter()
            choice = cross_validation.select(name, methods[name], tried[name], held_out[seed]).choice
            select_seconds = time.perf_counter() - start
            evaluation = evaluate(name, methods[name], choice, train, test)
            rows.append(evaluation.row | {"select_seconds": select_seconds, "seed": seed})
            people = [data.person(subject, seed) for subject in test.subjects]
            trials[name].append(Trial(rows[-1], people, evaluation.errors))
            if seed == seeds[0]:
                shown[name] = evaluation.pictures[: _NUM_FACES.value]
            # After every method, so that an interruption loses none that is finished.
            run_folder.write_csv(output_dir / "results.csv", HEADER, rows)
            finished = {name: each for name, each in trials.items() if each}
            summaries = summary.summarize(finished, "masked_ridge")
            run_folder.write_csv(output_dir / "summary.csv", summary.HEADER, summaries)

    _, test = splits[seeds[0]]
    subjects = test.subjects[: _NUM_FACES.value]
    columns = {"input": test.neutral[: len(subjects)]}
    columns |= {name: pictures for name, pictures in shown.items() if name != "copy_input"}
    columns["truth"] = test.expressive[: len(subjects)]
    sheet = face_sheet.draw(columns, subjects, data.title())
    run_folder.write_bytes(output_dir / "comparison.png", sheet)
    count = f"{len(splits[seeds[0]][0].subjects)} pairs to train, {len(test.subjects)} to test"
    if len(seeds) > 1:
        count += f", {len(seeds)} splits"
    run_folder.write_bytes(output_dir / "summary.png", summary.draw(trials, f"{data.title()}, {count}"))
    print(f"{count}, {data.title()}\n")
    print(_table(_RESULT_COLUMNS, rows) if len(seeds) == 1 else _table(_SUMMARY_COLUMNS, summaries))
    print(f"\nTables, figures and configuration: {output_dir}")


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
    num_people = len(set(train.subjects))
    if _SELECT.value == "fixed" or num_people < 2:
        return [(train, train)]  # Nothing is measured on it.
    return folds(train, num_folds=min(_NUM_FOLDS.value, num_people), seed=seed)


def _candidates(
    methods: Mapping[str, Method], folds: Sequence[cross_validation.Fold], train: Pairs
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
        problem = _memory_problem(method, cross_validation.largest(tried[name]), train)
        if problem:
            skipped[name] = f"{name} {problem}"
            del tried[name]
    return tried, skipped


def _memory_problem(method: Method, choice: Choice, train: Pairs) -> str | None:
    """Says so if a method would not fit into memory: it would be killed in the middle of its work."""
    height, width, _ = train.neutral.shape[1:]
    available = memory.available_bytes()
    if available is None or height * width < _MANY_INPUTS:
        return None
    arrays = jnp.asarray(train.neutral), jnp.asarray(train.expressive)
    needed = memory.needed_bytes(partial(method.fit, **choice), *arrays)
    if needed <= available:
        return None
    return (
        f"would need {needed / 2**30:.1f} GiB of memory at {height} x {width}, and "
        f"{available / 2**30:.1f} GiB are free; choose a smaller --image_size, or other --methods"
    )


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
