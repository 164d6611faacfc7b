"""Pictures that a method has not learned from: its test people, other people, drawings, a cat."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.pictures import data, out_of_distribution
from mlr_jax import checks, metrics
from mlr_jax.datasets.pairs import Pairs


class EvaluationSet(NamedTuple):
    """Pictures of one kind.

    Attributes:
      inputs: `(num, height, width, channels)` float32.
      truth: the same people with the expression, or None if unknown.
      names: of each picture.
      is_public: whether they show no real person of a data set.
    """

    inputs: np.ndarray
    truth: np.ndarray | None
    names: Sequence[str]
    is_public: bool


def check_square(train: Pairs) -> None:
    """Raises InputError unless the pictures are square, as all others here."""
    height, width = train.neutral.shape[1:3]
    if height != width:
        raise checks.InputError(
            f"pictures must be square, as aligned faces are, not {width} x {height} pixels"
        )


def load(test: Pairs, cache_dir: Path, seed: int) -> dict[str, EvaluationSet]:
    """Every kind of picture, the data set's own first."""
    size, channels = test.neutral.shape[1], test.neutral.shape[3]
    is_public = data.name() == "synthetic"
    kinds = {"own test people": EvaluationSet(test.neutral, test.expressive, test.subjects, is_public)}
    for label, each, paint in (
        ("sketches", "sketch", out_of_distribution.pencil_sketch),
        ("oil paintings", "oil", out_of_distribution.oil_painting),
    ):
        painted = paint(test.neutral), paint(test.expressive)
        kinds[label] = EvaluationSet(*painted, [f"{name}, {each}" for name in test.subjects], is_public)
    for name, other in data.load_others(seed, cache_dir=cache_dir).items():
        known = EvaluationSet(other.neutral, other.expressive, other.subjects, name == "synthetic")
        kinds[f"{name} people"] = known
    portraits = {"astronaut": out_of_distribution.astronaut(), "cat": out_of_distribution.cat()}
    for name, portrait in portraits.items():
        kinds[name] = EvaluationSet(
            out_of_distribution.align(portrait, size, channels)[None], None, [name], True
        )
    if os.environ.get("MLR_JAX_DATA"):
        averaged = out_of_distribution.composites(Path(os.environ["MLR_JAX_DATA"]) / "composites")
        if averaged:
            crops = [out_of_distribution.align(portrait, size, channels) for portrait in averaged.values()]
            kinds["composite faces"] = EvaluationSet(np.stack(crops), None, list(averaged), False)
    return kinds


def errors(kind: EvaluationSet, pictures: np.ndarray) -> dict[str, Any]:
    """Measures predicted pictures of a kind: num_pictures, ssim_to_input, mse, relative_mse, ssim.

    The last three are "" if the truth is unknown; relative_mse is relative to the unchanged pictures' MSE.
    """
    shown = np.clip(pictures, 0, 1)
    row: dict[str, Any] = {
        "num_pictures": len(pictures),
        "ssim_to_input": float(metrics.ssim(shown, kind.inputs).mean()),
    }
    if kind.truth is None:
        return row | {"mse": "", "relative_mse": "", "ssim": ""}
    error, unchanged = (float(metrics.mse(each, kind.truth).mean()) for each in (pictures, kind.inputs))
    ssim = float(metrics.ssim(pictures, kind.truth).mean())
    return row | {"mse": error, "relative_mse": error / unchanged, "ssim": ssim}
