"""`init_statistics`, `update` and `solve`: a model of pairs that arrive in batches."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, model_selection, window_statistics, windows
from mlr_jax._window_regression import (
    accumulation,
    channels as channel_groups,
    linear,
    primal,
    regularization,
    statistics as sums,
    strips,
)
from mlr_jax._window_regression.channels import Channels, check_channels, group
from mlr_jax._window_regression.regularization import Regularization
from mlr_jax._window_regression.statistics import WindowStatistics
from mlr_jax.synthesis._model import (
    ChannelMode,
    ExpressionModel,
    ExpressionStatistics,
    as_pairs,
    join_groups,
    warn_unsolved,
    with_weights,
)
from mlr_jax.synthesis._solvers import centre
from mlr_jax.windows import Window


def init_statistics(
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    window: int | Window = 3,
    channels: Channels = "independent",
) -> ExpressionStatistics:
    """Statistics of no pairs yet, for pictures like the given ones.

    With `update` and `solve` they give the model of `fit` for any number of pairs, of which only some are in
    memory at a time:

        statistics = init_statistics(*first)
        for neutral, expressive in batches:
            statistics = update(statistics, neutral, expressive)
        model = solve(statistics)

    Args:
      neutral: `(num, height, width, channels)` floating point in [0, 1], some of the faces. Their size, dtype
        and channels are those of all; the mean of the first 16 is subtracted from every picture before it
        is multiplied, which changes the rounding but not the result.
      expressive: the same shape, the same people with the expression.
      window: side of the square window in pixels, odd; or any `windows.Window`. Not a mask, whose pixels
        share no sums.
      channels: how colour channels relate, see `Channels`.

    Raises:
      TypeError: the pictures are not floating point, or the window is of another type.
      InputError: shapes do not agree, a value is NaN, pictures are not in [0, 1] (see `fit`), or the window
        does not suit the picture.
    """
    where = "synthesis.init_statistics"
    neutral, expressive = as_pairs(where, neutral, expressive)
    check_channels(where, channels)
    window = model_selection.as_window(where, window)
    windows.check(window, where, *neutral.shape[1:3])
    return _init(neutral, expressive, window, channels)


def update(
    statistics: ExpressionStatistics,
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    weights: ArrayLike | None = None,
) -> ExpressionStatistics:
    """Adds pairs.

    Compiled once for each number of pairs. How pairs are batched and ordered changes only the rounding.

    Args:
      statistics: so far.
      neutral: `(num, height, width, channels)` floating point in [0, 1].
      expressive: the same shape.
      weights: `(num,)`, 0 or more, of the squared errors of each pair: a pair of weight 2 counts as two, and
        one of weight 0 as none; it may hold NaN.

    Returns:
      The statistics with these pairs.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: they are not of the size and the channels that the statistics are for, a value is NaN, a
        weight is negative, or pictures are not in [0, 1], see `fit`.
    """
    where = "synthesis.update"
    if weights is not None:
        neutral, expressive, weights = with_weights(where, neutral, expressive, weights)
    neutral, expressive = as_pairs(where, neutral, expressive, weights=weights)
    num_groups, num_inputs, height, width = statistics.groups.input_centre.shape
    in_channels = num_inputs // statistics.groups.window.num_views
    num_channels = {"independent": num_groups, "joint": in_channels, "shared": neutral.shape[3]}
    expected = (height, width, num_channels[statistics.mode.channels])
    if neutral.shape[1:] != expected:
        raise checks.InputError(
            f"{where}: the statistics are for pictures of {expected}, not {neutral.shape[1:]}"
        )
    return _update(checks.with_automatic_axes(where, statistics), neutral, expressive, weights)


def solve(
    statistics: ExpressionStatistics,
    *,
    penalty: ArrayLike = 0.4,
    penalize_bias: bool = True,
    factors: ArrayLike | None = None,
) -> ExpressionModel:
    """The model of all pairs that were added.

    The same as that of `fit`, up to rounding. It always solves primal systems: with fewer pairs than a window
    has inputs, a small penalty loses digits that the dual would keep.

    Args:
      statistics: of the pairs; the same for all penalties.
      penalty: lambda >= 0, one for all or `(height, width)`; 0.4 in the paper.
      penalize_bias: whether the penalty includes the bias, as published.
      factors: `(num_offsets,)`, the penalty's factor for each offset, such as from `model_selection.tune`.

    Returns:
      The model.

    Raises:
      InputError: there are no pairs, or the penalty or a factor is negative or of another shape.
    """
    where = "synthesis.solve"
    statistics = checks.with_automatic_axes(where, statistics)
    groups = statistics.groups
    window_statistics.check_not_empty(where, groups)
    options = regularization.checked(
        where,
        penalty,
        groups.input_centre.shape[2:],
        groups.num_pairs.dtype,
        penalize_bias=penalize_bias,
        factors=factors,
        num_offsets=len(groups.window.offsets),
    )
    model = _solve(statistics, options)
    warn_unsolved(where, model)
    return model


@partial(jax.jit, static_argnames=("window", "channels"))
def _init(
    neutral: jax.Array, expressive: jax.Array, window: Window, channels: Channels
) -> ExpressionStatistics:
    seen = linear.view_images(neutral, window)
    groups = group(seen, channels, num_views=window.num_views), group(expressive, channels)
    return ExpressionStatistics(
        ChannelMode(channels), jax.lax.map(lambda pair: begin(pair[0], pair[1], window), groups)
    )


@jax.jit
def _update(
    statistics: ExpressionStatistics,
    neutral: jax.Array,
    expressive: jax.Array,
    weights: jax.Array | np.ndarray | None,
) -> ExpressionStatistics:
    channels = statistics.mode.channels
    counts = channel_groups.weights_of_examples(weights, neutral.shape[3], channels)
    window, num_pairs = statistics.groups[:2]
    seen = linear.view_images(neutral, window)

    def add_group(one: tuple[WindowStatistics, jax.Array, jax.Array]) -> WindowStatistics:
        statistics, inputs, targets = one
        dtype = statistics.num_pairs.dtype
        return accumulation.update(statistics, inputs.astype(dtype), targets.astype(dtype), weights=counts)

    def add_strip(start: jax.Array, size: int, planes: tuple[Any, ...]) -> tuple[Any, ...]:
        def rows(images: jax.Array, num_views: int = 1) -> jax.Array:
            return group(
                jax.lax.dynamic_slice_in_dim(images, start, size, axis=1), channels, num_views=num_views
            )

        groups = WindowStatistics(window, num_pairs, *planes), rows(seen, window.num_views), rows(expressive)
        return jax.lax.map(add_group, groups)[2:]

    # Strip by strip, so that donated sums are not held twice.
    plan = accumulation.plan(window, neutral.shape[2])
    planes = strips.replace_rows(add_strip, statistics.groups[2:], plan)
    num_examples: int | jax.Array = channel_groups.num_examples(len(neutral), neutral.shape[3], channels)
    if counts is not None:
        num_examples = counts.sum().astype(num_pairs.dtype)
    return statistics._replace(groups=WindowStatistics(window, num_pairs + num_examples, *planes))


@jax.jit
def _solve(statistics: ExpressionStatistics, regularization: Regularization) -> ExpressionModel:
    window = statistics.groups.window
    solve_one = partial(primal.solve, window=window, regularization=regularization)
    return join_groups(jax.lax.map(solve_one, statistics.groups), window)


def begin(inputs: jax.Array, targets: jax.Array, window: Window) -> WindowStatistics:
    """The statistics of no pairs, centred for `(num, height, width, channels)` of one group."""
    return sums.empty(window, centre(inputs), centre(targets), dtype=inputs.dtype)
