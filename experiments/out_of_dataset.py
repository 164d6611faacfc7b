r"""What does each method make of faces unlike those it has learned from? (Khan et al., IJCV 2020, claim e)

Trains every method on one data set and applies it to other pictures: people of another data set, its own test
people through a pencil sketch and an oil paint filter, averaged faces, an astronaut and a cat:

    python -m experiments.out_of_dataset
    python -m experiments.out_of_dataset --dataset=london --data_dir=... --num_seeds=5

Where the true expression is known (its own test people, plain and filtered in the same way, and the other
data set), the error is measured, also relative to that of the unchanged picture: below 1 the method helps.
For every picture, ssim_to_input measures how much of it is preserved.

The other data set is synthetic faces for one trained on people, and London, where MLR_JAX_DATA has it, for
one trained on synthetic faces. The composite faces (DeBruine 2016, CC BY 4.0) are looked for in
$MLR_JAX_DATA/composites.

Writes into --output_dir: config.json; results.csv, a row for each method, kind of picture and split;
summary.csv, means and standard errors over splits; out_of_dataset.png, relative errors; faces.png, all
portraits and the first --num_faces of every other kind, as every method predicts them; and public_faces.png,
those of them that show no real person of a data set. The same command resumes a stopped run.

Expected: masked ridge preserves the picture, while dense regressions draw a person of their training set.
London, 64 x 64 colour, three splits: relative MSE of masked ridge and of l2 0.82 and 1.3 on its own test
people, 1.2 and 2.7 on sketches, 0.83 and 1.2 on oil paintings, 1.0 and 3.2 on synthetic people, within 0.1;
SSIM to the cat 0.78 and 0.16. In twelve minutes on 2 CPU cores (AMD EPYC) that other jobs shared.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from absl import flags
from matplotlib import ticker
from matplotlib.figure import Figure

from experiments.comparing import options, sessions, sweep, trials
from experiments.comparing.methods import make_method
from experiments.comparing.sessions import Session
from experiments.comparing.sweep import Job, Row
from experiments.pictures import data, evaluation_sets
from experiments.pictures.evaluation_sets import EvaluationSet
from experiments.reporting import face_sheet, figures
from experiments.running import result_cache, run_folder, script
from mlr_jax import checks
from mlr_jax.array_file import ArrayFile
from mlr_jax.datasets.pairs import Pairs

HEADER = ("method", "pictures", "num_pictures", "mse", "relative_mse", "ssim", "ssim_to_input", "seed")
OUTPUTS = ("results.csv", "summary.csv", "out_of_dataset.png", "faces.png", "public_faces.png")

flags.adopt_module_key_flags(options)


def measure() -> None:
    """The experiment."""
    options.apply_fast()
    names = options.methods()
    session = sessions.start(
        "out_of_dataset", OUTPUTS, {"methods": names}, check=evaluation_sets.check_square
    )
    swept = sweep.run(
        session,
        partial(_jobs, session, names),
        len(names),
        unit="method",
        write=sweep.writer(session, HEADER),
    )
    measures = ("mse", "relative_mse", "ssim", "ssim_to_input")
    summaries = sweep.summarize(session, swept.rows, ("pictures", "method"), measures)
    run_folder.write_bytes(session.output_dir / "out_of_dataset.png", _draw_errors(summaries, session.title))
    sessions.end(session, {"skipped": swept.skipped})
    _report(summaries, session)


def _jobs(session: Session, names: Sequence[str], seed: int) -> Iterator[Job]:
    """A job for each method; after those of the first split, faces are drawn."""
    train, test = session.load(seed, {})
    kinds = evaluation_sets.load(test, data.cache_folder(session.output_dir), seed)
    pictures: dict[str, dict[str, np.ndarray]] = {}

    def measure(name: str) -> list[Row]:
        pictures[name] = _predict(session, name, train, kinds, seed)
        own = {"method": name, "seed": seed}
        return [
            own | {"pictures": label} | evaluation_sets.errors(kind, pictures[name][label])
            for label, kind in kinds.items()
        ]

    for name in names:
        yield Job(f"{name}, seed {seed}", partial(measure, name))
    if seed == session.seeds[0] and pictures:
        for file, public in (("faces.png", False), ("public_faces.png", True)):
            sheet = _draw_faces(kinds, pictures, session.title, public_only=public)
            run_folder.write_bytes(session.output_dir / file, sheet)


def _predict(
    session: Session, name: str, train: Pairs, kinds: Mapping[str, EvaluationSet], seed: int
) -> dict[str, np.ndarray]:
    """Applies a method to the pictures of every kind."""
    grid, folds = options.grid(name), options.num_search_folds()
    every = np.concatenate([kind.inputs for kind in kinds.values()])
    # The pictures, without the truth.
    shown = Pairs(every, every[:0], ())
    settings = options.settings()
    what = {
        "code": inspect.getsource(_predict),
        "grid": {key: list(values) for key, values in grid.items()},
        "seed": seed,
        "settings": settings,
        "folds": folds,
    }

    def compute() -> ArrayFile:
        method = make_method(name, settings)
        choice = trials.choose(name, method, grid, train, seed, folds).choice
        predicted = trials.fit_and_predict(method, choice, train, every)
        if not np.isfinite(predicted).all():
            raise checks.InputError(f"{name} has no finite solution on these pairs")
        return ArrayFile({"pictures": predicted}, {"choice": trials.words(choice)})

    found = result_cache.load_or_compute(session.results, f"{name}-outside", what, (train, shown), compute)
    ends = np.cumsum([len(kind.inputs) for kind in kinds.values()])[:-1]
    return dict(zip(kinds, np.split(found.arrays["pictures"], ends), strict=True))


def _draw_faces(
    kinds: Mapping[str, EvaluationSet],
    pictures: Mapping[str, Mapping[str, np.ndarray]],
    title: str,
    *,
    public_only: bool,
) -> bytes:
    """Every portrait, and the first faces of the other kinds."""
    shown = {label: kind for label, kind in kinds.items() if kind.is_public or not public_only}
    counts = {
        label: len(kind.inputs) if kind.truth is None else min(options.num_faces(), len(kind.inputs))
        for label, kind in shown.items()
    }
    columns = {"input": np.concatenate([kind.inputs[: counts[label]] for label, kind in shown.items()])}
    for name, each in pictures.items():
        if name != "copy_input":
            columns[name] = np.concatenate([each[label][: counts[label]] for label in shown])
    # White where the truth is unknown.
    truths = [np.ones_like(kind.inputs) if kind.truth is None else kind.truth for kind in shown.values()]
    columns["truth"] = np.concatenate(
        [truth[:count] for truth, count in zip(truths, counts.values(), strict=True)]
    )
    rows = [name for label, kind in shown.items() for name in list(kind.names)[: counts[label]]]
    return face_sheet.draw(columns, rows, title)


def _draw_errors(summaries: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Relative errors: a row for each kind of picture, a dot for each method."""
    known = [summary for summary in summaries if summary["relative_mse_mean"] != ""]
    labels = list(dict.fromkeys(summary["pictures"] for summary in known))
    names = list(dict.fromkeys(summary["method"] for summary in known))
    figure = Figure(figsize=(7.5, 0.9 * len(labels) + 1.6), layout="constrained")
    axis = figure.subplots()
    for place, name in enumerate(names):
        own = [summary for summary in known if summary["method"] == name]
        heights = [labels.index(row["pictures"]) + 0.07 * (place - (len(names) - 1) / 2) for row in own]
        axis.errorbar(
            [row["relative_mse_mean"] for row in own],
            heights,
            xerr=[row["relative_mse_se"] or 0 for row in own],
            fmt=figures.marker(name, names),
            color=figures.colour(name, names),
            capsize=3,
            label=name.replace("_", " "),
        )
    axis.axvline(1, color="grey", linewidth=1, linestyle=":", zorder=0)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.set_yticks(range(len(labels)), labels)
    axis.invert_yaxis()
    axis.set_xlabel("mean squared error, relative to leaving the picture as it is")
    figures.plain(axis, grid="x")
    axis.set_title(title, fontsize=11)
    figures.legend_below(figure, 4)
    return figures.png(figure)


def _report(summaries: Sequence[Mapping[str, Any]], session: Session) -> None:
    print(f"{session.title}\n")
    for row in summaries:
        relative = row["relative_mse_mean"]
        error = f"{relative:8.3f}" if relative != "" else "        "
        print(f"{row['pictures']:<16}  {row['method']:<12} {error}  {row['ssim_to_input_mean']:.3f}")
    print("\nThe numbers: error relative to leaving the picture as it is, and SSIM to the input.")
    print(f"Tables, figures and configuration: {session.output_dir}")


if __name__ == "__main__":
    script.run(measure)
