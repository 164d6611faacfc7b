"""The window and the penalty that do best on people who were left out, from one pass over the data.

Every fold of a cross-validation is a set of sums (`window_statistics`). Those of all other folds are the
difference of the whole and the fold; any smaller window and any penalty is solved from them; and the error on
the fold follows from the fold's own sums,

    sum_n (t_n - w . x_n)^2 = t^T t - 2 w^T c + w^T G w.

So no picture is looked at again, however many windows and penalties are tried.

    scores = cross_validate(fold_statistics, [3, 5, 7], penalties)
    selection = choose(scores)                      # one window and penalty for the image, or
    selection = choose(scores, per_pixel=True)      # for each pixel

`tune` goes on from there: held-out errors can be differentiated, and it lowers them by changing every pixel's
penalty and the shares that the offsets of the window have in it.
"""

import functools
import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, masks, window_statistics
from mlr_jax.numerics import batching, cholesky
from mlr_jax.numerics.blurring import blur
from mlr_jax.window_linear import WindowLinear
from mlr_jax.window_statistics import WindowStatistics

WINDOWS = (1, 3, 5, 7)
"""Sides of the windows that `synthesis.fit` tries for "auto"."""

PENALTIES = tuple(float(0.05 * 2**power) for power in range(12))
"""Penalties that `synthesis.fit` tries for "auto", 0.05 to 102.4."""

SMOOTHING = 4.0
"""Standard deviation in pixels by which errors are smoothed before every pixel chooses."""

Rule = Literal["minimum", "one_standard_error"]
"""How a choice is made.

"minimum": the least error; of equal ones that with the largest penalty, and then with the smallest window.
"one_standard_error" (Breiman et al., 1984): of all that are within one standard error, over folds, of the
least, that with the fewest inputs, and then with the largest penalty.
"""


class Scores(NamedTuple):
    """Errors on the pairs of each fold, of models of the pairs of all others.

    Attributes:
      windows: that were tried. Static.
      penalties: `(num_penalties,)`, that were tried.
      num_pairs: `(num_folds,)`, in each fold.
      errors: `(num_folds, num_windows, num_penalties, height, width)`, mean squared errors over the pairs and
        channels of a fold; NaN where a system could not be solved.
    """

    windows: tuple[masks.Window, ...]
    penalties: jax.Array
    num_pairs: jax.Array
    errors: jax.Array


class Tuned(NamedTuple):
    """What `tune` has found.

    Attributes:
      penalty: `(height, width)`.
      factors: `(num_offsets,)`, by which it is multiplied for each offset; None if they were left alone.
      errors: `(num_steps + 1,)`, mean squared errors on the folds that it descended on, before every step and
        at the end.
      stopping_errors: the same on the fold that says where to stop.
      num_steps: (), int32, after how many steps that error was least, where these penalties are from.
    """

    penalty: jax.Array
    factors: jax.Array | None
    errors: jax.Array
    stopping_errors: jax.Array
    num_steps: jax.Array


class Selection(NamedTuple):
    """What was chosen, and what it was chosen from.

    Attributes:
      window_index: () or `(height, width)` int32, the place in `scores.windows`.
      penalty: () or `(height, width)`.
      scores: of all that was tried.
      tuned: the penalties that `tune` made of it, if it did.
    """

    window_index: jax.Array
    penalty: jax.Array
    scores: Scores
    tuned: Tuned | None = None


def fold_of(subjects: Sequence[Hashable], *, num_folds: int = 5, seed: int = 0) -> np.ndarray:
    """Splits people, not pictures, at random into folds of nearly equal size.

    Args:
      subjects: whose picture each pair is.
      num_folds: 2 or more.
      seed: of the random choice.

    Returns:
      `(num_pairs,)` int64, the fold of each pair.

    Raises:
      TypeError: `num_folds` is not a whole number.
      InputError: it is less than 2, or there are fewer people.

    >>> fold_of(["ann", "bob", "bob", "eve"], num_folds=3)
    array([0, 2, 2, 1])
    """
    checks.positive_integer("model_selection.fold_of", "num_folds", num_folds)
    people = list(dict.fromkeys(subjects))
    if num_folds < 2 or len(people) < num_folds:
        raise checks.InputError(
            f"model_selection.fold_of: num_folds must be from 2 to the number of people, {len(people)}, not "
            f"{num_folds}"
        )
    order = np.random.default_rng(seed).permutation(len(people))
    folds = {
        people[person]: fold for fold, part in enumerate(np.array_split(order, num_folds)) for person in part
    }
    return np.array([folds[subject] for subject in subjects])


def folds_of_pairs(
    where: str, num_pairs: int, subjects: Sequence[Hashable] | None, num_folds: int
) -> np.ndarray:
    """The fold of each pair, see `fold_of`: fewer folds if there are fewer people.

    Args:
      where: the function that was called, for the message.
      num_pairs: of which there are so many.
      subjects: whose picture each is; None if each is another's.
      num_folds: at most.

    Raises:
      TypeError: `num_folds` is not a whole number.
      InputError: there are not as many subjects as pairs, or there is only one.
    """
    people = range(num_pairs) if subjects is None else list(subjects)
    if len(people) != num_pairs:
        raise checks.InputError(f"{where}: there are {num_pairs} pairs, but {len(people)} subjects")
    num_people = len(set(people))
    if num_people < 2:
        raise checks.InputError(f"{where}: to choose, people are left out, and two at least are needed")
    checks.positive_integer(where, "num_folds", num_folds)
    return fold_of(people, num_folds=min(max(num_folds, 2), num_people))


def candidates(
    where: str, window: Any, penalty: Any, height: int, width: int
) -> tuple[tuple[masks.Window, ...], jax.Array]:
    """The windows and penalties among which to choose: the only one, where it is given.

    Args:
      where: the function that was called, for the message.
      window: "auto", the side of a square window, or a `masks.Window`.
      penalty: "auto", "tuned", or a number.
      height: of the pictures, in pixels.
      width: of the pictures, in pixels.

    Raises:
      InputError: window or penalty is none of these.
    """
    if isinstance(window, masks.Mask):
        raise checks.InputError(
            f"{where}: with a mask, the penalty must be given; its pixels share no sums from which to choose"
        )
    for name, value, words in (("window", window, ("auto",)), ("penalty", penalty, ("auto", "tuned"))):
        if isinstance(value, str) and value not in words:
            raise checks.InputError(
                f"{where}: {name} must be a number or {' or '.join(words)}, not {value!r}"
            )
    if isinstance(window, str):
        windows = tuple(masks.square(side) for side in WINDOWS if side <= min(height, width))
    else:
        windows = (as_window(where, window),)
        masks.check_window(windows[0], where, height, width)
    if isinstance(penalty, str):
        return windows, jnp.asarray(PENALTIES)
    if np.shape(penalty):
        raise checks.InputError(f'{where}: with a window of "auto", penalty must be a scalar or "auto"')
    return windows, jnp.asarray(penalty)[None]


def fit(
    fold_statistics: Sequence[WindowStatistics],
    windows: Sequence[masks.Window],
    penalties: ArrayLike,
    *,
    per_pixel: bool = False,
    tuned: bool = False,
    penalize_bias: bool = True,
) -> tuple[WindowLinear, masks.Window, Selection]:
    """Chooses by cross-validation, and fits all pairs: what "auto" and "tuned" of `synthesis.fit` do.

    Args:
      fold_statistics: as for `cross_validate`.
      windows: to choose from.
      penalties: `(num_penalties,)`, to choose from.
      per_pixel: whether each pixel chooses.
      tuned: whether penalties are tuned from there on, for pixels and offsets.
      penalize_bias: whether the penalty includes the bias, as published.

    Returns:
      The map, its window, and what was chosen.

    Raises:
      InputError: as for `cross_validate`; or penalties are to be tuned while windows differ from pixel to
        pixel, or are traced.
    """
    where = "model_selection.fit"
    folds = _folds(where, fold_statistics, 3 if tuned else 2)
    scores = cross_validate(folds, windows, penalties, penalize_bias=penalize_bias)
    selection = choose(scores, per_pixel=per_pixel)
    whole = functools.reduce(window_statistics.merge, folds)
    if not tuned:
        return *solve(whole, selection, penalize_bias=penalize_bias), selection
    index = selection.window_index
    if len(windows) > 1 and (per_pixel or not checks.is_concrete(index)):
        raise checks.InputError(
            f"{where}: to tune penalties, one window must be known: give it, instead of letting each pixel "
            "choose, or choosing under jit"
        )
    window = scores.windows[0 if len(windows) == 1 else int(index)]
    found = tune(folds, window, selection.penalty, penalize_bias=penalize_bias)
    params = _solve(whole, window, found.penalty, found.factors, penalize_bias=penalize_bias)
    return params, window, selection._replace(tuned=found)


@partial(jax.jit, static_argnames="penalize_bias")
def _solve(
    statistics: WindowStatistics,
    window: masks.Window,
    penalty: jax.Array,
    factors: jax.Array | None,
    *,
    penalize_bias: bool,
) -> WindowLinear:
    """The solutions of all groups, along a first axis where the statistics have one."""

    def solve_one(statistics: WindowStatistics) -> WindowLinear:
        return window_statistics.solve(
            statistics, window, penalty, penalize_bias=penalize_bias, factors=factors
        )

    return jax.lax.map(solve_one, statistics) if statistics.num_pairs.ndim else solve_one(statistics)


def cross_validate(
    fold_statistics: Sequence[Any],
    windows: Sequence[int | masks.Window],
    penalties: ArrayLike,
    *,
    penalize_bias: bool = True,
) -> Scores:
    """The error on held-out pairs of every window and penalty, at every pixel, from statistics alone.

    Differentiable with respect to the penalties. Every window and penalty costs one solution a fold, and
    hardly more for its error.

    Args:
      fold_statistics: for each fold a `WindowStatistics` of its pairs, or several along a first axis of all
        arrays, such as those of colour channels; or a `synthesis.ExpressionStatistics`. Of one window and
        with the same centres.
      windows: sides of square windows, odd, or a `masks.Window` each, inside that of the statistics.
      penalties: `(num_penalties,)`, each lambda >= 0; or `(num_penalties, height, width)`.
      penalize_bias: whether the penalty includes the bias, as published.

    Raises:
      InputError: there are fewer than two folds, one is empty, they do not belong together, a window is not
        inside theirs, or a penalty is negative.
    """
    where = "model_selection.cross_validate"
    folds = _folds(where, fold_statistics, 2)
    sides = [as_window(where, window) for window in windows]
    if not sides:
        raise checks.InputError(f"{where}: there must be one window at least")
    for window in sides:
        window_statistics.check_inside(where, window, folds[0])
    values = jnp.asarray(penalties, folds[0].num_pairs.dtype)
    size = folds[0].input_centre.shape[-2:]
    if values.ndim not in (1, 3) or not len(values) or values.shape[1:] not in ((), size):
        raise checks.InputError(
            f"{where}: penalties must be (num_penalties,) or (num_penalties, {size[0]}, {size[1]}), not "
            f"{values.shape}"
        )
    checks.not_negative(where, "penalties", values)
    whole, stacked, num_pairs = _stack(folds)
    errors = _cross_validate(whole, stacked, tuple(sides), values, penalize_bias=penalize_bias)
    return Scores(tuple(sides), values, num_pairs, errors)


def as_window(where: str, window: int | masks.Window) -> masks.Window:
    """A window, of which only the side may be given."""
    if isinstance(window, masks.Window):
        return window
    checks.positive_integer(where, "window, unless it is a masks.Window,", window)
    return masks.square(int(window))


def _folds(where: str, fold_statistics: Sequence[Any], fewest: int) -> list[WindowStatistics]:
    folds: list[WindowStatistics] = [getattr(fold, "groups", fold) for fold in fold_statistics]
    if len(folds) < fewest:
        number = {2: "two", 3: "three"}[fewest]
        raise checks.InputError(f"{where}: there must be {number} folds at least, not {len(folds)}")
    for place, fold in enumerate(folds):
        if checks.is_concrete(fold.num_pairs) and not (np.asarray(fold.num_pairs) > 0).all():
            raise checks.InputError(f"{where}: fold {place} has no pairs")
    return folds


def _stack(folds: Sequence[WindowStatistics]) -> tuple[WindowStatistics, WindowStatistics, jax.Array]:
    """The statistics of all pairs; those of the folds, along a first axis; and their numbers of pairs."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *folds)
    num_pairs = stacked.num_pairs.reshape(len(folds), -1)[:, 0]
    return functools.reduce(window_statistics.merge, folds), stacked, num_pairs


@partial(jax.jit, static_argnames=("windows", "penalize_bias"))
def _cross_validate(
    whole: WindowStatistics,
    folds: WindowStatistics,
    windows: tuple[masks.Window, ...],
    penalties: jax.Array,
    *,
    penalize_bias: bool,
) -> jax.Array:
    def of_fold(fold: WindowStatistics) -> jax.Array:
        def of_penalty(window: masks.Window, penalty: jax.Array) -> jax.Array:
            return _held_out_error(whole, fold, window, penalty, None, penalize_bias)

        return jnp.stack([jax.lax.map(partial(of_penalty, window), penalties) for window in windows])

    return jax.lax.map(of_fold, folds)


def _held_out_error(
    whole: WindowStatistics,
    fold: WindowStatistics,
    window: masks.Window,
    penalty: jax.Array,
    factors: jax.Array | None,
    penalize_bias: bool,
) -> jax.Array:
    """`(height, width)`: mean squared errors on a fold's pairs of the model of all others."""

    def of_group(both: tuple[WindowStatistics, WindowStatistics]) -> jax.Array:
        seen, unseen = both
        params = window_statistics.solve(seen, window, penalty, penalize_bias=penalize_bias, factors=factors)
        return window_statistics.squared_error(unseen, params, window).mean(axis=0) / unseen.num_pairs

    others = window_statistics.subtract(whole, fold)
    return _map_groups(of_group, (others, fold), fold.num_pairs).mean(axis=0)


def _map_groups(function: Callable[..., Any], argument: Any, num_pairs: jax.Array) -> Any:
    """The function of each group, along a first axis; of the only one, if there is no axis of groups."""
    if num_pairs.ndim:
        return jax.lax.map(function, argument)
    return jax.tree.map(lambda leaf: leaf[None], function(argument))


def mean_errors(scores: Scores) -> jax.Array:
    """Mean squared errors over all pairs, `(num_windows, num_penalties, height, width)`."""
    shares = scores.num_pairs / scores.num_pairs.sum()
    return jnp.tensordot(shares, scores.errors, axes=1, precision="highest")


def choose(
    scores: Scores, *, per_pixel: bool = False, rule: Rule = "minimum", smoothing: float = SMOOTHING
) -> Selection:
    """Chooses a window and a penalty.

    Args:
      scores: from `cross_validate`, with penalties that are the same for all pixels.
      per_pixel: whether each pixel chooses its own, or all the same.
      rule: see `Rule`.
      smoothing: standard deviation in pixels by which errors are smoothed before pixels choose: a pixel's own
        errors are too few to go by. 0 does not smooth.

    Returns:
      The choice. What could not be solved is not chosen, unless nothing could.

    Raises:
      InputError: there is no such rule, or penalties differ from pixel to pixel.
    """
    where = "model_selection.choose"
    if rule not in ("minimum", "one_standard_error"):
        raise checks.InputError(f"{where}: rule must be minimum or one_standard_error, not {rule!r}")
    if scores.penalties.ndim != 1:
        raise checks.InputError(f"{where}: penalties must be the same for all pixels")
    errors = jnp.where(jnp.isfinite(scores.errors), scores.errors, jnp.inf)
    errors = _smooth(errors, smoothing) if per_pixel else errors.mean(axis=(-2, -1))
    num_penalties = len(scores.penalties)
    best = _best(errors, scores, rule)
    return Selection(
        (best // num_penalties).astype(jnp.int32), scores.penalties[best % num_penalties], scores
    )


def _smooth(errors: jax.Array, sigma: float) -> jax.Array:
    """Gaussian means over the pixels around."""
    *lead, height, width = errors.shape
    planes = jnp.moveaxis(errors.reshape(-1, height, width), 0, -1)
    return jnp.moveaxis(blur(planes, sigma), -1, 0).reshape(*lead, height, width)


def _best(errors: jax.Array, scores: Scores, rule: Rule) -> jax.Array:
    """The cell (window, penalty) that is chosen from `(num_folds, num_windows, num_penalties, ...)`."""
    num_folds, num_windows, num_penalties = errors.shape[:3]
    cells = errors.reshape(num_folds, num_windows * num_penalties, *errors.shape[3:])
    shares = scores.num_pairs / scores.num_pairs.sum()
    means = jnp.tensordot(shares, cells, axes=1, precision="highest")
    sizes = jnp.repeat(jnp.array([len(window.offsets) for window in scores.windows]), num_penalties)
    penalties = jnp.tile(scores.penalties, num_windows)
    if rule == "minimum":
        order = jnp.lexsort((sizes, -penalties))
        return order[jnp.argmin(means[order], axis=0)]
    least = jnp.argmin(means, axis=0, keepdims=True)
    at_least = jnp.take_along_axis(cells, least[None], axis=1)[:, 0]
    limit = jnp.take_along_axis(means, least, axis=0)[0] + jnp.std(at_least, axis=0, ddof=1) / math.sqrt(
        num_folds
    )
    order = jnp.lexsort((-penalties, sizes))
    return order[jnp.argmax(means[order] <= limit[None], axis=0)]


def tune(
    fold_statistics: Sequence[Any],
    window: int | masks.Window,
    penalty: ArrayLike,
    *,
    per_pixel: bool = True,
    per_offset: bool = True,
    penalize_bias: bool = True,
    smoothing: float = SMOOTHING,
    num_steps: int = 60,
    learning_rate: float = 0.1,
) -> Tuned:
    """Penalties that lower the error on held-out pairs, by gradient descent.

    With theta the logarithms, Adam (Kingma and Ba, 2015) minimises over theta

        sum_f sum_p error_{f, p}(lambda_p),    log lambda = log penalty + mean + blur(theta_p),

    over all folds f but the last, of which the error of fold f is that of the model of all pairs that are not
    in it, as in `cross_validate`. Offset k of the window has the penalty lambda_p F_k, an anisotropic prior
    over the receptive field. The least error on the last fold says after how many steps to stop: what lowers
    the error on the others only because it knows them, is not taken.

    Args:
      fold_statistics: three or more, as for `cross_validate`.
      window: side of a square window, odd, or a `masks.Window`, inside that of the statistics.
      penalty: lambda > 0 to begin with, one for all or `(height, width)`: of `choose`.
      per_pixel: whether each pixel has its own, or all go up and down together.
      per_offset: whether each offset has its own factor, the same for all pixels.
      penalize_bias: whether the penalty includes the bias, as published.
      smoothing: standard deviation in pixels by which pixels' logarithms are smoothed. 0 does not smooth.
      num_steps: that are tried.
      learning_rate: of Adam: logarithms change by about so much in a step.

    Returns:
      The penalties where the error on the last fold was least, which may be those that it began with.

    Raises:
      InputError: as for `cross_validate`, or there are fewer than three folds.
    """
    where = "model_selection.tune"
    folds = _folds(where, fold_statistics, 3)
    window = as_window(where, window)
    window_statistics.check_inside(where, window, folds[0])
    size = folds[0].input_centre.shape[-2:]
    start = jnp.asarray(penalty, folds[0].num_pairs.dtype)
    if start.shape not in ((), size):
        raise checks.InputError(f"{where}: penalty must be a scalar or {size}, not {start.shape}")
    checks.positive(where, "penalty", start)
    checks.not_negative(where, "smoothing", smoothing)
    checks.positive_integer(where, "num_steps", num_steps)
    whole, stacked, num_pairs = _stack(folds)
    return _tune(
        whole,
        stacked,
        num_pairs,
        jnp.broadcast_to(start, size),
        jnp.asarray(learning_rate, start.dtype),
        window=window,
        per_pixel=per_pixel,
        per_offset=per_offset,
        penalize_bias=penalize_bias,
        smoothing=smoothing,
        num_steps=num_steps,
    )


class _Logarithms(NamedTuple):
    """What `tune` changes: of all penalties together, of each pixel's, and of the offsets' factors."""

    mean: jax.Array
    pixels: jax.Array | None
    offsets: jax.Array | None


@partial(
    jax.jit,
    static_argnames=("window", "per_pixel", "per_offset", "penalize_bias", "smoothing", "num_steps"),
)
def _tune(
    whole: WindowStatistics,
    folds: WindowStatistics,
    num_pairs: jax.Array,
    penalty: jax.Array,
    learning_rate: jax.Array,
    *,
    window: masks.Window,
    per_pixel: bool,
    per_offset: bool,
    penalize_bias: bool,
    smoothing: float,
    num_steps: int,
) -> Tuned:
    # Here, since it takes a while to import, and nothing else needs it.
    import optax

    def values(logarithms: _Logarithms) -> tuple[jax.Array, jax.Array | None]:
        change = logarithms.mean
        if logarithms.pixels is not None:
            change += blur(logarithms.pixels[:, :, None], smoothing)[:, :, 0]
        factors = None if logarithms.offsets is None else jnp.exp(logarithms.offsets)
        return penalty * jnp.exp(change), factors

    def fold_error(changed: tuple[jax.Array, jax.Array | None], fold: WindowStatistics) -> jax.Array:
        return _held_out_error(whole, fold, window, *changed, penalize_bias).mean()

    descended = jax.tree.map(lambda leaf: leaf[:-1], folds)
    last = jax.tree.map(lambda leaf: leaf[-1], folds)
    shares = num_pairs[:-1] / num_pairs[:-1].sum()

    def descend(logarithms: _Logarithms) -> tuple[jax.Array, jax.Array, _Logarithms]:
        """The error on the folds but the last, that on the last, and the gradient of the first one."""
        changed, pull_back = jax.vjp(values, logarithms)
        # One fold after the other, gradient included: nothing of it is kept.
        errors, gradients = jax.lax.map(lambda fold: jax.value_and_grad(fold_error)(changed, fold), descended)
        gradient = jax.tree.map(lambda leaf: jnp.tensordot(shares, leaf, axes=1), gradients)
        return jnp.sum(shares * errors), fold_error(changed, last), pull_back(gradient)[0]

    dtype = penalty.dtype
    begin = _Logarithms(
        jnp.zeros((1, 1), dtype),
        jnp.zeros_like(penalty) if per_pixel else None,
        jnp.zeros(len(window.offsets), dtype) if per_offset else None,
    )
    optimizer = optax.adam(learning_rate)

    def step(
        state: tuple[Any, ...], number: jax.Array
    ) -> tuple[tuple[Any, ...], tuple[jax.Array, jax.Array]]:
        logarithms, moments, best, least, when, scale = state
        error, stopping, gradient = descend(logarithms)
        # Errors are small numbers: in units of the first one, the optimiser's epsilon is not in the way.
        scale = jnp.where(number == 0, 1 / error, scale)
        better = stopping < least
        best = jax.tree.map(partial(jnp.where, better), logarithms, best)
        least, when = jnp.where(better, stopping, least), jnp.where(better, number, when)
        updates, moments = optimizer.update(jax.tree.map(lambda leaf: scale * leaf, gradient), moments)
        logarithms = optax.apply_updates(logarithms, updates)
        return (logarithms, moments, best, least, when, scale), (error, stopping)

    infinite, one = jnp.asarray(jnp.inf, dtype), jnp.ones((), dtype)
    state = begin, optimizer.init(begin), begin, infinite, jnp.zeros((), jnp.int32), one
    numbers = jnp.arange(num_steps + 1, dtype=jnp.int32)
    (_, _, best, _, when, _), (errors, stopping_errors) = jax.lax.scan(step, state, numbers)
    return Tuned(*values(best), errors, stopping_errors, when)


def solve(
    statistics: WindowStatistics, selection: Selection, *, penalize_bias: bool = True
) -> tuple[WindowLinear, masks.Window]:
    """The map of all pairs, with what was chosen.

    Args:
      statistics: of all pairs; several along a first axis of all arrays, where the folds had them.
      selection: from `choose`.
      penalize_bias: as for `cross_validate`.

    Returns:
      The map, and its window: the one that was chosen, where that is one and known; otherwise that of the
      statistics, with weights of 0 for what a pixel's own window does not have.
    """
    windows = selection.scores.windows
    index, largest = selection.window_index, statistics.window

    def solve_with(window: masks.Window) -> WindowLinear:
        return _solve(statistics, window, selection.penalty, None, penalize_bias=penalize_bias)

    if index.ndim == 0 and checks.is_concrete(index):
        chosen = windows[int(index)]
        return solve_with(chosen), chosen
    used = set(np.unique(index).tolist()) if checks.is_concrete(index) else set(range(len(windows)))
    params = None
    for place in sorted(used):
        found = _widen(solve_with(windows[place]), windows[place], largest)
        params = found if params is None else jax.tree.map(partial(_where, index == place), found, params)
    assert params is not None
    return params, largest


def _where(condition: jax.Array, one: jax.Array, other: jax.Array) -> jax.Array:
    lead = (1,) * (one.ndim - condition.ndim)
    return jnp.where(condition.reshape(*lead, *condition.shape), one, other)


def _widen(params: WindowLinear, window: masks.Window, largest: masks.Window) -> WindowLinear:
    """The same map on a larger window."""
    if window == largest:
        return params
    all_entries = masks.entries(largest)
    places = np.array([all_entries.index(entry) for entry in masks.entries(window)])
    axis = params.weights.ndim - 4
    shape = list(params.weights.shape)
    shape[axis] = len(largest.offsets)
    weights = jnp.zeros(shape, params.weights.dtype)
    return params._replace(weights=weights.at[(slice(None),) * axis + (places,)].set(params.weights))


def leave_one_out(
    inputs: ArrayLike,
    targets: ArrayLike,
    mask: masks.Mask,
    penalty: ArrayLike,
    *,
    penalize_bias: bool = True,
    batch_size: int | None = None,
) -> jax.Array:
    """What every example's prediction misses if the regression is fitted without it, exactly.

    Without fitting again: with the hat matrix H, the prediction at example n misses (t_n - (H t)_n) / (1 -
    H_nn). Where a pixel has fewer inputs than there are examples, 1 - H_nn is computed from a factor of its
    Gram matrix; where it has as many or more, as a_n / (K^-1)_nn with the kernel matrix K = X X^T + lambda I
    and K a = t, which holds for penalties however small, as long as the examples' inputs are not linearly
    dependent. Not stable are: penalties below the rounding of the Gram or kernel matrix (1e-7 of its
    diagonal in float32) if this is singular, as where inputs or examples occur twice; and examples that
    alone determine a weight, whose 1 - H_nn is 0.

    Args:
      inputs: `(num_examples, num_inputs)` floating point.
      targets: `(num_examples, num_outputs)` floating point.
      mask: what each output sees.
      penalty: lambda > 0, one for all or `(num_outputs,)`.
      penalize_bias: whether the penalty includes the bias, as published.
      batch_size: outputs at once, as for `masked_ridge.fit`.

    Returns:
      `(num_examples, num_outputs)`, target minus prediction.

    Raises:
      TypeError: an array is not floating point.
      InputError: shapes do not agree, a value is NaN, or the penalty is negative.
    """
    where = "model_selection.leave_one_out"
    inputs = checks.as_floating(where, "inputs", inputs, ("num_examples", "num_inputs"))
    targets = checks.as_floating(where, "targets", targets, ("num_examples", "num_outputs"))
    masks.check(mask, where, num_inputs=inputs.shape[1])
    if len(inputs) != len(targets) or targets.shape[1] != len(mask.indices):
        raise checks.InputError(
            f"{where}: inputs {inputs.shape}, targets {targets.shape} and a mask of {len(mask.indices)} "
            "outputs do not go together"
        )
    for name, array in (("inputs", inputs), ("targets", targets)):
        checks.finite(where, name, array)
    if np.shape(penalty) not in ((), targets.shape[1:]):
        raise checks.InputError(f"{where}: penalty must be a scalar or {targets.shape[1:]}")
    checks.not_negative(where, "penalty", penalty)
    dtype = jnp.promote_types(inputs.dtype, targets.dtype)
    penalties = jnp.broadcast_to(jnp.asarray(penalty, dtype), targets.shape[1:])
    return _leave_one_out(
        inputs.astype(dtype),
        targets.astype(dtype),
        mask,
        penalties,
        penalize_bias=penalize_bias,
        batch_size=batch_size,
    )


@partial(jax.jit, static_argnames=("penalize_bias", "batch_size"))
def _leave_one_out(
    inputs: jax.Array,
    targets: jax.Array,
    mask: masks.Mask,
    penalties: jax.Array,
    *,
    penalize_bias: bool,
    batch_size: int | None,
) -> jax.Array:
    pixels = inputs.T
    num_examples, num_inputs = len(inputs), mask.indices.shape[1] + penalize_bias

    def of_pixel(pixel: tuple[jax.Array, ...]) -> jax.Array:
        indices, valid, target, penalty = pixel
        rows = jnp.where(valid[:, None], pixels[indices], 0)
        if penalize_bias:
            rows, valid = jnp.concatenate([rows, jnp.ones_like(rows[:1])]), jnp.append(valid, True)
        if num_inputs < num_examples:
            return _miss_by_gram(rows, valid, target, penalty, penalize_bias)
        return _miss_by_kernel(rows, target, penalty, penalize_bias)

    if batch_size is None:
        numbers = 3 * num_inputs * num_examples + 3 * min(num_inputs, num_examples) ** 2
        batch_size = batching.default_batch_size(targets.shape[1], numbers, inputs.dtype)
    columns = jnp.asarray(mask.indices), jnp.asarray(mask.valid), targets.T, penalties
    return jax.lax.map(of_pixel, columns, batch_size=batch_size).T


def _miss_by_gram(
    rows: jax.Array, valid: jax.Array, target: jax.Array, penalty: jax.Array, penalize_bias: bool
) -> jax.Array:
    """`rows` is `(num_inputs, num_examples)`."""
    share = jnp.zeros((), rows.dtype)
    if not penalize_bias:
        rows, target = rows - rows.mean(axis=1, keepdims=True), target - target.mean()
        share = jnp.asarray(1 / rows.shape[1], rows.dtype)
    gram = jnp.einsum("kn,ln->kl", rows, rows, precision="highest")
    upper = cholesky.factor(gram + jnp.diag(jnp.where(valid, penalty, 1)))
    solved = jax.vmap(partial(cholesky.solve, upper), in_axes=1, out_axes=1)(rows)
    hat = share + jnp.sum(rows * solved, axis=0)
    fitted = jnp.einsum("kn,k->n", rows, jnp.einsum("kn,n->k", solved, target, precision="highest"))
    return (target - fitted) / (1 - hat)


def _miss_by_kernel(rows: jax.Array, target: jax.Array, penalty: jax.Array, penalize_bias: bool) -> jax.Array:
    num = rows.shape[1]
    kernel = jnp.einsum("kn,km->nm", rows, rows, precision="highest") + penalty * jnp.eye(
        num, dtype=rows.dtype
    )
    upper = cholesky.factor(kernel)
    inverse = jax.vmap(partial(cholesky.solve, upper), in_axes=1, out_axes=1)(jnp.eye(num, dtype=rows.dtype))
    if not penalize_bias:  # The block of the system that is bordered by ones.
        seen = inverse.sum(axis=1)
        inverse = inverse - seen[:, None] * seen[None] / seen.sum()
    return jnp.einsum("nm,m->n", inverse, target, precision="highest") / jnp.diag(inverse)
