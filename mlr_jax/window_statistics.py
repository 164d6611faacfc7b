"""All that masked ridge regression on a window needs to know of any number of pairs of pictures.

For a window O of offsets, pixel p's ridge problem depends on the examples only through

    sum_n x_n[p + a] x_n[p + b]    and    sum_n x_n[p + a] t_n[p],    a, b in O,

and the sums themselves; its error on them also on sum_n t_n[p]^2. Entry (a, b) of pixel p is entry (a + e,
b + e) of pixel p - e: all pixels' Gram matrices together hold only one *lag image* R_d[q] = sum_n x_n[q]
x_n[q + d] for every difference d of two offsets (`lag_images`), some 2 r^2 for a window of r x r. These sums
are sufficient statistics of Khan et al.'s problem (IJCV 2020). They add up over pairs, so that training
streams, is split over machines, and is taken back by subtraction; and every smaller window and every penalty
is solved from the same ones.

Numerics: pictures are centred at given ones before they are multiplied, so that the Gram matrices are about
covariances; a bias needs no column of its own then (`window_ridge`). Sums are `compensated`, so that in
float32 those over millions of pairs are as good as those over a few. Only up to fourteen pairs at a time are
summed plainly.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from mlr_jax import checks, lag_images, masks, window_ridge
from mlr_jax.lag_images import Lag
from mlr_jax.numerics import compensated, lines, strips
from mlr_jax.numerics.compensated import Sum
from mlr_jax.window_linear import WindowLinear

# Summed plainly, in one loop over the pixels. Fewer pairs at a time write the sums too often; more are read
# from too many places at once.
_BLOCK = 14
# Pixels whose sums and pictures stay in a CPU's cache.
_STRIP_PIXELS = 2**15


class WindowStatistics(NamedTuple):
    """The sums over all pairs.

    Attributes:
      window: for which, and for all windows inside which, they were made. Static.
      num_pairs: (), how many; in float32 exact up to 2^24.
      input_centre: `(in_channels, height, width)`, what was subtracted from the inputs before all else.
      target_centre: `(out_channels, height, width)`.
      input_sum: `(in_channels, height, width)`, of the centred inputs.
      target_sum: `(out_channels, height, width)`.
      products: `(num_lags, height, width)`, the lag images: of inputs with inputs, of targets with inputs,
        and of targets with themselves. 0 where a lag leaves the picture.
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
      in_channels: of the inputs, which each output channel sees all; of a window with views, of what
        `window_linear.look` returns.
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
    num_lags = len(lag_images.needed(window, in_channels, out_channels))

    def zeros(num: int) -> Sum:
        # Two arrays, since each may be given away.
        return Sum(*(jnp.zeros((num, height, width), dtype) for _ in Sum._fields))

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
    check_pairs(statistics, where, inputs, targets)
    dtype = statistics.num_pairs.dtype
    return _update(statistics, inputs.astype(dtype), targets.astype(dtype))


def check_pairs(statistics: WindowStatistics, where: str, inputs: jax.Array, targets: jax.Array) -> None:
    """Raises InputError unless `inputs` and `targets` are pairs that the statistics can be updated with."""
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


def plan(window: masks.Window, width: int) -> strips.Plan:
    """How `update` cuts a picture: so that a strip's sums stay in the cache while examples are added."""
    halo = lag_images.reach(lag_images.needed(window, len(masks.views(window)[0]), 1))[0]
    return strips.Plan(max(1, _STRIP_PIXELS // width - 2 * halo, 4 * halo), halo)


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
        return compensated.join(one, other if sign > 0 else compensated.negate(other))

    return first._replace(
        num_pairs=first.num_pairs + sign * second.num_pairs,
        input_sum=add(first.input_sum, second.input_sum),
        target_sum=add(first.target_sum, second.target_sum),
        products=add(first.products, second.products),
    )


@jax.jit
def _update(statistics: WindowStatistics, inputs: jax.Array, targets: jax.Array) -> WindowStatistics:
    return add(statistics, inputs, targets)


def add(
    statistics: WindowStatistics,
    inputs: jax.Array,
    targets: jax.Array,
    *,
    is_counted: jax.Array | None = None,
) -> WindowStatistics:
    """`update` without checks, and of the pairs that count: `(num,)` bool."""
    width = inputs.shape[2]

    def add_strip(start: jax.Array, size: int, totals: tuple[Sum, Sum, Sum]) -> tuple[Sum, Sum, Sum]:
        rows = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=size, axis=1)
        part = of_pairs(
            statistics.window,
            rows(inputs),
            rows(targets),
            rows(statistics.input_centre),
            rows(statistics.target_centre),
            is_counted=is_counted,
        )
        input_sum, target_sum, products = map(compensated.join, totals, part[4:])
        return input_sum, target_sum, products

    totals = statistics.input_sum, statistics.target_sum, statistics.products
    input_sum, target_sum, products = strips.replace_rows(add_strip, totals, plan(statistics.window, width))
    return statistics._replace(
        num_pairs=statistics.num_pairs + (len(inputs) if is_counted is None else is_counted.sum()),
        input_sum=input_sum,
        target_sum=target_sum,
        products=products,
    )


def of_pairs(
    window: masks.Window,
    inputs: jax.Array,
    targets: jax.Array,
    input_centre: jax.Array,
    target_centre: jax.Array,
    *,
    is_counted: jax.Array | None = None,
) -> WindowStatistics:
    """The statistics of pairs that all fit into the cache, or are a strip of pictures. Nothing is checked.

    Args:
      window: what they are for.
      inputs: `(num, height, width, in_channels)` floating point.
      targets: `(num, height, width, out_channels)`, the same dtype.
      input_centre: `(in_channels, height, width)`, what is subtracted from the inputs.
      target_centre: `(out_channels, height, width)`.
      is_counted: `(num,)` bool, which pairs count, so that one program serves several numbers of them; all by
        default.
    """
    in_channels = len(input_centre)
    lags = lag_images.needed(window, in_channels, len(target_centre))
    if is_counted is None:
        is_counted = jnp.ones(len(inputs), bool)
    centre = jnp.concatenate([input_centre, target_centre])
    sums, products = _sum_up(inputs, targets, centre, is_counted, lags)
    return WindowStatistics(
        window,
        is_counted.sum(dtype=inputs.dtype),
        input_centre,
        target_centre,
        Sum(*(leaf[:in_channels] for leaf in sums)),
        Sum(*(leaf[in_channels:] for leaf in sums)),
        products,
    )


def _sum_up(
    inputs: jax.Array,
    targets: jax.Array,
    centre: jax.Array,
    is_counted: jax.Array,
    lags: tuple[lag_images.Lag, ...],
) -> tuple[Sum, Sum]:
    """The sums of channels, `(channels, height, width)`, and of products, `(num_lags, height, width)`."""
    num, height, width, in_channels = inputs.shape
    channels = in_channels + targets.shape[3]
    num_blocks = -(-num // _BLOCK)
    block = -(-num // num_blocks)
    layout = lines.Layout(height, width, *lag_images.reach(lags))

    def load(index: jax.Array) -> jax.Array:
        """A block of examples, each a row: its channels' lines one after the other, and a line of ones."""
        start = jnp.minimum(index * block, num - block)
        # The last block reaches back to examples that were counted already.
        is_fresh = start + jnp.arange(block) >= index * block
        factors = (is_fresh & jax.lax.dynamic_slice_in_dim(is_counted, start, block)).astype(inputs.dtype)
        # 0, but unknown to the compiler: planes are copied into place, which is faster than to pad them.
        zero = jnp.minimum(index, 0)
        is_one = np.arange(channels + 1)[:, None, None] == channels
        lines_of_block = jnp.broadcast_to(
            jnp.asarray(is_one, inputs.dtype), (block, channels + 1, *layout.rows)
        )
        for array, channel in ((inputs, 0), (targets, in_channels)):
            planes = jnp.moveaxis(jax.lax.dynamic_slice_in_dim(array, start, block), -1, 1)
            planes -= centre[None, channel : channel + planes.shape[1]]
            lines_of_block = jax.lax.dynamic_update_slice(
                lines_of_block,
                planes * factors[:, None, None, None],
                (0, channel, layout.reach_y + zero, layout.reach_x),
                allow_negative_indices=False,
            )
        return lines_of_block.reshape(block, -1)

    # Sums of channels are products with ones.
    starts = [(channel * layout.size, channels * layout.size) for channel in range(channels)]
    starts += [
        (lag.left * layout.size, lag.right * layout.size + layout.shift(lag.dy, lag.dx)) for lag in lags
    ]

    # The examples of a block are written out in the body of a loop over the lag images, which compiles for
    # one of them. Sums of several in one body compile longer and are not faster.
    @partial(jax.checkpoint, prevent_cse=False)
    def add(totals: Sum, index: jax.Array) -> tuple[Sum, None]:
        examples = load(index)

        def product(starts: jax.Array) -> jax.Array:
            left, right = (
                [
                    jax.lax.dynamic_slice_in_dim(each, start, layout.length, allow_negative_indices=False)
                    for each in examples
                ]
                for start in starts
            )
            terms = [one * other for one, other in zip(left, right, strict=True)]
            return sum(terms[1:], terms[0])

        values = jax.lax.map(product, jnp.asarray(layout.margin + np.array(starts)))
        return compensated.add(totals, values), None

    zero = jnp.zeros((len(starts), layout.length), inputs.dtype)
    totals, _ = jax.lax.scan(add, Sum(zero, zero), jnp.arange(num_blocks))
    planes = [lines.unflatten(line, layout) for line in totals]
    return Sum(*(each[:channels] for each in planes)), Sum(*(each[channels:] for each in planes))


def solve(
    statistics: WindowStatistics,
    window: masks.Window,
    penalty: ArrayLike,
    *,
    penalize_bias: bool = True,
    factors: ArrayLike | None = None,
) -> WindowLinear:
    """Solves every pixel's ridge problem.

    The same weights as `masked_ridge.fit`; `window_ridge` has the formula.

    Args:
      statistics: of the pairs; for several windows and penalties the same.
      window: any whose offsets are among those of `statistics.window`. Weights come in its order.
      penalty: lambda >= 0, one for all or `(height, width)`.
      penalize_bias: whether the penalty includes the bias, as published.
      factors: `(num_offsets,)`, each 0 or more, by which the penalty is multiplied for each offset: a prior
        over the receptive field. The bias has none.

    Returns:
      The map.

    Raises:
      InputError: the window is not inside that of the statistics, there are no pairs, the penalty or a
        factor is negative or of another shape.
    """
    where = "window_statistics.solve"
    check_inside(where, window, statistics)
    size = statistics.input_centre.shape[1:]
    if np.shape(penalty) not in ((), size):
        raise checks.InputError(f"{where}: penalty must be a scalar or {size}, not {np.shape(penalty)}")
    checks.not_negative(where, "penalty", penalty)
    if checks.is_concrete(statistics.num_pairs) and not (np.asarray(statistics.num_pairs) > 0).all():
        raise checks.InputError(f"{where}: the statistics hold no pairs; update them first")
    penalties = jnp.broadcast_to(jnp.asarray(penalty, statistics.num_pairs.dtype), size)
    if factors is not None:
        factors = jnp.asarray(factors, penalties.dtype)
        if factors.shape != (len(window.offsets),):
            raise checks.InputError(
                f"{where}: factors must be ({len(window.offsets)},), one for each offset, not {factors.shape}"
            )
        checks.not_negative(where, "factors", factors)
    params = _solve(statistics, window, penalties, factors, penalize_bias=penalize_bias)
    assert params.solved is not None
    checks.warn_unsolved(where, params.solved)
    return params


@partial(jax.jit, static_argnames=("penalize_bias",))
def _solve(
    statistics: WindowStatistics,
    window: masks.Window,
    penalty: jax.Array,
    factors: jax.Array | None,
    *,
    penalize_bias: bool,
) -> WindowLinear:
    height = statistics.input_centre.shape[1]
    restricted = _restrict(statistics, window)

    def solve_strip(start: jax.Array, size: int) -> WindowLinear:
        strip, penalties = jax.tree.map(partial(cut_rows, start=start, size=size), (restricted, penalty))
        return window_ridge.solve(
            moments(strip), window, strip.num_pairs, penalties, penalize_bias=penalize_bias, factors=factors
        )

    return strips.map_rows(solve_strip, height, _plan_solve(restricted))


def squared_error(statistics: WindowStatistics, params: WindowLinear, window: masks.Window) -> jax.Array:
    """The squared error of a map, summed over pairs of which only the statistics are known.

        sum_n (t_n - w . x_n - b)^2 = s - 2 w . c + w^T C w + N (m_t - w . m - b)^2

    with the covariances C, c and s of inputs with inputs, inputs with the target, and the target with itself.
    A small error is a difference of large numbers: relative to the sum of (t_n - m_t)^2 it has as many digits
    as the precision.

    Args:
      statistics: of the pairs to be measured on.
      params: from `solve`, of these pairs or others.
      window: of `params`; any whose offsets are among those of `statistics.window`.

    Returns:
      `(out_channels, height, width)`, not less than 0.

    Raises:
      InputError: the window is not inside that of the statistics, or the map is of another size.
    """
    where = "window_statistics.squared_error"
    check_inside(where, window, statistics)
    in_channels = len(statistics.input_centre) // len(masks.views(statistics.window)[0])
    channels = len(statistics.target_centre), len(window.offsets), in_channels
    expected = (*channels, *statistics.input_centre.shape[1:])
    if params.weights.shape != expected:
        raise checks.InputError(f"{where}: weights must be {expected}, not {params.weights.shape}")
    return _squared_error(statistics, params, window)


@jax.jit
def _squared_error(statistics: WindowStatistics, params: WindowLinear, window: masks.Window) -> jax.Array:
    height = statistics.input_centre.shape[1]
    restricted = _restrict(statistics, window)

    def measure_strip(start: jax.Array, size: int) -> jax.Array:
        strip, own = jax.tree.map(partial(cut_rows, start=start, size=size), (restricted, params))
        return window_ridge.squared_error(moments(strip), window, strip.num_pairs, own)

    return strips.map_rows(measure_strip, height, _plan_solve(restricted))


def _plan_solve(statistics: WindowStatistics) -> strips.Plan:
    window, in_channels = statistics.window, len(statistics.input_centre)
    return window_ridge.plan(
        window, in_channels // len(masks.views(window)[0]), statistics.input_centre.shape[2]
    )


def cut_rows(planes: jax.Array, *, start: jax.Array, size: int) -> jax.Array:
    """Some rows of `(..., height, width)`; a number as it is."""
    if planes.ndim < 2:
        return planes
    return jax.lax.dynamic_slice_in_dim(planes, start, size, axis=planes.ndim - 2)


def check_inside(where: str, window: masks.Window, statistics: WindowStatistics) -> None:
    """Raises unless the statistics were made for a window that has all of this one's offsets."""
    if not isinstance(window, masks.Window):
        raise TypeError(f"{where}: window must be a masks.Window, not a {type(window).__name__}")
    known = set(masks.entries(statistics.window))
    for entry in masks.entries(window):
        if entry not in known:
            seen = f" of {entry.view}" if entry.view != masks.View() else ""
            raise checks.InputError(
                f"{where}: the statistics were made for a window without {entry.offset}{seen}"
            )


def _restrict(statistics: WindowStatistics, window: masks.Window) -> WindowStatistics:
    """The statistics for a smaller window, or for the same in another order."""
    if window == statistics.window:
        return statistics
    channels, chosen = _places(
        statistics.window, window, len(statistics.input_centre), len(statistics.target_centre)
    )
    return statistics._replace(
        window=window,
        input_centre=statistics.input_centre[channels],
        input_sum=Sum(*(part[channels] for part in statistics.input_sum)),
        products=Sum(*(part[chosen] for part in statistics.products)),
    )


def _places(
    window: masks.Window, smaller: masks.Window, in_channels: int, out_channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which input channels and which lag images of a window are those of a smaller one, in its order."""
    all_views, own_views = masks.views(window)[0], masks.views(smaller)[0]
    # Its channels among those of the statistics, in which order they are here, too.
    channels = [
        start + all_views.index(view) for start in range(0, in_channels, len(all_views)) for view in own_views
    ]
    places = [*channels, *range(in_channels, in_channels + out_channels)]
    index = {lag: i for i, lag in enumerate(lag_images.needed(window, in_channels, out_channels))}
    needed = lag_images.needed(smaller, len(channels), out_channels)
    chosen = [index[Lag(places[left], places[right], dy, dx)] for left, right, dy, dx in needed]
    return np.array(channels), np.array(chosen)


def restrict_moments(
    moments: window_ridge.Moments, window: masks.Window, smaller: masks.Window
) -> window_ridge.Moments:
    """The moments for a smaller window, all of whose offsets `window` has. Nothing is checked."""
    if window == smaller:
        return moments
    channels, chosen = _places(window, smaller, len(moments.input_mean), len(moments.target_mean))
    return window_ridge.Moments(moments.input_mean[channels], moments.target_mean, moments.products[chosen])


def moments(statistics: WindowStatistics) -> window_ridge.Moments:
    """Means and covariances for the window of the statistics. Nothing is checked."""
    in_channels, height, width = statistics.input_centre.shape
    lags = lag_images.needed(statistics.window, in_channels, len(statistics.target_centre))
    reach_y, reach_x = lag_images.reach(lags)
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
        # In a strip of a picture, products with what is below it are there, but must not couple the systems
        # of its last rows, which are thrown away, to what these hold for outside: they would be indefinite.
        return shifted(len(both)) * product

    products = jax.lax.map(centre, (jnp.asarray(lags), *statistics.products))
    return window_ridge.Moments(
        statistics.input_centre + inputs / statistics.num_pairs,
        statistics.target_centre + targets / statistics.num_pairs,
        products,
    )
