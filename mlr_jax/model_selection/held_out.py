"""Errors on held-out folds, from statistics alone."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import _people, checks, window_statistics, windows as receptive_fields
from mlr_jax._window_regression import moments as centred, primal, ridge, statistics as sums, strips
from mlr_jax._window_regression.regularization import Regularization
from mlr_jax._window_regression.statistics import WindowStatistics
from mlr_jax.numerics.serialization import exported
from mlr_jax.windows import Window

SMOOTHING = 4.0
"""Standard deviation in pixels of the Gaussian that smooths errors before every pixel chooses."""


@exported
class Scores(NamedTuple):
    """Errors on the pairs of each fold, of the models fitted to all others.

    Attributes:
      windows: the windows tried. Static.
      penalties: `(num_penalties,)`, the penalties tried.
      num_pairs: `(num_folds,)`, in each fold.
      errors: `(num_folds, num_windows, num_penalties, height, width)`, mean squared errors over the pairs and
        channels of a fold; NaN where a system could not be solved.
    """

    windows: tuple[Window, ...]
    penalties: jax.Array
    num_pairs: jax.Array
    errors: jax.Array


@exported
class FoldStatistics(NamedTuple):
    """The statistics of all pairs and of each fold.

    Attributes:
      whole: of all pairs.
      stacked: of each fold's pairs, along a first axis of all arrays.
      num_pairs: `(num_folds,)`, in each fold.
    """

    whole: WindowStatistics
    stacked: WindowStatistics
    num_pairs: jax.Array


def fold_of(subjects: Sequence[Hashable], *, num_folds: int = 5, seed: int = 0) -> np.ndarray:
    """Splits people, not pictures, at random into folds of nearly equal size.

    Args:
      subjects: the person of each pair.
      num_folds: 2 or more.
      seed: of the random choice.

    Returns:
      `(num_pairs,)` int64, the fold of each pair.

    Raises:
      TypeError: `num_folds` is not a whole number.
      InputError: it is less than 2, or there are fewer people.

    >>> fold_of(["ann", "bob", "bob", "eve"], num_folds=3)
    array([1, 2, 2, 0])
    """
    checks.positive_integer("model_selection.fold_of", "num_folds", num_folds)
    people = list(dict.fromkeys(subjects))
    if num_folds < 2 or len(people) < num_folds:
        raise checks.InputError(
            f"model_selection.fold_of: num_folds must be from 2 to the number of people, {len(people)}, not "
            f"{num_folds}"
        )
    folds = {
        person: fold for fold, part in enumerate(_people.folds(people, num_folds, seed)) for person in part
    }
    return np.array([folds[subject] for subject in subjects])


def folds_of_pairs(
    where: str, num_pairs: int, subjects: Sequence[Hashable] | None, num_folds: int
) -> np.ndarray:
    """The fold of each pair, see `fold_of`: fewer folds if there are fewer people.

    Args:
      where: the function that was called, for the message.
      num_pairs: the number of pairs.
      subjects: the person of each; None if each is another person's.
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


def cross_validate(
    fold_statistics: Sequence[Any] | FoldStatistics,
    windows: Sequence[int | Window],
    penalties: ArrayLike,
    *,
    penalize_bias: bool = True,
) -> Scores:
    """The held-out error of every window and penalty at every pixel, from statistics alone.

    Differentiable with respect to the penalties. Every window and penalty costs one solve for each fold; the
    errors cost little more.

    Args:
      fold_statistics: for each fold a `WindowStatistics` of its pairs, or several along a first axis of all
        arrays, such as those of colour channels; or a `synthesis.ExpressionStatistics`. Of one window and
        with the same centres. Or all of them as `FoldStatistics`.
      windows: sides of square windows, odd, or a `windows.Window` each, inside that of the statistics.
      penalties: `(num_penalties,)`, each lambda >= 0; or `(num_penalties, height, width)`.
      penalize_bias: whether the penalty includes the bias, as published.

    Raises:
      InputError: there are fewer than two folds, one is empty, they do not belong together, a window is not
        inside theirs, or a penalty is negative.
    """
    where = "model_selection.cross_validate"
    folds = as_folds(where, fold_statistics, 2)
    sides = [as_window(where, window) for window in windows]
    if not sides:
        raise checks.InputError(f"{where}: there must be one window at least")
    for window in sides:
        window_statistics.check_inside(where, window, folds.whole)
    dtype = folds.num_pairs.dtype
    checks.real(where, "penalties", penalties)
    values = (
        jnp.asarray(penalties, dtype) if isinstance(penalties, jax.Array) else np.asarray(penalties, dtype)
    )
    size = folds.whole.input_centre.shape[-2:]
    if values.ndim not in (1, 3) or not len(values) or values.shape[1:] not in ((), size):
        raise checks.InputError(
            f"{where}: penalties must be (num_penalties,) or (num_penalties, {size[0]}, {size[1]}), not "
            f"{values.shape}"
        )
    checks.not_negative(where, "penalties", values)
    values, errors = _cross_validate(folds, tuple(sides), values, penalize_bias=penalize_bias)
    return Scores(tuple(sides), values, folds.num_pairs, errors)


def mean_errors(scores: Scores) -> jax.Array:
    """Mean squared errors over all pairs, `(num_windows, num_penalties, height, width)`."""
    shares = scores.num_pairs / scores.num_pairs.sum()
    return jnp.tensordot(shares, scores.errors, axes=1, precision="highest")


def held_out_error(
    whole: WindowStatistics, fold: WindowStatistics, window: Window, regularization: Regularization
) -> tuple[jax.Array, jax.Array]:
    """Mean squared errors, on a fold's pairs, of the model fitted to all others.

    Returns:
      `(errors, solved)`, each `(height, width)`.
    """

    def of_group(both: tuple[WindowStatistics, WindowStatistics]) -> tuple[jax.Array, jax.Array]:
        seen, unseen = both
        params = primal.solve(seen, window, regularization)
        assert params.solved is not None
        error = primal.squared_error(unseen, params, window).mean(axis=0) / unseen.num_pairs
        return error, params.solved.all(axis=0)

    others = sums.combine(whole, fold, -1)
    errors, solved = _map_groups(of_group, (others, fold), fold.num_pairs)
    return errors.mean(axis=0), solved.all(axis=0)


def as_folds(where: str, fold_statistics: Sequence[Any] | FoldStatistics, fewest: int) -> FoldStatistics:
    """The statistics of the folds, stacked, after checking that there are enough folds, and pairs in each."""
    if isinstance(fold_statistics, FoldStatistics):
        num_folds = len(fold_statistics.num_pairs)
    else:
        num_folds = len(fold_statistics)
    if num_folds < fewest:
        number = {2: "two", 3: "three"}[fewest]
        raise checks.InputError(f"{where}: there must be {number} folds at least, not {num_folds}")
    if isinstance(fold_statistics, FoldStatistics):
        return fold_statistics
    given: Sequence[Any] = fold_statistics
    folds: list[WindowStatistics] = [getattr(fold, "groups", fold) for fold in given]
    for place, fold in enumerate(folds):
        if checks.is_concrete(fold.num_pairs) and not (np.asarray(fold.num_pairs) > 0).all():
            raise checks.InputError(f"{where}: fold {place} has no pairs")
    return _stack(tuple(folds))


@jax.jit
def _stack(folds: tuple[WindowStatistics, ...]) -> FoldStatistics:
    return of_stacked(jax.tree.map(lambda *leaves: jnp.stack(leaves), *folds))


def of_stacked(stacked: WindowStatistics) -> FoldStatistics:
    """`FoldStatistics` from those of each fold along a first axis; adds up the folds one after the other."""
    num_folds = len(stacked.num_pairs)
    first, others = (
        jax.tree.map(lambda leaf, part=part: leaf[part], stacked) for part in (0, slice(1, num_folds))
    )

    def add(total: WindowStatistics, fold: WindowStatistics) -> tuple[WindowStatistics, None]:
        return sums.combine(total, fold, 1), None

    whole, _ = jax.lax.scan(add, first, others)
    return FoldStatistics(whole, stacked, stacked.num_pairs.reshape(num_folds, -1)[:, 0])


def as_window(where: str, window: int | Window) -> Window:
    """The window itself, or the square window of a side."""
    if isinstance(window, Window):
        return window
    checks.positive_integer(where, "window, unless it is a windows.Window,", window)
    return receptive_fields.square(int(window))


@partial(jax.jit, static_argnames=("windows", "penalize_bias"))
def _cross_validate(
    folds: FoldStatistics, windows: tuple[Window, ...], penalties: ArrayLike, *, penalize_bias: bool
) -> tuple[jax.Array, jax.Array]:
    """The penalties, and the errors `(num_folds, num_windows, num_penalties, height, width)`."""
    values = jnp.asarray(penalties)
    height, width = folds.whole.input_centre.shape[-2:]
    planes = jnp.broadcast_to(
        values.reshape(len(values), *(values.shape[1:] or (1, 1))), (len(values), height, width)
    )

    def of_strip(start: jax.Array, size: int) -> jax.Array:
        def cut(leaf: jax.Array) -> jax.Array:
            # Numbers of pairs have no rows.
            return leaf if leaf.ndim < 3 else sums.cut_rows(leaf, start=start, size=size)

        whole, stacked, penalties = jax.tree.map(cut, (folds.whole, folds.stacked, planes))

        def of_group(both: tuple[WindowStatistics, WindowStatistics]) -> tuple[jax.Array, jax.Array]:
            """Errors, and which systems are solved, `(num_windows, num_penalties, rows, width)`."""
            num_seen, num_unseen = (each.num_pairs for each in both)
            largest = both[0].window
            # Computed once for all windows and penalties.
            all_moments = tuple(centred.of_statistics(each) for each in both)

            def of_window(window: Window) -> tuple[jax.Array, jax.Array]:
                seen, unseen = (centred.restrict(each, largest, window) for each in all_moments)

                def of_penalty(penalty: jax.Array) -> tuple[jax.Array, jax.Array]:
                    options = Regularization(penalty, penalize_bias=penalize_bias)
                    params = ridge.solve(seen, window, num_seen, options)
                    assert params.solved is not None
                    error = ridge.squared_error(unseen, window, num_unseen, params)
                    return error.mean(axis=0) / num_unseen, params.solved.all(axis=0)

                return jax.lax.map(of_penalty, penalties)

            return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(of_window, windows))

        def of_fold(fold: WindowStatistics) -> jax.Array:
            both = sums.combine(whole, fold, -1), fold
            errors, solved = _map_groups(of_group, both, fold.num_pairs)
            return jnp.where(solved.all(axis=0), errors.mean(axis=0), jnp.nan)

        return jax.lax.map(of_fold, stacked)

    largest = receptive_fields.join(*sorted(windows, key=lambda window: len(window.offsets), reverse=True))
    plan = ridge.plan(largest, sums.in_channels(folds.whole), width)
    return values, strips.map_rows(of_strip, height, plan)


def _map_groups(function: Callable[..., Any], argument: Any, num_pairs: jax.Array) -> Any:
    """Maps a function over groups along a first axis; without that axis there is a single group."""
    if num_pairs.ndim:
        return jax.lax.map(function, argument)
    return jax.tree.map(lambda leaf: leaf[None], function(argument))
