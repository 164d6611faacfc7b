"""What candidates share must not change their errors: of every method of the registry that shares work."""

import jax
import numpy as np
import pytest

from experiments.comparing import cross_validation
from experiments.comparing.methods import METHODS, Method, Settings
from mlr_jax.datasets.pairs import Pairs, folds
from tests import oracle

pytestmark = pytest.mark.usefixtures("unoptimized_file")

HEIGHT, WIDTH = 8, 6

# Values that suit pictures as small, and pairs as few, as here; of one method not a whole grid, since no
# window of 3 has 10 inputs.
SMALL = {
    "masked_ridge": {"window": (1, 5, 3), "penalty": (10.0, 0.3)},
    "warped_ridge": {"penalty": (20.0, 1.0)},
    "masked_lsrf": {"window": (3, 5), "num_nonzeros": (2, 10), "penalty": (10.0, 0.3)},
    "l0_omp": {"num_nonzeros": (4, 1, 2)},
    "l1_lasso": {"alpha": (0.05, 0.004, 0.01)},
    "l2_ridge": {"penalty": (10.0, 0.1)},
    "kernel_ridge": {"shape": ("rbf", "polynomial"), "width": (4.0, 1.0), "penalty": (1.0, 0.01)},
    "reduced_rank": {"rank": (2, 5), "penalty": (10.0, 0.5)},
    "pca_ridge": {"input_rank": (3, 6), "output_rank": (2, 5), "penalty": (10.0, 0.5)},
}


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Colour, of 23 people, one of them twice: folds of 8 and of 7 or 9 pairs."""
    rng = np.random.default_rng(0)
    faces = [oracle.smooth_faces(rng, 24, HEIGHT, WIDTH) for _ in range(4)]
    stacked = np.stack(faces, axis=-1).reshape(24, HEIGHT, WIDTH, 4).astype(np.float32)
    neutral = stacked[..., :2]
    expressive = 0.6 * neutral + 0.3 * stacked[..., 2:] + np.float32(0.1)
    return Pairs(neutral, expressive, tuple(f"p{min(n, 22)}" for n in range(24)))


def one_by_one(method: Method, choice: dict, parts: list[cross_validation.Fold]) -> float:
    """The mean squared error over the pictures that were left out."""
    squares = []
    for train, held_out in parts:
        params = jax.jit(lambda *pairs: method.fit(*pairs, **choice))(*train[:2])
        pictures = jax.jit(method.predict)(params, held_out.neutral)
        squares.append((np.asarray(pictures, np.float64) - held_out.expressive) ** 2)
    return float(np.mean(np.concatenate(squares)))


def test_every_method_that_shares_work_is_tested():
    assert [name for name in METHODS if METHODS[name](Settings()).errors is not None] == list(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_shared_errors_are_those_of_fitting_one_by_one(name, pairs):
    method = METHODS[name](Settings())
    parts = folds(pairs, num_folds=3, seed=1)
    assert len({len(held_out.subjects) for _, held_out in parts}) > 1, "the folds are even"
    tried = cross_validation.possible(method, SMALL[name], parts)
    found = cross_validation.errors(method, tried, parts)
    assert [choice for choice, _ in found] == tried
    # The lasso stops where its gap is small enough, which is not always at the same place.
    tolerance = 2e-3 if name == "l1_lasso" else 1e-4
    for choice, error in found:
        assert error == pytest.approx(one_by_one(method, choice, parts), rel=tolerance), choice
