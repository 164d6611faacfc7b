"""`sharding.update` and `sharding.solve`: sums over pairs, and solutions from them, on many devices."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import ArrayLike

from mlr_jax import checks, window_statistics, windows
from mlr_jax._window_regression import accumulation, primal, statistics as sums_over_pairs
from mlr_jax._window_regression.regularization import Regularization
from mlr_jax.numerics.compensated import Sum
from mlr_jax.sharding._halo import on_strips
from mlr_jax.sharding._mesh import (
    PICTURES,
    PIXELS,
    PLANES,
    WEIGHTS,
    MeshSplit,
    as_pictures,
    as_regularization,
    num_devices,
    place_statistics,
    split_of,
)
from mlr_jax.window_linear import WindowLinear
from mlr_jax.window_statistics import WindowStatistics


def update(
    statistics: WindowStatistics,
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    mesh: Mesh,
    pairs: str | None = None,
    rows: str | None = None,
) -> WindowStatistics:
    """Adds pairs: `window_statistics.update` on many devices.

    The devices' sums are joined with their compensation: no digit is lost that one device would keep.

    Args:
      statistics: so far.
      inputs: `(num, height, width, in_channels)` floating point.
      targets: `(num, height, width, out_channels)` floating point.
      mesh: of the devices.
      pairs: its axis over which the pairs are split, if any.
      rows: its axis over which the rows are split, if any.

    Returns:
      The statistics with these pairs, each device holding its own rows. They equal those of one device, and
      work with all functions of `window_statistics`; if they are split over rows, `sharding.solve` is faster.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, a value is NaN, or the mesh has no such axis.
    """
    where = "sharding.update"
    split = split_of(where, mesh, pairs, rows)
    inputs = as_pictures(where, "inputs", inputs, split)
    targets = as_pictures(where, "targets", targets, split)
    window_statistics.check_pairs(statistics, where, inputs, targets)
    dtype = statistics.num_pairs.dtype
    statistics = place_statistics(statistics, split)
    return add(statistics, inputs.astype(dtype), targets.astype(dtype), split=split)


def solve(
    statistics: WindowStatistics,
    window: windows.Window,
    penalty: ArrayLike,
    *,
    mesh: Mesh,
    rows: str | None = None,
    penalize_bias: bool = True,
) -> WindowLinear:
    """Solves every pixel's ridge problem: `window_statistics.solve` on many devices.

    Args:
      statistics: of the pairs, from either `update`.
      window: any whose offsets are among those of `statistics.window`.
      penalty: lambda >= 0, one for all or `(height, width)`.
      mesh: of the devices.
      rows: its axis over which the rows are split, if any.
      penalize_bias: whether the penalty includes the bias, as published.

    Returns:
      The map, each device holding its own rows.

    Raises:
      TypeError: the window is no `windows.Window`.
      InputError: the window is not inside that of the statistics, there are no pairs, the penalty is negative
        or of another shape, or the mesh has no such axis.
    """
    where = "sharding.solve"
    split = split_of(where, mesh, None, rows)
    size = statistics.input_centre.shape[1:]
    windows.check(window, where, *size)
    window_statistics.check_inside(where, window, statistics)
    options = as_regularization(
        where, penalty, size, statistics.num_pairs.dtype, split, penalize_bias=penalize_bias
    )
    window_statistics.check_not_empty(where, statistics)
    params = solve_window(place_statistics(statistics, split), window, options, split=split)
    assert params.solved is not None
    checks.warn_unsolved(where, params.solved)
    return params


@partial(jax.jit, static_argnames="split")
def add(
    statistics: WindowStatistics, inputs: jax.Array, targets: jax.Array, *, split: MeshSplit
) -> WindowStatistics:
    """Adds pairs that lie on the mesh."""
    num, height = inputs.shape[:2]
    window = statistics.window
    devices = num_devices(split, "pairs")
    missing = -num % devices

    def fill(pictures: jax.Array, centre: jax.Array) -> jax.Array:
        """Appends pictures equal to the centre, which add nothing to the sums."""
        nothing = jnp.broadcast_to(jnp.moveaxis(centre, 0, -1)[None], (missing, *pictures.shape[1:]))
        return jnp.concatenate([pictures, nothing])

    def add_up(input_centre: jax.Array, target_centre: jax.Array, *pair: jax.Array) -> tuple:
        inputs, targets = pair
        empty = sums_over_pairs.empty(window, input_centre, target_centre, dtype=inputs.dtype)
        sums = sums_of(accumulation.update(empty, inputs, targets))
        return (sums if split.pairs is None else psum(sums, split.pairs, devices),)

    (sums,) = on_strips(
        add_up,
        (
            statistics.input_centre,
            statistics.target_centre,
            fill(inputs, statistics.input_centre),
            fill(targets, statistics.target_centre),
        ),
        (PLANES, PLANES, PICTURES, PICTURES),
        (PLANES,),
        height=height,
        # A product pairs rows that are at most as far apart as two offsets.
        halo=2 * window.reach[0],
        split=split,
    )
    part = with_sums(statistics, jnp.full_like(statistics.num_pairs, num), sums)
    return place_statistics(sums_over_pairs.combine(statistics, part, 1), split)


@partial(jax.jit, static_argnames="split")
def solve_window(
    statistics: WindowStatistics, window: windows.Window, regularization: Regularization, *, split: MeshSplit
) -> WindowLinear:
    """The solutions from statistics that lie on the mesh."""
    centres = statistics.input_centre, statistics.target_centre

    def solve_strip(num_pairs: jax.Array, centres: tuple, sums: Any, own: Regularization) -> tuple:
        strip = statistics._replace(input_centre=centres[0], target_centre=centres[1])
        return primal.solve(with_sums(strip, num_pairs, sums), window, own)

    return WindowLinear(
        *on_strips(
            solve_strip,
            (statistics.num_pairs, centres, sums_of(statistics), regularization),
            ((), PLANES, PLANES, PIXELS),
            (WEIGHTS, PLANES, PLANES),
            height=statistics.input_centre.shape[1],
            halo=window.reach[0],
            split=split,
        )
    )


def sums_of(statistics: WindowStatistics) -> tuple[Sum, Sum, Sum]:
    """The arrays that add up over devices."""
    return statistics.input_sum, statistics.target_sum, statistics.products


def with_sums(
    statistics: WindowStatistics, num_pairs: jax.Array, sums: tuple[Sum, Sum, Sum]
) -> WindowStatistics:
    """The statistics with other sums."""
    return statistics._replace(num_pairs=num_pairs, input_sum=sums[0], target_sum=sums[1], products=sums[2])


def psum(sums: tuple[Sum, ...], axis: str, devices: int) -> tuple[Sum, ...]:
    """Adds up the devices' sums along an axis without losing the rounding errors of `psum`.

    Each number is split into a multiple of a common unit and a rest. The unit is so large that the multiples
    add up without rounding in any order; the rest is added to the low parts (Rump, Ogita and Oishi, SISC
    2008).
    """

    def add_up(total: Sum) -> Sum:
        largest = jax.lax.pmax(jnp.abs(jax.lax.stop_gradient(total.high)), axis)
        exponent = jnp.frexp(largest)[1] + (devices + 1).bit_length()
        anchor = jnp.ldexp(jnp.ones_like(largest), exponent)
        high = (total.high + anchor) - anchor
        return Sum(jax.lax.psum(high, axis), jax.lax.psum((total.high - high) + total.low, axis))

    return tuple(map(add_up, sums))
