"""From sums over pairs to means and covariances."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlr_jax._window_regression.statistics import WindowStatistics, lag_table
from mlr_jax._window_regression.window import Window


class Moments(NamedTuple):
    """Means and, times the number of pairs, covariances.

    Attributes:
      input_mean: `(in_channels, height, width)`.
      target_mean: `(out_channels, height, width)`.
      products: `(num_lags, height, width)`, the lag images of centred pictures.
    """

    input_mean: jax.Array
    target_mean: jax.Array
    products: jax.Array


def of_statistics(statistics: WindowStatistics) -> Moments:
    """Means and covariances for the window of the statistics."""
    height, width = statistics.input_centre.shape[1:]
    table = lag_table(statistics)
    reach_y, reach_x = table.reach
    inputs = statistics.input_sum.high + statistics.input_sum.low
    targets = statistics.target_sum.high + statistics.target_sum.low
    both = jnp.concatenate([inputs, targets])
    # One more plane says where a lag stays inside.
    planes = jnp.concatenate([both, jnp.ones_like(inputs[:1])])
    padded = jnp.pad(planes, ((0, 0), (reach_y, reach_y), (reach_x, reach_x)))

    def centre(lag_image: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        (left, right, dy, dx), high, low = lag_image

        def shifted(channel: jax.Array | int) -> jax.Array:
            start = channel, reach_y + dy, reach_x + dx
            return jax.lax.dynamic_slice(padded, start, (1, height, width))[0]

        # The centres are near the means, so that little cancels here.
        product = (high - both[left] * shifted(right) / statistics.num_pairs) + low
        # The sums of a strip include products with the rows below it. They must not couple the systems of its
        # last rows, which belong to the halo, to rows outside the strip: these would be indefinite.
        return shifted(len(both)) * product

    products = jax.lax.map(centre, (jnp.asarray(table.lags), *statistics.products))
    return Moments(
        statistics.input_centre + inputs / statistics.num_pairs,
        statistics.target_centre + targets / statistics.num_pairs,
        products,
    )


def restrict(moments: Moments, window: Window, smaller: Window) -> Moments:
    """The moments for a smaller window, all of whose offsets `window` has."""
    if window == smaller:
        return moments
    table = window.lag_table(len(moments.input_mean), len(moments.target_mean))
    channels, chosen = table.places_of(smaller)
    return Moments(moments.input_mean[channels], moments.target_mean, moments.products[chosen])
