"""Masked linear regression (Khan et al., 2020)."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparing.folds import Folds, Rows
from experiments.comparing.methods.method import Method, MethodEntry, Settings, Sizes, geometric, learning
from mlr_jax import masks, synthesis, window_statistics


def masked_ridge(settings: Settings) -> Method:
    """Masked linear regression (Khan et al., 2020): a ridge regression on a window of each pixel."""
    method = Method(
        fit=partial(synthesis.fit, channels=settings.channel_mode),
        predict=synthesis.synthesize,
        num_parameters=count_weights,
        errors=partial(_errors, channels=settings.channel_mode),
        shortfall=unsolved,
    )
    return learning(settings.learn, method)


def count_weights(model: synthesis.ExpressionModel) -> int:
    """How many weights and biases a model has: a window is cut at the border."""
    out_channels, _, in_channels, height, width = model.weights.shape

    def num_inputs(window: masks.Window | masks.Mask) -> np.ndarray:
        mask = masks.as_mask(window, height, width) if isinstance(window, masks.Window) else window
        return np.sum(mask.valid, axis=1)

    used = num_inputs(model.window)
    if model.selection is not None:
        # Where windows are chosen, weights outside a pixel's own are stored as 0.
        index = np.broadcast_to(model.selection.window_index, (height, width)).reshape(-1)
        used = np.choose(index, [num_inputs(window) for window in model.selection.scores.windows])
    return int(np.sum(used)) * out_channels * in_channels + model.bias.size


def unsolved(model: synthesis.ExpressionModel) -> str | None:
    """How many pixels fell back to the mean, if any."""
    solved = np.asarray(model.solved, dtype=bool)
    if solved.all():
        return None
    return f"{(~solved).sum()} of {solved.size} pixels could not be solved, and are predicted by their mean"


def window_inputs(height: int, width: int, side: int) -> np.ndarray:
    """How many inputs each pixel has in a square window that is cut at the border."""
    rows, columns = (
        1 + np.minimum(np.arange(size), side // 2) + np.minimum(np.arange(size)[::-1], side // 2)
        for size in (height, width)
    )
    return rows[:, None] * columns[None]


def weighted_statistics(
    begin: synthesis.ExpressionStatistics, neutral: jax.Array, expressive: jax.Array, weight: jax.Array
) -> synthesis.ExpressionStatistics:
    """The statistics of the pairs of weight 1.

    The others are replaced by the centre, which the statistics subtract, so that they add nothing.
    """
    groups = begin.groups

    def fill(pictures: jax.Array, centre: jax.Array) -> jax.Array:
        # Groups or channels of a group: one of the two is single, and both where channels share one centre.
        middle = jnp.moveaxis(centre.reshape(-1, *centre.shape[-2:]), 0, -1)
        return jnp.where((weight > 0)[:, None, None, None], pictures, middle[None])

    pairs = fill(neutral, groups.input_centre), fill(expressive, groups.target_centre)
    found = synthesis.update(begin, *pairs)
    num_pairs = jnp.round(found.groups.num_pairs * (jnp.sum(weight) / len(weight)))
    return found._replace(groups=found.groups._replace(num_pairs=num_pairs))


def _errors(
    folds: Folds, *, channels: synthesis.Channels, window: Sequence[int], penalty: Sequence[float]
) -> jax.Array:
    """One pass over the pairs gives the statistics that solve and measure all windows and penalties."""
    shape = folds.neutral.shape[1:]
    windows = [masks.square(side) for side in window]
    largest = max(windows, key=lambda each: len(each.offsets))
    begin = synthesis.init_statistics(folds.neutral, folds.expressive, window=largest, channels=channels)
    penalties = jnp.asarray(penalty, folds.neutral.dtype)

    def of_fold(rows: tuple[Rows, Rows]) -> jax.Array:
        seen, unseen = (
            weighted_statistics(begin, folds.neutral[index], folds.expressive[index], weight).groups
            for index, weight in rows
        )

        def of_penalty(window: masks.Window, penalty: jax.Array) -> jax.Array:
            def of_group(both: tuple[window_statistics.WindowStatistics, ...]) -> jax.Array:
                params = window_statistics.solve(both[0], window, penalty)
                return window_statistics.squared_error(both[1], params, window).sum()

            return jax.lax.map(of_group, (seen, unseen)).sum()

        errors = [jax.lax.map(partial(of_penalty, each), penalties) for each in windows]
        return jnp.stack(errors) / np.prod(shape)

    return jax.lax.map(of_fold, (folds.train, folds.held_out))


def _num_parameters(sizes: Sizes, window: int, penalty: float) -> int:
    del penalty
    return sizes.channels * (int(window_inputs(sizes.height, sizes.width, window).sum()) + sizes.pixels)


ENTRIES = (
    MethodEntry(
        masked_ridge,
        grid={"window": (1, 3, 5), "penalty": geometric(12.8, 0.1, 8)},
        fixed={"window": 3, "penalty": 0.4},
        num_parameters=_num_parameters,
        test_grid={"window": (1, 5, 3), "penalty": (10.0, 0.3)},
    ),
)
