"""Sufficient statistics of masked ridge regression on a window, for any number of pairs of pictures.

For a window O of offsets, pixel p's ridge problem depends on the examples only through

    sum_n x_n[p + a] x_n[p + b]    and    sum_n x_n[p + a] t_n[p],    a, b in O,

and the sums of x_n and t_n; its error on them also on sum_n t_n[p]^2. Entry (a, b) of pixel p is entry
(a + e, b + e) of pixel p - e: all pixels' Gram matrices together hold only one *lag image* R_d[q] = sum_n
x_n[q] x_n[q + d] for every difference d of two offsets, some 2 r^2 for a window of r x r. These sums are
sufficient statistics of Khan et al.'s problem (IJCV 2020). They add up over pairs: training can stream
pairs, run on several machines, and remove pairs by subtraction. The same sums serve every smaller window and
every penalty.

Numerics: given centres are subtracted from pictures before they are multiplied, so that the Gram matrices are
nearly covariances, and the bias needs no column. Sums are `compensated`: in float32 they are as accurate over
millions of pairs as over a few. Only blocks of up to fourteen pairs are summed plainly.

With the covariances C = sum_n (x_n - m)(x_n - m)^T and c = sum_n (x_n - m)(t_n - m_t) about the means of the
window's pixels and of the target, `solve` finds

    (C + lambda F + k m m^T) w = c + k m_t m,    k = lambda N / (N + lambda),

and the bias N (m_t - m . w) / (N + lambda): the weights of `masked_ridge.fit`, from whose system the
penalised bias is eliminated. Where it is not penalised, k is 0 and the bias is m_t - m . w. F is the
identity, or has a factor for each offset of the window.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from mlr_jax import checks, windows
from mlr_jax._window_regression import accumulation, primal, regularization, statistics as sums
from mlr_jax._window_regression.statistics import WindowStatistics
from mlr_jax.window_linear import WindowLinear

__all__ = [
    "WindowStatistics",
    "check_inside",
    "check_not_empty",
    "check_pairs",
    "fit",
    "init",
    "merge",
    "solve",
    "squared_error",
    "subtract",
    "update",
    "without_missing",
]


def init(
    window: windows.Window,
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
      window: the largest to solve for.
      height: of the pictures, in pixels.
      width: of the pictures, in pixels.
      in_channels: of the inputs, all of which each output channel sees; for a window with views, of the
        result of `window_linear.look`.
      out_channels: of the targets.
      input_centre: broadcastable to `(height, width, in_channels)`, any pictures near the mean of the inputs.
        It changes the rounding, not the result: the nearer, the more digits remain for the variation.
      target_centre: the same for the targets.
      dtype: float32 or float64, of the sums.

    Raises:
      InputError: the window is larger than the picture.
    """
    windows.check(window, "window_statistics.init", height, width)
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        checks.positive_integer("window_statistics.init", name, value)

    def planes(centre: ArrayLike, channels: int) -> jax.Array:
        whole = jnp.broadcast_to(jnp.asarray(centre, dtype), (height, width, channels))
        return jnp.moveaxis(whole, -1, 0)

    centres = planes(input_centre, in_channels), planes(target_centre, out_channels)
    return sums.empty(window, *centres, dtype=dtype)


def update(
    statistics: WindowStatistics, inputs: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None
) -> WindowStatistics:
    """Adds pairs.

    Args:
      statistics: so far.
      inputs: `(num, height, width, in_channels)` floating point.
      targets: `(num, height, width, out_channels)` floating point.
      weights: `(num,)`, 0 or more, of the squared errors of each pair: a pair of weight 2 counts as two, and
        one of weight 0 as none; it may hold NaN. `num_pairs` is their sum.

    Returns:
      The statistics with these pairs.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, a value is NaN, or a weight is negative.
    """
    where = "window_statistics.update"
    statistics = checks.with_automatic_axes(where, statistics)
    axes = ("num", "height", "width", "channels")
    inputs = checks.as_floating(where, "inputs", inputs, axes)
    targets = checks.as_floating(where, "targets", targets, axes)
    dtype = statistics.num_pairs.dtype
    if weights is not None:
        weights = checks.weights(where, weights, (inputs.shape[:1],), dtype)
        inputs, targets = without_missing(inputs, weights), without_missing(targets, weights)
    check_pairs(statistics, where, inputs, targets)
    return accumulation.update(statistics, inputs.astype(dtype), targets.astype(dtype), weights=weights)


def without_missing(pictures: jax.Array, weights: jax.Array | np.ndarray) -> jax.Array:
    """Pictures `(num, ...)` in which values that are not finite are 0 if their weight `(num,)` is 0."""
    if len(pictures) != len(weights):
        return pictures  # An error, which is reported elsewhere.
    is_missing = jnp.asarray(weights).reshape(-1, *(1,) * (pictures.ndim - 1)) == 0
    return jnp.where(is_missing & ~jnp.isfinite(pictures), 0, pictures)


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
    return sums.combine(first, second, sign)


def solve(
    statistics: WindowStatistics,
    window: windows.Window,
    penalty: ArrayLike,
    *,
    penalize_bias: bool = True,
    factors: ArrayLike | None = None,
) -> WindowLinear:
    """Solves every pixel's ridge problem.

    The same weights as `masked_ridge.fit`.

    Args:
      statistics: of the pairs; the same for all windows and penalties.
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
    statistics = checks.with_automatic_axes(where, statistics)
    check_inside(where, window, statistics)
    size = statistics.input_centre.shape[1:]
    options = regularization.checked(
        where,
        penalty,
        size,
        statistics.num_pairs.dtype,
        penalize_bias=penalize_bias,
        factors=factors,
        num_offsets=len(window.offsets),
    )
    check_not_empty(where, statistics)
    params = primal.solve(statistics, window, options)
    assert params.solved is not None
    checks.warn_unsolved(where, params.solved)
    return params


def fit(
    inputs: ArrayLike,
    targets: ArrayLike,
    window: windows.Window,
    penalty: ArrayLike,
    *,
    penalize_bias: bool = True,
) -> WindowLinear:
    """Solves every pixel's ridge problem from pairs that come all at once: `init`, `update` and `solve`.

    Args:
      inputs: `(num, height, width, in_channels)` floating point.
      targets: `(num, height, width, out_channels)` floating point.
      window: any.
      penalty: lambda >= 0, one for all or `(height, width)`.
      penalize_bias: whether the penalty includes the bias, as published.

    Returns:
      The map.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, a value is NaN, the window is larger than the picture, or the penalty
        is negative or of another shape.
    """
    where = "window_statistics.fit"
    axes = ("num", "height", "width", "channels")
    inputs = checks.as_floating(where, "inputs", inputs, axes)
    targets = checks.as_floating(where, "targets", targets, axes)
    statistics = init(
        window,
        *inputs.shape[1:3],
        in_channels=inputs.shape[3],
        out_channels=targets.shape[3],
        input_centre=inputs.mean(axis=0),
        target_centre=targets.mean(axis=0),
        dtype=jnp.promote_types(inputs.dtype, targets.dtype),
    )
    return solve(update(statistics, inputs, targets), window, penalty, penalize_bias=penalize_bias)


def squared_error(statistics: WindowStatistics, params: WindowLinear, window: windows.Window) -> jax.Array:
    """The squared error of a map, summed over pairs, from their statistics.

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
    channels = len(statistics.target_centre), len(window.offsets), sums.in_channels(statistics)
    expected = (*channels, *statistics.input_centre.shape[1:])
    if params.weights.shape != expected:
        raise checks.InputError(f"{where}: weights must be {expected}, not {params.weights.shape}")
    return primal.squared_error(statistics, params, window)


def check_pairs(statistics: WindowStatistics, where: str, inputs: jax.Array, targets: jax.Array) -> None:
    """Raises InputError unless `inputs` and `targets` are pairs that the statistics can be updated with."""
    checks.known_number(where, "pairs", inputs)
    checks.known_number(where, "pairs", targets)
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


def check_inside(where: str, window: windows.Window, statistics: WindowStatistics) -> None:
    """Raises unless the statistics were made for a window that has all of this one's offsets."""
    if not isinstance(window, windows.Window):
        raise TypeError(f"{where}: window must be a windows.Window, not a {type(window).__name__}")
    known = set(statistics.window.entries)
    for entry in window.entries:
        if entry not in known:
            seen = f" of {entry.view}" if entry.view != windows.View() else ""
            raise checks.InputError(
                f"{where}: the statistics were made for a window without {entry.offset}{seen}"
            )


def check_not_empty(where: str, statistics: WindowStatistics) -> None:
    """Raises InputError if the statistics are known to hold no pairs."""
    num_pairs = statistics.num_pairs
    if checks.is_concrete(num_pairs) and not (np.asarray(num_pairs) > 0).all():
        raise checks.InputError(f"{where}: the statistics hold no pairs; update them first")
