"""Random order of people, for test sets and for folds."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_Person = TypeVar("_Person")


def shuffled(people: Sequence[_Person], seed: int) -> list[_Person]:
    """The people in a random order; the same seed gives the same order."""
    return [people[place] for place in np.random.default_rng(seed).permutation(len(people))]


def folds(people: Sequence[_Person], num_folds: int, seed: int) -> list[list[_Person]]:
    """The people in `num_folds` random parts of nearly equal size."""
    order = shuffled(people, seed)
    return [[order[place] for place in part] for part in np.array_split(np.arange(len(order)), num_folds)]
