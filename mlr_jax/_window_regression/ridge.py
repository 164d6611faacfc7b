"""From means and covariances around every pixel to its ridge regression's weights.

With the covariances C = sum_n (x_n - m)(x_n - m)^T and c = sum_n (x_n - m)(t_n - m_t) about the means of the
window's pixels and of the target,

    (C + lambda F + k m m^T) w = c + k m_t m,    k = lambda N / (N + lambda),

and the bias is N (m_t - m . w) / (N + lambda): the weights of `masked_ridge.fit` (Khan et al., IJCV 2020),
from whose system the penalised bias is eliminated. Where it is not penalised, k is 0 and the bias is
m_t - m . w. F is the identity, or has a factor for each offset of the window.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax._window_regression import elimination, lines, strips
from mlr_jax._window_regression.linear import WindowLinear, where_solved
from mlr_jax._window_regression.moments import Moments
from mlr_jax._window_regression.regularization import Regularization
from mlr_jax._window_regression.window import Input, Window
from mlr_jax.numerics.materialized import materialized

# Pixels whose statistics stay in a CPU's cache, or nearly so, while their systems are solved.
_STRIP_PIXELS = 2**14
# Inputs up to which systems are small.
_SMALL = 10
# Systems that are solved side by side: enough to be worth a loop, and few enough to stay in the cache; fewer
# if they have many unknowns.
_MANY_SYSTEMS = 128
_FEW_SYSTEMS = 64
_MANY_UNKNOWNS = 64


Planes = TypeVar("Planes")
"""A pytree of arrays, each with pixels along its last axis or axes."""


def solve(
    moments: Moments,
    window: Window,
    num_pairs: jax.Array,
    regularization: Regularization,
) -> WindowLinear:
    """Solves every pixel's ridge problem.

    Args:
      moments: of the pairs.
      window: which they were made for.
      num_pairs: (), N.
      regularization: of its pixels.

    Returns:
      The map. Pixels whose system is not positive definite in its precision fall back to their mean.
    """
    height, width = moments.input_mean.shape[1:]
    out_channels = len(moments.target_mean)
    penalty, factors = jnp.asarray(regularization.penalty), regularization.factors
    share = regularization.bias_share(num_pairs)
    bias_weight = penalty * share if regularization.penalize_bias else jnp.zeros_like(penalty)
    systems = _systems(moments, window)
    size = len(systems.inputs)
    channels_of_one = size // len(window.offsets)
    scales = jnp.ones(size, penalty.dtype) if factors is None else factors.repeat(channels_of_one)
    layout = systems.layout
    # Between the rows, the fill makes systems solvable.
    planes = jnp.concatenate([penalty[None], bias_weight[None], moments.target_mean])
    line = lines.flatten(planes, layout, fill=1)

    @partial(jax.checkpoint, prevent_cse=False)
    def solve_some(index: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """A segment's weights, their prediction of the means, and which systems are solved."""

        def pick(start: jax.Array) -> tuple[jax.Array, ...]:
            here = jax.lax.dynamic_slice_in_dim(line, start, systems.num_pixels, axis=1)
            return *systems.pick(start), here

        start = systems.start(index)
        covariances, mean, is_inside, crosses, here = materialized(index >= 0, pick, start)
        penalty, bias_weight, target_mean = here[0], here[1], here[2:]
        weighted = bias_weight[None] * mean
        # Inputs outside the picture get a unit diagonal: no coupling, and so a weight of 0.
        diagonal = jnp.where(is_inside, scales[:, None] * penalty[None], 1)
        ridge = jnp.eye(size, dtype=diagonal.dtype)[:, :, None] * diagonal[:, None]
        gram = covariances + weighted[:, None] * mean[None] + ridge
        right = crosses + weighted[:, None] * target_mean[None]
        weights, solved = elimination.solve(gram, right)
        return weights, jnp.sum(weights * mean[:, None], axis=0), solved

    weights, seen, solved = systems.on_all(solve_some)
    bias, fallback = share[None] * (moments.target_mean - seen), share[None] * moments.target_mean
    shape = (len(window.offsets), channels_of_one, out_channels, height, width)
    weights = jnp.moveaxis(weights.reshape(shape), 2, 0)
    return where_solved(weights, bias, solved[None], fallback)


def squared_error(moments: Moments, window: Window, num_pairs: jax.Array, params: WindowLinear) -> jax.Array:
    """The squared error of a map, summed over pairs, see `window_statistics.squared_error`.

    Args:
      moments: of the pairs.
      window: which they were made for.
      num_pairs: (), N.
      params: any map on that window.

    Returns:
      `(out_channels, height, width)`.
    """
    in_channels, height, width = moments.input_mean.shape
    out_channels = len(moments.target_mean)
    layout = lines.Layout(height, width, *window.reach)
    table = window.lag_table(in_channels, out_channels)
    inputs, entries = table.inputs, table.gram_entries
    # C is symmetric: entries beside its diagonal count twice.
    rows, columns = np.triu_indices(len(inputs))
    upper = [entries[row][column] for row, column in zip(rows, columns, strict=True)]
    places = np.array([(entry.lag, layout.shift(entry.dy, entry.dx)) for entry in upper])
    times = jnp.asarray(np.where(rows == columns, 1, 2), moments.products.dtype)
    shifts = np.array([(each.channel, layout.shift(each.dy, each.dx)) for each in inputs])
    products = lines.flatten(moments.products, layout)
    means = lines.flatten(moments.input_mean, layout)

    def here(planes: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(planes, layout.margin, layout.length, axis=-1)

    def around(planes: jax.Array, place: jax.Array) -> jax.Array:
        """One of the planes, moved."""
        return jax.lax.dynamic_slice(planes, (place[0], layout.margin + place[1]), (1, layout.length))

    crosses = here(lines.flatten(_crosses(moments, window), layout))
    weights = jnp.moveaxis(params.weights, 0, 2).reshape(len(inputs), out_channels, height, width)
    own = here(lines.flatten(weights, layout))  # (num_inputs, out_channels, pixels)

    # One entry after the other: the sum stays in the cache.
    @partial(jax.checkpoint, prevent_cse=False)
    def add_product(total: jax.Array, entry: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        """An entry's part of w^T C w."""
        place, row, column, factor = entry
        return total + factor * around(products, place) * own[row] * own[column], None

    @partial(jax.checkpoint, prevent_cse=False)
    def add_input(
        totals: tuple[jax.Array, jax.Array], entry: tuple[jax.Array, ...]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        """An input's part of w . c and of w . m."""
        shift, weight, cross = entry
        return (totals[0] + weight * cross, totals[1] + weight * around(means, shift)), None

    zero = jnp.zeros((out_channels, layout.length), products.dtype)
    every = (jnp.asarray(places), jnp.asarray(rows), jnp.asarray(columns), times)
    quadratic, _ = jax.lax.scan(add_product, zero, every)
    (linear, seen), _ = jax.lax.scan(add_input, (zero, zero), (jnp.asarray(shifts), own, crosses))
    explained = quadratic - 2 * linear
    squares = moments.products[jnp.asarray(table.square_entries)]
    missing = moments.target_mean - params.bias - lines.unflatten(seen, layout)
    error = squares + lines.unflatten(explained, layout) + num_pairs * missing**2
    return jnp.maximum(error, 0)


def plan(window: Window, in_channels: int, width: int) -> strips.Plan:
    """How `solve` cuts a picture, if an offset sees `in_channels`.

    Large systems are solved for a few pixels at a time anyway: then larger strips only take more memory.
    """
    halo = window.reach[0]
    is_small = len(window.offsets) * in_channels <= _SMALL
    pixels = _STRIP_PIXELS if is_small else 4 * _STRIP_PIXELS
    return strips.Plan(max(1, pixels // width - 2 * halo, 8 * halo), halo)


class _Systems(NamedTuple):
    """The systems of all pixels, along a line of rows that is cut into segments of `num_pixels`.

    Attributes:
      layout: of the line, with as many rows below the picture as it takes to fill the last segment.
      height: of the picture.
      num_segments: of the line.
      num_pixels: of a segment.
      inputs: of each system.
      pick: (first pixel of a segment, a place on the line) -> covariances of the inputs `(size, size,
        num_pixels)`, their means `(size, num_pixels)`, whether they are inside the picture, and their
        covariances with the targets `(size, out_channels, num_pixels)`.
    """

    layout: lines.Layout
    height: int
    num_segments: int
    num_pixels: int
    inputs: tuple[Input, ...]
    pick: Callable[[jax.Array], tuple[jax.Array, jax.Array, jax.Array, jax.Array]]

    def start(self, index: jax.Array) -> jax.Array:
        """Where a segment begins on the line."""
        return self.layout.margin + index * self.num_pixels

    def on_all(self, function: Callable[[jax.Array], Planes]) -> Planes:
        """Joins a function's results `(..., num_pixels)` for all segments to `(..., height, width)`."""

        def join(segments: jax.Array) -> jax.Array:
            layout = self.layout._replace(height=self.height)
            line = jnp.moveaxis(segments, 0, -2).reshape(*segments.shape[1:-1], -1)
            return lines.unflatten(line[..., : layout.length], layout)

        return jax.tree.map(join, jax.lax.map(function, jnp.arange(self.num_segments)))


def _systems(moments: Moments, window: Window) -> _Systems:
    in_channels, height, width = moments.input_mean.shape
    out_channels = len(moments.target_mean)
    table = window.lag_table(in_channels, out_channels)
    inputs = table.inputs
    size = len(inputs)
    many = _MANY_SYSTEMS if size <= _MANY_UNKNOWNS else _FEW_SYSTEMS
    layout = lines.Layout(height, width, *window.reach)
    num_segments = -(-layout.length // many)
    num_pixels = -(-layout.length // num_segments)
    missing = num_segments * num_pixels - layout.length
    layout = layout._replace(height=height + -(-missing // layout.stride))
    gram_places = jnp.asarray(
        [(entry.lag, layout.shift(entry.dy, entry.dx)) for row in table.gram_entries for entry in row]
    )
    cross_places = jnp.asarray([(lag, 0) for lags in table.cross_entries for lag in lags])
    shifts = [(each.channel, layout.shift(each.dy, each.dx)) for each in inputs]
    mean_places = jnp.asarray([*shifts, *((in_channels, shift) for _, shift in shifts)])
    products = lines.flatten(moments.products, layout)
    # One more plane marks the inside of the picture.
    inside = jnp.ones((1, height, width), products.dtype)
    means = lines.flatten(jnp.concatenate([moments.input_mean, inside]), layout)

    def pick(start: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        def rows(planes: jax.Array, places: jax.Array) -> jax.Array:
            """Rows of some planes, each moved by its own offset."""
            return jax.vmap(
                lambda place: jax.lax.dynamic_slice(
                    planes, (place[0], start + place[1]), (1, num_pixels), allow_negative_indices=False
                )[0]
            )(places)

        means_and_inside = rows(means, mean_places)
        return (
            rows(products, gram_places).reshape(size, size, num_pixels),
            means_and_inside[:size],
            means_and_inside[size:] > 0,
            rows(products, cross_places).reshape(size, out_channels, num_pixels),
        )

    return _Systems(layout, height, num_segments, num_pixels, inputs, pick)


def _crosses(moments: Moments, window: Window) -> jax.Array:
    """`(num_inputs, out_channels, height, width)`: covariances of inputs with targets."""
    table = window.lag_table(len(moments.input_mean), len(moments.target_mean))
    return moments.products[jnp.asarray(table.cross_entries)]
