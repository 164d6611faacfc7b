r"""How large should a receptive field be? (Khan et al., IJCV 2020, the choice of a 3 x 3 window)

Trains each method that has a window with windows of growing size, and tests it on held-out people. Its other
hyper-parameters are chosen by cross-validation over people for each size (--select=cv), or are fixed:

    python -m experiments.receptive_field
    python -m experiments.receptive_field --dataset=london --data_dir=... --channels=1 --num_seeds=5

Writes into --output_dir: config.json; results.csv, a row for each window, method and split; summary.csv,
means and standard errors over splits; selection.csv and errors.csv, as compare_baselines does; and
receptive_field.png, error, SSIM, parameters and time against the window's size. The same command resumes a
stopped run.

Expected: a window of 3 x 3 has the least error, 5 x 5 one that is less than 1 % higher; one pixel is 10 %
worse, and so is 15 x 15. London, 64 x 64 grey, five splits, masked ridge: MSE x 1e3 of 5.39, 4.91, 4.94,
5.02, 5.12, 5.23 and 5.46 within 0.03, in ten minutes on 2 CPU cores (AMD EPYC) that other jobs shared.
"""

from absl import flags

from experiments.comparing import comparison, comparison_tables, options, outcomes
from experiments.comparing.comparison import Point
from experiments.comparing.methods import METHODS
from experiments.reporting import curves
from experiments.reporting.curves import Panel
from experiments.running import flag_values, run_folder, script

FIGURE = "receptive_field.png"

_WINDOWS = flags.DEFINE_multi_integer(
    "windows", [1, 3, 5, 7, 9, 11, 15], "Sides of the windows in pixels, odd.", lower_bound=1
)
flags.adopt_module_key_flags(options)


def measure() -> None:
    """The experiment."""
    windows = flag_values.ascending(
        _WINDOWS,
        fast=(
            1,
            3,
        )
        if options.apply_fast()
        else None,
    )
    names = options.methods([name for name in METHODS if "window" in METHODS[name].grid])
    points = [Point({"window": "none"}, methods=["copy_input"])]
    for size in windows:
        points.append(Point({"window": size}, grids={name: {"window": (size,)} for name in names}))
    done = comparison.run("receptive_field", points, names, figures=[FIGURE])

    (copied,) = done.outcomes[0].trials.values()
    panels = [
        Panel(label, outcomes.curves(done, "window", column, scale=scale), is_log=is_log)
        for label, column, scale, is_log in (
            ("mean squared error x 1e3", "mse", 1e3, False),
            ("SSIM", "ssim", 1, False),
            ("parameters", "num_parameters", 1, True),
            ("seconds for one fit", "fit_seconds", 1, True),
        )
    ]
    for place, column, scale in ((0, "mse", 1e3), (1, "ssim", 1)):
        value = sum(trial.row[column] for trial in copied) / len(copied) * scale
        panels[place] = panels[place]._replace(references={"copy_input": value})
    figure = curves.draw(panels, "side of the window, pixels", done.title)
    run_folder.write_bytes(done.output_dir / FIGURE, figure)
    comparison_tables.print_tables(done)


if __name__ == "__main__":
    script.run(measure)
