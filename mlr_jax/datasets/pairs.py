"""Pairs of pictures in memory: the same people with two expressions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlr_jax import _people, checks


class Pairs(NamedTuple):
    """Pairs of pictures of the same person: entry n of each field belongs to pair n.

    Attributes:
      neutral: `(num, height, width, channels)` float32 in [0, 1], the expression to start from.
      expressive: the same shape, the expression to reach.
      subjects: `num` subject ids; one person may occur several times.
    """

    neutral: np.ndarray
    expressive: np.ndarray
    subjects: tuple[str, ...]


def check(pairs: Pairs, *, where: str = "pairs") -> Pairs:
    """Returns `pairs` if they are valid.

    Raises:
      InputError: there are none, the shapes do not agree, or a value is NaN or outside [0, 1].
    """
    if len(pairs.subjects) == 0:
        raise checks.InputError(f"{where}: there are no pairs at all")
    shape = np.shape(pairs.neutral)
    if np.shape(pairs.expressive) != shape or len(shape) != 4 or shape[0] != len(pairs.subjects):
        raise checks.InputError(
            f"{where}: neutral and expressive must both be (num, height, width, channels) with one "
            f"subject each, not {shape}, {np.shape(pairs.expressive)} and "
            f"{len(pairs.subjects)} subjects"
        )
    for field in ("neutral", "expressive"):
        for subject, image in zip(pairs.subjects, getattr(pairs, field), strict=True):
            if not np.isfinite(image).all():
                raise checks.InputError(f"{where}: the {field} picture of {subject} holds NaN")
            if image.min() < 0 or image.max() > 1:
                raise checks.InputError(
                    f"{where}: the {field} picture of {subject} has values from {image.min():g} to "
                    f"{image.max():g}; pictures must be in [0, 1]"
                )
    return pairs


def take(pairs: Pairs, indices: Sequence[int] | np.ndarray) -> Pairs:
    """Returns the pairs at `indices`, in that order."""
    indices = np.asarray(indices, dtype=int)
    return Pairs(
        neutral=pairs.neutral[indices],
        expressive=pairs.expressive[indices],
        subjects=tuple(pairs.subjects[i] for i in indices),
    )


def split(pairs: Pairs, *, test_fraction: float = 0.1, seed: int = 0) -> tuple[Pairs, Pairs]:
    """Splits people, not pictures, at random into a training and a test set.

    Args:
      pairs: the pairs of at least two people.
      test_fraction: part of the people to test on, in (0, 1). The number is rounded, and each side
        keeps at least one person.
      seed: of the random choice.

    Returns:
      `(train, test)`, each in the order of `pairs`.

    Raises:
      InputError: `test_fraction` is not in (0, 1), or there are fewer than two people.
    """
    return _take_both(pairs, split_indices(pairs.subjects, test_fraction=test_fraction, seed=seed))


def split_by_subjects(pairs: Pairs, test_subjects: Sequence[str]) -> tuple[Pairs, Pairs]:
    """Splits into `(train, test)`, the test set being all pairs of `test_subjects`.

    Raises:
      InputError: a subject has no pair, or one of the two sets would be empty.
    """
    return _take_both(pairs, split_indices_by_subjects(pairs.subjects, test_subjects))


def folds(pairs: Pairs, *, num_folds: int = 5, seed: int = 0) -> list[tuple[Pairs, Pairs]]:
    """Splits people, not pictures, at random into parts of nearly equal size, for cross-validation.

    Args:
      pairs: the pairs of at least `num_folds` people.
      num_folds: how many parts, 2 or more.
      seed: of the random choice.

    Returns:
      For each part, `(all other pairs, the pairs of its people)`, each in the order of `pairs`.

    Raises:
      TypeError: `num_folds` is not a whole number.
      InputError: it is less than 2, or there are fewer people.
    """
    parts = fold_indices(pairs.subjects, num_folds=num_folds, seed=seed)
    return [_take_both(pairs, part) for part in parts]


def split_indices(
    subjects: Sequence[str], *, test_fraction: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """As `split`, for anything that has subjects: the indices `(train, test)` of the subjects."""
    if not 0 < test_fraction < 1:
        raise checks.InputError(f"pairs.split: test_fraction must be between 0 and 1, not {test_fraction:g}")
    people = sorted(set(subjects))
    if len(people) < 2:
        raise checks.InputError(
            f"pairs.split: {len(people)} subject cannot be split into a training and a test set"
        )
    num_test = min(max(round(test_fraction * len(people)), 1), len(people) - 1)
    return split_indices_by_subjects(subjects, _people.shuffled(people, seed)[:num_test])


def split_indices_by_subjects(
    subjects: Sequence[str], test_subjects: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """As `split_by_subjects`, for anything that has subjects: the indices `(train, test)` of the subjects."""
    chosen = set(test_subjects)
    unknown = sorted(chosen - set(subjects))
    if unknown:
        raise checks.InputError(
            f"pairs.split_by_subjects: no pair belongs to {', '.join(map(repr, unknown))}; "
            f"subjects are named like {subjects[0]!r}"
        )
    is_test = np.array([subject in chosen for subject in subjects], dtype=bool)
    if is_test.all() or not is_test.any():
        empty = "training" if is_test.all() else "test"
        raise checks.InputError(
            f"pairs.split_by_subjects: the {empty} set would be empty: "
            f"{len(chosen)} of {len(set(subjects))} subjects are test subjects"
        )
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def fold_indices(
    subjects: Sequence[str], *, num_folds: int = 5, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """As `folds`, for anything that has subjects: for each part, the indices of all others and its own."""
    checks.positive_integer("pairs.folds", "num_folds", num_folds)
    people = sorted(set(subjects))
    if num_folds < 2 or len(people) < num_folds:
        raise checks.InputError(
            f"pairs.folds: num_folds must be from 2 to the number of people, {len(people)}, not {num_folds}"
        )
    return [split_indices_by_subjects(subjects, part) for part in _people.folds(people, num_folds, seed)]


def _take_both(pairs: Pairs, indices: tuple[np.ndarray, np.ndarray]) -> tuple[Pairs, Pairs]:
    train, test = indices
    return take(pairs, train), take(pairs, test)
