"""Every method's `errors` equal those of fitting one candidate after the other."""

import jax
import numpy as np
import pytest

from experiments.comparing import cross_validation
from experiments.comparing.methods import METHODS
from experiments.comparing.methods.method import Method, Settings
from mlr_jax.datasets.pairs import Pairs, folds
from tests import oracle

pytestmark = pytest.mark.usefixtures("unoptimized_file")

HEIGHT, WIDTH = 8, 6

# Values that suit these few small pictures, for every method that shares work between candidates.
GRIDS = {
    name: entry.test_grid or entry.grid
    for name, entry in METHODS.items()
    if entry.make(Settings()).errors is not None
}


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """24 pairs of 23 people, in two channels: folds of 8 and of 7 or 9 pairs."""
    rng = np.random.default_rng(0)
    faces = [oracle.smooth_faces(rng, 24, HEIGHT, WIDTH) for _ in range(4)]
    stacked = np.stack(faces, axis=-1).reshape(24, HEIGHT, WIDTH, 4).astype(np.float32)
    neutral = stacked[..., :2]
    expressive = 0.6 * neutral + 0.3 * stacked[..., 2:] + np.float32(0.1)
    return Pairs(neutral, expressive, tuple(f"p{min(n, 22)}" for n in range(24)))


def one_by_one(method: Method, choice: dict, parts: list[cross_validation.Fold]) -> float:
    """The mean squared error over the held-out pictures."""
    squares = []
    for train, held_out in parts:
        params = jax.jit(lambda *pairs: method.fit(*pairs, **choice))(*train[:2])
        pictures = jax.jit(method.predict)(params, held_out.neutral)
        squares.append((np.asarray(pictures, np.float64) - held_out.expressive) ** 2)
    return float(np.mean(np.concatenate(squares)))


@pytest.mark.parametrize("name", GRIDS)
def test_shared_errors_equal_those_of_fitting_one_by_one(name, pairs):
    method = METHODS[name].make(Settings())
    parts = folds(pairs, num_folds=3, seed=1)
    assert len({len(held_out.subjects) for _, held_out in parts}) > 1, "the folds are even"
    tried = cross_validation.possible(method, GRIDS[name], parts)
    found = cross_validation.errors(method, tried, parts)
    assert [choice for choice, _ in found] == tried
    # The lasso may stop at another iteration, wherever its gap is small enough.
    tolerance = 2e-3 if name == "l1_lasso" else 1e-4
    for choice, error in found:
        assert error == pytest.approx(one_by_one(method, choice, parts), rel=tolerance), choice
