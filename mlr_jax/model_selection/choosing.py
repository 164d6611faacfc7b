"""Chooses a window and a penalty, for the picture or for each pixel, by the errors on held-out folds."""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, window_statistics, windows as receptive_fields
from mlr_jax._window_regression import primal
from mlr_jax._window_regression.regularization import Regularization
from mlr_jax.masks import Mask
from mlr_jax.model_selection.held_out import (
    SMOOTHING,
    FoldStatistics,
    Scores,
    as_folds,
    as_window,
    cross_validate,
)
from mlr_jax.model_selection.tuning import Tuned, tune
from mlr_jax.numerics.blurring import blur
from mlr_jax.numerics.serialization import exported
from mlr_jax.window_linear import WindowLinear
from mlr_jax.window_statistics import WindowStatistics
from mlr_jax.windows import Window

WINDOWS = (1, 3, 5, 7)
"""Sides of the windows that `synthesis.fit` tries for "auto"."""

PENALTIES = tuple(float(0.05 * 2**power) for power in range(12))
"""Penalties that `synthesis.fit` tries for "auto", 0.05 to 102.4, for pictures in [0, 1].

They do not depend on the pictures or their number. Where the best is the first or the last, there is a
`checks.GridEndWarning`.
"""

Rule = Literal["minimum", "one_standard_error"]
"""How a choice is made.

"minimum": the least error; of equal ones that with the largest penalty, and then with the smallest window.
"one_standard_error" (Breiman et al., 1984): of all errors within one standard error, over folds, of
the least, that with the fewest inputs, and then with the largest penalty.
"""


class AtEnd(NamedTuple):
    """Where a choice is at an end of what was tried; of a single candidate, nowhere.

    Attributes:
      smallest_penalty: the shape of the choice, bool.
      largest_penalty: the same.
      smallest_window: the same; by the number of offsets.
      largest_window: the same.
    """

    smallest_penalty: np.ndarray | jax.Array
    largest_penalty: np.ndarray | jax.Array
    smallest_window: np.ndarray | jax.Array
    largest_window: np.ndarray | jax.Array


@exported
class Selection(NamedTuple):
    """A choice, and the scores that it was made from.

    Attributes:
      window_place: () or `(height, width)`, the place of the window in `scores.windows`. A float, so that
        `jax.grad` accepts a model that holds a choice; `window_index` is the same as an integer.
      penalty: () or `(height, width)`.
      scores: of all windows and penalties tried.
      tuned: the result of `tune`, if it ran.
    """

    window_place: jax.Array
    penalty: jax.Array
    scores: Scores
    tuned: Tuned | None = None

    @property
    def window_index(self) -> jax.Array:
        """() or `(height, width)` int32, the index into `scores.windows`."""
        return self.window_place.astype(jnp.int32)

    @property
    def at_end(self) -> AtEnd:
        """Whether the choice is the first or the last of its grid, where a better one may lie beyond."""
        own = np if checks.is_concrete(self) else jnp
        penalty, penalties = own.asarray(self.penalty), own.asarray(self.scores.penalties)
        sizes = own.asarray([float(len(window.offsets)) for window in self.scores.windows])
        size = sizes[own.asarray(self.window_place).astype(own.int32)]
        ends = [
            (values == limit(grid)) & (grid.min() < grid.max())
            for values, grid in ((penalty, penalties), (size, sizes))
            for limit in (own.min, own.max)
        ]
        return AtEnd(*ends)


def choose(
    scores: Scores, *, per_pixel: bool = False, rule: Rule = "minimum", smoothing: float = SMOOTHING
) -> Selection:
    """Chooses a window and a penalty.

    Args:
      scores: from `cross_validate`, with penalties that are the same for all pixels.
      per_pixel: whether each pixel chooses its own, or all the same.
      rule: see `Rule`.
      smoothing: standard deviation in pixels of the Gaussian that smooths errors before each pixel chooses,
        since the errors of one pixel are noisy. 0 does not smooth.

    Returns:
      The choice, among windows and penalties that could be solved, if there are any.

    Raises:
      InputError: there is no such rule, or penalties differ from pixel to pixel.
    """
    where = "model_selection.choose"
    if rule not in ("minimum", "one_standard_error"):
        raise checks.InputError(f"{where}: rule must be minimum or one_standard_error, not {rule!r}")
    if scores.penalties.ndim != 1:
        raise checks.InputError(f"{where}: penalties must be the same for all pixels")
    window_place, penalty = _choose(scores, per_pixel=per_pixel, rule=rule, smoothing=float(smoothing))
    return Selection(window_place, penalty, scores)


@partial(jax.jit, static_argnames=("per_pixel", "rule", "smoothing"))
def _choose(scores: Scores, *, per_pixel: bool, rule: Rule, smoothing: float) -> tuple[jax.Array, jax.Array]:
    """The places of the windows, and the penalties."""
    errors = jnp.where(jnp.isfinite(scores.errors), scores.errors, jnp.inf)
    errors = _smooth(errors, smoothing) if per_pixel else errors.mean(axis=(-2, -1))
    num_penalties = len(scores.penalties)
    best = _best(errors, scores, rule)
    return (best // num_penalties).astype(errors.dtype), scores.penalties[best % num_penalties]


def solve(
    statistics: WindowStatistics, selection: Selection, *, penalize_bias: bool = True
) -> tuple[WindowLinear, Window]:
    """Fits all pairs with the choice.

    Args:
      statistics: of all pairs; several along a first axis of all arrays, if the folds have them.
      selection: from `choose`.
      penalize_bias: as for `cross_validate`.

    Returns:
      The map, and its window: the chosen one, if it is concrete and the same for all pixels; otherwise that
      of the statistics, with weights of 0 at offsets outside a pixel's own window.

    Raises:
      InputError: the statistics are of another window or size than the choice, or hold no pairs.
    """
    where = "model_selection.solve"
    windows, size = selection.scores.windows, statistics.input_centre.shape[-2:]
    if np.shape(selection.penalty) not in ((), size):
        raise checks.InputError(
            f"{where}: penalty must be a scalar or {size}, not {np.shape(selection.penalty)}"
        )
    checks.not_negative(where, "penalty", selection.penalty)
    for window in windows:
        window_statistics.check_inside(where, window, statistics)
    window_statistics.check_not_empty(where, statistics)
    index, largest = _concrete_index(selection), statistics.window

    def solve_with(window: Window) -> WindowLinear:
        return _solve(statistics, window, Regularization(selection.penalty, penalize_bias=penalize_bias))

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


def fit(
    fold_statistics: Sequence[WindowStatistics] | FoldStatistics,
    windows: Sequence[Window],
    penalties: ArrayLike,
    *,
    per_pixel: bool = False,
    tuned: bool = False,
    penalize_bias: bool = True,
) -> tuple[WindowLinear, Window, Selection]:
    """Chooses by cross-validation, and fits all pairs, for "auto" and "tuned" of `synthesis.fit`.

    Args:
      fold_statistics: as for `cross_validate`.
      windows: to choose from.
      penalties: `(num_penalties,)`, to choose from.
      per_pixel: whether each pixel chooses.
      tuned: whether to tune the chosen penalties, for pixels and offsets.
      penalize_bias: whether the penalty includes the bias, as published.

    Returns:
      The map, its window, and the choice. Under `jit` the window is that of the statistics, with weights of 0
      and tuned factors of 1 at offsets outside the chosen one.

    Raises:
      InputError: as for `cross_validate`; or penalties are to be tuned while windows differ from pixel to
        pixel.
    """
    where = "model_selection.fit"
    folds = as_folds(where, fold_statistics, 3 if tuned else 2)
    scores = cross_validate(folds, windows, penalties, penalize_bias=penalize_bias)
    selection = choose(scores, per_pixel=per_pixel)
    whole = folds.whole
    if not tuned:
        return *solve(whole, selection, penalize_bias=penalize_bias), selection
    if per_pixel and len(windows) > 1:
        raise checks.InputError(
            f"{where}: penalties are tuned for one window, chosen for the picture, not for each pixel"
        )
    index = _concrete_index(selection)

    def tune_one(window: Window) -> tuple[WindowLinear, Tuned]:
        found = tune(folds, window, selection.penalty, penalize_bias=penalize_bias)
        options = Regularization(found.penalty, found.factors, penalize_bias=penalize_bias)
        params = _solve(whole, window, options)
        return params, found

    if len(windows) == 1 or checks.is_concrete(index):
        window = scores.windows[0 if len(windows) == 1 else int(index)]
        params, found = tune_one(window)
        return params, window, selection._replace(tuned=found)

    def tune_wide(window: Window) -> tuple[WindowLinear, Tuned]:
        params, found = tune_one(window)
        assert found.factors is not None
        factors = _spread(found.factors, 0, window, whole.window, fill=1)
        return _widen(params, window, whole.window), found._replace(factors=factors)

    params, found = jax.lax.switch(index, [partial(tune_wide, each) for each in scores.windows])
    return params, whole.window, selection._replace(tuned=found)


def warn_at_end(where: str, selection: Selection, height: int, width: int, *, stacklevel: int = 4) -> None:
    """Warns if a concrete choice, or that of most pixels, is at an end of its grid that could be extended.

    The smallest penalty is no such end: pictures without noise want none. Nor are the smallest window and one
    that fills pictures of `height` x `width`.
    Penalties that were tuned have left the grid.

    Args:
      where: the function that was called.
      selection: the choice.
      height: of the pictures, in pixels.
      width: of the pictures, in pixels.
      stacklevel: of the warning, so that it names the line of the user's program.
    """
    if not checks.is_concrete(selection):
        return
    at_end, penalties = selection.at_end, np.asarray(selection.scores.penalties)
    extents = [window.extent for window in selection.scores.windows]
    ends = []
    if selection.tuned is None and at_end.largest_penalty.mean() > 0.5:
        ends.append(
            (
                "the largest penalty",
                f"{penalties.max():g}",
                "larger ones with model_selection.cross_validate",
            )
        )
    if at_end.largest_window.mean() > 0.5:
        rows, columns = (max(sides) for sides in zip(*extents, strict=True))
        if rows + 2 <= height and columns + 2 <= width:
            ends.append(("the largest window", f"{rows} x {columns}", "a list of larger ones"))
    for end, value, beyond in ends:
        warnings.warn(
            f"{where}: the best that was tried is {end}, {value}; a better one may lie beyond: try {beyond}",
            checks.GridEndWarning,
            stacklevel=stacklevel - 1,
        )


def are_several(window: Any) -> bool:
    """Whether this is a list or tuple of windows to choose from; a `Window` is a tuple too, but only one."""
    return isinstance(window, list | tuple) and not isinstance(window, Window | Mask)


def candidates(
    where: str, window: Any, penalty: Any, height: int, width: int
) -> tuple[tuple[Window, ...], jax.Array | np.ndarray]:
    """The windows and penalties to choose from; only one, if it is given.

    Args:
      where: the function that was called, for the message.
      window: "auto", several windows, or one: the side of a square window, or a `masks.Window`.
      penalty: "auto", "tuned", or a number.
      height: of the pictures, in pixels.
      width: of the pictures, in pixels.

    Raises:
      InputError: window or penalty is none of these.
    """
    if isinstance(window, Mask):
        raise checks.InputError(
            f"{where}: with a mask, the penalty must be given; its pixels share no sums from which to choose"
        )
    for name, value, words in (("window", window, ("auto",)), ("penalty", penalty, ("auto", "tuned"))):
        if isinstance(value, str) and value not in words:
            raise checks.InputError(
                f"{where}: {name} must be a number or {' or '.join(words)}, not {value!r}"
            )
    if isinstance(window, str):
        windows = tuple(receptive_fields.square(side) for side in WINDOWS if side <= min(height, width))
    else:
        given = window if are_several(window) else [window]
        windows = tuple(as_window(where, each) for each in given)
        if not windows:
            raise checks.InputError(f"{where}: there must be one window at least to choose from")
        for each in windows:
            receptive_fields.check(each, where, height, width)
    if isinstance(penalty, str):
        return windows, np.asarray(PENALTIES)
    checks.real(where, "penalty", penalty)
    if np.shape(penalty):
        raise checks.InputError(
            f'{where}: where a window is chosen, penalty must be a scalar or "auto", not {np.shape(penalty)}'
        )
    return windows, penalty[None] if isinstance(penalty, jax.Array) else np.reshape(penalty, 1)


def _concrete_index(selection: Selection) -> np.ndarray | jax.Array:
    """The index into the windows; by NumPy where it is known, since JAX would compile a program."""
    place = selection.window_place
    return np.asarray(place).astype(np.int32) if checks.is_concrete(place) else place.astype(jnp.int32)


def _best(errors: jax.Array, scores: Scores, rule: Rule) -> jax.Array:
    """The chosen cell (window, penalty) of errors `(num_folds, num_windows, num_penalties, ...)`."""
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


def _smooth(errors: jax.Array, sigma: float) -> jax.Array:
    """Gaussian means around every pixel."""
    *lead, height, width = errors.shape
    planes = jnp.moveaxis(errors.reshape(-1, height, width), 0, -1)
    return jnp.moveaxis(blur(planes, sigma), -1, 0).reshape(*lead, height, width)


@jax.jit
def _solve(statistics: WindowStatistics, window: Window, regularization: Regularization) -> WindowLinear:
    """The solutions of all groups, along a first axis where the statistics have one."""
    size, dtype = statistics.input_centre.shape[-2:], statistics.num_pairs.dtype
    penalty = jnp.broadcast_to(jnp.asarray(regularization.penalty, dtype), size)
    on_pixels = dataclasses.replace(regularization, penalty=penalty)
    solve_one = partial(primal.solve, window=window, regularization=on_pixels)
    return jax.lax.map(solve_one, statistics) if statistics.num_pairs.ndim else solve_one(statistics)


def _where(condition: jax.Array, one: jax.Array, other: jax.Array) -> jax.Array:
    lead = (1,) * (one.ndim - condition.ndim)
    return jnp.where(condition.reshape(*lead, *condition.shape), one, other)


def _widen(params: WindowLinear, window: Window, largest: Window) -> WindowLinear:
    """The same map on a larger window."""
    return params._replace(weights=_spread(params.weights, params.weights.ndim - 4, window, largest, fill=0))


def _spread(values: jax.Array, axis: int, window: Window, largest: Window, *, fill: float) -> jax.Array:
    """Spreads a window's values for its offsets to the offsets of a larger window."""
    if window == largest:
        return values
    all_entries = largest.entries
    places = np.array([all_entries.index(entry) for entry in window.entries])
    shape = list(values.shape)
    shape[axis] = len(largest.offsets)
    spread = jnp.full(shape, fill, values.dtype)
    return spread.at[(slice(None),) * axis + (places,)].set(values)
