"""Trains a GAN on people's pictures, and applies it."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gans import early_stopping, registry, training
from experiments.gans.contract import Gan, Params, Task
from experiments.gans.early_stopping import HeldOut
from experiments.gans.expression_sets import ExpressionSet, digest, of_pairs
from experiments.gans.settings import GanSettings
from experiments.gans.training import Limits, Trained
from mlr_jax import checks
from mlr_jax.datasets.pairs import Pairs


def train(
    name: str,
    people: ExpressionSet,
    *,
    folder: Path,
    limits: Limits,
    width: int = 64,
    batch_size: int | None = None,
    seed: int = 0,
    is_quiet: bool = False,
) -> tuple[Trained, Gan]:
    """Trains a GAN, or resumes it in the folder; a tenth of the people is held out for early stopping.

    Args:
      name: in `registry.GANS`.
      people: to train on.
      folder: of this training.
      limits: when training ends.
      width: channels of the first layers.
      batch_size: pictures of a step, see `registry.make`.
      seed: of all random choices.
      is_quiet: whether no progress is shown.

    Raises:
      InputError: the pictures do not suit the GAN, or the folder holds another training.
    """
    seen, left = early_stopping.split(people.subjects, seed=seed)
    gan = make(
        name, people, num_people=len(seen), num_epochs=limits.num_epochs, width=width, batch_size=batch_size
    )
    trained = training.train(
        gan,
        people.pictures[seen],
        _held_out(people, left),
        folder=folder,
        key=jax.random.key(seed),
        limits=limits,
        settings=_settings(name, people, limits.num_epochs, width, seed, batch_size),
        is_quiet=is_quiet,
    )
    return trained, gan


def train_pairs(
    name: str, pairs: Pairs, *, seed: int, folder: Path, settings: GanSettings
) -> tuple[Params, float]:
    """Trains a GAN as a method of the comparisons.

    Args:
      name: in `registry.OF_PAIRS`.
      pairs: to train on.
      seed: of all random choices.
      folder: of all trainings, each of which resumes in its own subfolder.
      settings: of the comparison.

    Returns:
      `(what generate needs, seconds of training)`.

    Raises:
      InputError: the pictures do not suit the GAN, or its checkpoint is of other pairs.
      KeyboardInterrupt: it was stopped.
    """
    people, limits = of_pairs(pairs), Limits(settings.budget_seconds, patience=settings.patience)
    if settings.checkpoints is not None:
        seen, _ = early_stopping.split(people.subjects, seed=seed)
        gan = make(name, people, num_people=len(seen), num_epochs=limits.num_epochs, width=settings.width)
        known = _settings(name, people, limits.num_epochs, settings.width, seed)
        trained = training.load(Path(settings.checkpoints).expanduser() / name, gan, known)
    else:
        own = folder_of(name, pairs, seed=seed, folder=folder)
        trained, _ = train(name, people, folder=own, limits=limits, width=settings.width, seed=seed)
        if trained.ended_by == "signal":
            raise KeyboardInterrupt
    return trained.params, trained.seconds


def folder_of(name: str, pairs: Pairs, *, seed: int, folder: Path) -> Path:
    """The subfolder of `folder` for a training on these pairs."""
    return folder / f"{name}-{digest(of_pairs(pairs))}-{seed}"


def predict(name: str, params: Params, neutral: jax.Array, *, width: int) -> jax.Array:
    """Applies a GAN of two expressions to faces `(num, height, width, channels)`."""
    size, channels = neutral.shape[1], neutral.shape[3]
    gan = registry.make(name, Task(size, channels), width)
    condition = jnp.broadcast_to(jnp.array([0.0, 1.0]), (len(neutral), 2))
    return gan.generate(params, neutral, condition)


def make(
    name: str,
    people: ExpressionSet,
    *,
    num_people: int,
    num_epochs: int,
    width: int = 64,
    batch_size: int | None = None,
) -> Gan:
    """The GAN for such pictures.

    Raises:
      InputError: they are not square, or their size is no power of two.
    """
    height, size, channels = people.shape
    if height != size or size < 32 or size & (size - 1):
        raise checks.InputError(
            "GANs halve pictures down to a pixel or two: --image_size must be 32, 64, 128, ..., not "
            f"{height} x {size}"
        )
    task = Task(size, channels, len(people.expressions), num_people=num_people, num_epochs=num_epochs)
    return registry.make(name, task, width, batch_size)


def copy_l1(people: ExpressionSet, *, seed: int = 0) -> float:
    """The held-out error of the unchanged faces."""
    _, left = early_stopping.split(people.subjects, seed=seed)
    faces = _held_out(people, left)
    return float(np.abs(faces.inputs - faces.truths).mean())


def _settings(
    name: str, people: ExpressionSet, num_epochs: int, width: int, seed: int, batch_size: int | None = None
) -> dict[str, Any]:
    """All that a training depends on, except its budget."""
    return {
        "gan": name,
        "width": width,
        "batch_size": batch_size,
        "seed": seed,
        "num_epochs": num_epochs,
        "pictures": digest(people),
        "shape": list(people.pictures.shape),
        "jax": jax.__version__,
    }


def _held_out(people: ExpressionSet, left: np.ndarray) -> HeldOut:
    return early_stopping.requests(people.pictures[left], 0, range(1, len(people.expressions)))
