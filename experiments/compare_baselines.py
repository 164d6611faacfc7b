r"""How close does each method come to the real expression? (Khan et al., IJCV 2020, claim a)

Trains every method on the same pairs of faces, and tests it on people that it has not seen:

    python -m experiments.compare_baselines
    python -m experiments.compare_baselines --dataset=london --data_dir=... --channels=1

Times are the median of three runs after compilation and warm-up, on a synchronised device, or of a single
run for what takes longer than two seconds; plain ridge regression's includes the choice of its penalty.
Writes config.json, results.csv and comparison.png into --output_dir, and prints the table. Expected, on the
default (100 synthetic people, 64 x 64 colour, 2 CPU cores, under 30 seconds): masked ridge has the lowest
error; plain ridge regression, which chooses its penalty by leave-one-out, has a higher one, and on real
people a higher one than the unchanged input.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from tqdm import tqdm

from experiments import data, face_sheet, run_folder, script
from experiments.methods import METHODS, Method, Settings
from mlr_jax import checks, metrics, synthesis
from mlr_jax.datasets.pairs import Pairs

HEADER = (
    "method",
    "mse",
    "psnr",
    "ssim",
    "num_parameters",
    "fit_seconds",
    "predict_seconds",
    "compile_seconds",
    "setting",
)

_METHODS = flags.DEFINE_list("methods", list(METHODS), f"Which to compare: {', '.join(METHODS)}.")
_WINDOW = flags.DEFINE_integer("window", 3, "Side of masked ridge's window in pixels, odd.")
_PENALTY = flags.DEFINE_float("penalty", 0.4, "Masked ridge's penalty lambda.", lower_bound=0)
_CHANNEL_MODE = flags.DEFINE_enum(
    "channel_mode",
    "independent",
    get_args(synthesis.Channels),
    "How masked ridge treats colour: each channel on its own, one set of weights for all channels, or "
    "windows that see all channels.",
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "runs/compare_baselines", "Folder to write to.")
flags.adopt_module_key_flags(data)
_NUM_FACES = flags.DEFINE_integer("num_faces", 6, "Test faces in comparison.png.", lower_bound=1)


_LONG_SECONDS = 2.0


class Evaluation(NamedTuple):
    """What a method did: a row of the table, and its test pictures."""

    row: dict[str, Any]
    pictures: np.ndarray


def evaluate(name: str, method: Method, train: Pairs, test: Pairs) -> Evaluation:
    """Fits a method on `train` and measures it on `test`."""
    neutral, expressive = jnp.asarray(train.neutral), jnp.asarray(train.expressive)
    params, fit_seconds, fit_compile = _run(method.fit, neutral, expressive)
    pictures, predict_seconds, predict_compile = _run(method.predict, params, jnp.asarray(test.neutral))
    if not np.isfinite(pictures).all():
        raise checks.InputError(
            f"{name} has no finite solution on these pairs in {pictures.dtype}; its systems are singular, "
            "or a number is too large for it. A larger --penalty may help"
        )
    truth = jnp.asarray(test.expressive)
    return Evaluation(
        {
            "method": name,
            "mse": float(metrics.mse(pictures, truth).mean()),
            "psnr": float(metrics.psnr(pictures, truth).mean()),
            "ssim": float(metrics.ssim(pictures, truth).mean()),
            "num_parameters": method.num_parameters(params),
            "fit_seconds": fit_seconds,
            "predict_seconds": predict_seconds,
            "compile_seconds": fit_compile + predict_compile,
            "setting": method.setting(params),
        },
        np.asarray(pictures),
    )


def compare(names: Sequence[str], settings: Settings) -> None:
    """The experiment: loads, trains, tests, and writes the output folder."""
    methods = [(name, METHODS[name](settings)) for name in names]
    output_dir = run_folder.create(_OUTPUT_DIR.value)
    pairs = data.load(cache_dir=output_dir / "cache")
    train, test = data.split_by_flags(pairs)
    for _, method in methods:
        # Options that do not suit the pictures are found before anything is computed, or replaced.
        jax.eval_shape(method.fit, train.neutral, train.expressive)
    configuration = run_folder.describe_run(
        data.resolved_flags(),
        {
            "num_train": len(train.subjects),
            "num_test": len(test.subjects),
            "image_shape": pairs.neutral.shape[1:],
            "test_subjects": test.subjects,
        },
    )
    run_folder.start(output_dir, configuration, outputs=("results.csv", "comparison.png"))
    evaluations: list[Evaluation] = []
    with tqdm(methods, unit="method", delay=2, leave=False) as progress:
        for name, method in progress:
            progress.set_description(name, refresh=False)
            evaluations.append(evaluate(name, method, train, test))
            # After every method, so that an interruption loses none that is finished.
            rows = [each.row for each in evaluations]
            run_folder.write_csv(output_dir / "results.csv", HEADER, rows)
    shown = slice(min(_NUM_FACES.value, len(test.subjects)))
    columns = {"input": test.neutral[shown]}
    columns |= {
        each.row["method"]: each.pictures[shown] for each in evaluations if each.row["method"] != "copy_input"
    }
    columns["truth"] = test.expressive[shown]
    run_folder.write_bytes(
        output_dir / "comparison.png",
        face_sheet.draw(columns, test.subjects[shown], data.title()),
    )
    print(f"{len(train.subjects)} pairs to train, {len(test.subjects)} to test, {data.title()}\n")
    print(_table(rows))
    print(f"\nTable, figure and configuration: {output_dir}")


def _run(function: Callable[..., Any], *args: Any) -> tuple[Any, float, float]:
    """Compiles and runs: the result, the seconds that a run takes, and the seconds to compile."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    compile_seconds = time.perf_counter() - start
    seconds: list[float] = []
    # The first run warms up: it is the one that counts only where more would take too long.
    while len(seconds) < 4 and sum(seconds) < _LONG_SECONDS:
        start = time.perf_counter()
        result = jax.block_until_ready(compiled(*args))
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds[1:] or seconds), compile_seconds


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as aligned text."""
    header = (
        "method",
        "MSE x 1e3",
        "PSNR dB",
        "SSIM",
        "parameters",
        "fit s",
        "predict s",
        "setting",
    )
    cells = [
        (
            row["method"],
            f"{row['mse'] * 1e3:.3f}",
            f"{row['psnr']:.2f}",
            f"{row['ssim']:.4f}",
            f"{row['num_parameters']:,}",
            f"{row['fit_seconds']:.3f}",
            f"{row['predict_seconds']:.3f}",
            row["setting"],
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [header, *cells]) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, len(header) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [header, *cells]
    )


def main() -> None:
    """Checks the flags and runs the experiment."""
    for name in _METHODS.value:
        if name not in METHODS:
            raise checks.InputError(f"--methods: there is no method {name!r}; there are {', '.join(METHODS)}")
    if not _METHODS.value or len(set(_METHODS.value)) < len(_METHODS.value):
        raise checks.InputError("--methods must name at least one method, and none twice")
    mode = cast(synthesis.Channels, _CHANNEL_MODE.value)
    compare(_METHODS.value, Settings(_WINDOW.value, _PENALTY.value, mode))


if __name__ == "__main__":
    script.run(main)
