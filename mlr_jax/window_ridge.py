"""From means and covariances around every pixel to its ridge regression's weights.

With the covariances C = sum_n (x_n - m)(x_n - m)^T and c = sum_n (x_n - m)(t_n - m_t) about the means of the
window's pixels and of the target,

    (C + lambda F + k m m^T) w = c + k m_t m,    k = lambda N / (N + lambda),

and the bias is N (m_t - m . w) / (N + lambda): the weights of `masked_ridge.fit` (Khan et al., IJCV 2020),
from whose system the penalised bias is eliminated. Where it is not penalised, k is 0 and the bias is
m_t - m . w. F is the identity, or has a factor of its own for each offset of the window.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax import lag_images, masks, window_linear
from mlr_jax.numerics import lines, pixel_systems, strips
from mlr_jax.window_linear import WindowLinear

# Inputs of a pixel up to which the elimination is written out, every number of it a plane.
_UNROLLED = 10
# Pixels of planes that stay in a CPU's cache.
_CACHED_PIXELS = 2**15
# Of larger systems that are solved side by side, so that they stay in the cache; up to so many more bytes, if
# there would be too few of them for loops that are worth starting.
_SYSTEMS_BYTES = 2**20
_MOST_BYTES = 2**22
_MANY_SYSTEMS = 128
_FEWEST_SYSTEMS = 32


class Moments(NamedTuple):
    """Means and, times the number of pairs, covariances.

    Attributes:
      input_mean: `(in_channels, height, width)`.
      target_mean: `(out_channels, height, width)`.
      products: `(num_lags, height, width)`, the lag images of what is centred.
    """

    input_mean: jax.Array
    target_mean: jax.Array
    products: jax.Array


def solve(
    moments: Moments,
    window: masks.Window,
    num_pairs: jax.Array,
    penalty: jax.Array,
    *,
    penalize_bias: bool,
    factors: jax.Array | None = None,
) -> WindowLinear:
    """Solves every pixel's ridge problem.

    Args:
      moments: of the pairs.
      window: which they were made for.
      num_pairs: (), N.
      penalty: `(height, width)`.
      factors: `(num_offsets,)`, of the penalty; all 1 by default.
      penalize_bias: whether the penalty includes the bias.

    Returns:
      The map. Pixels whose system is not positive definite in its precision fall back to their mean.
    """
    in_channels, height, width = moments.input_mean.shape
    out_channels = len(moments.target_mean)
    inputs = lag_images.inputs(window, in_channels)
    share = num_pairs / (num_pairs + penalty)
    bias_weight = penalty * share if penalize_bias else jnp.zeros_like(penalty)
    solve = _solve_planes if len(inputs) <= _UNROLLED else _solve_lines
    channels_of_one = len(inputs) // len(window.offsets)
    scales = jnp.ones(len(inputs), penalty.dtype) if factors is None else factors.repeat(channels_of_one)
    # (num_inputs, out_channels, height, width) and (height, width).
    weights, solved = solve(moments, window, penalty, bias_weight, scales)
    reach = masks.reach(window)
    means = _pad(moments.input_mean, reach)
    seen = jnp.zeros_like(weights[0])
    for weight, (dy, dx, channel) in zip(weights, inputs, strict=True):
        seen += weight * _around(means[channel], reach, dy, dx)[None]
    bias, alone = moments.target_mean - seen, moments.target_mean
    if penalize_bias:
        bias, alone = bias * share[None], alone * share[None]
    shape = (len(window.offsets), channels_of_one, out_channels, height, width)
    weights = jnp.moveaxis(weights.reshape(shape), 2, 0)
    return window_linear.where_solved(weights, bias, solved[None], alone)


def squared_error(
    moments: Moments, window: masks.Window, num_pairs: jax.Array, params: WindowLinear
) -> jax.Array:
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
    layout = lines.Layout(height, width, *masks.reach(window))
    inputs = lag_images.inputs(window, in_channels)
    entries = lag_images.gram_entries(window, in_channels, out_channels)
    # C is symmetric: what is beside its diagonal counts twice.
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

    # One entry after the other: what is added up stays in the cache.
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
    squares = moments.products[jnp.asarray(lag_images.square_entries(window, in_channels, out_channels))]
    missing = moments.target_mean - params.bias - lines.unflatten(seen, layout)
    error = squares + lines.unflatten(explained, layout) + num_pairs * missing**2
    return jnp.maximum(error, 0)


def plan(window: masks.Window, in_channels: int, width: int) -> strips.Plan:
    """How a picture is best cut for `solve`, an offset seeing `in_channels`.

    Larger systems are solved by a few pixels anyhow: there it is only memory that large strips take.
    """
    halo = masks.reach(window)[0]
    small = len(window.offsets) * in_channels <= _UNROLLED
    pixels = _CACHED_PIXELS if small else 4 * _CACHED_PIXELS
    return strips.Plan(max(1, pixels // width - 2 * halo, 8 * halo), halo)


def _pad(planes: jax.Array, reach: tuple[int, int]) -> jax.Array:
    return jnp.pad(planes, ((0, 0), (reach[0], reach[0]), (reach[1], reach[1])))


def _around(plane: jax.Array, reach: tuple[int, int], dy: int, dx: int) -> jax.Array:
    """What a padded plane holds at (dy, dx) from every pixel."""
    height, width = plane.shape[0] - 2 * reach[0], plane.shape[1] - 2 * reach[1]
    return plane[reach[0] + dy : reach[0] + dy + height, reach[1] + dx : reach[1] + dx + width]


def _solve_planes(
    moments: Moments,
    window: masks.Window,
    penalty: jax.Array,
    bias_weight: jax.Array,
    scales: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Small systems: the elimination written out, every number of it a plane."""
    in_channels, out_channels = len(moments.input_mean), len(moments.target_mean)
    reach = masks.reach(window)
    products, means = _pad(moments.products, reach), _pad(moments.input_mean, reach)
    inside = _pad(jnp.ones_like(penalty)[None], reach)[0]
    entries = lag_images.gram_entries(window, in_channels, out_channels)
    inputs = lag_images.inputs(window, in_channels)
    mean = [_around(means[channel], reach, dy, dx) for dy, dx, channel in inputs]
    gram = {}
    for i in range(len(inputs)):
        for j in range(i, len(inputs)):
            entry = entries[i][j]
            covariance = _around(products[entry.lag], reach, entry.dy, entry.dx)
            gram[i, j] = covariance + bias_weight * mean[i] * mean[j]
        # What is outside the picture gets a unit diagonal: no coupling, and so a weight of 0.
        gram[i, i] += jnp.where(
            _around(inside, reach, inputs[i].dy, inputs[i].dx) > 0, scales[i] * penalty, 1
        )
    weighted = bias_weight[None] * jnp.stack(mean)
    right = _crosses(moments, window) + weighted[:, None] * moments.target_mean[None]
    return pixel_systems.solve_planes(gram, right)


def _solve_lines(
    moments: Moments,
    window: masks.Window,
    penalty: jax.Array,
    bias_weight: jax.Array,
    scales: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Larger systems: some pixels at a time, along the line of all rows."""
    in_channels, height, width = moments.input_mean.shape
    layout = lines.Layout(height, width, *masks.reach(window))
    entries = lag_images.gram_entries(window, in_channels, len(moments.target_mean))
    inputs = lag_images.inputs(window, in_channels)
    size, dtype = len(inputs), moments.products.dtype
    places = [(entry.lag, layout.shift(entry.dy, entry.dx)) for row in entries for entry in row]
    table = jnp.asarray(places)
    shifts = jnp.asarray([(each.channel, layout.shift(each.dy, each.dx)) for each in inputs])
    system_bytes = size**2 * dtype.itemsize
    fitting = max(
        _FEWEST_SYSTEMS, min(_MANY_SYSTEMS, _MOST_BYTES // system_bytes), _SYSTEMS_BYTES // system_bytes
    )
    num_steps = -(-layout.length // min(fitting, layout.length))
    num_pixels = -(-layout.length // num_steps)

    products = lines.flatten(moments.products, layout)
    means = lines.flatten(moments.input_mean, layout)
    inside = lines.flatten(jnp.ones_like(penalty)[None], layout)
    # Between the rows, systems that can be solved.
    penalties = lines.flatten(penalty, layout, fill=1)
    bias_weights = lines.flatten(bias_weight, layout)
    crosses = lines.flatten(_crosses(moments, window), layout)
    target_mean = lines.flatten(moments.target_mean, layout)

    @partial(jax.checkpoint, prevent_cse=False)
    def solve_some(index: jax.Array) -> tuple[jax.Array, jax.Array]:
        start = layout.margin + jnp.minimum(index * num_pixels, layout.length - num_pixels)

        def pick(planes: jax.Array, places: jax.Array) -> jax.Array:
            """Rows of some planes, each moved by its own offset."""
            return jax.vmap(
                lambda place: jax.lax.dynamic_slice(planes, (place[0], start + place[1]), (1, num_pixels))[0]
            )(places)

        def here(planes: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(planes, start, num_pixels, axis=-1)

        mean = pick(means, shifts)
        weighted = here(bias_weights)[None] * mean
        right = here(crosses) + weighted[:, None] * here(target_mean)[None]
        # What is outside the picture gets a unit diagonal: no coupling, and so a weight of 0.
        valid = pick(inside, shifts * jnp.asarray([[0, 1]])) > 0
        diagonal = jnp.where(valid, scales[:, None] * here(penalties)[None], 1)
        gram = pick(products, table).reshape(size, size, num_pixels) + weighted[:, None] * mean[None]
        gram += jnp.eye(size, dtype=dtype)[:, :, None] * diagonal[:, None]
        return pixel_systems.solve(jax.lax.optimization_barrier(gram), right)

    def join(parts: jax.Array) -> jax.Array:
        # The last part reaches back over pixels of the one before.
        whole = jnp.moveaxis(parts[:-1], 0, -2).reshape(*parts.shape[1:-1], -1)
        last = parts[-1][..., num_steps * num_pixels - layout.length :]
        return lines.unflatten(jnp.concatenate([whole, last], axis=-1), layout)

    weights, solved = jax.lax.map(solve_some, jnp.arange(num_steps))
    return join(weights), join(solved)


def _crosses(moments: Moments, window: masks.Window) -> jax.Array:
    """`(num_inputs, out_channels, height, width)`: covariances of inputs with targets."""
    in_channels, out_channels = len(moments.input_mean), len(moments.target_mean)
    return moments.products[jnp.asarray(lag_images.cross_entries(window, in_channels, out_channels))]
