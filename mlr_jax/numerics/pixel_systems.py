"""The small linear systems of many pixels, solved side by side with the pixel axis last.

Every number of the elimination is a row over pixels, so that each loop runs along contiguous memory whatever
the size of the systems, and neither LAPACK calls nor their overhead come into it (`cholesky` says why not).
Derivatives pass through the solution, not through the elimination.
"""

from functools import partial

import jax
import jax.numpy as jnp

from mlr_jax.numerics import cholesky

# Panels of rows into which larger systems are cut: each is a loop to compile.
_MAX_PANELS = 13

Planes = dict[tuple[int, int], jax.Array]
"""The upper triangle of symmetric matrices, entry by entry; each an array over pixels."""


def solve_planes(gram: Planes, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Solves small positive definite systems by an elimination that is written out: up to some 16 unknowns.

    Args:
      gram: entries (i, j), i <= j, each of any one shape over pixels.
      right: `(size, num_rights, ...pixels)`.

    Returns:
      `(solutions, solved)`: of the shape of `right`; and `(...pixels)`, false where a matrix is not positive
      definite in its precision, and the solution therefore 0.
    """
    size = len(right)

    def multiply(x: jax.Array) -> jax.Array:
        return jnp.stack(
            [sum(gram[min(i, j), max(i, j)][None] * x[j] for j in range(size)) for i in range(size)]
        )

    def solve(_: object, right: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _where_finite(_solve_planes(jax.lax.stop_gradient(gram), right))

    return jax.lax.custom_linear_solve(multiply, right, solve, symmetric=True, has_aux=True)


def _solve_planes(gram: Planes, right: jax.Array) -> jax.Array:
    size = len(right)
    rest, factor, x = dict(gram), Planes(), list(right)
    for k in range(size):
        pivot = rest[k, k]
        factor[k, k] = 1 / jnp.where(pivot > cholesky.least_pivots(gram[k, k]), pivot, jnp.nan)
        for i in range(k + 1, size):
            factor[k, i] = rest[k, i] * factor[k, k]
            x[i] -= factor[k, i][None] * x[k]
            for j in range(i, size):
                rest[i, j] -= factor[k, i] * rest[k, j]
    for k in reversed(range(size)):
        x[k] *= factor[k, k][None]
        for i in range(k + 1, size):
            x[k] -= factor[k, i][None] * x[i]
    return jnp.stack(x)


def solve(gram: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Solves positive definite systems of any size.

    Args:
      gram: `(size, size, num_pixels)`, symmetric.
      right: `(size, num_rights, num_pixels)`.

    Returns:
      `(solutions, solved)`: of the shape of `right`; and `(num_pixels,)`, false where a matrix is not
      positive definite in its precision, and the solution therefore 0.
    """

    def solve(_: object, right: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _where_finite(_solve(jax.lax.stop_gradient(gram), right))

    return jax.lax.custom_linear_solve(partial(_multiply, gram), right, solve, symmetric=True, has_aux=True)


def _where_finite(solutions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Solutions, 0 where elimination failed, and where it did not; derivatives, too, which are solutions."""
    finite = jnp.isfinite(solutions).all(axis=(0, 1))
    return jnp.where(finite[None, None], solutions, 0), finite


def _solve(gram: jax.Array, right: jax.Array) -> jax.Array:
    """Cholesky's elimination, panel by panel of rows, the right sides with them; then back substitution."""
    size = len(gram)
    upper, rest, values = jnp.zeros_like(gram), gram, right
    least = cholesky.least_pivots(jnp.moveaxis(jnp.diagonal(gram), -1, 0))
    # More rows in a panel do more work in its slow elimination; fewer read and write the rest more often.
    height = max(4, -(-size // _MAX_PANELS))
    for start in range(0, size, height):
        num, columns = min(height, len(rest)), len(rest)
        panel = jnp.concatenate([rest[:num], values[start : start + num]], axis=1)
        panel = _eliminate(panel, least[start : start + num])
        upper = upper.at[start : start + num, start:].set(panel[:, :columns])
        values = values.at[start : start + num].set(panel[:, columns:])
        if num < columns:
            rest = rest[num:, num:] - _sum([row[num:columns, None] * row[None, num:columns] for row in panel])
            taken = _sum([row[num:columns, None] * row[None, columns:] for row in panel])
            values = values.at[start + num :].add(-taken)
    return _substitute_back(upper, values)


def _eliminate(panel: jax.Array, least: jax.Array) -> jax.Array:
    """The first rows of the factor, and of the right sides, from those that are left of the systems.

    Every step adds multiples of one row to all. The multiples are made one step before: a loop that made
    them for every number it adds, or chose between numbers, took thrice the time.
    """
    rows = jnp.arange(len(panel))

    def multiples(panel: jax.Array, j: jax.Array) -> jax.Array:
        column = jax.lax.dynamic_index_in_dim(panel, j, keepdims=False)[: len(panel)]
        pivot = jax.lax.dynamic_index_in_dim(column, j, keepdims=False)
        smallest = jax.lax.dynamic_index_in_dim(least, j, keepdims=False)
        scale = jax.lax.rsqrt(jnp.where(pivot > smallest, pivot, jnp.nan))[None]
        below = jnp.where((rows > j)[:, None], -column * scale**2, 0)
        return jnp.where((rows == j)[:, None], scale, below)

    def step(j: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        panel, factors = state
        row = jax.lax.dynamic_index_in_dim(panel, j)
        kept = (rows != j).astype(panel.dtype)[:, None, None]
        panel = kept * panel + factors[:, None] * row
        return panel, multiples(panel, jnp.minimum(j + 1, len(panel) - 1))

    return jax.lax.fori_loop(0, len(panel), step, (panel, multiples(panel, jnp.asarray(0))))[0]


def _substitute_back(upper: jax.Array, values: jax.Array) -> jax.Array:
    rows = jnp.arange(len(values))
    scale = 1 / jnp.moveaxis(jnp.diagonal(upper), -1, 0)

    def step(index: jax.Array, rest: jax.Array) -> jax.Array:
        j = len(values) - 1 - index
        value = jax.lax.dynamic_index_in_dim(rest, j) * jax.lax.dynamic_index_in_dim(scale, j)[:, None]
        column = jax.lax.dynamic_index_in_dim(upper, j, axis=1, keepdims=False)
        here, above = (each.astype(rest.dtype)[:, None] for each in (rows == j, rows < j))
        return (1 - here)[:, None] * rest + (here - above * column)[:, None] * value

    return jax.lax.fori_loop(0, len(values), step, values)


def _multiply(gram: jax.Array, x: jax.Array) -> jax.Array:
    """Returns gram x, `(size, num_rights, num_pixels)`."""

    @partial(jax.checkpoint, prevent_cse=False)
    def add(total: jax.Array, column: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        entries, values = column
        return total + entries[:, None] * values[None], None

    # Symmetric: its rows are its columns.
    return jax.lax.scan(add, jnp.zeros_like(x), (gram, x))[0]


def _sum(terms: list[jax.Array]) -> jax.Array:
    return sum(terms[1:], terms[0])
