r"""What is left of a photograph's sharpness? Models of small faces, put on large ones.

Masked ridge (as published) and warped ridge are trained on faces of --image_size pixels, and change the test
people at that size and at --full_size, as `experiments.synthesize` changes a photograph: the field is
enlarged, the photograph is resampled once, the enlarged change is added, the edge is soft.

    python -m experiments.full_resolution --dataset=london --data_dir=... --image_size=128 --num_seeds=5

Hyper-parameters are the fixed ones of the registry. Besides the two models, there are: the unchanged picture;
masked ridge with its smoothed change added to the photograph's own pixels; and warped ridge without its
change, where pixels only move, which cannot draw teeth into a closed mouth: mouth_mse is the error around the
mouth. nose_sharpness is measured on the bridge of the nose, which a smile does not change: if the unchanged
picture has less than 1 there, the photographs of the expression are sharper as photographs, and sharpness
relative to the input is more telling.

Writes into --output_dir: config.json; results.csv, a row for each size, output and split, with sharpness
relative to the real expression's and to the input's; summary.csv, means and standard errors over splits; and
faces_SIZE.png, all test faces of the first split: input, masked ridge, warped ridge and truth.

Expected, London, five splits: at 512 pixels warped ridge has 0.88 of the input's sharpness, masked ridge
0.01. Of the real smile's it has 0.56; but the unchanged picture has only 0.63, and 0.50 on the nose. Around
the mouth, moving alone lowers the error by a fifth, moving and changing by two fifths. In two minutes on 2
CPU cores.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.comparing import options, sessions, sweep
from experiments.comparing.methods import METHODS
from experiments.comparing.sessions import Session
from experiments.comparing.sweep import Job, Row
from experiments.reporting import face_sheet
from experiments.running import run_folder, script
from mlr_jax import checks, images, metrics, synthesis, warped_ridge
from mlr_jax.alignment import Affine
from mlr_jax.datasets.pairs import Pairs
from mlr_jax.model_file import Model
from mlr_jax.photographs import expressions
from mlr_jax.photographs.expressions import Cutout, Effect

OUTPUTS = ("masked_ridge", "masked_ridge, change added", "warped_ridge, moved only", "warped_ridge")
"""The outputs to measure besides the unchanged picture, `copy_input`."""
MEASURES = ("mse", "ssim", "sharpness", "sharpness_of_input", "nose_sharpness", "mouth_mse")

# Top, bottom, left and right, as parts of the side, for aligned faces.
_MOUTH = (0.68, 0.88, 0.28, 0.72)
_NOSE = (0.28, 0.58, 0.4, 0.6)

_FULL_SIZE = flags.DEFINE_integer("full_size", 512, "Side of the large faces in pixels.", lower_bound=16)
flags.adopt_module_key_flags(options)


def measure() -> None:
    """The experiment."""
    is_fast = options.apply_fast()
    small = flags.FLAGS.image_size
    large = 2 * small if is_fast and not _FULL_SIZE.present else max(_FULL_SIZE.value, small)
    sizes = sorted({small, large})
    tables = ("results.csv", "summary.csv")
    sheets = tuple(f"faces_{size}.png" for size in sizes)
    session = sessions.start("full_resolution", (*tables, *sheets), {"sizes": sizes}, check=_check_square)
    rows = sweep.run(
        session,
        partial(_jobs, session, sizes, small),
        len(sizes),
        unit="size",
        write=sweep.writer(session, ("size", "output", *MEASURES, "seed")),
        is_strict=True,
    ).rows
    summaries = sweep.summarize(session, rows, ("size", "output"), MEASURES)
    _report(summaries, session.title)
    print(f"\nTables, figures and configuration: {session.output_dir}")


def _jobs(session: Session, sizes: Sequence[int], small: int, seed: int) -> Iterator[Job]:
    """A job for each size of the pictures; models have size `small`. The first split draws faces."""
    train, test = session.load(seed, {})
    models = _fit(train)

    def measure(size: int) -> list[Row]:
        shown = test if size == small else session.load(seed, {"image_size": size})[1]
        made = _synthesize(models, shown, small)
        if seed == session.seeds[0]:
            ours = {name: made[name] for name in ("masked_ridge", "warped_ridge")}
            columns = {"input": shown.neutral, **ours, "truth": shown.expressive}
            sheet = face_sheet.draw(columns, shown.subjects, session.title, inches=size / 150)
            run_folder.write_bytes(session.output_dir / f"faces_{size}.png", sheet)
        return [
            {"size": size, "output": name} | _measure(pictures, shown) | {"seed": seed}
            for name, pictures in made.items()
        ]

    for size in sizes:
        yield Job(f"{size} x {size}, seed {seed}", partial(measure, size))


def _check_square(train: Pairs) -> None:
    """Raises InputError unless the pictures are square."""
    height, width = train.neutral.shape[1:3]
    if height != width:
        raise checks.InputError(
            f"full_resolution: pictures must be square, as aligned faces are, not {width} x {height} pixels"
        )


def _fit(train: Pairs) -> dict[str, Model]:
    """Both models, with the fixed hyper-parameters."""
    channels = options.settings().channel_mode
    fits: Mapping[str, Callable[..., Model]] = {
        "masked_ridge": synthesis.fit,
        "warped_ridge": warped_ridge.fit,
    }
    return {
        name: fit(train.neutral, train.expressive, channels=channels, **METHODS[name].fixed)
        for name, fit in fits.items()
    }


def _synthesize(models: Mapping[str, Model], test: Pairs, size: int) -> dict[str, np.ndarray]:
    """Applies models of a size to test pictures of any size: output -> pictures."""
    cutouts = [_cut_out(picture, size) for picture in test.neutral]
    masked, warped = (
        [expressions.effect(models[name], cutout) for cutout in cutouts]
        for name in ("masked_ridge", "warped_ridge")
    )
    moved = [each._replace(change=jnp.zeros_like(each.change)) for each in warped]

    def lay(effects: list[Effect], detail: expressions.Detail) -> np.ndarray:
        both = zip(cutouts, effects, strict=True)
        return np.stack([np.asarray(expressions.blend(*each, detail=detail)) for each in both])

    made = (lay(masked, "none"), lay(masked, "transfer"), lay(moved, "transfer"), lay(warped, "transfer"))
    return {"copy_input": test.neutral} | dict(zip(OUTPUTS, made, strict=True))


def _cut_out(picture: np.ndarray, size: int) -> Cutout:
    """An aligned face, as if it had been cut out of a photograph."""
    scale = len(picture) / size
    affine = Affine(scale * jnp.eye(2), jnp.full(2, (scale - 1) / 2))
    return Cutout(images.resize(picture, size), picture, affine, 0, 0)


def _measure(pictures: np.ndarray, test: Pairs) -> dict[str, float]:
    mouth, nose = (_part(box, pictures.shape[1]) for box in (_MOUTH, _NOSE))
    on_nose = [metrics.laplacian_variance(each[nose]) for each in (pictures, test.expressive)]
    return {
        "mse": float(metrics.mse(pictures, test.expressive).mean()),
        # One by one, since SSIM takes many times the memory of a picture.
        "ssim": float(
            np.mean(
                [
                    metrics.ssim(picture[None], truth[None])
                    for picture, truth in zip(pictures, test.expressive, strict=True)
                ]
            )
        ),
        "sharpness": float(np.median(metrics.sharpness(pictures, test.expressive))),
        "sharpness_of_input": float(np.median(metrics.sharpness(pictures, test.neutral))),
        "nose_sharpness": float(np.median(on_nose[0] / on_nose[1])),
        "mouth_mse": float(metrics.mse(pictures[mouth], test.expressive[mouth]).mean()),
    }


def _part(box: tuple[float, float, float, float], side: int) -> tuple[slice, slice, slice]:
    top, bottom, left, right = (round(part * side) for part in box)
    return slice(None), slice(top, bottom), slice(left, right)


def _report(summaries: list[dict[str, Any]], title: str) -> None:
    print(f"{title}\n")
    print(f"size  {'output':<26} MSE x 1e3   SSIM  sharpness  of the input's  on the nose  mouth MSE x 1e3")
    for row in summaries:
        print(
            f"{row['size']:4}  {row['output']:<26} {1e3 * row['mse_mean']:9.3f}  {row['ssim_mean']:.3f}  "
            f"{row['sharpness_mean']:9.2f}  {row['sharpness_of_input_mean']:14.2f}  "
            f"{row['nose_sharpness_mean']:11.2f}  {1e3 * row['mouth_mse_mean']:15.2f}"
        )


if __name__ == "__main__":
    script.run(measure)
