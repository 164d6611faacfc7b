r"""How much sharpness does a low error cost? (Blau and Michaeli, CVPR 2018)

The less a method knows, the more its error is lowered by blur. This measures both: every method is fitted
over the values of its regulariser (the last of its hyper-parameters in hyperparameters.py; the others are
fixed), and what it adds to the picture is smoothed by 0, 0.5, 1 and 2 pixels, so that the picture's own
details stay:

    python -m experiments.perception_distortion
    python -m experiments.perception_distortion --dataset=london --data_dir=... --channels=1 --num_seeds=5

Smiles differ in strength. best_mse is the error at the intensity, of 0 to 2 in steps of 0.25, that suits
each test face best: the same nine for every method, the input itself among them.

Writes into --output_dir: config.json; results.csv, a row for each method, value, smoothing and split;
summary.csv, means and standard errors over splits; and perception_distortion.png: MSE, its best_mse and SSIM
against sharpness, a dot for each setting, and for each method a line through those that no other of its
settings beats in both. Stopped, the same command goes on where it was. --select means nothing here.

Expected: at any sharpness that both reach, warped ridge has a lower error than masked ridge, and the dense
regressions have a higher one than both.
"""

import inspect
import io
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from absl import flags
from tqdm import tqdm

from experiments import comparison, cross_validation, curves, kept, run_folder, script, summary, trials
from experiments.cross_validation import Choice
from experiments.hyperparameters import FIXED, GRIDS
from experiments.methods import METHODS, Method, Params, make_method, render
from mlr_jax import checks, metrics
from mlr_jax.array_file import ArrayFile
from mlr_jax.datasets.pairs import Pairs, folds

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FIGURE = "perception_distortion.png"
MEASURES = ("mse", "ssim", "sharpness", "best_mse", "best_intensity")
SETTING = ("method", "hyper_parameter", "value", "smoothing")

_INTENSITIES = np.arange(9) / 4

_SMOOTHINGS = flags.DEFINE_multi_float(
    "smoothings", [0, 0.5, 1, 2], "Standard deviations in pixels by which what is added is smoothed."
)
flags.adopt_module_key_flags(comparison)


def measure() -> None:
    """The experiment."""
    is_fast = comparison.is_fast()
    smoothings = (0.0, 1.0) if is_fast and not _SMOOTHINGS.present else sorted(set(_SMOOTHINGS.value))
    if min(smoothings) < 0:
        raise checks.InputError(f"--smoothings must be 0 or more, not {min(smoothings):g}")
    usual = [*METHODS] if not is_fast else ["copy_input", "masked_ridge", "warped_ridge"]
    names = comparison.methods(usual=usual)
    outputs = ("results.csv", "summary.csv", FIGURE)
    begun = comparison.begin("perception_distortion", outputs, {"methods": names, "smoothings": smoothings})
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    code = inspect.getsource(sys.modules[__name__])
    with tqdm(total=len(begun.seeds) * len(names), unit="method", delay=2, leave=False) as progress:
        for seed in begun.seeds:
            train, test = begun.load(seed, {})
            for name in names:
                progress.set_description(f"{name}, seed {seed}", refresh=False)
                choices = _choices(name, values=2 if is_fast else None)
                what = {
                    "code": code,
                    "choices": choices,
                    "settings": comparison.settings(),
                    "smoothings": smoothings,
                }
                compute = partial(_measure, name, choices, train, test, smoothings)
                try:
                    found = kept.recall_or_compute(begun.kept, name, what, (train, test), compute)
                except checks.InputError as error:
                    skipped[f"{name}, seed {seed}"] = str(error)
                else:
                    rows += [{"method": name} | row | {"seed": seed} for row in _rows(found)]
                    run_folder.write_csv(
                        begun.output_dir / "results.csv", (*SETTING, *MEASURES, "seed"), rows
                    )
                progress.update()
    if not rows:
        raise checks.InputError(": ".join(next(iter(skipped.items()))))
    for where, problem in skipped.items():
        print(f"skipped: {where}: {problem}", file=sys.stderr)
    summaries = summary.over_splits(rows, SETTING, MEASURES)
    run_folder.write_csv(begun.output_dir / "summary.csv", tuple(summaries[0]), summaries)
    run_folder.write_bytes(begun.output_dir / FIGURE, _draw(summaries, begun.title))
    comparison.end(begun, {"skipped": skipped})
    _report(summaries, begun.title)
    print(f"\nTables, figure and configuration: {begun.output_dir}")
