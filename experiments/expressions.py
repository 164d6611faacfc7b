r"""Which expressions can be learned? (Khan et al., IJCV 2020, claim a, for six expressions)

Trains every method on each expression, from the neutral face, and tests it on held-out people:

    python -m experiments.expressions
    python -m experiments.expressions --dataset=ck_plus --data_dir=... --channels=1 --num_seeds=5

Expressions that the data set lacks are left out; standard error names them.

Writes into --output_dir: config.json; results.csv, a row for each expression, method and split; summary.csv,
means and standard errors over splits, and paired tests; selection.csv and errors.csv, as compare_baselines
does; expressions.png, the errors; and faces.png, the first test person of each expression, which is the same
if all people have all expressions, since each expression's people are split separately. The same command
resumes a stopped run.

Expected: masked ridge has the least error for every expression. 100 synthetic people, 64 x 64 grey, fixed
values: disgusted 2.76 and afraid 3.02 x 1e-3 within 0.03; the unchanged picture has 3.62 and 4.01.
"""

import sys
from collections.abc import Sequence

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from experiments.comparing import comparison, comparison_tables, options, outcomes
from experiments.comparing.comparison import Point
from experiments.comparing.outcomes import Comparison, Outcome
from experiments.pictures import data
from experiments.reporting import averages, face_sheet, figures
from experiments.running import run_folder, script

FIGURES = ("expressions.png", "faces.png")

_TARGETS = flags.DEFINE_list(
    "targets", ["happy", "sad", "surprised", "angry", "disgusted", "afraid"], "Expressions to learn."
)
flags.adopt_module_key_flags(options)


def measure() -> None:
    """The experiment."""
    wanted = list(dict.fromkeys(_TARGETS.value))
    if options.apply_fast() and not _TARGETS.present:
        wanted = wanted[:2]
    targets = data.available_targets(wanted)
    if missing := [target for target in wanted if target not in targets]:
        print(f"left out, since the data set lacks them: {', '.join(missing)}", file=sys.stderr)
    points = [Point({"expression": target}, {"target": target}) for target in targets]
    names = options.methods()
    learned = data.title(target=targets[0] if len(targets) == 1 else f"{len(targets)} expressions")
    done = comparison.run(
        "expressions", points, names, figures=FIGURES, on_first_split=_draw_faces, about=learned
    )
    run_folder.write_bytes(done.output_dir / "expressions.png", _draw_errors(done))
    comparison_tables.print_tables(done)


def _draw_faces(done: Comparison) -> None:
    """The first test person of each expression."""
    shown = [
        (outcome, test) for outcome, test in zip(done.outcomes, done.tests, strict=True) if outcome.trials
    ]
    names = [name for name in shown[0][0].trials if all(name in outcome.trials for outcome, _ in shown)]
    columns = {"input": np.stack([test.neutral[0] for _, test in shown])}
    for name in names:
        if name != "copy_input":
            first = [outcomes.pictures(outcome.trials[name][0])[0] for outcome, _ in shown]
            columns[name] = np.stack(first)
    columns["truth"] = np.stack([test.expressive[0] for _, test in shown])
    people = [test.subjects[0] for _, test in shown]
    rows = [outcome.columns["expression"] for outcome, _ in shown]
    title = done.title
    if len(set(people)) == 1:
        title += f": {people[0]}"
    else:
        rows = [f"{row}, {person}" for row, person in zip(rows, people, strict=True)]
    run_folder.write_bytes(done.output_dir / "faces.png", face_sheet.draw(columns, rows, title))


def _draw_errors(done: Comparison) -> bytes:
    """A group of bars for each expression."""
    outcomes = [outcome for outcome in done.outcomes if outcome.trials]
    names = list(dict.fromkeys(name for outcome in outcomes for name in outcome.trials))
    figure = Figure(figsize=(1.6 * len(outcomes) + 2, 3.8), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        means, spreads = zip(*(_mean_error(outcome, name) for outcome in outcomes), strict=True)
        axis.bar(
            np.arange(len(outcomes)) + (place - (len(names) - 1) / 2) * width,
            means,
            width,
            yerr=spreads if any(spreads) else None,
            color=figures.colour(name, names),
            error_kw={"elinewidth": 0.8},
            label=name.replace("_", " "),
        )
    axis.set_xticks(range(len(outcomes)), [outcome.columns["expression"] for outcome in outcomes])
    axis.set_ylabel("mean squared error x 1e3")
    figures.plain(axis, grid="y")
    axis.set_title(done.title, fontsize=11)
    figures.legend_below(figure, 5)
    return figures.png(figure)


def _mean_error(outcome: Outcome, name: str) -> tuple[float, float]:
    values: Sequence[float] = [trial.row["mse"] * 1e3 for trial in outcome.trials.get(name, [])]
    return (float(np.mean(values)), averages.standard_error(values) or 0.0) if values else (0.0, 0.0)


if __name__ == "__main__":
    script.run(measure)
