r"""How close does each method come to the real expression? (Khan et al., IJCV 2020, claim a)

Trains every method on the same pairs of faces, and tests it on held-out people:

    python -m experiments.compare_baselines
    python -m experiments.compare_baselines --dataset=london --data_dir=... --channels=1 --num_seeds=5

Every method's hyper-parameters are chosen by cross-validation over people on the training pairs, from the
grids of the registry (--select=cv), or are fixed (--select=fixed). Several splits in one run
(--num_seeds) give means, standard errors and paired tests. The same command resumes a stopped run; one with
more methods or splits computes only these. Quick methods come first; standard error shows each row of the
table as soon as it is finished, and the whole table follows at the end.

Writes into --output_dir: config.json; results.csv, a row for each method and split; summary.csv, a row for
each method; selection.csv, the error of every candidate; errors.csv, the error of every test picture;
summary.png; comparison.png, test faces of the first split. Times are of one fit with the chosen
hyper-parameters: the median of five runs after compilation and warm-up, on a synchronised device, or of fewer
if these take longer than two seconds. select_seconds are those of the search, compilations included.
Expected, on the default (100 synthetic people, 64 x 64 colour): masked ridge has a lower error than all
methods without its receptive fields.
"""

from absl import flags

from experiments.comparing import comparison, comparison_tables, cross_validation, options, outcomes, summary
from experiments.comparing.comparison import Point
from experiments.comparing.methods import make_method
from experiments.comparing.outcomes import Comparison
from experiments.reporting import face_sheet
from experiments.running import run_folder, script
from mlr_jax.datasets.pairs import Pairs

FIGURES = ("summary.png", "comparison.png")

_WINDOW = flags.DEFINE_integer(
    "window", None, "Side of masked ridge's window in pixels, odd; by default as --select says."
)
_PENALTY = flags.DEFINE_float(
    "penalty", None, "Masked ridge's penalty lambda; by default as --select says.", lower_bound=0
)
flags.adopt_module_key_flags(options)


def compare() -> None:
    """The experiment: loads, selects, trains, tests, and writes the output folder."""
    options.apply_fast()
    names = options.methods()
    flagged = {"window": _WINDOW.value, "penalty": _PENALTY.value}
    given = {key: (value,) for key, value in flagged.items() if value is not None}
    grids = {"masked_ridge": given} if given else {}

    def check(train: Pairs) -> None:
        """Raises InputError if the given window or penalty does not suit the pairs."""
        if given and "masked_ridge" in names:
            method = make_method("masked_ridge", options.settings())
            cross_validation.possible(method, options.grid("masked_ridge", given), [(train, train)])

    done = comparison.run(
        "compare_baselines",
        [Point(grids=grids)],
        names,
        figures=FIGURES,
        check=check,
        on_first_split=_draw_faces,
        show_rows=True,
    )
    tried = done.outcomes[0].trials
    run_folder.write_bytes(done.output_dir / "summary.png", summary.draw(tried, done.title))
    comparison_tables.print_tables(done)


def _draw_faces(done: Comparison) -> None:
    """The first test faces of the first split, as every method predicts them."""
    tried, test = done.outcomes[0].trials, done.tests[0]
    predicted = {name: outcomes.pictures(each[0]) for name, each in tried.items() if name != "copy_input"}
    num_faces = min([len(test.subjects), *(len(each) for each in predicted.values())])
    subjects = test.subjects[:num_faces]
    columns = {"input": test.neutral} | predicted | {"truth": test.expressive}
    columns = {label: pictures[:num_faces] for label, pictures in columns.items()}
    sheet = face_sheet.draw(columns, subjects, done.title)
    run_folder.write_bytes(done.output_dir / "comparison.png", sheet)


if __name__ == "__main__":
    script.run(compare)
