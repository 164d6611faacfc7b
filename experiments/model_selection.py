r"""What does it gain that the model chooses its own window and penalty? (beyond Khan et al., IJCV 2020)

Trains masked ridge as published (a window of 3 and a penalty of 0.4), and variants that choose for
themselves: a window and a penalty for the picture (masked_auto) or for each pixel (masked_per_pixel),
penalties tuned for each pixel and each offset (masked_tuned), a window with the mirror pixel
(masked_mirrored), a foveated window (masked_foveated), mirrored pairs (mirrored_pairs), and the last two
together with tuned penalties (masked_combined). All choices use the training pairs alone.

    python -m experiments.model_selection
    python -m experiments.model_selection --dataset=london --data_dir=... --num_seeds=5

At every --sizes, grey and in colour; --image_size, --channels and --select have no effect.

Writes into --output_dir: config.json; results.csv, a row for each size, number of channels, method and split;
summary.csv, means, standard errors and paired differences from the published model; relative.csv, the error
relative to the published model's, with its standard error over splits; errors.csv; model_selection.png, the
relative errors; and maps.png, each pixel's chosen window and penalty, and its tuned penalty. The same command
resumes a stopped run.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from experiments.comparing import comparison, comparison_tables, options
from experiments.comparing.comparison import Point
from experiments.comparing.methods import METHODS, VARIANTS
from experiments.comparing.outcomes import REFERENCE, Comparison
from experiments.pictures import data
from experiments.reporting import averages, figures
from experiments.running import flag_values, run_folder, script
from mlr_jax import synthesis
from mlr_jax.synthesis import ExpressionModel

FIGURES = ("model_selection.png", "maps.png")
COMPARED = ("copy_input", REFERENCE, *VARIANTS)
# With --fast.
_FEW = ("copy_input", REFERENCE, "mirrored_pairs")

_SIZES = flags.DEFINE_multi_integer("sizes", [64, 128], "Sides of the faces in pixels.", lower_bound=8)
flags.adopt_module_key_flags(options)


def measure() -> None:
    """The experiment."""
    is_fast = options.apply_fast()
    sizes = flag_values.ascending(_SIZES, fast=(16,) if is_fast else None)
    names = options.methods(COMPARED, usual=_FEW if is_fast else COMPARED)
    published = {name: (value,) for name, value in METHODS[REFERENCE].fixed.items()}
    points = [
        Point(
            {"image_size": size, "channels": channels},
            options={"image_size": size, "channels": channels},
            grids={REFERENCE: published},
        )
        for size in sizes
        for channels in ((1,) if is_fast else (1, 3))
    ]
    done = comparison.run("model_selection", points, names, figures=(*FIGURES, "relative.csv"))
    rows = _relative(done)
    run_folder.write_csv(done.output_dir / "relative.csv", tuple(rows[0]), rows)
    run_folder.write_bytes(done.output_dir / FIGURES[0], _draw(rows, done.title))
    maps = _choose_maps(sizes[-1], 3 if is_fast else "auto")
    run_folder.write_bytes(done.output_dir / FIGURES[1], _draw_maps(maps))
    comparison_tables.print_tables(done)
    print("\nError relative to the published model:")
    for row in rows:
        print(
            f"{row['image_size']:>5} x {row['channels']}  {row['method']:<16} {row['relative_mse_mean']:.4f}"
            + (f" ± {row['relative_mse_se']:.4f}" if row["relative_mse_se"] != "" else "")
        )


def _relative(done: Comparison) -> list[dict[str, Any]]:
    """The error of each method relative to the published model's on the same split: mean, standard error."""
    rows = []
    for outcome in done.outcomes:
        published = {trial.row["seed"]: trial.row["mse"] for trial in outcome.trials.get(REFERENCE, [])}
        for name, trials in outcome.trials.items():
            both = [trial.row for trial in trials if trial.row["seed"] in published]
            if not both:
                continue
            ratios = np.array([row["mse"] / published[row["seed"]] for row in both])
            rows.append(
                dict(outcome.columns)
                | {
                    "method": name,
                    "num_seeds": len(both),
                    "mse": float(np.mean([row["mse"] for row in both])),
                    "relative_mse_mean": float(ratios.mean()),
                    "relative_mse_se": averages.standard_error(ratios),
                }
            )
    return rows


def _draw(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """A row for each method, a mark for each size and number of channels."""
    names = list(dict.fromkeys(row["method"] for row in rows))
    points = list(dict.fromkeys((row["image_size"], row["channels"]) for row in rows))
    labels = [f"{size} x {size}, {'grey' if channels == 1 else 'colour'}" for size, channels in points]
    figure = Figure(figsize=(7.5, 0.4 * len(names) + 1.6), layout="constrained")
    axis = figure.subplots()
    for place, (point, label) in enumerate(zip(points, labels, strict=True)):
        own = [row for row in rows if (row["image_size"], row["channels"]) == point]
        axis.errorbar(
            [row["relative_mse_mean"] for row in own],
            [names.index(row["method"]) + 0.15 * (place - (len(points) - 1) / 2) for row in own],
            xerr=[row["relative_mse_se"] or 0 for row in own],
            fmt=figures.marker(label, labels),
            color=figures.colour(label, labels),
            capsize=3,
            label=label,
        )
    axis.axvline(1, color="grey", linewidth=1, linestyle=":", zorder=0)
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axis.invert_yaxis()
    axis.set_xlabel("mean squared error, relative to masked ridge as published")
    figures.plain(axis)
    axis.set_title(title, fontsize=11)
    figures.legend_below(figure, 4)
    return figures.png(figure)


def _choose_maps(size: int, window: int | Literal["auto"]) -> dict[str, np.ndarray]:
    """The choices of the pixels of grey faces on the first split: label -> `(height, width)`."""
    (seed,) = data.seeds(1)
    cache_dir = data.cache_folder(run_folder.chosen("model_selection"))
    train, _ = data.load_split(seed, cache_dir=cache_dir, image_size=size, channels=1)
    choice: dict[str, Any] = {"channels": options.settings().channel_mode, "penalty": "auto"}
    chosen = _selection(synthesis.fit(*train[:2], window=window, per_pixel=True, **choice))
    tuned = _selection(synthesis.fit(*train[:2], window=3, **choice | {"penalty": "tuned"})).tuned
    assert tuned is not None
    sides = np.array([round(len(window.offsets) ** 0.5) for window in chosen.scores.windows])
    return {
        "side of the window, pixels": sides[np.asarray(chosen.window_index)],
        "penalty, chosen": np.asarray(chosen.penalty),
        "penalty, tuned (3 x 3)": np.asarray(tuned.penalty),
    }


def _selection(model: ExpressionModel) -> Any:
    assert model.selection is not None
    return model.selection


def _draw_maps(maps: Mapping[str, np.ndarray]) -> bytes:
    figure = Figure(figsize=(4 * len(maps), 3.6), layout="constrained")
    axes = figure.subplots(1, len(maps))
    for axis, (label, values) in zip(axes, maps.items(), strict=True):
        is_side = "side" in label
        image = axis.imshow(values, cmap="viridis", norm=None if is_side else "log")
        axis.set_axis_off()
        axis.set_title(label, fontsize=10)
        ticks = sorted(set(values.ravel().tolist())) if is_side else None
        figure.colorbar(image, ax=axis, shrink=0.8, ticks=ticks)
    return figures.png(figure)


if __name__ == "__main__":
    script.run(measure)
