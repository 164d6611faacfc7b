"""Training pairs for cross-validation, and fewer of them, chosen by people."""

import numpy as np

from mlr_jax import checks
from mlr_jax.datasets import pairs
from mlr_jax.datasets.pairs import Pairs, take


def folds_of_pairs(train: Pairs, num_folds: int, *, seed: int = 0) -> list[tuple[Pairs, Pairs]]:
    """The folds of a cross-validation on training pairs; at most as many as there are people.

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
    """The first `num_pairs` pairs of people in a random order, which is the same for all numbers."""
    people = sorted(set(train.subjects))
    rank = dict(zip(np.random.default_rng(seed).permutation(people), range(len(people)), strict=True))
    chosen = sorted(range(len(train.subjects)), key=lambda pair: rank[train.subjects[pair]])[:num_pairs]
    return take(train, sorted(chosen))
