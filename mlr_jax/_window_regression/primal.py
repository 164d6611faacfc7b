"""From statistics to every pixel's weights and errors, strip by strip."""

from functools import partial

import jax

from mlr_jax._window_regression import moments, ridge, statistics as sums, strips
from mlr_jax._window_regression.linear import WindowLinear
from mlr_jax._window_regression.regularization import Regularization
from mlr_jax._window_regression.statistics import WindowStatistics
from mlr_jax._window_regression.window import Window


@jax.jit
def solve(statistics: WindowStatistics, window: Window, regularization: Regularization) -> WindowLinear:
    """The solutions for a window inside that of the statistics."""
    restricted = sums.restrict(statistics, window)

    def solve_strip(start: jax.Array, size: int) -> WindowLinear:
        strip, own = jax.tree.map(
            partial(sums.cut_rows, start=start, size=size), (restricted, regularization)
        )
        return ridge.solve(moments.of_statistics(strip), window, strip.num_pairs, own)

    return strips.map_rows(solve_strip, statistics.input_centre.shape[1], _plan(restricted))


@jax.jit
def squared_error(statistics: WindowStatistics, params: WindowLinear, window: Window) -> jax.Array:
    """The squared error of a map, summed over the pairs: `(out_channels, height, width)`."""
    restricted = sums.restrict(statistics, window)

    def measure_strip(start: jax.Array, size: int) -> jax.Array:
        strip, own = jax.tree.map(partial(sums.cut_rows, start=start, size=size), (restricted, params))
        return ridge.squared_error(moments.of_statistics(strip), window, strip.num_pairs, own)

    return strips.map_rows(measure_strip, statistics.input_centre.shape[1], _plan(restricted))


def _plan(statistics: WindowStatistics) -> strips.Plan:
    return ridge.plan(statistics.window, sums.in_channels(statistics), statistics.input_centre.shape[2])
