"""Pictures in strips of rows, one after the other: what a strip needs stays in the cache, and in memory.

A pixel's regression on a window depends on the rows around it only. A strip with so many rows more on
either side is a picture of its own; of its result, the rows around are thrown away.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

Planes = TypeVar("Planes")


def map_rows(function: Callable[[jax.Array, int], Planes], height: int, *, rows: int, halo: int) -> Planes:
    """Computes planes strip by strip.

    Args:
      function: takes the first row of a strip, traced, and its number of rows; returns an array
        `(..., rows, width)` of what lies in the strip, or a pytree of them. Strips are shifted inwards at the
        top and the bottom, so that only there they end where the picture ends.
      height: of the picture.
      rows: of each strip that are kept, at most; and the whole picture, if it is no larger than a strip.
      halo: rows that are computed around them for nothing.

    Returns:
      The planes, `(..., height, width)`.
    """
    if height <= rows + 2 * halo:
        return function(jnp.asarray(0), height)
    num = -(-height // rows)
    rows = -(-height // num)
    size = min(rows + 2 * halo, height)

    def kept(index: jax.Array) -> Planes:
        top = jnp.minimum(index * rows, height - rows)
        start = jnp.clip(top - halo, 0, height - size)
        return jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, top - start, rows, axis=leaf.ndim - 2),
            function(start, size),
        )

    def join(strips: jax.Array) -> jax.Array:
        # The last strip reaches back over rows of the one before.
        whole = jnp.moveaxis(strips[:-1], 0, -3)
        whole = whole.reshape(*whole.shape[:-3], -1, whole.shape[-1])
        return jnp.concatenate([whole, strips[-1][..., num * rows - height :, :]], axis=-2)

    return jax.tree.map(join, jax.lax.map(kept, jnp.arange(num)))
