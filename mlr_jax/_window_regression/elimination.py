"""The small linear systems of many pixels, solved side by side with the pixel axis last.

Every number of the elimination is a row over pixels, so that each loop runs along contiguous memory whatever
the size of the systems. It avoids LAPACK calls and their overhead (`cholesky` says why).
The matrix is cut into at most four panels of rows, which bounds the size of the program. A panel's diagonal
block is inverted by a loop over its rows; the rest is sums of products of whole panels.
experiments/BENCHMARKS.md compares alternatives.
Derivatives pass through the solution, not through the elimination.
"""

from functools import partial

import jax
import jax.numpy as jnp

from mlr_jax.numerics import cholesky
from mlr_jax.numerics.materialized import materialized

# Rows of a panel, unless there would be too many panels: each is compiled separately.
_PANEL = 13
_MAX_PANELS = 4

_row = partial(jax.lax.dynamic_index_in_dim, keepdims=False, allow_negative_indices=False)


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
    """Solutions, 0 where elimination failed, and where it succeeded; derivatives are solutions, too."""
    finite = jnp.isfinite(solutions).all(axis=(0, 1))
    return jnp.where(finite[None, None], solutions, 0), finite


def _solve(gram: jax.Array, right: jax.Array) -> jax.Array:
    """Elimination by panels of rows, the right sides with them; then back substitution."""
    size = len(right)
    least = cholesky.least_pivots(jnp.moveaxis(jnp.diagonal(gram), -1, 0))
    # The rest of the systems, and the right sides: (rows, columns + num_rights, pixels).
    rest = jnp.concatenate([gram, right], axis=1)
    if size <= _PANEL:
        return _reduce(rest, least)[:, size:]
    num_panels = min(_MAX_PANELS, -(-size // _PANEL))
    height = -(-size // num_panels)
    panels = []
    for start in range(0, size, height):
        num = min(height, size - start)
        step, inverse = _invert(rest[:num, :num], least[start : start + num])
        is_run = step >= num
        panel = materialized(is_run, _reduced_rows, inverse, rest)
        panels.append(panel)
        if start + num < size:
            rest = materialized(is_run, _eliminated, rest, panel)
    solution = panels[-1]
    for panel in reversed(panels[:-1]):
        solution = materialized(is_run, _substituted_back, panel, solution)
    return solution


def _reduce(rows: jax.Array, least: jax.Array) -> jax.Array:
    """Gauss-Jordan elimination of `(size, size + num_rights, pixels)`: the solutions are the last columns."""
    places = jnp.arange(len(rows))

    def prepare(j: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Row j, the factors with which it is added to each row, and which rows are kept."""
        row, column = _row(rows, j), _row(rows, j, 1)
        scale = _inverse_pivot(_row(row, j), _row(least, j))
        here = (places == j)[:, None]
        return row, jnp.where(here, scale[None], -column * scale[None]), _kept(here, column)

    def step(j: jax.Array, rows: jax.Array) -> jax.Array:
        row, factors, kept = materialized(j >= 0, prepare, j, rows)
        return kept[:, None] * rows + factors[:, None] * row[None]

    return jax.lax.fori_loop(0, len(rows), step, rows)


def _invert(block: jax.Array, least: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The number of steps, and the inverses of symmetric matrices `(num, num, pixels)`, in their place.

    NaN where a pivot is less than `least`, `(num, pixels)`.
    """
    places = jnp.arange(len(block))

    def prepare(j: jax.Array, block: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The two vectors whose product is subtracted, and which rows and columns are kept."""
        row, column = _row(block, j), _row(block, j, 1)
        scale = _inverse_pivot(_row(row, j), _row(least, j))
        here = (places == j)[:, None]
        return (
            jnp.where(here, -1, column),
            jnp.where(here, 1, row) * scale[None],
            _kept(here, column),
        )

    def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        j, block = state
        left, right, kept = materialized(j >= 0, prepare, j, block)
        return j + 1, kept[:, None] * kept[None] * block - left[:, None] * right[None]

    # The loop returns its counter, which `materialized` needs.
    return jax.lax.while_loop(lambda state: state[0] < len(block), step, (jnp.asarray(0), block))


def _inverse_pivot(pivot: jax.Array, least: jax.Array) -> jax.Array:
    return 1 / jnp.where(pivot > least, pivot, jnp.nan)


def _kept(here: jax.Array, like: jax.Array) -> jax.Array:
    return jnp.where(here, 0, jnp.ones_like(like))


def _reduced_rows(inverse: jax.Array, rest: jax.Array) -> jax.Array:
    """The inverse of the first diagonal block times the first rows: `(num, columns after it, pixels)`."""
    num = len(inverse)
    return _sum([inverse[:, k][:, None] * rest[k, num:][None] for k in range(num)])


def _eliminated(rest: jax.Array, panel: jax.Array) -> jax.Array:
    """The systems without the unknowns of a panel: its Schur complement."""
    num, size = len(panel), len(rest)
    return rest[num:, num:] - _sum([rest[k, num:size][:, None] * panel[k][None] for k in range(num)])


def _substituted_back(panel: jax.Array, solution: jax.Array) -> jax.Array:
    """The solutions for a panel's unknowns and those after it, which are known."""
    num = len(solution)
    known = _sum([panel[:, k][:, None] * solution[k][None] for k in range(num)])
    return jnp.concatenate([panel[:, num:] - known, solution])


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
