"""`synthesis.choose`: a window and a penalty by cross-validation, from the statistics of each fold."""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, Literal, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import model_selection
from mlr_jax._window_regression import accumulation, channels as channel_groups, linear
from mlr_jax._window_regression.channels import Channels, check_channels, group
from mlr_jax._window_regression.statistics import WindowStatistics
from mlr_jax.model_selection import FoldStatistics
from mlr_jax.model_selection.held_out import of_stacked
from mlr_jax.synthesis._model import ExpressionModel, as_pairs, join_groups, warn_unsolved
from mlr_jax.synthesis._streaming import begin
from mlr_jax.windows import Window, join


class ChoiceOptions(TypedDict, total=False):
    """Options of `choose` that `fit` passes on."""

    per_pixel: bool
    subjects: Sequence[Hashable] | None
    num_folds: int


def choose(
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    windows: Sequence[int | Window] | int | Window | Literal["auto"] = "auto",
    penalties: ArrayLike | Literal["auto", "tuned"] = "auto",
    channels: Channels = "independent",
    penalize_bias: bool = True,
    mirror: bool = False,
    per_pixel: bool = False,
    subjects: Sequence[Hashable] | None = None,
    num_folds: int = 5,
) -> ExpressionModel:
    """Chooses a window and a penalty by the held-out error, and fits all pairs with them.

    One pass over the pairs gives the statistics of each fold, which are enough to solve and measure
    every window and every penalty (`model_selection`). `fit` calls this if its window or penalty is "auto".

    Args:
      neutral: `(num, height, width, channels)` floating point in [0, 1], the faces to start from.
      expressive: the same shape, the same people with the expression.
      windows: to choose from, or one; "auto" for those of `model_selection.WINDOWS` that the pictures can
        hold.
      penalties: "auto" for `model_selection.PENALTIES`; "tuned" to start from the best of them, and tune
        the penalties of each pixel and each offset (`model_selection.tune`); or one number.
      channels: how colour channels relate, see `Channels`.
      penalize_bias: whether the penalty includes the bias, as published.
      mirror: whether every pair counts a second time, mirrored left to right.
      per_pixel: whether each pixel chooses, instead of all together.
      subjects: the person of each pair, so that people are held out; by default all are different.
      num_folds: into which people are split; fewer if there are fewer people.

    Returns:
      The model, with the choice as its `selection`. If that is an end of what was tried, such as the largest
      penalty, `selection.at_end` says so and, outside `jit`, a `checks.GridEndWarning`.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, a value is NaN, pictures are not in [0, 1] (see `fit`), a window does
        not suit the pictures, there is only one person, or the options do not go together.
    """
    where = "synthesis.choose"
    neutral, expressive = as_pairs(where, neutral, expressive)
    check_channels(where, channels)
    model = fit_chosen(
        where,
        neutral,
        expressive,
        windows,
        penalties,
        channels,
        penalize_bias,
        mirror=mirror,
        per_pixel=per_pixel,
        subjects=subjects,
        num_folds=num_folds,
    )
    warn_unsolved(where, model)
    warn_at_end(where, model, neutral)
    return model


def fit_chosen(
    where: str,
    neutral: jax.Array,
    expressive: jax.Array,
    windows: Any,
    penalties: Any,
    channels: Channels,
    penalize_bias: bool,
    *,
    mirror: bool,
    per_pixel: bool = False,
    subjects: Sequence[Hashable] | None = None,
    num_folds: int = 5,
) -> ExpressionModel:
    """`choose` for checked pairs."""
    fold_of = model_selection.folds_of_pairs(where, len(neutral), subjects, num_folds)
    if mirror:
        fold_of = np.tile(fold_of, 2)
        neutral, expressive = with_mirrored(neutral, expressive)
    candidates, grid = model_selection.candidates(where, windows, penalties, *neutral.shape[1:3])
    largest_first = sorted(candidates, key=lambda each: len(each.offsets), reverse=True)
    members = [np.flatnonzero(fold_of == fold) for fold in range(fold_of.max() + 1)]
    most = max(map(len, members))
    folds = _sum_up_folds(
        neutral,
        expressive,
        np.stack([np.resize(each, most) for each in members]),
        np.stack([np.arange(most) < len(each) for each in members]),
        window=join(*largest_first),
        channels=channels,
    )
    params, window, selection = model_selection.fit(
        folds,
        candidates,
        grid,
        per_pixel=per_pixel,
        tuned=isinstance(penalties, str) and penalties == "tuned",
        penalize_bias=penalize_bias,
    )
    return join_groups(params, window)._replace(selection=selection)


def warn_at_end(where: str, model: ExpressionModel, neutral: jax.Array) -> None:
    """Warns if the choice is at an end of its grid, with the line that called a function of this package."""
    assert model.selection is not None
    model_selection.warn_at_end(where, model.selection, *neutral.shape[1:3], stacklevel=5)


def with_mirrored(*pictures: jax.Array) -> tuple[jax.Array, ...]:
    """All pictures, and after them their mirror images."""
    return tuple(jnp.concatenate([each, jnp.flip(each, axis=2)]) for each in pictures)


@partial(jax.jit, static_argnames=("window", "channels"))
def _sum_up_folds(
    neutral: jax.Array,
    expressive: jax.Array,
    members: ArrayLike,
    is_member: ArrayLike,
    *,
    window: Window,
    channels: Channels,
) -> FoldStatistics:
    """The statistics of folds, all with the same centres.

    Args:
      neutral: `(num, height, width, channels)`.
      expressive: the same shape.
      members: `(num_folds, most)`, the pairs of each fold, padded with some of them.
      is_member: the same shape, bool, false for padding.
      window: static.
      channels: static.
    """
    num_channels = channel_groups.num_examples(1, neutral.shape[3], channels)
    seen = group(linear.view_images(neutral, window), channels, num_views=window.num_views)
    groups = seen, group(expressive, channels)

    def of_fold(fold: tuple[jax.Array, jax.Array]) -> WindowStatistics:
        indices, is_counted = fold

        def of_group(pairs: tuple[jax.Array, jax.Array]) -> WindowStatistics:
            inputs, targets = pairs
            empty = begin(inputs, targets, window)
            # Shared channels are examples: first all pictures of one channel, then of the next.
            shifts = len(neutral) * jnp.arange(num_channels)
            own = (shifts[:, None] + indices[None]).reshape(-1)
            is_counted_own = jnp.tile(is_counted, num_channels)
            return accumulation.add(empty, inputs[own], targets[own], is_counted=is_counted_own)

        return jax.lax.map(of_group, groups)

    return of_stacked(jax.lax.map(of_fold, (jnp.asarray(members), jnp.asarray(is_member))))
