import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax.numerics import cholesky


@pytest.mark.parametrize("size", [1, 2, 10, 33])
def test_agrees_with_numpy(size, rng, x64):
    factors = rng.standard_normal((5, size, size + 3))
    matrices = factors @ factors.transpose(0, 2, 1)
    right = rng.standard_normal((5, size))
    upper = jax.vmap(cholesky.factor)(matrices)
    np.testing.assert_allclose(upper, np.linalg.cholesky(matrices).transpose(0, 2, 1), rtol=1e-9, atol=1e-11)
    solution = jax.vmap(cholesky.solve)(upper, right)
    expected = np.linalg.solve(matrices, right[..., None])[..., 0]
    np.testing.assert_allclose(solution, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("matrix", [[[0.0]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
def test_indefinite_matrices_give_nan(matrix):
    with jax.debug_nans(False):
        assert np.isnan(cholesky.factor(jnp.array(matrix))).any()
