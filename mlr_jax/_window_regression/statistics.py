"""The sums over pairs that are sufficient for every regression on a window and on all windows inside it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mlr_jax._window_regression.window import LagTable, Window
from mlr_jax.numerics import compensated
from mlr_jax.numerics.compensated import Sum
from mlr_jax.numerics.serialization import exported


@exported
class WindowStatistics(NamedTuple):
    """The sums over all pairs.

    Attributes:
      window: the largest window that they serve. Static.
      num_pairs: (), how many, or the sum of their weights; in float32 exact up to 2^24.
      input_centre: `(in_channels, height, width)`, subtracted from the inputs before they are multiplied.
      target_centre: `(out_channels, height, width)`.
      input_sum: `(in_channels, height, width)`, of the centred inputs.
      target_sum: `(out_channels, height, width)`.
      products: `(num_lags, height, width)`, the lag images: of inputs with inputs, of targets with inputs,
        and of targets with themselves. 0 where a lag leaves the picture.
    """

    window: Window
    num_pairs: jax.Array
    input_centre: jax.Array
    target_centre: jax.Array
    input_sum: Sum
    target_sum: Sum
    products: Sum


def empty(
    window: Window, input_centre: jax.Array, target_centre: jax.Array, *, dtype: DTypeLike
) -> WindowStatistics:
    """Statistics of no pairs.

    Args:
      window: the largest to solve for.
      input_centre: `(in_channels, height, width)`.
      target_centre: `(out_channels, height, width)`.
      dtype: of the sums.
    """
    (in_channels, height, width), out_channels = input_centre.shape, len(target_centre)

    def zeros(num: int) -> Sum:
        # Two arrays, since each may be donated.
        return Sum(*(jnp.zeros((num, height, width), dtype) for _ in Sum._fields))

    num_lags = len(window.lag_table(in_channels, out_channels).lags)
    return WindowStatistics(
        window,
        jnp.zeros((), dtype),
        input_centre,
        target_centre,
        zeros(in_channels),
        zeros(out_channels),
        zeros(num_lags),
    )


def combine(first: WindowStatistics, second: WindowStatistics, sign: int) -> WindowStatistics:
    """The sums of the first plus or minus those of the second; of one window, size and centres."""

    def add(one: Sum, other: Sum) -> Sum:
        return compensated.join(one, other if sign > 0 else compensated.negate(other))

    return first._replace(
        num_pairs=first.num_pairs + sign * second.num_pairs,
        input_sum=add(first.input_sum, second.input_sum),
        target_sum=add(first.target_sum, second.target_sum),
        products=add(first.products, second.products),
    )


def restrict(statistics: WindowStatistics, window: Window) -> WindowStatistics:
    """The statistics for a smaller window, or for the same in another order."""
    if window == statistics.window:
        return statistics
    channels, chosen = lag_table(statistics).places_of(window)
    return statistics._replace(
        window=window,
        input_centre=statistics.input_centre[channels],
        input_sum=Sum(*(part[channels] for part in statistics.input_sum)),
        products=Sum(*(part[chosen] for part in statistics.products)),
    )


def lag_table(statistics: WindowStatistics) -> LagTable:
    """The lag table of the window and the channels of the statistics."""
    return statistics.window.lag_table(statistics.input_centre.shape[-3], statistics.target_centre.shape[-3])


def in_channels(statistics: WindowStatistics) -> int:
    """Channels that each offset of the window sees."""
    return statistics.input_centre.shape[-3] // statistics.window.num_views


def cut_rows(planes: jax.Array, *, start: jax.Array, size: int) -> jax.Array:
    """Some rows of `(..., height, width)`; a number as it is."""
    if planes.ndim < 2:
        return planes
    return jax.lax.dynamic_slice_in_dim(planes, start, size, axis=planes.ndim - 2)
