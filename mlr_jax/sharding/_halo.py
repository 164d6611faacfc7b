"""Strips of rows, one for each device, with the halos that their neighbours send."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlr_jax.sharding._mesh import Layout, MeshSplit, layout_on, num_devices, spec


def on_strips(
    function: Callable[..., tuple],
    arguments: tuple,
    takes: Sequence[Layout],
    gives: Sequence[Layout],
    *,
    height: int,
    halo: int,
    split: MeshSplit,
) -> tuple:
    """Calls a function of pictures on strips of them, and joins its results.

    Args:
      function: `arguments` -> a tuple, with as many rows as they have.
      arguments: arrays, or trees of arrays of one layout.
      takes: their layouts.
      gives: the layouts of the results.
      height: of the whole pictures.
      halo: rows above and below that each row of the results depends on.
      split: the mesh and its axes.
    """
    strips = _strips(height, halo, split)
    padded_height = strips.rows * len(strips.starts)

    def pad(tree: Any, layout: Layout) -> Any:
        def pad_leaf(leaf: jax.Array) -> jax.Array:
            missing = [padded_height - height if name == "rows" else 0 for name in layout]
            return jnp.pad(leaf, [(0, each) for each in missing] + [(0, 0)] * (leaf.ndim - len(layout)))

        return jax.tree.map(pad_leaf, tree) if "rows" in layout else tree

    def on_rows(change: Callable, tree: Any, layout: Layout) -> Any:
        if "rows" not in layout:
            return tree
        return jax.tree.map(lambda leaf: change(strips, leaf, layout.index("rows")), tree)

    def call(*blocks: Any) -> tuple:
        results = function(*map(partial(on_rows, _take), blocks, takes))
        return tuple(map(partial(on_rows, _keep), results, gives))

    def cut(tree: Any, layout: Layout) -> Any:
        def cut_leaf(leaf: jax.Array) -> jax.Array:
            whole = leaf
            if "rows" in layout:
                whole = jax.lax.slice_in_dim(leaf, 0, height, axis=layout.index("rows"))
            return jax.lax.with_sharding_constraint(whole, layout_on(whole.shape, layout, split))

        return jax.tree.map(cut_leaf, tree)

    results = jax.shard_map(
        call,
        mesh=split.mesh,
        in_specs=tuple(spec(layout, split) for layout in takes),
        out_specs=tuple(spec(layout, split) for layout in gives),
        # Loops inside begin with constants, which differ between devices only after the first round.
        check_vma=False,
    )(*map(pad, arguments, takes))
    return tuple(map(cut, results, gives))


class _Strips(NamedTuple):
    """Which rows each device needs. Static.

    Attributes:
      axis: of the mesh; None for one strip.
      rows: each device's own rows, from row `rows` times its index on.
      size: rows of a strip, with its halos.
      starts: the first row of each device's strip.
    """

    axis: str | None
    rows: int
    size: int
    starts: tuple[int, ...]


def _strips(height: int, halo: int, split: MeshSplit) -> _Strips:
    num = num_devices(split, "rows")
    rows = -(-height // num)
    size = min(rows + 2 * halo, height)
    starts = tuple(min(max(i * rows - halo, 0), height - size) for i in range(num))
    return _Strips(split.rows, rows, size, starts)


def _take(strips: _Strips, block: jax.Array, axis: int) -> jax.Array:
    """A device's strip, from its own rows along `axis` and those that its neighbours send."""
    num, own = len(strips.starts), strips.rows
    if num == 1:
        return block
    above = max(i * own - start for i, start in enumerate(strips.starts))
    below = max(start + strips.size - (i + 1) * own for i, start in enumerate(strips.starts))
    parts = [block]
    # From several neighbours, where a device has fewer rows than the window's reach.
    for hop in range(1, -(-above // own) + 1):
        count = min(own, above - (hop - 1) * own)
        rows = jax.lax.slice_in_dim(block, own - count, own, axis=axis)
        parts.insert(0, jax.lax.ppermute(rows, strips.axis, [(i, i + hop) for i in range(num - hop)]))
    for hop in range(1, -(-below // own) + 1):
        rows = jax.lax.slice_in_dim(block, 0, min(own, below - (hop - 1) * own), axis=axis)
        parts.append(jax.lax.ppermute(rows, strips.axis, [(i, i - hop) for i in range(hop, num)]))
    index = jax.lax.axis_index(strips.axis)
    start = jnp.asarray(strips.starts)[index] - index * own + above
    return jax.lax.dynamic_slice_in_dim(jnp.concatenate(parts, axis), start, strips.size, axis)


def _keep(strips: _Strips, strip: jax.Array, axis: int) -> jax.Array:
    """A device's own rows of its strip."""
    num, own = len(strips.starts), strips.rows
    if num == 1:
        return strip
    # The last devices may have rows below the picture.
    missing = max(i * own - start for i, start in enumerate(strips.starts)) + own - strips.size
    padding = [(0, max(missing, 0) if i == axis else 0) for i in range(strip.ndim)]
    index = jax.lax.axis_index(strips.axis)
    start = index * own - jnp.asarray(strips.starts)[index]
    return jax.lax.dynamic_slice_in_dim(jnp.pad(strip, padding), start, own, axis)
