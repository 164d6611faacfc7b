"""Pictures in strips of rows, one after the other, so that the data of a strip stay in the cache.

A pixel's regression on a window depends only on the rows that the window reaches. A strip is computed with a
halo of so many rows on either side, which is cut off its result.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

Planes = TypeVar("Planes")
"""A pytree of arrays, each with the rows of a picture along its last but one axis."""


class Plan(NamedTuple):
    """How to cut a picture.

    Attributes:
      rows: of each strip that are kept, at most; a picture no larger than a strip is not cut.
      halo: rows on either side that are computed and cut off.
    """

    rows: int
    halo: int


def map_rows(function: Callable[[jax.Array, int], Planes], height: int, plan: Plan) -> Planes:
    """Computes planes strip by strip.

    Args:
      function: takes the first row of a strip, traced, and its number of rows; returns an array
        `(..., rows, width)` of what lies in the strip, or a pytree of them. Strips at the top and the bottom
        are shifted inwards, so that they end at the picture's border.
      height: of the picture.
      plan: how to cut it.

    Returns:
      The planes, `(..., height, width)`.
    """
    if height <= plan.rows + 2 * plan.halo:
        return function(jnp.asarray(0), height)
    cut = _cut_up(height, plan)

    def compute(index: jax.Array) -> Planes:
        top, start = cut.place(index)
        return _take(function(start, cut.size), top - start, cut.rows)

    def join(strips: jax.Array) -> jax.Array:
        # The last strip reaches back over rows of the one before.
        whole = jnp.moveaxis(strips[:-1], 0, -3)
        whole = whole.reshape(*whole.shape[:-3], -1, whole.shape[-1])
        return jnp.concatenate([whole, strips[-1][..., cut.num * cut.rows - height :, :]], axis=-2)

    return jax.tree.map(join, jax.lax.map(compute, jnp.arange(cut.num)))


def replace_rows(function: Callable[[jax.Array, int, Planes], Planes], planes: Planes, plan: Plan) -> Planes:
    """Replaces planes strip by strip, in place if they are donated to `jax.jit`.

    Args:
      function: takes the first row of a strip, its number of rows, and the strip of all planes; returns the
        new strip. See `map_rows`.
      planes: an array `(..., height, width)`, or a pytree of them.
      plan: how to cut them.

    Returns:
      The new planes.
    """
    height = jax.tree.leaves(planes)[0].shape[-2]
    if height <= plan.rows + 2 * plan.halo:
        return function(jnp.asarray(0), height, planes)
    cut = _cut_up(height, plan)

    def replace(index: jax.Array, planes: Planes) -> Planes:
        top, start = cut.place(index)
        strip = _take(function(start, cut.size, _take(planes, start, cut.size)), top - start, cut.rows)
        # The last strip reaches back over rows that have been replaced.
        is_new = (top + jnp.arange(cut.rows) >= index * cut.rows)[:, None]

        def put(whole: jax.Array, new: jax.Array) -> jax.Array:
            old = jax.lax.dynamic_slice_in_dim(whole, top, cut.rows, axis=whole.ndim - 2)
            return jax.lax.dynamic_update_slice_in_dim(
                whole, jnp.where(is_new, new, old), top, axis=whole.ndim - 2
            )

        return jax.tree.map(put, planes, strip)

    return jax.lax.fori_loop(0, cut.num, replace, planes)


class _Cut(NamedTuple):
    """`num` strips of `rows` rows, and their halos around them: `size` rows each."""

    height: int
    num: int
    rows: int
    halo: int
    size: int

    def place(self, index: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The first row that a strip keeps, and its first row."""
        top = jnp.minimum(index * self.rows, self.height - self.rows)
        return top, jnp.clip(top - self.halo, 0, self.height - self.size)


def _cut_up(height: int, plan: Plan) -> _Cut:
    num = -(-height // plan.rows)
    rows = -(-height // num)
    return _Cut(height, num, rows, plan.halo, min(rows + 2 * plan.halo, height))


def _take(planes: Planes, start: jax.Array, num: int) -> Planes:
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, num, axis=leaf.ndim - 2), planes
    )
