"""The derivative of a solution, by the implicit function theorem on its support."""

from functools import partial
from typing import NoReturn

import jax
import jax.numpy as jnp

from mlr_jax.baselines.factored_linear import matmul
from mlr_jax.numerics import cholesky


@jax.custom_jvp
def attach_derivative(
    features: jax.Array,
    level: jax.Array,
    target: jax.Array,
    taken: jax.Array,
    signs: jax.Array,
    weights: jax.Array,
) -> jax.Array:
    """Returns `weights` `(slots,)`, with the derivative of the solution on their support."""
    del features, level, target, taken, signs
    return weights


@attach_derivative.defjvp
def _attach_derivative_jvp(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    """By the implicit function theorem on A (t - A^T w) = level * signs, where A are the atoms."""
    features, level, target, taken, signs, weights = primals
    features, _, target = _differentiate_once(features, level, target)
    d_features, d_level, d_target, *_ = tangents
    filled = (signs != 0)[:, None]
    atoms = jnp.where(filled, features[taken], 0)
    d_atoms = jnp.where(filled, d_features[taken], 0)
    residual = target - matmul(weights, atoms)
    d_residual = d_target - matmul(weights, d_atoms)
    right = matmul(d_atoms, residual) + matmul(atoms, d_residual) - d_level * signs
    # Empty slots get a unit diagonal: no coupling, a zero right-hand side, and so a derivative of 0.
    gram = matmul(atoms, atoms.T) + jnp.diag(jnp.where(filled[:, 0], 0, 1).astype(atoms.dtype))
    factor = cholesky.factor(gram)
    d_weights = jax.lax.custom_linear_solve(
        partial(matmul, gram), right, lambda _, b: cholesky.solve(factor, b), symmetric=True
    )
    return weights, d_weights


@jax.custom_jvp
def _differentiate_once(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Returns its arguments, and rejects a second derivative: for it the weights would be constants."""
    return arrays


@_differentiate_once.defjvp
def _differentiate_once_jvp(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> NoReturn:
    del primals, tangents
    raise NotImplementedError("l1_lasso: only first derivatives are there; differentiate once")
