r"""How many pairs does each method need? (Khan et al., IJCV 2020, claim d)

Trains every method on 5, 10, 20, 40 and all training pairs, in nested sets, and tests it on the same people:

    python -m experiments.training_size
    python -m experiments.training_size --dataset=london --data_dir=... --channels=1 --num_seeds=5

Every method's hyper-parameters are chosen by cross-validation over the people of each training set
(--select=cv), or are fixed. Candidates that need more pairs, such as higher ranks, are left out.

Writes into --output_dir: config.json; results.csv, a row for each size, method and split; summary.csv, means
and standard errors over splits; selection.csv and errors.csv, as compare_baselines does; and
training_size.png, the error against the number of pairs. The same command resumes a stopped run.

Expected: masked ridge has a lower error than l0, l1, l2, kernel and SVD regression with any number of
pairs, and with 10 pairs a lower one than dense regressions with all; below 10 pairs the unchanged picture is
better. London, 64 x 64 grey, five splits: MSE x 1e3 of masked ridge 7.21, 5.93, 5.42, 5.09
and 4.91 with 5, 10, 20, 40 and 74 pairs within 0.05, in 19 minutes on 2 CPU cores (AMD EPYC) that other
jobs shared.
"""

from functools import partial

from absl import flags

from experiments.comparing import comparison, comparison_tables, options, outcomes
from experiments.comparing.comparison import Point
from experiments.pictures import data, splits
from experiments.reporting import curves
from experiments.reporting.curves import Panel
from experiments.running import flag_values, run_folder, script
from mlr_jax.datasets.pairs import Pairs

FIGURE = "training_size.png"

_SIZES = flags.DEFINE_multi_integer(
    "sizes", [5, 10, 20, 40], "Numbers of pairs to train on, besides all.", lower_bound=1
)
flags.adopt_module_key_flags(options)


def measure() -> None:
    """The experiment."""
    sizes = flag_values.ascending(
        _SIZES,
        fast=(
            5,
            10,
        )
        if options.apply_fast()
        else None,
    )
    (seed,) = data.seeds(1)
    train, _ = data.load_split(seed, cache_dir=data.cache_folder(run_folder.chosen("training_size")))
    num_pairs = len(train.subjects)
    sizes = [size for size in sizes if size < num_pairs] + [num_pairs]
    points = [Point({"num_pairs": size}, subset=partial(_first_people, size)) for size in sizes]
    done = comparison.run("training_size", points, options.methods(), figures=[FIGURE])

    panels = [
        Panel(label, outcomes.curves(done, "num_pairs", column, scale=scale), is_log=is_log)
        for label, column, scale, is_log in (
            ("mean squared error x 1e3", "mse", 1e3, True),
            ("SSIM", "ssim", 1, False),
        )
    ]
    figure = curves.draw(panels, "pairs to train on", done.title, is_log=True)
    run_folder.write_bytes(done.output_dir / FIGURE, figure)
    comparison_tables.print_tables(done)


def _first_people(num_pairs: int, train: Pairs, test: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    return splits.first_people(train, num_pairs, seed=seed), test


if __name__ == "__main__":
    script.run(measure)
