"""Other implementations of every pixel's ridge problem and of the prediction, for the benchmark.

Each imports its packages when it is called, so that its first call does not pay for those of another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import jax
    from scipy import sparse

    from mlr_jax import masks


def smooth_pairs(num: int, size: int, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Smooth noise in [0, 1], and targets that a wide window predicts well: `(num, size, size, channels)`."""
    rng = np.random.default_rng(0)
    inputs: np.ndarray = rng.random((num, size, size, channels), np.float32)
    for axis in (1, 2):
        inputs = (inputs + np.roll(inputs, 1, axis) + np.roll(inputs, -1, axis)) / 3
    targets = 0.6 * inputs + 0.3 * np.roll(inputs, 2, 2) + 0.1 * rng.random(inputs.shape, np.float32)
    return inputs.astype(np.float32), targets.astype(np.float32)


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest relative error of a row, in the Euclidean norm."""
    difference = np.linalg.norm(found - exact, axis=1)
    return float((difference / np.maximum(np.linalg.norm(exact, axis=1), np.finfo(np.float32).tiny)).max())


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
      mask: of the inputs of each pixel.
      pixels: to solve.
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
    from sklearn.linear_model import Ridge

    return Ridge(alpha=penalty, fit_intercept=False).fit(design, target).coef_


def plain_jax(mask: masks.Mask, penalty: float, inputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Straightforward JAX: gather, einsum, Cholesky, vmapped over pixels.

    Takes pictures `(num, pixels)`, and returns weights `(pixels, entries)` without the bias.
    """
    import jax
    import jax.numpy as jnp

    def solve(indices: jax.Array, valid: jax.Array, target: jax.Array) -> jax.Array:
        seen = jnp.where(valid[None], inputs[:, indices], 0)
        design = jnp.concatenate([seen, jnp.ones((len(inputs), 1), inputs.dtype)], axis=1)
        gram = jnp.einsum("nk,nl->kl", design, design, precision="highest")
        gram += penalty * jnp.eye(len(gram), dtype=gram.dtype)
        right = jnp.einsum("nk,n->k", design, target, precision="highest")
        return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(gram), True), right)[:-1]

    return jax.vmap(solve)(jnp.asarray(mask.indices), jnp.asarray(mask.valid), targets.T)


def plain_jax_prediction(mask: masks.Mask, weights: jax.Array, inputs: jax.Array) -> jax.Array:
    """The prediction of `plain_jax`, without the bias, by gather and einsum: `(num, pixels)` of both."""
    import jax.numpy as jnp

    seen = jnp.where(jnp.asarray(mask.valid), jnp.asarray(inputs)[:, jnp.asarray(mask.indices)], 0)
    return jnp.einsum("pk,npk->np", weights, seen, precision="highest")


def sparse_matrix(weights: np.ndarray, mask: masks.Mask, num_inputs: int) -> sparse.csr_matrix:
    """The map with weights `(pixels, entries)` as scipy's compressed rows, without the bias."""
    from scipy import sparse

    rows = np.repeat(np.arange(len(weights)), weights.shape[1]).reshape(weights.shape)
    entries = weights[mask.valid], (rows[mask.valid], mask.indices[mask.valid])
    return sparse.csr_matrix(entries, shape=(len(weights), num_inputs))
