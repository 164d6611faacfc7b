"""Hostile pictures: a baseline predicts finite values, or says why it cannot.

Predictions are no worse than the mean unless the rounding of the inputs' squares swallows the penalty; then
they are finite only.
"""

import warnings

import hypothesis
import jax
import numpy as np
import pytest

from mlr_jax import checks, masks
from mlr_jax.baselines import kernel_ridge, l0_omp, l1_lasso, l2_ridge, masked_lsrf, reduced_rank
from tests.test_properties import HEIGHT, NUMS, WIDTH, Problem, is_hard, problems

METHODS = {
    "l2_ridge": lambda x, t, p: l2_ridge.predict(l2_ridge.fit(x, t, p), x),
    "kernel_ridge": lambda x, t, p: kernel_ridge.predict(kernel_ridge.fit(x, t, kernel_ridge.linear(), p), x),
    "reduced_rank": lambda x, t, p: reduced_rank.predict(reduced_rank.fit(x, t, p, rank=1), x),
    "pca_ridge": lambda x, t, p: reduced_rank.predict(
        reduced_rank.fit_pca(x, t, p, input_rank=1, output_rank=1), x
    ),
    "l0_omp": lambda x, t, p: l0_omp.predict(l0_omp.fit(x, t, num_nonzeros=2), x),
    "l1_lasso": lambda x, t, p: l1_lasso.predict(l1_lasso.fit(x, t, p), x),
    "masked_lsrf": lambda x, t, p: masked_lsrf.predict(
        masked_lsrf.fit(x, t, masks.square_mask(HEIGHT, WIDTH, 3), p, num_nonzeros=2), x
    ),
}


@pytest.mark.parametrize("name", METHODS)
@hypothesis.given(problem=problems())
def test_finite_and_no_worse_than_the_mean(name, problem):
    inputs, targets, penalty, _ = problem
    if name in ("l0_omp", "masked_lsrf") and len(inputs) == min(NUMS):
        return  # These reject a single example.
    if name in ("reduced_rank", "pca_ridge", "l1_lasso") and penalty == 0:
        return  # These reject the penalty 0.
    try:
        # Baselines detect a singular system by its NaN.
        with warnings.catch_warnings(), jax.debug_nans(False):
            warnings.simplefilter("ignore", checks.UnsolvedWarning)
            predicted = np.asarray(METHODS[name](inputs, targets, penalty), np.float64)
    except checks.InputError as error:
        if "singular" in str(error) and is_hard(inputs, penalty, np.float32):
            return
        raise
    assert np.isfinite(predicted).all()
    if not is_hard(inputs, penalty, np.float32):
        # A shared factor may help some pixels at the cost of others.
        assert_no_worse_than_the_mean(problem, predicted, is_shared=name in ("reduced_rank", "pca_ridge"))


def assert_no_worse_than_the_mean(problem: Problem, predicted: np.ndarray, *, is_shared: bool) -> None:
    targets = problem.targets.astype(np.float64)
    axis = None if is_shared else 0
    left = np.sum((targets - predicted) ** 2, axis=axis)
    none = np.sum((targets - targets.mean(axis=0)) ** 2, axis=axis)
    rounding = np.finfo(np.float32).eps * np.abs(targets).max(axis=axis)
    assert np.all(left <= 1.05 * none + 100 * len(targets) * rounding**2 + np.finfo(np.float32).tiny)
