import numpy as np
import pytest

from mlr_jax.checks import InputError
from mlr_jax.datasets.pairs import (
    Pairs,
    check,
    fold_indices,
    folds,
    split,
    split_by_subjects,
    split_indices,
    take,
)


@pytest.fixture
def pairs() -> Pairs:
    """Twelve pairs of ten people; a picture's value tells its number."""
    values = np.arange(12, dtype=np.float32)[:, None, None, None] / 100
    pictures = np.broadcast_to(values, (12, 4, 4, 1))
    subjects = [f"{n:02}" for n in range(10)] + ["03", "07"]
    return Pairs(pictures, pictures + 0.5, tuple(subjects))


def test_take_selects_pairs_in_the_given_order(pairs):
    taken = take(pairs, [10, 0])
    assert taken.subjects == ("03", "00")
    np.testing.assert_allclose(taken.neutral[:, 0, 0, 0], [0.10, 0])
    np.testing.assert_allclose(taken.expressive[:, 0, 0, 0], [0.60, 0.5])


def test_split_keeps_people_together(pairs):
    for seed in range(5):
        train, test = split(pairs, test_fraction=0.3, seed=seed)
        assert len(set(test.subjects)) == 3
        assert not set(train.subjects) & set(test.subjects)
        assert sorted(train.subjects + test.subjects) == sorted(pairs.subjects)
        for part in (train, test):
            for subject, picture in zip(part.subjects, part.neutral, strict=True):
                assert pairs.subjects[round(float(picture[0, 0, 0]) * 100)] == subject
    assert split(pairs, seed=1)[1].subjects == split(pairs, seed=1)[1].subjects
    assert len({split(pairs, seed=seed)[1].subjects for seed in range(8)}) > 1


def test_folds_need_a_person_each(pairs):
    assert [len(part.subjects) for _, part in folds(pairs, num_folds=10)].count(2) == 2
    for num in (1, 11):
        with pytest.raises(InputError, match=f"from 2 to the number of people, 10, not {num}"):
            folds(pairs, num_folds=num)


def test_both_sides_of_a_split_have_people(pairs):
    assert len(set(split(pairs, test_fraction=0.001)[1].subjects)) == 1
    assert len(set(split(pairs, test_fraction=0.999)[0].subjects)) == 1
    with pytest.raises(InputError, match="1 subject cannot be split"):
        split(take(pairs, [0]), test_fraction=0.5)
    for fraction in (0, 1, -0.1):
        with pytest.raises(InputError, match="test_fraction must be between 0 and 1"):
            split(pairs, test_fraction=fraction)


def test_split_by_subjects(pairs):
    train, test = split_by_subjects(pairs, ["07", "03"])
    assert test.subjects == ("03", "07", "03", "07")
    assert len(train.subjects) == 8
    with pytest.raises(InputError, match="no pair belongs to '99'; subjects are named like '00'"):
        split_by_subjects(pairs, ["07", "99"])
    with pytest.raises(InputError, match="the training set would be empty"):
        split_by_subjects(pairs, pairs.subjects)
    with pytest.raises(InputError, match="the test set would be empty"):
        split_by_subjects(pairs, [])


def test_indices_select_the_pairs_of_splits_and_folds(pairs):
    """Streams and fields are split by these indices, as pairs are."""
    options = {"test_fraction": 0.3, "seed": 4}
    parts = [*zip(split_indices(pairs.subjects, **options), split(pairs, **options), strict=True)]
    for each, whole in zip(fold_indices(pairs.subjects, num_folds=3), folds(pairs, num_folds=3), strict=True):
        parts += zip(each, whole, strict=True)
    for indices, part in parts:
        np.testing.assert_array_equal(part.neutral, take(pairs, indices).neutral)
        assert part.subjects == tuple(pairs.subjects[index] for index in indices)


def test_check_rejects_broken_pairs(pairs):
    assert check(pairs) is pairs
    broken = pairs.neutral.copy()
    broken[4, 0, 0, 0] = np.nan
    for wrong, words in (
        (take(pairs, []), "there are no pairs at all"),
        (pairs._replace(expressive=pairs.expressive[:, :3]), "must both be"),
        (pairs._replace(subjects=("00",)), "1 subjects"),
        (pairs._replace(neutral=broken), "the neutral picture of 04 holds NaN"),
        (pairs._replace(expressive=pairs.expressive * 2), "the expressive picture of 01 .* to 1.02"),
    ):
        with pytest.raises(InputError, match=words):
            check(wrong)
