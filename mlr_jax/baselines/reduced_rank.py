"""Regression through a few directions: the two forms of SVD-based regression.

Reduced-rank ridge regression, the best map of a given rank,

    min_{W, b}  1/2 || X W + 1 b^T - T ||_F^2 + lambda/2 || W ||_F^2    with rank(W) <= r,

is ridge regression followed by a projection on the leading right singular vectors of its fitted values,
including those of the penalty (Izenman, J. Multivariate Anal. 5:248-264, 1975; Mukherjee and Zhu,
Stat. Anal. Data Min. 4:612-622, 2011). The older way represents inputs and outputs by their principal
components, each set on its own, and fits a ridge regression between the two; "SVD" in Khan et al. (2020).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mlr_jax import checks
from mlr_jax.baselines import factored_linear
from mlr_jax.baselines.factored_linear import FactoredLinear, matmul


def fit(inputs: ArrayLike, targets: ArrayLike, penalty: ArrayLike, *, rank: int) -> FactoredLinear:
    """Fits reduced-rank ridge regression.

    Derivatives are not finite if the rank exceeds that of the targets: singular vectors of equal values have
    no derivative.

    Args:
      inputs: `(num_examples, num_inputs)` floating point.
      targets: `(num_examples, num_outputs)` floating point.
      penalty: lambda > 0, a scalar; the intercept is not penalised.
      rank: of the map, 1 to the smallest axis of inputs and targets, static.

    Returns:
      The map, with factors `(num_inputs, rank)` and `(rank, num_outputs)`. No array larger than inputs or
      targets is formed.

    Raises:
      TypeError: inputs or targets are not floating point, or the rank is not a whole number.
      InputError: shapes do not agree, a value is NaN, the penalty is not positive, or the rank is out of
        range.
    """
    where = "reduced_rank.fit"
    inputs, targets = checks.regression(where, inputs, targets)
    checks.positive(where, "penalty", penalty)
    _check_rank(where, "rank", rank, min(*inputs.shape, targets.shape[1]))
    return _fit(inputs, targets, jnp.asarray(penalty, inputs.dtype), rank=rank)


def fit_pca(
    inputs: ArrayLike, targets: ArrayLike, penalty: ArrayLike, *, input_rank: int, output_rank: int
) -> FactoredLinear:
    """Fits ridge regression from principal components of the inputs to principal components of the targets.

    Args:
      inputs: `(num_examples, num_inputs)` floating point.
      targets: `(num_examples, num_outputs)` floating point.
      penalty: lambda > 0, a scalar, on the map between the components' scores.
      input_rank: components of the inputs, 1 to the smaller axis, static.
      output_rank: components of the targets, 1 to the smaller axis, static.

    Returns:
      The map, with factors `(num_inputs, input_rank)`, `(input_rank, output_rank)` and
      `(output_rank, num_outputs)`.

    Raises:
      TypeError: inputs or targets are not floating point, or a rank is not a whole number.
      InputError: shapes do not agree, a value is NaN, the penalty is not positive, or a rank is out of
        range.
    """
    where = "reduced_rank.fit_pca"
    inputs, targets = checks.regression(where, inputs, targets)
    checks.positive(where, "penalty", penalty)
    _check_rank(where, "input_rank", input_rank, min(inputs.shape))
    _check_rank(where, "output_rank", output_rank, min(targets.shape))
    penalty = jnp.asarray(penalty, inputs.dtype)
    return _fit_pca(inputs, targets, penalty, input_rank=input_rank, output_rank=output_rank)


def predict(params: FactoredLinear, inputs: ArrayLike) -> jax.Array:
    """Returns the predictions `(num_examples, num_outputs)` for inputs `(num_examples, num_inputs)`."""
    return factored_linear.predict(params, inputs)


def _check_rank(where: str, name: str, rank: int, limit: int) -> None:
    checks.positive_integer(where, name, rank)
    if rank > limit:
        raise checks.InputError(f"{where}: {name} must be at most {limit} for these arrays, not {rank}")


@partial(jax.jit, static_argnames=("rank",))
def _fit(inputs: jax.Array, targets: jax.Array, penalty: jax.Array, *, rank: int) -> FactoredLinear:
    input_mean, intercept = inputs.mean(axis=0), targets.mean(axis=0)
    left, values, right = thin_svd(inputs - input_mean[None])
    # W = V (S^2 + lambda)^-1 S U^T T; its fitted values, and the penalty's, are those of `shrunk`.
    squares = values**2 + penalty
    coordinates = matmul(left.T, targets - intercept[None])
    shrunk = (values / jnp.sqrt(squares))[:, None] * coordinates
    basis = thin_svd(shrunk)[2][:rank]
    encoder = matmul(right.T, (values / squares)[:, None] * matmul(coordinates, basis.T))
    return FactoredLinear(input_mean, (encoder, basis), intercept)


@partial(jax.jit, static_argnames=("input_rank", "output_rank"))
def _fit_pca(
    inputs: jax.Array, targets: jax.Array, penalty: jax.Array, *, input_rank: int, output_rank: int
) -> FactoredLinear:
    input_mean, intercept = inputs.mean(axis=0), targets.mean(axis=0)
    left, values, right = thin_svd(inputs - input_mean[None])
    left, values, right = left[:, :input_rank], values[:input_rank], right[:input_rank]
    centred = targets - intercept[None]
    basis = thin_svd(centred)[2][:output_rank]
    scores = matmul(left.T, matmul(centred, basis.T))
    between = (values / (values**2 + penalty))[:, None] * scores
    return FactoredLinear(input_mean, (right.T, between, basis), intercept)


def thin_svd(matrix: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The thin singular value decomposition of a matrix with very different sides, such as faces by pixels.

    By the eigenvectors of the smaller Gram matrix, in a tenth of the time. This cannot distinguish singular
    values from 0 if they are below the square root of the precision times the largest: these are 0, and so
    are their right vectors.

    Returns:
      `(left, values, right)`, whose product is the matrix; values in descending order.
    """
    if matrix.shape[0] > matrix.shape[1]:
        right, values, left = thin_svd(matrix.T)
        return left.T, values, right.T
    left = jnp.linalg.eigh(matmul(matrix, matrix.T))[1][:, ::-1]
    scores = matmul(left.T, matrix)
    squares = jnp.sum(scores**2, axis=1)
    known = squares > 10 * jnp.finfo(matrix.dtype).eps * jnp.max(squares)
    values = jnp.where(known, jnp.sqrt(jnp.where(known, squares, 1)), 0)
    return left, values, jnp.where(known, 1 / jnp.where(known, values, 1), 0)[:, None] * scores
