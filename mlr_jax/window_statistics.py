"""All that masked ridge regression on a window needs to know of any number of pairs of pictures.

For a window O of offsets, pixel p's ridge problem depends on the examples only through

    sum_n x_n[p + a] x_n[p + b]    and    sum_n x_n[p + a] t_n[p],    a, b in O,

and the sums themselves. Entry (a, b) of pixel p is entry (a + e, b + e) of pixel p - e: all pixels' Gram
matrices together hold only one *lag image* R_d[q] = sum_n x_n[q] x_n[q + d] for every difference d of two
offsets, some 2 r^2 for a window of r x r. These sums are sufficient statistics of Khan et al.'s problem
(IJCV 2020). They add up over pairs, so that training streams, is split over machines, and is taken back by
subtraction; and every smaller window and every penalty is solved from the same ones.

Numerics: pictures are centred at given ones before they are multiplied, so that the Gram matrices are about
covariances; a bias needs no column of its own then (see `solve`). Sums are kept as an unevaluated pair high
+ low: what rounding takes from the one is found in the other (Knuth's two-sum), so that in float32 sums over
millions of pairs are as good as those over a few. Only up to twenty pairs at a time are summed plainly.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from mlr_jax import checks, masks, pixel_systems
from mlr_jax.window_linear import WindowLinear

# Summed plainly, in one loop over the pixels. Fewer pairs at a time write the sums too often; more are read
# from too many places at once.
_BLOCK = 20
# Lag images that are compiled into one loop body.
_GROUP = 24
# Inputs of a pixel up to which the elimination is written out.
_UNROLLED = 16
# Of larger systems that are solved side by side.
_SYSTEMS_BYTES = 16 * 2**20
# Pixels whose sums and pictures stay in a CPU's cache.
_BAND_PIXELS = 2**14


class Sum(NamedTuple):
    """A sum, as the unevaluated pair `high + low`, of which `low` is what `high` has no digits for."""

    high: jax.Array
    low: jax.Array


class WindowStatistics(NamedTuple):
    """The sums over all pairs.

    Attributes:
      window: for which, and for all windows inside which, they were made. Static.
      num_pairs: (), how many.
      input_centre: `(in_channels, height, width)`, what was subtracted from the inputs before all else.
      target_centre: `(out_channels, height, width)`.
      input_sum: `(in_channels, height, width)`, of the centred inputs.
      target_sum: `(out_channels, height, width)`.
      products: `(num_lags, height, width)`, the lag images: of inputs with inputs, and of targets with
        inputs. 0 where a lag leaves the picture.
    """

    window: masks.Window
    num_pairs: jax.Array
    input_centre: jax.Array
    target_centre: jax.Array
    input_sum: Sum
    target_sum: Sum
    products: Sum


def init(
    window: masks.Window,
    height: int,
    width: int,
    *,
    in_channels: int = 1,
    out_channels: int = 1,
    input_centre: ArrayLike = 0.5,
    target_centre: ArrayLike = 0.5,
    dtype: DTypeLike = jnp.float32,
) -> WindowStatistics:
    """Statistics of no pairs.

    Args:
      window: the largest that is to be solved for.
      height: of the pictures, in pixels.
      width: of the pictures, in pixels.
      in_channels: of the inputs, which each output channel sees all.
      out_channels: of the targets.
      input_centre: broadcastable to `(height, width, in_channels)`, any pictures near the mean of the inputs.
        It changes the rounding, not the result: the nearer, the more digits are left for what varies.
      target_centre: the same for the targets.
      dtype: float32 or float64, of the sums.

    Raises:
      InputError: the window is larger than the picture.
    """
    masks.check_window(window, "window_statistics.init", height, width)
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        checks.positive_integer("window_statistics.init", name, value)
    num_lags = len(_lags(window, in_channels, out_channels))

    def zeros(num: int) -> Sum:
        zero = jnp.zeros((num, height, width), dtype)
        return Sum(zero, zero)

    def planes(centre: ArrayLike, channels: int) -> jax.Array:
        whole = jnp.broadcast_to(jnp.asarray(centre, dtype), (height, width, channels))
        return jnp.moveaxis(whole, -1, 0)

    return WindowStatistics(
        window,
        jnp.zeros((), dtype),
        planes(input_centre, in_channels),
        planes(target_centre, out_channels),
        zeros(in_channels),
        zeros(out_channels),
        zeros(num_lags),
    )


def update(statistics: WindowStatistics, inputs: ArrayLike, targets: ArrayLike) -> WindowStatistics:
    """Adds pairs.

    Args:
      statistics: so far.
      inputs: `(num, height, width, in_channels)` floating point.
      targets: `(num, height, width, out_channels)` floating point.

    Returns:
      The statistics with these pairs.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, or a value is NaN.
    """
    where = "window_statistics.update"
    axes = ("num", "height", "width", "channels")
    inputs = checks.as_floating(where, "inputs", inputs, axes)
    targets = checks.as_floating(where, "targets", targets, axes)
    if len(inputs) != len(targets):
        raise checks.InputError(f"{where}: there are {len(inputs)} inputs, but {len(targets)} targets")
    for name, array, centre in (
        ("inputs", inputs, statistics.input_centre),
        ("targets", targets, statistics.target_centre),
    ):
        channels, height, width = centre.shape
        if array.shape[1:] != (height, width, channels):
            raise checks.InputError(
                f"{where}: the statistics are for {name} of {(height, width, channels)}, not "
                f"{array.shape[1:]}"
            )
        checks.finite(where, name, array)
    dtype = statistics.num_pairs.dtype
    return _update(statistics, inputs.astype(dtype), targets.astype(dtype))


def merge(first: WindowStatistics, second: WindowStatistics) -> WindowStatistics:
    """The statistics of the pairs of both.

    Raises:
      InputError: they were made with different windows, sizes or centres.
    """
    return _combine("window_statistics.merge", first, second, 1)


def subtract(whole: WindowStatistics, part: WindowStatistics) -> WindowStatistics:
    """The statistics of the pairs that are in `whole` but not in `part`.

    Raises:
      InputError: they were made with different windows, sizes or centres.
    """
    return _combine("window_statistics.subtract", whole, part, -1)


def _combine(where: str, first: WindowStatistics, second: WindowStatistics, sign: int) -> WindowStatistics:
    if first.window != second.window:
        raise checks.InputError(f"{where}: the statistics are of different windows")
    for one, other in (
        (first.input_centre, second.input_centre),
        (first.target_centre, second.target_centre),
    ):
        if one.shape != other.shape:
            raise checks.InputError(f"{where}: the statistics are of {one.shape} and {other.shape}")
        if checks.is_concrete(one, other) and not np.array_equal(one, other):
            raise checks.InputError(
                f"{where}: the statistics have different centres; make both with the same"
            )

    def add(one: Sum, other: Sum) -> Sum:
        return _join(one, Sum(sign * other.high, sign * other.low))

    return first._replace(
        num_pairs=first.num_pairs + sign * second.num_pairs,
        input_sum=add(first.input_sum, second.input_sum),
        target_sum=add(first.target_sum, second.target_sum),
        products=add(first.products, second.products),
    )


class _Lag(NamedTuple):
    """One lag image: of channel `left` at q with input channel `right` at q + (dy, dx).

    Input channels count from 0, and the targets' channels after them.
    """

    left: int
    right: int
    dy: int
    dx: int


@cache
def _lags(window: masks.Window, in_channels: int, out_channels: int) -> tuple[_Lag, ...]:
    """All that are needed: each pair of inputs once, as it is symmetric, and all targets with all inputs."""
    differences = {(b[0] - a[0], b[1] - a[1]) for a in window.offsets for b in window.offsets}
    pairs = [
        _Lag(left, right, *difference)
        for difference in sorted(differences)
        for left in range(in_channels)
        for right in range(in_channels)
        if (*difference, right) >= (0, 0, left)
    ]
    crosses = [
        _Lag(in_channels + out, right, *offset)
        for offset in window.offsets
        for out in range(out_channels)
        for right in range(in_channels)
    ]
    return (*pairs, *crosses)


def _add(total: Sum, value: jax.Array) -> Sum:
    """Knuth's two-sum: high + low + value, without loss."""
    high = total.high + value
    virtual = high - total.high
    return Sum(high, total.low + ((total.high - (high - virtual)) + (value - virtual)))


@jax.jit
def _update(statistics: WindowStatistics, inputs: jax.Array, targets: jax.Array) -> WindowStatistics:
    num, height, width, in_channels = inputs.shape
    out_channels = targets.shape[-1]
    lags = _lags(statistics.window, in_channels, out_channels)
    reach_y, reach_x = max(abs(lag.dy) for lag in lags), max(abs(lag.dx) for lag in lags)
    centre = jnp.concatenate([statistics.input_centre, statistics.target_centre])
    num_blocks = -(-num // _BLOCK)
    block = -(-num // num_blocks)
    rows = min(height, max(1, _BAND_PIXELS // width))
    # Rows one after the other, with so many zeros between them that a shift to the side cannot reach
    # the next: then every shift is one along this line, and every loop one over plain arrays.
    stride = width + reach_x
    line, margin = rows * stride, reach_y * stride + reach_x

    def load(top: jax.Array, index: jax.Array) -> jax.Array:
        """A block of examples, (block, channels, line with margins): rows from `top` on, 0 outside."""
        start = jnp.minimum(index * block, num - block)
        size = min(rows + 2 * reach_y, height)
        first = jnp.clip(top - reach_y, 0, height - size)

        def cut(array: jax.Array) -> jax.Array:
            sizes = (block, size, width, array.shape[-1])
            return jnp.moveaxis(jax.lax.dynamic_slice(array, (start, first, 0, 0), sizes), -1, 1)

        examples = jnp.concatenate([cut(inputs), cut(targets)], axis=1)
        examples -= jax.lax.dynamic_slice_in_dim(centre, first, size, axis=1)[None]
        # The last block reaches back to examples that were counted already.
        fresh = start + jnp.arange(block) >= index * block
        examples = jnp.where(fresh[:, None, None, None], examples, 0)
        padded = jnp.pad(examples, ((0, 0), (0, 0), (reach_y, reach_y), (0, reach_x)))
        band = jax.lax.dynamic_slice_in_dim(padded, top - first, rows + 2 * reach_y, axis=2)
        flat = band.reshape(block, in_channels + out_channels, -1)
        # Written out once, instead of anew in every product.
        return jax.lax.optimization_barrier(jnp.pad(flat, ((0, 0), (0, 0), (reach_x, reach_x))))

    def sum_band(top: jax.Array) -> tuple[Sum, Sum]:
        """The sums of a band of rows, and its products."""

        def accumulate(
            group: np.ndarray | jax.Array, channels: Sequence[int], read: Callable[[jax.Array], jax.Array]
        ) -> tuple[Sum, Sum]:
            """Sums of some channels, and a group of products, of the blocks of examples that are read."""

            def plane(examples: jax.Array, n: int, channel: ArrayLike, shift: ArrayLike) -> jax.Array:
                return jax.lax.dynamic_slice(examples[n], (channel, margin + shift), (1, line))[0]

            @partial(jax.checkpoint, prevent_cse=False)
            def add(index: jax.Array, totals: tuple[Sum, ...]) -> tuple[Sum, ...]:
                examples = read(index)
                values = [_sum_plainly([plane(examples, n, c, 0) for n in range(block)]) for c in channels]
                for left, right, shift in group:
                    terms = [
                        plane(examples, n, left, 0) * plane(examples, n, right, shift) for n in range(block)
                    ]
                    values.append(_sum_plainly(terms))
                return tuple(_add(total, value) for total, value in zip(totals, values, strict=True))

            zero = jnp.zeros(line, inputs.dtype)
            start = (Sum(zero, zero),) * (len(channels) + len(group))
            totals = jax.lax.fori_loop(0, num_blocks, add, start)
            return _stack(totals[: len(channels)], zero), _stack(totals[len(channels) :], zero)

        channels = range(in_channels + out_channels)
        table = np.array([(lag.left, lag.right, lag.dy * stride + lag.dx) for lag in lags])
        if len(table) <= _GROUP:
            return accumulate(table, channels, partial(load, top))
        # Every group reads all examples again: they are laid out once.
        blocks = jax.lax.map(partial(load, top), jnp.arange(num_blocks))
        sums, first = accumulate(table[:1], channels, lambda index: blocks[index])
        num_groups = -(-(len(table) - 1) // _GROUP)
        size = -(-(len(table) - 1) // num_groups)
        groups = jnp.asarray(np.resize(table[1:], (num_groups, size, 3)))
        _, rest = jax.lax.map(lambda group: accumulate(group, (), lambda index: blocks[index]), groups)
        rest = jax.tree.map(lambda leaf: leaf.reshape(-1, line)[: len(table) - 1], rest)
        return sums, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), first, rest)

    def shaped(sums: Sum) -> Sum:
        return jax.tree.map(lambda leaf: leaf.reshape(-1, rows, stride)[:, :, :width], sums)

    def add_band(index: jax.Array, totals: tuple[Sum, Sum]) -> tuple[Sum, Sum]:
        # The last band reaches back over rows that the one before has done: they come out the same.
        top = jnp.minimum(index * rows, height - rows)
        return jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, top, axis=1),
            totals,
            jax.tree.map(shaped, sum_band(top), is_leaf=lambda node: isinstance(node, Sum)),
        )

    num_bands = -(-height // rows)
    if num_bands == 1:
        sums, products = (shaped(each) for each in sum_band(jnp.asarray(0)))
    else:
        zero = jnp.zeros((in_channels + out_channels, height, width), inputs.dtype)
        start = Sum(zero, zero), jax.tree.map(jnp.zeros_like, statistics.products)
        sums, products = jax.lax.fori_loop(0, num_bands, add_band, start)
    return statistics._replace(
        num_pairs=statistics.num_pairs + num,
        input_sum=_join(statistics.input_sum, jax.tree.map(lambda leaf: leaf[:in_channels], sums)),
        target_sum=_join(statistics.target_sum, jax.tree.map(lambda leaf: leaf[in_channels:], sums)),
        products=_join(statistics.products, products),
    )


def _sum_plainly(terms: list[jax.Array]) -> jax.Array:
    return sum(terms[1:], terms[0])


def _stack(sums: Sequence[Sum], like: jax.Array) -> Sum:
    """Stacks sums of the shape of `like`, of which there may be none."""
    if not sums:
        return Sum(like[None][:0], like[None][:0])
    return Sum(*(jnp.stack([getattr(each, part) for each in sums]) for part in Sum._fields))


def _join(first: Sum, second: Sum) -> Sum:
    total = _add(first, second.high)
    return Sum(total.high, total.low + second.low)


def solve(
    statistics: WindowStatistics,
    window: masks.Window,
    penalty: ArrayLike,
    *,
    penalize_bias: bool = True,
) -> WindowLinear:
    """Solves every pixel's ridge problem.

    With the covariances C = sum_n (x_n - m)(x_n - m)^T and c = sum_n (x_n - m)(t_n - m_t) about the means
    of the window's pixels and of the target,

        (C + lambda I + k m m^T) w = c + k m_t m,    k = lambda N / (N + lambda),

    and the bias is N (m_t - m . w) / (N + lambda): the same weights as `masked_ridge.fit`, from whose system
    the bias is eliminated here. Where it is not penalised, k is 0 and the bias m_t - m . w.

    Args:
      statistics: of the pairs; for several windows and penalties the same.
      window: any whose offsets are among those of `statistics.window`. Weights come in its order.
      penalty: lambda >= 0, one for all or `(height, width)`.
      penalize_bias: whether the penalty includes the bias, as published.

    Returns:
      The map.

    Raises:
      InputError: the window is not inside that of the statistics, there are no pairs, the penalty is
        negative or of another shape, or a system is singular.
    """
    where = "window_statistics.solve"
    if not isinstance(window, masks.Window):
        raise TypeError(f"{where}: window must be a masks.Window, not a {type(window).__name__}")
    missing = sorted(set(window.offsets) - set(statistics.window.offsets))
    if missing:
        raise checks.InputError(f"{where}: the statistics were made for a window without {missing[0]}")
    size = statistics.input_centre.shape[1:]
    if np.shape(penalty) not in ((), size):
        raise checks.InputError(f"{where}: penalty must be a scalar or {size}, not {np.shape(penalty)}")
    checks.not_negative(where, "penalty", penalty)
    if checks.is_concrete(statistics.num_pairs) and not (np.asarray(statistics.num_pairs) > 0).all():
        raise checks.InputError(f"{where}: the statistics hold no pairs; update them first")
    penalties = jnp.broadcast_to(jnp.asarray(penalty, statistics.num_pairs.dtype), size)
    params = _solve(statistics, window, penalties, penalize_bias=penalize_bias)
    checks.pixels_solved(where, params.bias, params.weights)
    return params


class _Moments(NamedTuple):
    """Means and, times the number of pairs, covariances.

    Attributes:
      input_mean: `(in_channels, height, width)`.
      target_mean: `(out_channels, height, width)`.
      products: `(num_lags, height, width)`.
    """

    input_mean: jax.Array
    target_mean: jax.Array
    products: jax.Array


def _moments(statistics: WindowStatistics) -> _Moments:
    in_channels, height, width = statistics.input_centre.shape
    lags = _lags(statistics.window, in_channels, len(statistics.target_centre))
    reach_y, reach_x = masks.reach(masks.Window(tuple((lag.dy, lag.dx) for lag in lags)))
    inputs = statistics.input_sum.high + statistics.input_sum.low
    targets = statistics.target_sum.high + statistics.target_sum.low
    both = jnp.concatenate([inputs, targets])
    padded = jnp.pad(inputs, ((0, 0), (reach_y, reach_y), (reach_x, reach_x)))

    def centre(lag_image: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        (left, right, dy, dx), high, low = lag_image
        shifted = jax.lax.dynamic_slice(padded, (right, reach_y + dy, reach_x + dx), (1, height, width))[0]
        # The centres are near the means, so that little cancels here.
        return (high - both[left] * shifted / statistics.num_pairs) + low

    products = jax.lax.map(centre, (jnp.asarray(lags), *statistics.products))
    return _Moments(
        statistics.input_centre + inputs / statistics.num_pairs,
        statistics.target_centre + targets / statistics.num_pairs,
        products,
    )


class _Entry(NamedTuple):
    """Where the Gram matrices' entry (i, j) is: pixel p's is lag image `lag` at p + (dy, dx)."""

    lag: int
    dy: int
    dx: int


@cache
def _gram_entries(
    window: masks.Window, made_for: masks.Window, in_channels: int, out_channels: int
) -> tuple[tuple[_Entry, ...], ...]:
    """The table of all entries; a window's inputs count offset by offset, its channels within each."""
    index = {lag: i for i, lag in enumerate(_lags(made_for, in_channels, out_channels))}
    inputs = _inputs(window, in_channels)

    def entry(a: tuple[int, int, int], b: tuple[int, int, int]) -> _Entry:
        lag = _Lag(a[2], b[2], b[0] - a[0], b[1] - a[1])
        return _Entry(index[lag], a[0], a[1]) if lag in index else entry(b, a)

    return tuple(tuple(entry(a, b) for b in inputs) for a in inputs)


def _inputs(window: masks.Window, in_channels: int) -> list[tuple[int, int, int]]:
    """`(dy, dx, channel)` of all that an output sees."""
    return [(dy, dx, channel) for dy, dx in window.offsets for channel in range(in_channels)]


@partial(jax.jit, static_argnames=("penalize_bias",))
def _solve(
    statistics: WindowStatistics, window: masks.Window, penalty: jax.Array, *, penalize_bias: bool
) -> WindowLinear:
    in_channels, height, width = statistics.input_centre.shape
    out_channels = len(statistics.target_centre)
    moments = _moments(statistics)
    num_inputs = len(window.offsets) * in_channels
    solve = _solve_planes if num_inputs <= _UNROLLED else _solve_lines
    bias_weight = (
        penalty * statistics.num_pairs / (statistics.num_pairs + penalty) if penalize_bias else 0 * penalty
    )
    weights = solve(statistics.window, window, moments, penalty, bias_weight)
    # (num_inputs, out_channels, height, width): the bias, from the means of what each output sees.
    reach_y, reach_x = masks.reach(window)
    padded = jnp.pad(moments.input_mean, ((0, 0), (reach_y, reach_y), (reach_x, reach_x)))
    seen = jnp.zeros_like(weights[0])
    for weight, (dy, dx, channel) in zip(weights, _inputs(window, in_channels), strict=True):
        seen += weight * _cut(padded[channel], reach_y + dy, reach_x + dx, height, width)[None]
    bias = moments.target_mean - seen
    if penalize_bias:
        bias *= (statistics.num_pairs / (statistics.num_pairs + penalty))[None]
    shape = (len(window.offsets), in_channels, out_channels, height, width)
    return WindowLinear(jnp.moveaxis(weights.reshape(shape), 2, 0), bias)


def _cut(plane: Any, top: int, left: int, height: int, width: int) -> Any:
    return plane[..., top : top + height, left : left + width]


def _solve_planes(
    made_for: masks.Window,
    window: masks.Window,
    moments: _Moments,
    penalty: jax.Array,
    bias_weight: jax.Array,
) -> jax.Array:
    """Small systems: the elimination written out, every number of it a plane over a band of rows."""
    in_channels, height, width = moments.input_mean.shape
    out_channels = len(moments.target_mean)
    reach_y, reach_x = masks.reach(made_for)
    margins = ((0, 0), (reach_y, reach_y), (reach_x, reach_x))
    inside = jnp.pad(jnp.ones((1, height, width), moments.products.dtype), margins)
    surroundings = jnp.pad(moments.products, margins), jnp.pad(moments.input_mean, margins), inside
    crosses = _crosses(made_for, window, moments)
    inputs = _inputs(window, in_channels)
    size = len(inputs)
    entries = _gram_entries(window, made_for, in_channels, out_channels)
    rows = min(height, max(1, _BAND_PIXELS // width))

    def around(plane: jax.Array, dy: int, dx: int) -> jax.Array:
        return _cut(plane, reach_y + dy, reach_x + dx, rows, width)

    def solve_band(top: jax.Array) -> jax.Array:
        def band(array: jax.Array, margin: int = 0) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(array, top, rows + 2 * margin, axis=array.ndim - 2)

        products, means, inside = (band(each, reach_y) for each in surroundings)
        bias_weights = band(bias_weight)
        mean = [around(means[channel], dy, dx) for dy, dx, channel in inputs]
        gram = {}
        for i in range(size):
            for j in range(i, size):
                entry = entries[i][j]
                covariance = around(products[entry.lag], entry.dy, entry.dx)
                gram[i, j] = covariance + bias_weights * mean[i] * mean[j]
            # What is outside the picture gets a unit diagonal: no coupling, and so a weight of 0.
            gram[i, i] += jnp.where(around(inside[0], *inputs[i][:2]) > 0, band(penalty), 1)
        weighted = bias_weights[None] * jnp.stack(mean)
        right = band(crosses) + weighted[:, None] * band(moments.target_mean)[None]
        factor = pixel_systems.factor_planes(jax.lax.stop_gradient(gram), size)

        def multiply(x: jax.Array) -> jax.Array:
            return jnp.stack(
                [sum(gram[min(i, j), max(i, j)][None] * x[j] for j in range(size)) for i in range(size)]
            )

        return jax.lax.custom_linear_solve(
            multiply, right, lambda _, b: pixel_systems.solve_planes(factor, b), symmetric=True
        )

    num_bands = -(-height // rows)
    if num_bands == 1:
        return solve_band(jnp.asarray(0))
    bands = jax.lax.map(solve_band, jnp.minimum(jnp.arange(num_bands) * rows, height - rows))
    # The last band reaches back over rows of the one before.
    whole = jnp.moveaxis(bands[:-1], 0, 2).reshape(*bands.shape[1:3], -1, width)
    last = bands[-1][:, :, num_bands * rows - height :]
    return jnp.concatenate([whole, last], axis=2)


def _solve_lines(
    made_for: masks.Window,
    window: masks.Window,
    moments: _Moments,
    penalty: jax.Array,
    bias_weight: jax.Array,
) -> jax.Array:
    """Larger systems: some pixels at a time, along the line of all rows with zeros between them."""
    in_channels, height, width = moments.input_mean.shape
    reach_y, reach_x = masks.reach(made_for)
    stride = width + reach_x
    line, margin = height * stride, reach_y * stride + reach_x
    entries = _gram_entries(window, made_for, in_channels, len(moments.target_mean))
    inputs = _inputs(window, in_channels)
    size = len(inputs)
    table = jnp.asarray([[(e.lag, e.dy * stride + e.dx) for e in row] for row in entries]).reshape(-1, 2)
    shifts = jnp.asarray([(channel, dy * stride + dx) for dy, dx, channel in inputs])
    dtype = moments.products.dtype
    num_pixels = max(1, min(line, _SYSTEMS_BYTES // (size**2 * dtype.itemsize)))

    def flat(planes: jax.Array, fill: float) -> jax.Array:
        gaps = jnp.pad(planes, ((0, 0), (0, 0), (0, reach_x)), constant_values=fill)
        return jnp.pad(gaps.reshape(len(planes), line), ((0, 0), (margin, margin)), constant_values=fill)

    products, means = flat(moments.products, 0), flat(moments.input_mean, 0)
    inside = flat(jnp.ones((1, height, width), dtype), 0)
    penalties, bias_weights = flat(penalty[None], 1)[0], flat(bias_weight[None], 0)[0]
    crosses = flat(_crosses(made_for, window, moments).reshape(-1, height, width), 0)
    target_mean = flat(moments.target_mean, 0)

    @partial(jax.checkpoint, prevent_cse=False)
    def solve_some(index: jax.Array) -> jax.Array:
        start = margin + jnp.minimum(index * num_pixels, line - num_pixels)

        def pick(planes: jax.Array, places: jax.Array) -> jax.Array:
            """Rows of some planes, each moved by its own offset."""
            return jax.vmap(
                lambda place: jax.lax.dynamic_slice(planes, (place[0], start + place[1]), (1, num_pixels))[0]
            )(places)

        def here(planes: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(planes, start, num_pixels, axis=-1)

        mean = pick(means, shifts)
        weighted = here(bias_weights)[None] * mean
        right = here(crosses).reshape(size, -1, num_pixels) + weighted[:, None] * here(target_mean)[None]
        # What is outside the picture gets a unit diagonal: no coupling, and so a weight of 0.
        valid = pick(inside, shifts * jnp.asarray([[0, 1]])) > 0
        diagonal = jnp.where(valid, here(penalties)[None], 1)
        gram = pick(products, table).reshape(size, size, num_pixels) + weighted[:, None] * mean[None]
        gram += jnp.eye(size, dtype=dtype)[:, :, None] * diagonal[:, None]
        gram = jax.lax.optimization_barrier(gram)
        upper = pixel_systems.factor(jax.lax.stop_gradient(gram))
        return jax.lax.custom_linear_solve(
            partial(pixel_systems.multiply, gram),
            right,
            lambda _, b: pixel_systems.solve(upper, b),
            symmetric=True,
        )

    num_steps = -(-line // num_pixels)
    parts = jax.lax.map(solve_some, jnp.arange(num_steps))
    # The last part reaches back over pixels of the one before.
    whole = jnp.moveaxis(parts[:-1], 0, 2).reshape(*parts.shape[1:3], -1)
    last = parts[-1][..., num_steps * num_pixels - line :]
    solution = jnp.concatenate([whole, last], axis=-1)
    return solution.reshape(*parts.shape[1:3], height, stride)[..., :width]


def _crosses(made_for: masks.Window, window: masks.Window, moments: _Moments) -> jax.Array:
    """`(num_inputs, out_channels, height, width)`: covariances of inputs with targets."""
    in_channels, out_channels = len(moments.input_mean), len(moments.target_mean)
    index = {lag: i for i, lag in enumerate(_lags(made_for, in_channels, out_channels))}
    rows = [
        [index[_Lag(in_channels + out, channel, dy, dx)] for out in range(out_channels)]
        for dy, dx, channel in _inputs(window, in_channels)
    ]
    return moments.products[np.array(rows)]
