r"""How well can it be known where an expression will move the pixels of a face?

Warped ridge (mlr_jax/warped_ridge.py) predicts a displacement field for each face. This compares predictors
by cross-validation over people: how much of the field they leave unknown, and the errors of the moved face
and of the whole model with it:

    python -m experiments.displacement_fields --dataset=london --data_dir=... --image_size=128

The fields to predict come from registration of both pictures. With --points of a face mesh in both, models
are also trained on thin-plate splines through these, and on the neutral face's shape. The predictors: none;
the mean field; masked ridge of the field on a small grey face, with windows of several sizes, with and
without mirrored pairs; ridge and reduced-rank regression on all of the small face; ridge on the shape; and as
bounds the test person's own fields, which are unknown in practice.

Writes into --output_dir: config.json; results.csv, each predictor ("way") with each penalty; summary.csv,
each predictor with the penalty that leaves the least unknown, chosen on the same people and so slightly too
good for all alike; and displacement_fields.png. unknown is the squared error of the field, relative to that
of no field; mse_moved is the error of faces that only move, mse that of warped ridge with such fields.

Expected, London, 128 x 128 colour: the mean field leaves 0.777 unknown, window 9 0.773, window 31, all pixels
and the neutral face's shape 0.77: a neutral face hardly shows how its person smiles. The model's MSE x 1e3 is
2.5 with the person's own registered field, 4.5 with that of the mesh, and 5.4 with all predicted ones (the
unchanged picture has 6.7). Models trained on registered fields are slightly better than those trained on the
mesh. In six minutes on 2 CPU cores.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.typing import ArrayLike
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments.comparing.methods import METHODS
from experiments.pictures import data
from experiments.reporting import figures
from experiments.running import flag_values, run_folder, script
from mlr_jax import displacement, metrics, warped_ridge, window_linear, windows
from mlr_jax.baselines import l2_ridge, reduced_rank
from mlr_jax.baselines.factored_linear import FactoredLinear
from mlr_jax.datasets import landmarks, streams
from mlr_jax.datasets.pairs import fold_indices
from mlr_jax.warped_ridge import FIELD_SIZE

TABLES = ("results.csv", "summary.csv")
FIGURE = "displacement_fields.png"

_PENALTIES = (1e2, 3e2, 1e3, 3e3, 1e4, 3e4)

_BESIDE = "landmarks478.npz"

_NUM_FOLDS = flags.DEFINE_integer("num_folds", 5, "Folds of the cross-validation.", lower_bound=2)
_POINTS = flags.DEFINE_string(
    "points",
    None,
    "An npz file of points in all pictures, as `experiments.train --points` takes; by default "
    f"{_BESIDE} in the folder of the data set, if it is there.",
)
_FAST = flags.DEFINE_bool("fast", False, "Few ways, on a few small grey faces.")
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(run_folder)


class People(NamedTuple):
    """Pictures and fields of some people.

    Attributes:
      neutral: `(num, height, width, channels)`.
      expressive: the same shape.
      fields: `(num, height, width, 2)`, to learn from.
      registered: the same shape, to predict.
      shape: `(num, 2 * num_points)`, the points of the neutral face as parts of its side; none without
        --points.
    """

    neutral: np.ndarray
    expressive: np.ndarray
    fields: np.ndarray
    registered: np.ndarray
    shape: np.ndarray


class Predictor(NamedTuple):
    """One predictor of displacement fields.

    Attributes:
      learn: (people, penalty) -> a function from people to their fields, of any size.
      penalties: to try.
    """

    learn: Callable[[People, float], Callable[[People], ArrayLike]]
    penalties: Sequence[float] = (0.0,)


def measure() -> None:
    """The experiment."""
    if _FAST.value:
        # Folds of equal size, since each size is compiled.
        flag_values.set_unless_given({"num_subjects": 24, "image_size": 32, "channels": "1", "num_folds": 4})
    output_dir = run_folder.chosen("displacement_fields")
    subjects, trained_on = _load(data.cache_folder(output_dir))
    folds = fold_indices(subjects, num_folds=_NUM_FOLDS.value)
    configuration = run_folder.describe_run(
        data.resolved_flags(), {"experiment": "displacement_fields", "num_pairs": len(subjects)}
    )
    run_folder.start(output_dir, configuration, outputs=(*TABLES, FIGURE))
    rows: list[dict[str, Any]] = []
    chosen: list[dict[str, Any]] = []
    for source, people in trained_on.items():
        for name, predictor in tqdm(
            _predictors(people).items(), desc=source, unit="way", delay=2, leave=False
        ):
            tried: list[dict[str, Any]] = [
                {"way": name, "trained_on": source, "penalty": penalty}
                | _unknown(predictor, penalty, people, folds)
                for penalty in predictor.penalties
            ]
            best = min(tried, key=lambda row: row["unknown"])
            rows += tried
            chosen.append(best | _errors(predictor, best["penalty"], people, folds))
            for table, each in zip(TABLES, (rows, chosen), strict=True):
                run_folder.write_csv(output_dir / table, tuple(each[0]), each)
    title = f"{data.title()}, {len(subjects)} pairs, {_NUM_FOLDS.value} folds"
    run_folder.write_bytes(output_dir / FIGURE, _draw(chosen, title))
    print(f"{title}\n")
    print("way                       trained on    penalty  unknown  MSE x 1e3 moved  MSE x 1e3  sharpness")
    for row in chosen:
        print(
            f"{row['way']:<24}  {row['trained_on']:<12}  {row['penalty']:7g}  {row['unknown']:7.3f}  "
            f"{1e3 * row['mse_moved']:15.3f}  {1e3 * row['mse']:9.3f}  {row['sharpness']:9.2f}"
        )
    print(f"\nTables, figure and configuration: {output_dir}")


def _load(cache_dir: Path) -> tuple[tuple[str, ...], dict[str, People]]:
    """The subjects, and their people by the source of the fields to learn from."""
    stream = data.stream()
    pairs = streams.load(stream, data.name(), cache_dir=cache_dir)
    registered = np.asarray(displacement.register(pairs.expressive, pairs.neutral))
    people = People(*pairs[:2], registered, registered, np.zeros((len(registered), 0)))
    file = _POINTS.value or data.beside(_BESIDE)
    if file is None:
        return pairs.subjects, {"registration": people}
    points = landmarks.corresponding_points(stream, Path(file).expanduser())
    shape = (points[:, 0] / stream.shape[1]).reshape(len(points), -1).astype(np.float32)
    people = people._replace(shape=shape)
    splines = data.landmark_fields(stream, file)
    return pairs.subjects, {"registration": people, "landmarks": people._replace(fields=splines)}


def _predictors(people: People) -> dict[str, Predictor]:
    """All predictors for such people."""
    found = {
        "none": Predictor(lambda seen, penalty: lambda people: 0 * people.registered),
        "mean": Predictor(_mean),
        "window 9": Predictor(partial(_masked, 9, True), _PENALTIES),
        "all pixels": Predictor(partial(_dense, l2_ridge.fit), _PENALTIES),
    }
    if not _FAST.value:
        found |= {
            f"window {side}": Predictor(partial(_masked, side, True), _PENALTIES) for side in (1, 5, 15, 31)
        }
        found["window 9, not mirrored"] = Predictor(partial(_masked, 9, False), _PENALTIES)
        found |= {
            f"all pixels, rank {rank}": Predictor(
                partial(_dense, partial(reduced_rank.fit, rank=rank)), _PENALTIES
            )
            for rank in (2, 8)
        }
    if people.shape.size:
        found["shape"] = Predictor(_of_shape, tuple(penalty / 1e4 for penalty in _PENALTIES))
    found["its own, learned from"] = Predictor(lambda seen, penalty: lambda people: people.fields)
    found["its own, small"] = Predictor(
        lambda seen, penalty: lambda people: displacement.resize(people.registered, (FIELD_SIZE, FIELD_SIZE))
    )
    return found


def _mean(seen: People, penalty: float) -> Callable[[People], ArrayLike]:
    del penalty
    mean = seen.fields.mean(axis=0)
    return lambda people: np.broadcast_to(mean, people.fields.shape)


def _masked(side: int, mirrored: bool, seen: People, penalty: float) -> Callable[[People], ArrayLike]:
    """Masked ridge of the field, as in warped ridge."""
    window = windows.square(side)
    field = warped_ridge.fit_fields(seen.neutral, seen.fields, window, penalty, mirrored=mirrored)
    return lambda people: (
        FIELD_SIZE * window_linear.predict(field, warped_ridge.small_faces(people.neutral), window)
    )


def _dense(
    fit: Callable[[ArrayLike, ArrayLike, float], FactoredLinear], seen: People, penalty: float
) -> Callable[[People], ArrayLike]:
    """A regression of all of the field on all pixels of the small face, with mirrored pairs."""

    def pixels(neutral: np.ndarray) -> jax.Array:
        return warped_ridge.small_faces(neutral).reshape(len(neutral), -1)

    small = displacement.resize(seen.fields, (FIELD_SIZE, FIELD_SIZE))
    targets = jnp.concatenate([small, displacement.mirror(small)]).reshape(2 * len(small), -1)
    inputs = jnp.concatenate([pixels(seen.neutral), pixels(seen.neutral[:, :, ::-1])])
    linear = fit(inputs, targets, penalty)
    return lambda people: l2_ridge.predict(linear, pixels(people.neutral)).reshape(
        -1, FIELD_SIZE, FIELD_SIZE, 2
    )


def _of_shape(seen: People, penalty: float) -> Callable[[People], ArrayLike]:
    """A regression of all of the field on the points of the neutral face."""
    small = displacement.resize(seen.fields, (FIELD_SIZE, FIELD_SIZE))
    linear = l2_ridge.fit(seen.shape, small.reshape(len(small), -1), penalty)
    return lambda people: l2_ridge.predict(linear, people.shape).reshape(-1, FIELD_SIZE, FIELD_SIZE, 2)


def _unknown(
    predictor: Predictor, penalty: float, people: People, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """The part of the fields that a predictor leaves unknown in held-out people."""
    error, whole = 0.0, 0.0
    for seen, unseen in folds:
        predict = predictor.learn(_take(people, seen), penalty)
        others = _take(people, unseen)
        error += float(np.sum((_fields(predict, others) - others.registered) ** 2))
        whole += float(np.sum(others.registered**2))
    return {"unknown": error / whole}


def _errors(
    predictor: Predictor, penalty: float, people: People, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """The errors of faces that such fields move, and of those that also change."""
    found: dict[str, list[np.ndarray]] = {}
    for seen, unseen in folds:
        learned_from, others = _take(people, seen), _take(people, unseen)
        predict = predictor.learn(learned_from, penalty)
        moved, moved_others = (
            displacement.warp(each.neutral, _fields(predict, each)) for each in (learned_from, others)
        )
        change = warped_ridge.fit_change(
            moved, learned_from.expressive, window=5, channels="shared", **METHODS["warped_ridge"].fixed
        )
        made = moved_others + warped_ridge.predict_change(*change, moved_others)
        for name, values in (
            ("mse_moved", metrics.mse(moved_others, others.expressive)),
            ("mse", metrics.mse(made, others.expressive)),
            ("mse_of_input", metrics.mse(others.neutral, others.expressive)),
            ("sharpness", metrics.sharpness(made, others.expressive)),
        ):
            found.setdefault(name, []).append(np.asarray(values))
    people_of = {name: np.concatenate(values) for name, values in found.items()}
    return {
        name: float(np.median(values) if name == "sharpness" else np.mean(values))
        for name, values in people_of.items()
    }


def _fields(predict: Callable[[People], ArrayLike], people: People) -> np.ndarray:
    """The predicted fields, enlarged to the size of the faces, as in warped ridge."""
    height, width = people.neutral.shape[1:3]
    return np.asarray(warped_ridge.enlarge_fields(predict(people), height, width).fields)


def _draw(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """A row for each predictor, a dot for each source of its training fields."""
    predictors = list(dict.fromkeys(row["way"] for row in rows))
    sources = list(dict.fromkeys(row["trained_on"] for row in rows))
    labels = {"unknown": "part of the field that is unknown", "mse": "mean squared error x 1e3 with it"}
    figure = Figure(figsize=(9, 0.3 * len(predictors) + 1.6), layout="constrained")
    axes = figure.subplots(1, len(labels), sharey=True)
    for axis, (column, label) in zip(axes, labels.items(), strict=True):
        for source in sources:
            own = [row for row in rows if row["trained_on"] == source]
            places = [predictors.index(row["way"]) for row in own]
            values = [row[column] * (1 if column == "unknown" else 1e3) for row in own]
            style = {"color": figures.colour(source, sources), "marker": figures.marker(source, sources)}
            axis.plot(values, places, linestyle="", label=source, **style)
        axis.set_xlabel(label)
        figures.plain(axis)
    axes[0].set_yticks(range(len(predictors)), predictors)
    axes[0].invert_yaxis()
    figures.legend_below(figure, 2)
    figure.suptitle(title, fontsize=11)
    return figures.png(figure)


def _take(people: People, indices: np.ndarray) -> People:
    return People(*(each[indices] for each in people))


if __name__ == "__main__":
    script.run(measure)
