"""Other ways to fit every pixel's ridge problem and to predict, for the benchmark to measure beside ours."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse
from sklearn.linear_model import Ridge

from mlr_jax import masks


def loop(
    solve: Callable[[np.ndarray, np.ndarray, float], np.ndarray],
    inputs: np.ndarray,
    targets: np.ndarray,
    mask: masks.Mask,
    pixels: np.ndarray,
    penalty: float,
) -> np.ndarray:
    """A plain loop over pixels.

    Args:
      solve: takes the design `(num, entries + 1)`, whose last column is the bias's, the target `(num,)` and
        the penalty; returns the weights.
      inputs: `(num, height, width)`.
      targets: of the same shape.
      mask: what each pixel sees.
      pixels: which to solve.
      penalty: lambda.

    Returns:
      Weights `(pixels, entries)`, without the bias; 0 where the mask is invalid.
    """
    inputs, targets = (each.reshape(len(each), -1) for each in (inputs, targets))
    weights = np.zeros((len(pixels), mask.indices.shape[1]), inputs.dtype)
    ones = np.ones((len(inputs), 1), inputs.dtype)
    for row, pixel in enumerate(pixels):
        valid = mask.valid[pixel]
        design = np.concatenate([inputs[:, mask.indices[pixel][valid]], ones], axis=1)
        weights[row, valid] = solve(design, targets[:, pixel], penalty)[:-1]
    return weights


def solve_numpy(design: np.ndarray, target: np.ndarray, penalty: float) -> np.ndarray:
    """The normal equations by `np.linalg.solve`."""
    ridge = np.asarray(penalty, design.dtype) * np.eye(design.shape[1], dtype=design.dtype)
    return np.linalg.solve(design.T @ design + ridge, design.T @ target)


def solve_scikit_learn(design: np.ndarray, target: np.ndarray, penalty: float) -> np.ndarray:
    """One `Ridge` a pixel."""
    return Ridge(alpha=penalty, fit_intercept=False).fit(design, target).coef_


def plain_jax(mask: masks.Mask, penalty: float, inputs: jax.Array, targets: jax.Array) -> jax.Array:
    """What one would write first: gather, einsum, Cholesky, vmapped over pixels.

    Takes pictures `(num, pixels)`, and returns weights `(pixels, entries)` without the bias.
    """

    def solve(indices: jax.Array, valid: jax.Array, target: jax.Array) -> jax.Array:
        seen = jnp.where(valid[None], inputs[:, indices], 0)
        design = jnp.concatenate([seen, jnp.ones((len(inputs), 1), inputs.dtype)], axis=1)
        gram = jnp.einsum("nk,nl->kl", design, design, precision="highest")
        gram += penalty * jnp.eye(len(gram), dtype=gram.dtype)
        right = jnp.einsum("nk,n->k", design, target, precision="highest")
        return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(gram), True), right)[:-1]

    return jax.vmap(solve)(jnp.asarray(mask.indices), jnp.asarray(mask.valid), targets.T)


def sparse_matrix(weights: np.ndarray, mask: masks.Mask, num_inputs: int) -> sparse.csr_matrix:
    """The map with weights `(pixels, entries)` as scipy's compressed rows, without the bias."""
    rows = np.repeat(np.arange(len(weights)), weights.shape[1]).reshape(weights.shape)
    entries = weights[mask.valid], (rows[mask.valid], mask.indices[mask.valid])
    return sparse.csr_matrix(entries, shape=(len(weights), num_inputs))
