import numpy as np
import pytest

from experiments.comparing import cross_validation
from experiments.comparing.methods import METHODS
from experiments.comparing.methods.method import Method, Settings
from mlr_jax.checks import InputError
from mlr_jax.datasets.pairs import Pairs, folds, take

pytestmark = pytest.mark.usefixtures("unoptimized_file")

GRID = {"window": (1, 3), "penalty": (4.0, 0.4, 0.04)}


@pytest.fixture(scope="module")
def train() -> Pairs:
    rng = np.random.default_rng(0)
    neutral = rng.random((13, 6, 5, 1), dtype=np.float32)
    # A shift by one pixel, which a window of 3 sees and a window of 1 does not.
    expressive = np.roll(neutral, 1, axis=1) + 0.05 * rng.random(neutral.shape, dtype=np.float32)
    return Pairs(neutral, np.clip(expressive, 0, 1), tuple(f"p{i % 12}" for i in range(13)))


@pytest.mark.parametrize("name", ["masked_ridge", "l1_lasso"])
def test_errors_equal_those_of_refitting(name, train):
    """For single candidates on uneven folds, and for a path."""
    method = METHODS[name].make(Settings())
    grid = GRID if name == "masked_ridge" else {"alpha": (0.1, 0.03, 0.01)}
    tried = cross_validation.candidates(grid)
    if name == "masked_ridge":
        parts = folds(train, num_folds=4, seed=1)
        assert len({len(held_out.subjects) for _, held_out in parts}) > 1
    else:
        # Folds of one size, because every size is compiled.
        parts = folds(take(train, np.arange(12)), num_folds=4, seed=1)
    selection = cross_validation.select(name, method, tried, parts)
    assert [choice for choice, _ in selection.errors] == tried
    for choice, error in selection.errors:
        squares = []
        for part, held_out in parts:
            params = method.fit(part.neutral, part.expressive, **choice)
            pictures = np.asarray(method.predict(params, held_out.neutral))
            squares.append((pictures - held_out.expressive) ** 2)
        assert error == pytest.approx(np.mean(np.concatenate(squares)), rel=1e-3)
    assert selection.choice == min(selection.errors, key=lambda each: each[1])[0]
    if name == "masked_ridge":
        assert selection.choice["window"] == 3


def test_the_first_of_equal_candidates_is_chosen(train):
    method = METHODS["mean_change"].make(Settings())
    same = Method(
        lambda neutral, expressive, *, dial: method.fit(neutral, expressive),
        method.predict,
        method.num_parameters,
    )
    tried = cross_validation.candidates({"dial": (2.0, 1.0)})
    selection = cross_validation.select("same", same, tried, folds(train, num_folds=3))
    assert selection.choice == {"dial": 2.0}


def test_a_candidate_without_finite_solution_is_not_chosen(train):
    def fit(neutral, expressive, *, divisor):
        return (expressive - neutral).mean(axis=0) / divisor

    change = METHODS["mean_change"].make(Settings())
    method = Method(fit, change.predict, change.num_parameters)
    tried = cross_validation.candidates({"divisor": (0.0, 1.0)})
    selection = cross_validation.select("broken", method, tried, folds(train, num_folds=3))
    assert selection.choice == {"divisor": 1.0}
    with pytest.raises(InputError, match="broken has no finite solution"):
        cross_validation.select("broken", method, tried[:1] * 2, folds(train, num_folds=3))


def test_only_possible_candidates_are_fitted(train):
    method = METHODS["masked_ridge"].make(Settings())
    grid = {"window": (1, 3, 7, 4), "penalty": (0.4, 1.0)}
    parts = folds(train, num_folds=3)
    tried = cross_validation.possible(method, grid, parts)
    assert {choice["window"] for choice in tried} == {1, 3}
    assert len(tried) == 4
    assert cross_validation.largest(tried)["window"] == 3
    with pytest.raises(InputError, match="larger than the picture"):
        cross_validation.possible(method, grid | {"window": (7,)}, parts)


def test_a_single_candidate_is_not_fitted(train):
    selection = cross_validation.select("any", None, [{"penalty": 1.0}], folds(train, num_folds=2))
    assert selection == ({"penalty": 1.0}, [])
