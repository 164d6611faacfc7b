"""Meshes: which of their axes split pairs and rows, and how arrays lie on them."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike, DTypeLike

from mlr_jax import checks
from mlr_jax._window_regression import regularization
from mlr_jax._window_regression.regularization import Regularization
from mlr_jax.window_statistics import WindowStatistics

# Which axes of an array are split, by the fields of `MeshSplit`.
Layout = tuple[str | None, ...]
PICTURES: Layout = ("pairs", "rows")
PLANES: Layout = (None, "rows")
PIXELS: Layout = ("rows",)
WEIGHTS: Layout = (None, None, None, "rows")
EACH: Layout = ("pairs",)

AXES = ("num", "height", "width", "channels")


class MeshSplit(NamedTuple):
    """A mesh, and those of its axes over which pairs and rows are split. Static."""

    mesh: Mesh
    pairs: str | None
    rows: str | None


def split_of(where: str, mesh: Mesh, pairs: str | None, rows: str | None) -> MeshSplit:
    """The mesh and those of its axes that a caller names, after checking them."""
    if not isinstance(mesh, Mesh):
        raise TypeError(f"{where}: mesh must be a jax.sharding.Mesh, not a {type(mesh).__name__}")
    for name, axis in (("pairs", pairs), ("rows", rows)):
        if axis is not None and axis not in mesh.axis_names:
            raise checks.InputError(
                f"{where}: {name} is {axis!r}, but the mesh has the axes {', '.join(map(repr, mesh.shape))}"
            )
    if pairs is not None and pairs == rows:
        raise checks.InputError(f"{where}: pairs and rows are both {pairs!r}; they need an axis each")
    if AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
        raise checks.InputError(
            f"{where}: the mesh of jax.set_mesh has explicit axes; make it with "
            "axis_types=(jax.sharding.AxisType.Auto, ...)"
        )
    return MeshSplit(Mesh(mesh.devices, mesh.axis_names), pairs, rows)


def num_devices(split: MeshSplit, name: str | None) -> int:
    """The number of parts into which an axis of a layout is split."""
    axis = None if name is None else getattr(split, name)
    return 1 if axis is None else split.mesh.shape[axis]


def spec(layout: Layout, split: MeshSplit) -> PartitionSpec:
    """How an array of that layout is partitioned."""
    return PartitionSpec(*(name and getattr(split, name) for name in layout))


def layout_on(shape: Sequence[int], layout: Layout, split: MeshSplit) -> NamedSharding:
    """How an array lies on the mesh: whole where the devices do not divide it, as JAX requires."""
    divided = tuple(
        name if size % num_devices(split, name) == 0 else None
        for size, name in zip(shape, layout, strict=False)
    )
    return NamedSharding(split.mesh, spec(divided, split))


def place(array: ArrayLike, layout: Layout, split: MeshSplit) -> jax.Array:
    """Puts an array onto the mesh."""
    return jax.device_put(array, layout_on(np.shape(array), layout, split))


def place_statistics(statistics: WindowStatistics, split: MeshSplit) -> WindowStatistics:
    """Puts statistics onto the mesh, split by rows."""
    planes = jax.tree.map(partial(place, layout=PLANES, split=split), statistics)
    return planes._replace(num_pairs=place(statistics.num_pairs, (), split))


def as_pictures(where: str, name: str, pictures: ArrayLike, split: MeshSplit) -> jax.Array:
    """Pictures on the mesh, after checking that they are floating point of the right rank."""
    # Placed first, so that no device needs to hold all of them.
    placed = place(pictures, PICTURES, split) if np.ndim(pictures) == len(AXES) else pictures
    return checks.as_floating(where, name, placed, AXES)


def as_regularization(
    where: str,
    penalty: ArrayLike,
    size: tuple[int, ...],
    dtype: DTypeLike,
    split: MeshSplit,
    *,
    penalize_bias: bool,
) -> Regularization:
    """The regularisation on the mesh, after checking it."""
    options = regularization.checked(where, penalty, size, dtype, penalize_bias=penalize_bias)
    return jax.tree.map(partial(place, layout=PIXELS, split=split), options)
