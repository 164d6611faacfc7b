"""Warped ridge: pixels move before they mix (`mlr_jax/warped_ridge.py`)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparing.folds import Folds, Rows, weighted_mean
from experiments.comparing.methods.masked_ridge import count_weights, weighted_statistics, window_inputs
from experiments.comparing.methods.method import Method, MethodEntry, Params, Settings, Sizes, geometric
from mlr_jax import displacement, masks, synthesis, warped_ridge as warped, window_statistics, windows

# Besides the penalty.
_OPTIONS: dict[str, Any] = {"window": 5, "field_window": 9, "field_penalty": 1000.0}


def warped_ridge(settings: Settings) -> Method:
    """Pixels move before they mix: masked ridge on faces that a predicted displacement has moved.

    It learns the expressive picture for any `settings.learn`.
    """
    options: dict[str, Any] = {"channels": settings.channel_mode, **_OPTIONS}
    fit = partial(warped.fit, **options)
    errors = partial(_errors, **options)

    def render(params: Params, neutral: jax.Array, intensity: jax.Array, smoothing: float) -> jax.Array:
        return warped.synthesize(params, neutral, intensity=intensity, smoothing=smoothing)

    def num_parameters(params: warped.WarpedModel) -> int:
        height, width = params.field.bias.shape[1:]
        field = masks.as_mask(params.field_window, height, width)
        num_field = len(params.field.bias) * int(np.sum(field.valid)) + params.field.bias.size
        return num_field + count_weights(params.change) + params.tint.size

    def prepare(neutral: jax.Array, expressive: jax.Array) -> jax.Array:
        return displacement.register(expressive, neutral)

    return Method(fit, warped.synthesize, num_parameters, errors, prepare, render=render)


def _errors(
    folds: Folds,
    *,
    channels: synthesis.Channels,
    window: int,
    field_window: int,
    field_penalty: float,
    penalty: Sequence[float],
) -> jax.Array:
    """Pairs are registered beforehand, and a fold's faces are moved once for all penalties."""
    neutral, expressive, fields = folds.neutral, folds.expressive, folds.prepared
    penalties = jnp.asarray(penalty, neutral.dtype)
    square = windows.square(field_window)

    def of_fold(rows: tuple[Rows, Rows]) -> jax.Array:
        train, held_out = rows
        field = _fit_fields(neutral[train.pairs], fields[train.pairs], train.weight, square, field_penalty)
        moved = displacement.warp(neutral, warped.predict_fields(field, square, neutral).fields)
        seen, wanted = moved[train.pairs], expressive[train.pairs]
        begin = synthesis.init_statistics(seen, wanted, window=window, channels=channels)
        statistics = weighted_statistics(begin, seen, wanted, train.weight)
        unseen, truth = moved[held_out.pairs], expressive[held_out.pairs]

        def of_penalty(penalty: jax.Array) -> jax.Array:
            change = synthesis.solve(statistics, penalty=penalty)
            missing = weighted_mean(wanted - synthesis.synthesize(change, seen), train.weight)
            changes = warped.predict_change(change, jnp.moveaxis(missing, -1, 0), unseen)
            errors = jnp.mean((unseen + changes - truth) ** 2, axis=(1, 2, 3))
            return jnp.sum(held_out.weight * errors)

        return jax.lax.map(of_penalty, penalties)

    return jax.lax.map(of_fold, (folds.train, folds.held_out))


def _fit_fields(
    neutral: jax.Array, fields: jax.Array, weight: jax.Array, window: windows.Window, penalty: float
) -> window_statistics.WindowLinear:
    """`warped_ridge.fit_fields` with weights."""
    inputs, targets = warped.field_examples(neutral, fields)
    weight = jnp.tile(weight, len(inputs) // len(weight))
    middles = weighted_mean(inputs, weight), weighted_mean(targets, weight)
    counts = (weight > 0)[:, None, None, None]
    statistics = window_statistics.init(
        window,
        warped.FIELD_SIZE,
        warped.FIELD_SIZE,
        out_channels=2,
        input_centre=middles[0],
        target_centre=middles[1],
        dtype=inputs.dtype,
    )
    # Rows of padding hold the centre, which is subtracted: they add nothing to the sums.
    pairs = (
        jnp.where(counts, each, middle[None]) for each, middle in zip((inputs, targets), middles, strict=True)
    )
    statistics = window_statistics.update(statistics, *pairs)
    statistics = statistics._replace(num_pairs=jnp.sum(weight))
    return window_statistics.solve(statistics, window, penalty, penalize_bias=False)


def _num_parameters(sizes: Sizes, penalty: float) -> int:
    """Of the field (both axes, on a small face), of the change, and of the tint."""
    del penalty
    side = warped.FIELD_SIZE
    field = 2 * (int(window_inputs(side, side, _OPTIONS["field_window"]).sum()) + side**2)
    weights = int(window_inputs(sizes.height, sizes.width, _OPTIONS["window"]).sum())
    return field + sizes.channels * (weights + 2 * sizes.pixels)


ENTRIES = (
    MethodEntry(
        warped_ridge,
        grid={"penalty": geometric(25.6, 0.8, 6)},
        fixed={"penalty": 6.4},
        num_parameters=_num_parameters,
        test_grid={"penalty": (20.0, 1.0)},
        duration=3,
    ),
)
