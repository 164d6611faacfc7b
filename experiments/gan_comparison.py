r"""Are GANs photo-realistic near their training data, and do they fail away from it? (Khan et al., IJCV 2020)

Trains pix2pix and CycleGAN on the pairs of masked regression, for --gan_budget seconds each or until their
held-out error stops falling, and applies all methods to test people and to pictures from outside the data
set, as out_of_dataset does; and again with --sizes pairs, for proportionally less time:

    python -m experiments.gan_comparison
    python -m experiments.gan_comparison --dataset=london --data_dir=... --gan_width=32 --gan_budget=1200

With --targets, methods learn several expressions: pix2pix and CycleGAN each one separately, StarGAN and
GANimation all together, for the time of all.

    python -m experiments.gan_comparison --targets=happy,sad,surprised --num_subjects=100

Cross-validation chooses the regressions' hyper-parameters unless --select=fixed. --gan_checkpoints has GANs
that experiments.train_gan trained, for the first split with all pairs.

Writes into --output_dir: config.json; results.csv, a row for each method, number of pairs, expression, kind
of picture and split, with errors, sharpness, parameters, epochs, seconds and memory; summary.csv, means over
splits; curves.csv, the training of the GANs; gan_comparison.png; faces.png; and public_faces.png, those of
them that show no real person. trials has checkpoints of the GANs. The same command resumes a stopped run.

Expected: hardly trained GANs, without hours or a GPU: in twenty minutes on one or two CPU cores, pix2pix at
half of the published width stops improving, and CycleGAN trains for 29 epochs of 200. docs/results/README.md
has results, on two cores that trainings shared.

Needs `pip install '.[gans]'`.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from experiments.comparing import gan_training, options, sessions, sweep
from experiments.comparing.gan_training import JOINT, TrainingTask
from experiments.comparing.methods import GANS
from experiments.comparing.sessions import Session
from experiments.comparing.sweep import Job, Row
from experiments.gans import optional
from experiments.pictures import data, evaluation_sets, splits
from experiments.pictures.evaluation_sets import EvaluationSet
from experiments.reporting import face_sheet, figures
from experiments.running import flag_values, run_folder, script
from mlr_jax import metrics

MEASURES = (
    "mse",
    "relative_mse",
    "ssim",
    "ssim_to_input",
    "sharpness",
    "num_parameters",
    "epochs",
    "fit_seconds",
    "predict_seconds",
    "megabytes",
)
BY = ("num_pairs", "expression", "pictures", "method")
HEADER = (*BY, "num_pictures", *MEASURES, "seed")
OUTPUTS = (
    "results.csv",
    "summary.csv",
    "curves.csv",
    "gan_comparison.png",
    "faces.png",
    "public_faces.png",
)
COMPARED = ("copy_input", "masked_ridge", "masked_combined", "warped_ridge", *GANS)

# With --fast.
_FEW = ("copy_input", "masked_ridge", "pix2pix")
_FEW_JOINT = ("copy_input", "masked_ridge", "stargan")
# Seconds, channels, and the smallest picture for a discriminator of patches.
_SMALL = {"gan_budget": 2.0, "gan_width": 4, "image_size": 32}

_SIZES = flags.DEFINE_multi_integer(
    "sizes", [10, 30], "Numbers of pairs to train on, besides all.", lower_bound=2
)
_TARGETS = flags.DEFINE_list("targets", None, "Several expressions to reach, in place of --target.")
flags.adopt_module_key_flags(options)


def measure() -> None:
    """The experiment."""
    optional.fitting()  # Fails early without the extra.
    is_fast = options.apply_fast()
    if is_fast:
        flag_values.set_unless_given(_SMALL)
    targets = _TARGETS.value
    suitable, few = (COMPARED, _FEW) if targets is None else ((*COMPARED, *JOINT), _FEW_JOINT)
    names = options.methods(suitable, usual=few if is_fast else suitable)
    check = evaluation_sets.check_square
    described = {"methods": names, "targets": targets}
    about = data.title(target=", ".join(targets)) if targets else None
    session = sessions.start("gan_comparison", OUTPUTS, described, check=check, about=about)
    swept = sweep.run(
        session,
        partial(_jobs, session, names, []),
        None,
        unit="training",
        write=sweep.writer(session, HEADER),
    )
    summaries = sweep.summarize(session, swept.rows, BY, MEASURES)
    run_folder.write_bytes(session.output_dir / "gan_comparison.png", _draw(summaries, session.title))
    sessions.end(session, {"skipped": swept.skipped, "gan": options.settings().gan._asdict()})
    _report(summaries, session)


def _jobs(session: Session, names: Sequence[str], curves: list[Row], seed: int) -> Iterator[Job]:
    """A job for each task and method; the first split draws faces at the end.

    Args:
      session: of the experiment.
      names: of the methods.
      curves: rows of all trainings; those of the split are added.
      seed: of the split.
    """
    tasks = list(_tasks(session, seed))
    shown: dict[str, dict[str, np.ndarray]] = {}

    def learn(task: TrainingTask, name: str) -> list[Row]:
        found = gan_training.load_or_learn(session, name, task, seed, targets=_TARGETS.value)
        own = {"num_pairs": task.num_pairs, "expression": task.expression, "method": name}
        curve = found.header["curve"]
        training = found.header["measured"] | {"epochs": curve[-1]["epoch"] if curve else ""}
        pictures = _split(task, found.arrays["pictures"])
        if task.share == 1 and seed == session.seeds[0]:
            shown[f"{name}\n{task.expression}" if _TARGETS.value else name] = pictures
        width = options.settings().gan.width
        curves.extend({**own, "width": width, "seed": seed, **row} for row in curve)
        _write_curves(session.output_dir, curves)
        return [
            {**own, "pictures": label, **_errors(kind, pictures[label]), **training, "seed": seed}
            for label, kind in task.kinds.items()
        ]

    for task in tasks:
        for name in names:
            label = f"{name}, {task.expression}, {task.num_pairs} pairs, seed {seed}"
            yield Job(label, partial(learn, task, name))
    if seed == session.seeds[0] and shown:
        _draw_faces(session, tasks, shown)


def _tasks(session: Session, seed: int) -> Iterator[TrainingTask]:
    """The tasks of a split, the largest first."""
    cache_dir = data.cache_folder(session.output_dir)
    if _TARGETS.value is not None:
        for target in _TARGETS.value:
            train, test = session.load(seed, {"target": target})
            kind = EvaluationSet(test.neutral, test.expressive, test.subjects, data.name() == "synthetic")
            yield TrainingTask(train, {"own test people": kind}, len(train.subjects), target)
        return
    train, test = session.load(seed, {})
    target = data.target()
    kinds = evaluation_sets.load(test, cache_dir, seed)
    num_pairs = len(train.subjects)
    yield TrainingTask(train, kinds, num_pairs, target)
    own = {"own test people": kinds["own test people"]}
    for size in sorted(set(_SIZES.value), reverse=True):
        if size < num_pairs:
            part = splits.first_people(train, size, seed=seed)
            yield TrainingTask(part, own, size, target, size / num_pairs)


def _split(task: TrainingTask, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """The pictures of each kind."""
    ends = np.cumsum([len(kind.inputs) for kind in task.kinds.values()])[:-1]
    return dict(zip(task.kinds, np.split(pictures, ends), strict=True))


def _errors(kind: EvaluationSet, pictures: np.ndarray) -> dict[str, Any]:
    measured = evaluation_sets.errors(kind, pictures)
    # Relative to the real picture, or to the input if there is none.
    beside = kind.inputs if kind.truth is None else kind.truth
    return measured | {"sharpness": float(np.median(metrics.sharpness(pictures, beside)))}


def _write_curves(folder: Path, curves: Sequence[Mapping[str, Any]]) -> None:
    """The curves so far, if there are any."""
    if curves:
        header = dict.fromkeys(key for row in curves for key in row)
        run_folder.write_csv(folder / "curves.csv", tuple(header), curves)


def _draw_faces(
    session: Session, tasks: Sequence[TrainingTask], shown: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """The first faces of every kind, as every method predicts them in the largest tasks."""
    kinds = tasks[0].kinds
    num = options.num_faces()
    for file, public_only in (("faces.png", False), ("public_faces.png", True)):
        own = {label: kind for label, kind in kinds.items() if kind.is_public or not public_only}
        if not own:
            continue
        columns = {"input": np.concatenate([kind.inputs[:num] for kind in own.values()])}
        for name, pictures in shown.items():
            if not name.startswith("copy_input"):
                columns[name] = np.concatenate([pictures[label][:num] for label in own])
        if _TARGETS.value is None:
            truths = [
                np.ones_like(kind.inputs) if kind.truth is None else kind.truth for kind in own.values()
            ]
            columns["truth"] = np.concatenate([truth[:num] for truth in truths])
        names = [name for kind in own.values() for name in list(kind.names)[:num]]
        run_folder.write_bytes(session.output_dir / file, face_sheet.draw(columns, names, session.title))


def _draw(summaries: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Errors relative to the unchanged faces, by kind or expression; and by the number of pairs."""
    most = max(row["num_pairs"] for row in summaries)
    by_kind = [row for row in summaries if row["num_pairs"] == most and row["relative_mse_mean"] != ""]
    column = "pictures" if len({row["pictures"] for row in by_kind}) > 1 else "expression"
    panels: list[tuple[str, str, list[Mapping[str, Any]]]] = [("", column, by_kind)]
    by_size = [row for row in summaries if row["pictures"] == "own test people"]
    if len({row["num_pairs"] for row in by_size}) > 1:
        panels.append(("pairs to train on, own test people", "num_pairs", by_size))
    names = list(dict.fromkeys(row["method"] for row in summaries if row["method"] != "copy_input"))
    figure = Figure(figsize=(6 * len(panels), 4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (label, column, rows) in zip(axes, panels, strict=True):
        places = list(dict.fromkeys(row[column] for row in rows))
        for name in names:
            own = [row for row in rows if row["method"] == name]
            if own:
                axis.errorbar(
                    [places.index(row[column]) for row in own],
                    [row["relative_mse_mean"] for row in own],
                    yerr=[row["relative_mse_se"] or 0 for row in own],
                    fmt=figures.marker(name, names) + "-",
                    color=figures.colour(name, names),
                    capsize=3,
                    label=name.replace("_", " "),
                )
        axis.axhline(1, color="grey", linewidth=1, linestyle=":", zorder=0)
        axis.set_yscale("log")
        axis.set_xticks(range(len(places)), [str(place).replace(" ", "\n") for place in places])
        axis.set_xlabel(label)
        figures.plain(axis, grid="y")
    axes[0].set_ylabel("mean squared error, relative to no change")
    figure.suptitle(title, fontsize=11)
    figures.legend_below(figure, 4)
    return figures.png(figure)


def _report(summaries: Sequence[Mapping[str, Any]], session: Session) -> None:
    print(f"{session.title}\n")
    for row in summaries:
        relative = row["relative_mse_mean"]
        error = f"{relative:8.3f}" if relative != "" else "        "
        print(
            f"{row['num_pairs']:>4} {row['expression']:<10} {row['pictures']:<16}  {row['method']:<15} "
            f"{error}  {row['sharpness_mean']:.2f}  {row['ssim_to_input_mean']:.3f}"
        )
    print("\nThe numbers: error relative to leaving the picture as it is, sharpness, SSIM to the input.")
    print(f"Tables, figures and configuration: {session.output_dir}")


if __name__ == "__main__":
    script.run(measure)
