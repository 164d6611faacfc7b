"""The held-out people whose error ends the training of a GAN."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlr_jax import checks
from mlr_jax.datasets import pairs


class HeldOut(NamedTuple):
    """Faces of held-out people, with their expressions to reach.

    Attributes:
      inputs: `(num, height, width, channels)` in [0, 1].
      conditions: `(num, num_expressions)`, one-hot, the expressions to reach.
      truths: the shape of the inputs.
    """

    inputs: np.ndarray
    conditions: np.ndarray
    truths: np.ndarray


def requests(pictures: np.ndarray, source: int, targets: Sequence[int]) -> HeldOut:
    """Every person with every target.

    Args:
      pictures: `(num_people, num_expressions, height, width, channels)` in [0, 1].
      source: the expression to start from.
      targets: those to reach.
    """
    conditions = np.eye(pictures.shape[1], dtype=np.float32)[list(targets)]
    shape = (-1, *pictures.shape[2:])
    return HeldOut(
        np.repeat(pictures[:, source], len(targets), axis=0),
        np.tile(conditions, (len(pictures), 1)),
        pictures[:, list(targets)].reshape(shape),
    )


def split(subjects: Sequence[str], *, fraction: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Holds out some of the training people for early stopping.

    Args:
      subjects: the person of each picture.
      fraction: of the people to hold out; one person at least.
      seed: of the choice.

    Returns:
      The indices of `(training pictures, held-out pictures)`, in ascending order.

    Raises:
      InputError: there is only one person.
    """
    if len(set(subjects)) < 2:
        raise checks.InputError(
            "training a GAN needs two people, of whom one is left out to say where to stop"
        )
    return pairs.split_indices(subjects, test_fraction=fraction, seed=seed)
