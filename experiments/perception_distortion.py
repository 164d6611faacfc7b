r"""How much sharpness does a low error cost? (Blau and Michaeli, CVPR 2018)

The less a method knows, the more blur lowers its error. This measures both: every method is fitted with all
values of its regulariser (the last of its hyper-parameters in the registry; the others are fixed), and its
change to the picture is smoothed by 0, 0.5, 1 and 2 pixels, so that the picture's own details stay:

    python -m experiments.perception_distortion
    python -m experiments.perception_distortion --dataset=london --data_dir=... --channels=1 --num_seeds=5

Smiles differ in strength. best_mse is the error at each test face's best intensity, of 0 (the input) to 2 in
steps of 0.25, for every method alike.

Writes into --output_dir: config.json; results.csv, a row for each method, value, smoothing and split;
summary.csv, means and standard errors over splits; and perception_distortion.png: MSE, its best_mse and SSIM
against sharpness, a dot for each setting, and for each method a line through its Pareto front. The same
command resumes a stopped run. --select=fixed uses only the fixed values.

Expected, London, 64 x 64 grey, five splits: at equal sharpness, the error of warped ridge is at most that of
masked ridge: MSE x 1e3 of 4.89 with 0.72 of the real sharpness, masked ridge 4.85 with 0.45 and 5.13 with
0.84. Adding the change smoothed by half a pixel makes masked ridge both better and sharper; dense
regressions are worse than no change. In four minutes on 2 CPU cores.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib.figure import Figure

from experiments.comparing import cross_validation, options, sessions, sweep, trials
from experiments.comparing.methods import METHODS, make_method
from experiments.comparing.methods.method import Grid, Method, Params, render
from experiments.comparing.sessions import Session
from experiments.comparing.sweep import Job, Row
from experiments.reporting import figures
from experiments.running import flag_values, result_cache, run_folder, script
from mlr_jax import checks, metrics
from mlr_jax.array_file import ArrayFile
from mlr_jax.datasets.pairs import Pairs

FIGURE = "perception_distortion.png"
MEASURES = ("mse", "ssim", "sharpness", "best_mse", "best_intensity")
SETTING = ("method", "hyper_parameter", "value", "smoothing")

_INTENSITIES = np.arange(9) / 4

_SMOOTHINGS = flags.DEFINE_multi_float(
    "smoothings", [0, 0.5, 1, 2], "Standard deviations in pixels of the blur of the change."
)
flags.adopt_module_key_flags(options)


def measure() -> None:
    """The experiment."""
    is_fast = options.apply_fast()
    smoothings = flag_values.ascending(_SMOOTHINGS, fast=(0.0, 1.0) if is_fast else None)
    if min(smoothings) < 0:
        raise checks.InputError(f"--smoothings must be 0 or more, not {min(smoothings):g}")
    names = options.methods()
    outputs = ("results.csv", "summary.csv", FIGURE)
    session = sessions.start("perception_distortion", outputs, {"methods": names, "smoothings": smoothings})
    swept = sweep.run(
        session,
        partial(_jobs, session, names, smoothings),
        len(names),
        unit="method",
        write=sweep.writer(session, (*SETTING, *MEASURES, "seed")),
    )
    summaries = sweep.summarize(session, swept.rows, SETTING, MEASURES)
    run_folder.write_bytes(session.output_dir / FIGURE, _draw(summaries, session.title))
    sessions.end(session, {"skipped": swept.skipped})
    _report(summaries, session.title)
    print(f"\nTables, figure and configuration: {session.output_dir}")


def _jobs(session: Session, names: Sequence[str], smoothings: Sequence[float], seed: int) -> Iterator[Job]:
    """A job for each method."""
    train, test = session.load(seed, {})
    code = inspect.getsource(sys.modules[__name__])

    def measure(name: str) -> list[Row]:
        grid = _grid(name)
        depends_on = {
            "code": code,
            "grid": {key: list(values) for key, values in grid.items()},
            "settings": options.settings(),
            "smoothings": smoothings,
        }
        compute = partial(_measure, name, grid, train, test, smoothings)
        found = result_cache.load_or_compute(session.results, name, depends_on, (train, test), compute)
        return [{"method": name} | row | {"seed": seed} for row in _rows(found)]

    for name in names:
        yield Job(f"{name}, seed {seed}", partial(measure, name))


def _grid(name: str) -> Grid:
    """The values of a method's regulariser, its other hyper-parameters being fixed."""
    fixed: dict[str, Sequence[Any]] = {key: (value,) for key, value in METHODS[name].fixed.items()}
    if options.num_search_folds() is not None and fixed:
        last = list(fixed)[-1]
        fixed[last] = tuple(METHODS[name].grid[last])
    return fixed


def _measure(name: str, grid: Grid, train: Pairs, test: Pairs, smoothings: Sequence[float]) -> ArrayFile:
    """The measures of a method on the test people: `(num_values, num_smoothings)` each."""
    method = make_method(name, options.settings())
    choices = cross_validation.possible(method, grid, [(train, train)])
    problem = trials.memory_problem(method, choices, train)
    if problem:
        raise checks.InputError(f"{name} {problem}")
    pictures = jnp.asarray(test.neutral), jnp.asarray(test.expressive)
    found: dict[str, list[list[float]]] = {measure: [] for measure in MEASURES}
    for choice in choices:
        params = trials.fit(method, choice, train)
        measured = [_measures(method, smoothing, params, *pictures) for smoothing in smoothings]
        for measure, values in found.items():
            values.append([float(each[measure]) for each in measured])
    return ArrayFile(
        {measure: np.array(values) for measure, values in found.items()},
        {"choices": [dict(choice) for choice in choices], "smoothings": list(smoothings)},
    )


@partial(jax.jit, static_argnums=(0, 1))
def _measures(
    method: Method, smoothing: float, params: Params, neutral: jax.Array, truth: jax.Array
) -> dict[str, jax.Array]:
    """The `MEASURES` with one smoothing."""

    def at(intensity: jax.Array) -> jax.Array:
        amount = jnp.broadcast_to(intensity, (len(neutral),))
        return render(method, params, neutral, intensity=amount, smoothing=smoothing)

    pictures = at(jnp.ones((), neutral.dtype))
    intensities = jnp.asarray(_INTENSITIES, neutral.dtype)
    errors = jax.lax.map(lambda intensity: metrics.mse(at(intensity), truth), intensities)
    return {
        "mse": metrics.mse(pictures, truth).mean(),
        "ssim": metrics.ssim(pictures, truth).mean(),
        "sharpness": jnp.median(metrics.sharpness(pictures, truth)),
        "best_mse": errors.min(axis=0).mean(),
        "best_intensity": jnp.median(intensities[errors.argmin(axis=0)]),
    }


def _rows(found: ArrayFile) -> list[dict[str, Any]]:
    rows = []
    for place, choice in enumerate(found.header["choices"]):
        key, value = list(choice.items())[-1] if choice else ("", "")
        for along, smoothing in enumerate(found.header["smoothings"]):
            row = {"hyper_parameter": key, "value": value, "smoothing": smoothing}
            rows.append(row | {measure: float(found.arrays[measure][place, along]) for measure in MEASURES})
    return rows


def _front(
    summaries: Sequence[Mapping[str, Any]], measure: str
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The settings that have a sharpness, and the Pareto front of sharpness and the measure."""
    # A flat truth has none.
    known = [row for row in summaries if np.isfinite(row["sharpness_mean"])]
    sign = -1 if measure == "ssim" else 1
    front: list[Mapping[str, Any]] = []
    for row in sorted(known, key=lambda row: row["sharpness_mean"], reverse=True):
        cost = sign * row[f"{measure}_mean"]
        if not front or cost < sign * front[-1][f"{measure}_mean"]:
            front.append(row)
    return known, front


def _draw(summaries: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Three panels: each measure against sharpness."""
    names = list(dict.fromkeys(row["method"] for row in summaries))
    labels = {
        "mse": "mean squared error x 1e3",
        "best_mse": "the same at each face's best intensity",
        "ssim": "SSIM",
    }
    copied = [row for row in summaries if row["method"] == "copy_input"]
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    axes = figure.subplots(1, len(labels))
    for axis, (measure, label) in zip(axes, labels.items(), strict=True):
        scale = 1 if measure == "ssim" else 1e3
        for name in names:
            known, front = _front([row for row in summaries if row["method"] == name], measure)
            style = {"color": figures.colour(name, names), "marker": figures.marker(name, names)}
            for rows, line, alpha in ((known, "", 0.35), (front, "-", 1.0)):
                axis.plot(
                    [row["sharpness_mean"] for row in rows],
                    [scale * row[f"{measure}_mean"] for row in rows],
                    linestyle=line,
                    alpha=alpha,
                    markersize=4 if alpha < 1 else 5,
                    label=name.replace("_", " ") if alpha == 1 else None,
                    **style,
                )
        for row in copied:
            unchanged = scale * row["ssim_mean" if measure == "ssim" else "mse_mean"]
            axis.axhline(unchanged, color="grey", linestyle=":", linewidth=1, zorder=0)
            # Cuts off settings that are far worse than no change.
            low, high = axis.get_ylim()
            if measure == "ssim":
                axis.set_ylim(max(low, 0.85 * unchanged), high)
            else:
                axis.set_ylim(low, min(high, 1.3 * unchanged))
        axis.set_xlim(0, min(axis.get_xlim()[1], 1.5))
        axis.set_xlabel("sharpness, of the real picture's")
        axis.set_ylabel(label)
        figures.plain(axis)
    figures.legend_below(figure, 6)
    figure.suptitle(title, fontsize=11)
    return figures.png(figure)


def _report(summaries: Sequence[Mapping[str, Any]], title: str) -> None:
    """For each method, its setting of least error."""
    print(f"{title}\n")
    print("method         MSE x 1e3  sharpness  SSIM   at the best intensity  setting")
    for name in dict.fromkeys(row["method"] for row in summaries):
        row = min((row for row in summaries if row["method"] == name), key=lambda row: row["mse_mean"])
        setting = f"{row['hyper_parameter']}={row['value']:g} " if row["hyper_parameter"] else ""
        print(
            f"{name:<14} {1e3 * row['mse_mean']:9.3f}  {row['sharpness_mean']:9.2f}  {row['ssim_mean']:.3f}  "
            f"{1e3 * row['best_mse_mean']:.3f} at {row['best_intensity_mean']:<12.2f}  {setting}"
            f"smoothing={row['smoothing']:g}"
        )


if __name__ == "__main__":
    script.run(measure)
