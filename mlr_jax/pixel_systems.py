"""The small linear systems of many pixels, solved side by side with the pixel axis last.

Every number of the elimination is a row over pixels, so that each loop runs along contiguous memory whatever
the size of the systems, and neither LAPACK calls nor their overhead come into it (`cholesky` says why not).
"""

from functools import partial

import jax
import jax.numpy as jnp

# Rows that are eliminated one by one before all others are updated at once: more do more work in the slow
# first part, fewer read and write the whole matrix more often.
_PANEL = 4

Planes = dict[tuple[int, int], jax.Array]
"""The upper triangle of symmetric matrices, entry by entry; each an array over pixels."""


def factor_planes(gram: Planes, size: int) -> Planes:
    """Factors small positive definite systems, written out: fit for `size` up to some 16.

    Args:
      gram: entries (i, j), i <= j, each of any one shape over pixels.
      size: of the systems.

    Returns:
      L^T of L D L^T above the diagonal, and the inverse of D on it; NaN where a matrix is not positive
      definite in its precision.
    """
    rest, factor = dict(gram), {}
    for k in range(size):
        pivot = rest[k, k]
        factor[k, k] = 1 / jnp.where(pivot > 0, pivot, jnp.nan)
        for i in range(k + 1, size):
            factor[k, i] = rest[k, i] * factor[k, k]
            for j in range(i, size):
                rest[i, j] -= factor[k, i] * rest[k, j]
    return factor


def solve_planes(factor: Planes, right: jax.Array) -> jax.Array:
    """Solves with the result of `factor_planes`, for `right` `(size, num_rights, ...pixels)`."""
    size = len(right)
    x = list(right)
    for k in range(size):
        for i in range(k + 1, size):
            x[i] -= factor[k, i][None] * x[k]
    for k in reversed(range(size)):
        x[k] *= factor[k, k][None]
        for i in range(k + 1, size):
            x[k] -= factor[k, i][None] * x[i]
    return jnp.stack(x)


def factor(gram: jax.Array) -> jax.Array:
    """Cholesky factors of positive definite systems of any size.

    Args:
      gram: `(size, size, num_pixels)`, symmetric.

    Returns:
      The factors, of the same shape, in the upper triangle; NaN where a matrix is not positive definite in
      its precision.
    """
    upper, rest = jnp.zeros_like(gram), gram
    for start in range(0, len(gram), _PANEL):
        num = min(_PANEL, len(rest))
        # The barriers keep each part from being computed anew in every loop that reads it.
        panel = jax.lax.optimization_barrier(_eliminate(rest[:num]))
        upper = upper.at[start : start + num, start:].set(panel)
        rest = rest[num:, num:]
        if len(rest):
            update = _sum([row[:, None] * row[None] for row in panel[:, num:]])
            rest = jax.lax.optimization_barrier(rest - update)
    return upper


def _eliminate(panel: jax.Array) -> jax.Array:
    """The first rows of the factor, from those of the matrix, `(rows, columns, pixels)`."""
    rows = jnp.arange(len(panel))

    def step(j: jax.Array, panel: jax.Array) -> jax.Array:
        row = jax.lax.dynamic_index_in_dim(panel, j, keepdims=False)
        pivot = jax.lax.dynamic_index_in_dim(row, j, keepdims=False)
        row = row * jax.lax.rsqrt(jnp.where(pivot > 0, pivot, jnp.nan))[None]
        below = jnp.where((rows > j)[:, None], row[: len(panel)], 0)
        return jax.lax.dynamic_update_index_in_dim(panel - below[:, None] * row[None], row, j, 0)

    return jax.lax.fori_loop(0, len(panel), step, panel)


def solve(upper: jax.Array, right: jax.Array) -> jax.Array:
    """Solves with the result of `factor`, for `right` `(size, num_rights, num_pixels)`."""
    size = len(right)
    starts = range(0, size, _PANEL)
    # First with the transposed factor, from the front, then with the factor itself, from the back.
    rest, middle = right, list[jax.Array]()
    for start in starts:
        end = min(start + _PANEL, size)
        values: list[jax.Array] = []
        for j in range(start, end):
            known = _sum([upper[start + i, j][None] * value for i, value in enumerate(values)])
            values.append((rest[j - start] - known) / upper[j, j][None])
        middle += values
        update = _sum([upper[start + i, end:, None] * value[None] for i, value in enumerate(values)])
        rest = jax.lax.optimization_barrier(rest[end - start :] - update)
    rest, solution = jnp.stack(middle), list[jax.Array]()
    for start in reversed(starts):
        end = min(start + _PANEL, size)
        values = []
        for j in reversed(range(start, end)):
            known = _sum([upper[j, end - 1 - i][None] * value for i, value in enumerate(values)])
            values.append((rest[j] - known) / upper[j, j][None])
        solution += values
        update = _sum([upper[:start, end - 1 - i, None] * value[None] for i, value in enumerate(values)])
        rest = jax.lax.optimization_barrier(rest[:start] - update)
    return jnp.stack(solution[::-1])


def multiply(gram: jax.Array, x: jax.Array) -> jax.Array:
    """Returns gram x, `(size, num_rights, num_pixels)`."""

    @partial(jax.checkpoint, prevent_cse=False)
    def add(total: jax.Array, column: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        entries, values = column
        return total + entries[:, None] * values[None], None

    # Symmetric: its rows are its columns.
    return jax.lax.scan(add, jnp.zeros_like(x), (gram, x))[0]


def _sum(terms: list[jax.Array]) -> jax.Array | float:
    return sum(terms[1:], terms[0]) if terms else 0.0
