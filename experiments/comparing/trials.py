"""One method on one split of a data set: chosen, fitted, measured, and stored."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparing import cross_validation
from experiments.comparing.methods import GANS, make_method
from experiments.comparing.methods.method import Choice, Grid, Method, Params, Settings
from experiments.gans.settings import GanSettings
from experiments.pictures import splits
from experiments.running import memory, result_cache, timing
from mlr_jax import checks, metrics
from mlr_jax.array_file import ArrayFile
from mlr_jax.datasets.pairs import Pairs

HEADER = (
    "method",
    "mse",
    "psnr",
    "ssim",
    "sharpness",
    "num_parameters",
    "fit_seconds",
    "predict_seconds",
    "compile_seconds",
    "select_seconds",
    "seed",
    "choice",
    "at_end",
)

# With fewer numbers in the training pictures, no method needs a gigabyte: the lasso takes most, some 50 bytes
# for each. Then memory is not checked, which takes a compilation.
_MANY_NUMBERS = 2**23


class Trial(NamedTuple):
    """The result of one method on one split.

    Attributes:
      row: of results.csv.
      people: the person of each test picture, with the same name in every split.
      errors: `(num_pictures,)`, the mean squared error of each.
      pictures: `(num_shown, height, width, channels)` uint8, the first test pictures as predicted.
      candidates: (hyper-parameters in words, error on held-out people), where there was a choice.
      shortfall: a note on what the fit did not reach, or None.
    """

    row: Mapping[str, Any]
    people: Sequence[str]
    errors: np.ndarray
    pictures: np.ndarray = np.zeros((0, 1, 1, 1), np.uint8)
    candidates: Sequence[tuple[str, float]] = ()
    shortfall: str | None = None


class Protocol(NamedTuple):
    """How methods are compared, the same for all of a run.

    Attributes:
      settings: what holds for all methods.
      num_folds: of the cross-validation, fewer if there are fewer people; None if nothing is chosen.
      num_pictures: the number of test pictures to keep.
    """

    settings: Settings = Settings()
    num_folds: int | None = None
    num_pictures: int = 6


def run(
    name: str, grid: Grid, train: Pairs, test: Pairs, seed: int, *, protocol: Protocol, folder: Path
) -> Trial:
    """Loads the trial from `folder`, or runs and stores it.

    Args:
      name: of the method, in `methods.METHODS`.
      grid: the values of its hyper-parameters to choose from.
      train: pairs to choose and fit on.
      test: pairs to measure on.
      seed: of the folds.
      protocol: how it is done.
      folder: of finished trials; made if needed.

    Returns:
      The trial, people being the subjects of `test`.

    Raises:
      InputError: the method does not suit the pairs, needs more memory than there is, or has no finite
        solution.
    """
    what: dict[str, Any] = {}
    if name in GANS:
        what["code"] = result_cache.code_of_gans()
    else:
        protocol = protocol._replace(settings=without_gans(protocol.settings))
    what |= {
        "grid": {key: list(values) for key, values in grid.items()},
        "seed": seed,
        "protocol": protocol,
    }
    arrays, header = result_cache.load_or_compute(
        folder,
        name,
        what,
        (train, test),
        lambda: _as_file(_run(name, grid, train, test, seed, protocol, folder)),
    )
    return Trial(
        row=header["row"],
        people=tuple(test.subjects),
        errors=arrays["errors"],
        pictures=arrays["pictures"],
        candidates=[(choice, error) for choice, error in header["candidates"]],
        shortfall=header["shortfall"],
    )


def choose(
    name: str, method: Method, grid: Grid, train: Pairs, seed: int, num_folds: int | None
) -> cross_validation.SearchResult:
    """Chooses a method's hyper-parameters on the training pairs.

    Args:
      name: of the method, for messages.
      method: to fit.
      grid: the values to choose from; those that do not suit the pairs are left out.
      train: the pairs.
      seed: of the folds.
      num_folds: fewer if there are fewer people; None if the grid leaves no choice.

    Raises:
      InputError: no candidate suits the pairs, fits into memory and has a finite solution.
    """
    # Without a choice, the folds are not used.
    parts = [(train, train)] if num_folds is None else splits.folds_of_pairs(train, num_folds, seed=seed)
    tried = cross_validation.possible(method, grid, parts)
    problem = memory_problem(method, tried, train, parts)
    if problem:
        raise checks.InputError(f"{name} {problem}")
    return cross_validation.select(name, method, tried, parts)


def at_end(trial: Trial) -> str:
    """The hyper-parameters whose choice is the least or the largest number of their grid, in words."""

    def numbers(choice: str) -> dict[str, float]:
        found = {}
        for word in choice.split():
            key, _, value = word.partition("=")
            with contextlib.suppress(ValueError):
                found[key] = float(value)
        return found

    tried = [numbers(choice) for choice, _ in trial.candidates]

    def is_end(key: str, value: float) -> bool:
        values = {each[key] for each in tried if key in each}
        return len(values) > 1 and value in (min(values), max(values))

    return " ".join(key for key, value in numbers(trial.row["choice"]).items() if is_end(key, value))


def fit_and_predict(method: Method, choice: Choice, train: Pairs, pictures: np.ndarray) -> np.ndarray:
    """Fits a method on `train`, and predicts from pictures `(num, height, width, channels)`."""
    return np.asarray(_predict(method, fit(method, choice, train), jnp.asarray(pictures)))


def fit(method: Method, choice: Choice, train: Pairs) -> Params:
    """Fits a method on `train`."""
    static, traced = cross_validation.static_and_traced(choice)
    return _fit(method, static, traced, jnp.asarray(train.neutral), jnp.asarray(train.expressive))


def fit_timed(method: Method, choice: Choice, train: Pairs) -> tuple[Params, float, float]:
    """Fits a method on `train`: its parameters, the seconds of the fit, and those of the compilation."""
    static, traced = cross_validation.static_and_traced(choice)
    pairs = traced, jnp.asarray(train.neutral), jnp.asarray(train.expressive)
    compiled, compile_seconds = timing.compile_ahead(_fit, (method, static), *pairs)
    params, seconds = timing.run(compiled, *pairs)
    return params, seconds, compile_seconds


def words(choice: Choice) -> str:
    """Hyper-parameters as "name=value name=value"."""
    return " ".join(f"{key}={_text(value)}" for key, value in choice.items())


def memory_problem(
    method: Method, tried: Sequence[Choice], train: Pairs, parts: Sequence[cross_validation.Fold] = ()
) -> str | None:
    """A message if a method would not fit into memory, where the system would kill it; else None.

    Args:
      method: to fit.
      tried: the candidates.
      train: the pairs.
      parts: the folds that will compare the candidates, if any.
    """
    height, width, _ = train.neutral.shape[1:]
    available = memory.available_bytes()
    if available is None or train.neutral.size < _MANY_NUMBERS:
        return None
    arrays = jnp.asarray(train.neutral), jnp.asarray(train.expressive)
    # The fit will run the same program.
    static, traced = cross_validation.static_and_traced(cross_validation.largest(tried))
    compiled, _ = timing.compile_ahead(_fit, (method, static), traced, *arrays)
    needed = memory.compiled_bytes(compiled)
    if method.errors is not None and parts and len(tried) > 1:
        shared, _ = timing.compile_ahead(
            cross_validation.shared_errors,
            (method, cross_validation.distinct(tried)),
            cross_validation.gather(method, parts)[0],
        )
        needed = max(needed, memory.compiled_bytes(shared))
    if needed <= available:
        return None
    return (
        f"would need {needed / 2**30:.1f} GiB of memory at {height} x {width}, and "
        f"{available / 2**30:.1f} GiB are free; choose a smaller --image_size, or other --methods"
    )


def without_gans(settings: Settings) -> Settings:
    """The settings, without those that matter only to GANs."""
    return settings._replace(gan=GanSettings())


def _run(
    name: str, grid: Grid, train: Pairs, test: Pairs, seed: int, protocol: Protocol, folder: Path
) -> Trial:
    method = make_method(name, protocol.settings)
    if method.train is not None:
        params, seconds = method.train(train, seed, folder)
        trial = _measure(name, method, params, test, protocol.num_pictures)
        own = {"fit_seconds": seconds, "select_seconds": 0.0, "seed": seed, "choice": ""}
        return trial._replace(row={**trial.row, **own})
    start = time.perf_counter()
    selection = choose(name, method, grid, train, seed, protocol.num_folds)
    select_seconds = time.perf_counter() - start
    trial = _evaluate(name, method, selection.choice, train, test, protocol.num_pictures)
    return trial._replace(
        row={**trial.row, "select_seconds": select_seconds, "seed": seed, "choice": words(selection.choice)},
        candidates=[(words(choice), error) for choice, error in selection.errors],
    )


def _evaluate(
    name: str, method: Method, choice: Choice, train: Pairs, test: Pairs, num_pictures: int
) -> Trial:
    """Fits a method with the given hyper-parameters on `train` and measures it on `test`."""
    params, fit_seconds, fit_compile = fit_timed(method, choice, train)
    trial = _measure(name, method, params, test, num_pictures)
    compile_seconds = fit_compile + trial.row["compile_seconds"]
    own = {"fit_seconds": fit_seconds, "compile_seconds": compile_seconds}
    return trial._replace(row={**trial.row, **own})


def _measure(name: str, method: Method, params: Params, test: Pairs, num_pictures: int) -> Trial:
    """Measures a fitted method on the test pictures."""
    shown = params, jnp.asarray(test.neutral)
    predict, predict_compile = timing.compile_ahead(_predict, (method,), *shown)
    pictures, predict_seconds = timing.run(predict, *shown)
    if not np.isfinite(np.asarray(pictures)).all():
        raise checks.InputError(
            f"{name} has no finite solution on these pairs in {pictures.dtype}; its systems are singular, "
            "or a number is too large for it; more regularisation may help"
        )
    measured = {key: np.asarray(each) for key, each in _measures(pictures, test.expressive).items()}
    errors = measured["mse"]
    row = {
        "method": name,
        "mse": float(errors.mean()),
        "psnr": float(measured["psnr"].mean()),
        "ssim": float(measured["ssim"].mean()),
        "sharpness": float(np.median(measured["sharpness"])),
        "num_parameters": method.num_parameters(params),
        "predict_seconds": predict_seconds,
        "compile_seconds": predict_compile,
    }
    shown = np.clip(np.asarray(pictures)[:num_pictures], 0, 1)
    return Trial(
        row,
        test.subjects,
        errors,
        pictures=np.round(shown * 255).astype(np.uint8),
        shortfall=method.shortfall(params),
    )


@partial(jax.jit, static_argnums=(0, 1))
def _fit(
    method: Method,
    static: cross_validation.Static,
    traced: Mapping[str, float],
    neutral: jax.Array,
    expressive: jax.Array,
) -> Params:
    return method.fit(neutral, expressive, **dict(static), **traced)


@partial(jax.jit, static_argnums=0)
def _predict(method: Method, params: Params, neutral: jax.Array) -> jax.Array:
    return method.predict(params, neutral)


@jax.jit
def _measures(pictures: jax.Array, truth: jax.Array) -> dict[str, jax.Array]:
    """One program for all measures, and for all methods."""
    measures = (metrics.mse, metrics.psnr, metrics.ssim, metrics.sharpness)
    return {measure.__name__: measure(pictures, truth) for measure in measures}


def _as_file(trial: Trial) -> ArrayFile:
    header = {
        "row": dict(trial.row),
        "candidates": [list(each) for each in trial.candidates],
        "shortfall": trial.shortfall,
    }
    return ArrayFile({"errors": trial.errors, "pictures": trial.pictures}, header)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
