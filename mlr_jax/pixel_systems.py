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


def factor(gram: jax.Array) -> tuple[jax.Array, ...]:
    """Cholesky factors of positive definite systems of any size.

    Args:
      gram: `(size, size, num_pixels)`. Only the upper triangle is read.

    Returns:
      The rows of the upper factor, some at a time, from the diagonal on; NaN where a matrix is not
      positive definite in its precision.
    """
    panels = []
    rest = gram
    while len(rest):
        num = min(_PANEL, len(rest))
        # The barriers keep each part from being computed anew in every loop that reads it.
        panel = jax.lax.optimization_barrier(_eliminate(rest[:num]))
        panels.append(panel)
        right = panel[:, num:]
        rest = rest[num:, num:]
        if len(rest):
            rest = jax.lax.optimization_barrier(rest - _sum([row[:, None] * row[None] for row in right]))
    return tuple(panels)


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


def solve(panels: tuple[jax.Array, ...], right: jax.Array) -> jax.Array:
    """Solves with the result of `factor`, for `right` `(size, num_rights, num_pixels)`."""
    rest, middle = right, []
    for panel in panels:
        num = len(panel)
        values: list[jax.Array] = []
        for j in range(num):
            known = _sum([panel[i, j][None] * values[i] for i in range(j)])
            values.append((rest[j] - known) / panel[j, j][None])
        middle.append(values)
        update = _sum([panel[i, num:, None] * values[i][None] for i in range(num)])
        rest = jax.lax.optimization_barrier(rest[num:] - update)
    solution = right[:0]
    for panel, values in zip(reversed(panels), reversed(middle), strict=True):
        num = len(panel)
        beyond = [jnp.sum(panel[i, num:, None] * solution, axis=0) for i in range(num)]
        found: dict[int, jax.Array] = {}
        for i in reversed(range(num)):
            known = _sum([panel[i, j][None] * found[j] for j in range(i + 1, num)])
            found[i] = (values[i] - beyond[i] - known) / panel[i, i][None]
        solution = jnp.concatenate([jnp.stack([found[i] for i in range(num)]), solution])
        solution = jax.lax.optimization_barrier(solution)
    return solution


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
