"""Cholesky factorisation of one small matrix in plain JAX, to be vmapped over many.

The batched LAPACK calls behind `jnp.linalg` wait for the CPU's thread pool from within it: two of them at
a time, from two fits in one program or from a gradient, can block each other for ever on a machine of
two cores. These loops cannot, and run on any device. On a CPU they are about as fast for matrices of up to
10 x 10, as a 3 x 3 window has them, and slower for larger ones.
"""

import jax
import jax.numpy as jnp


def factor(matrix: jax.Array) -> jax.Array:
    """The lower triangular L with L L^T = `matrix`, column by column.

    Args:
      matrix: `(n, n)`, symmetric positive definite.

    Returns:
      `(n, n)`; NaN where the matrix is not positive definite in its precision.
    """
    rows = jnp.arange(len(matrix))

    def add_column(j: jax.Array, lower: jax.Array) -> jax.Array:
        column = matrix[:, j] - jnp.einsum("ij,j->i", lower, lower[j], precision="highest")
        pivot = jnp.where(column[j] > 0, column[j], jnp.nan)
        return lower.at[:, j].set(jnp.where(rows >= j, column, 0) / jnp.sqrt(pivot))

    return jax.lax.fori_loop(0, len(matrix), add_column, jnp.zeros_like(matrix))


def solve(lower: jax.Array, right: jax.Array) -> jax.Array:
    """Solves L L^T x = right.

    Args:
      lower: `(n, n)`, from `factor`.
      right: `(n,)`.

    Returns:
      `(n,)`.
    """
    size = len(right)

    # The entries not solved for yet are zero, so whole rows and columns can be multiplied.
    def forward(j: jax.Array, solution: jax.Array) -> jax.Array:
        return solution.at[j].set((right[j] - jnp.sum(lower[j] * solution)) / lower[j, j])

    middle = jax.lax.fori_loop(0, size, forward, jnp.zeros_like(right))

    def backward(step: jax.Array, solution: jax.Array) -> jax.Array:
        j = size - 1 - step
        return solution.at[j].set((middle[j] - jnp.sum(lower[:, j] * solution)) / lower[j, j])

    return jax.lax.fori_loop(0, size, backward, jnp.zeros_like(right))
