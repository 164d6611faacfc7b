"""Indices of pairs, split by people: one person's pairs are all on one side.

`mlr_jax.datasets.pairs` splits pairs that are in memory. Here are the same splits of their indices, for pairs
that are read later or that come with other arrays.
"""

from collections.abc import Sequence

import numpy as np

from mlr_jax import checks
from mlr_jax.datasets import pairs
from mlr_jax.datasets.pairs import Pairs, take

Indices = np.ndarray


def train_test(
    subjects: Sequence[str], *, test_fraction: float = 0.1, seed: int = 0
) -> tuple[Indices, Indices]:
    """Splits people at random, as `pairs.split` does.

    Args:
      subjects: the person of each pair.
      test_fraction: part of the people to test on, in (0, 1).
      seed: of the random choice.

    Returns:
      The indices of `(training pairs, test pairs)`, each in ascending order.

    Raises:
      InputError: `test_fraction` is not in (0, 1), or there are fewer than two people.
    """
    train, test = pairs.split(index_pairs(subjects), test_fraction=test_fraction, seed=seed)
    return train.neutral, test.neutral


def folds(subjects: Sequence[str], *, num_folds: int = 5, seed: int = 0) -> list[tuple[Indices, Indices]]:
    """Splits people at random into the folds of a cross-validation, as `pairs.folds` does.

    Returns:
      For each fold, the indices of `(the pairs to fit on, the held-out pairs)`.

    Raises:
      InputError: there are fewer people than folds.
    """
    parts = pairs.folds(index_pairs(subjects), num_folds=num_folds, seed=seed)
    return [(train.neutral, held_out.neutral) for train, held_out in parts]


def folds_of_pairs(train: Pairs, num_folds: int, *, seed: int = 0) -> list[tuple[Pairs, Pairs]]:
    """The folds of a cross-validation on training pairs, as many as there are people if these are few.

    Returns:
      For each fold, `(the pairs to fit on, the held-out pairs)`.

    Raises:
      InputError: there is only one person.
    """
    num_people = len(set(train.subjects))
    if num_people < 2:
        raise checks.InputError("cross-validation needs two people to train on; use --select=fixed")
    return pairs.folds(train, num_folds=min(num_folds, num_people), seed=seed)


def first_people(train: Pairs, num_pairs: int, *, seed: int) -> Pairs:
    """The first pairs, `num_pairs` of them, of people in a random order that is the same for all numbers."""
    people = sorted(set(train.subjects))
    rank = dict(zip(np.random.default_rng(seed).permutation(people), range(len(people)), strict=True))
    chosen = sorted(range(len(train.subjects)), key=lambda pair: rank[train.subjects[pair]])[:num_pairs]
    return take(train, sorted(chosen))


def index_pairs(subjects: Sequence[str]) -> Pairs:
    """The indices of pairs in place of their pictures: `pairs` splits them in the same way."""
    indices = np.arange(len(subjects))
    return Pairs(indices, indices, tuple(subjects))
