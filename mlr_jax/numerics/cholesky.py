"""Cholesky factorisation of one matrix in plain JAX, to be vmapped over many.

The batched LAPACK calls behind `jnp.linalg` wait for the CPU's thread pool from within it: two of them at
a time, from two fits in one program or from a gradient, can deadlock on a machine of two cores. These loops
cannot, and run on any device. On a CPU they are about as fast for matrices of 10 and of 49 rows, where that
was measured.
"""

import jax
import jax.numpy as jnp

MAX_EXCESS = 1e-3
"""A solution's largest excess over the least objective, as a fraction of the objective without weights."""

# Rows that are eliminated one by one; the rows above them are subtracted by a matrix product.
_PANEL = 8
# Rounding units of a diagonal entry, up to which its pivot is noise.
_NOISE = 4


def least_pivots(diagonal: jax.Array) -> jax.Array:
    """The pivots that a system must exceed to be solved.

    Elimination subtracts numbers as large as the diagonal entry itself. If a pivot hardly exceeds their
    rounding errors, the matrix is not positive definite in its precision, whatever the sign of the pivot: the
    solution would be worse than none.

    Args:
      diagonal: of the matrix.

    Returns:
      The same shape.
    """
    return _NOISE * jnp.finfo(diagonal.dtype).eps * diagonal


def factor(matrix: jax.Array) -> jax.Array:
    """The upper triangular U with U^T U = `matrix`, a panel of rows after the other.

    Args:
      matrix: `(n, n)`, symmetric positive definite. Only its upper triangle is read.

    Returns:
      `(n, n)`; NaN where the matrix is not positive definite in its precision, see `least_pivots`.
    """
    size = len(matrix)
    least = least_pivots(jnp.diagonal(matrix))
    upper = jnp.zeros_like(matrix)
    for start in range(0, size, _PANEL):
        end = min(start + _PANEL, size)
        panel = matrix[start:end, start:]
        if start:
            above = upper[:start, start:]
            panel -= jnp.einsum("ki,kj->ij", above[:, : end - start], above, precision="highest")
        upper = upper.at[start:end, start:].set(_eliminate(panel, least[start:end]))
    return upper


def _eliminate(panel: jax.Array, least: jax.Array) -> jax.Array:
    """The rows of the factor, from the partly eliminated rows of the matrix, `(rows, columns)`.

    Each step adds multiples of a row to all; their factors are computed one step before. A loop that computed
    them for every number, or chose between numbers, took three times as long.
    """
    rows, columns = jnp.arange(panel.shape[0]), jnp.arange(panel.shape[1])

    def multiples(panel: jax.Array, j: jax.Array) -> jax.Array:
        column = jax.lax.dynamic_index_in_dim(panel, j, keepdims=False)[: len(rows)]
        scale = jax.lax.rsqrt(jnp.where(column[j] > least[j], column[j], jnp.nan))
        return jnp.where(rows == j, scale, jnp.where(rows > j, -column * scale**2, 0))

    def step(j: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        panel, factors = state
        row = jax.lax.dynamic_index_in_dim(panel, j)
        panel = (rows != j).astype(panel.dtype)[:, None] * panel + factors[:, None] * row
        return panel, multiples(panel, jnp.minimum(j + 1, len(rows) - 1))

    start = panel, multiples(panel, jnp.asarray(0))
    panel, _ = jax.lax.fori_loop(0, len(rows), step, start)
    return jnp.where(columns[None] >= rows[:, None], panel, 0)


def solve(upper: jax.Array, right: jax.Array) -> jax.Array:
    """Solves U^T U x = right.

    Args:
      upper: `(n, n)`, from `factor`.
      right: `(n,)`.

    Returns:
      `(n,)`.
    """
    places = jnp.arange(len(right))
    scale = 1 / jnp.diagonal(upper)

    def forward(j: jax.Array, rest: jax.Array) -> jax.Array:
        value = rest[j] * scale[j]
        return (rest - jnp.where(places > j, upper[j], 0) * value).at[j].set(value)

    middle = jax.lax.fori_loop(0, len(right), forward, right)

    # The entries not solved for yet are zero, so whole rows can be multiplied.
    def backward(step: jax.Array, solution: jax.Array) -> jax.Array:
        j = len(right) - 1 - step
        return solution.at[j].set((middle[j] - jnp.sum(upper[j] * solution)) * scale[j])

    return jax.lax.fori_loop(0, len(right), backward, jnp.zeros_like(right))
