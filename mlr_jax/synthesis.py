"""Expressions on pictures: learn one from pairs of pictures, and put it on others.

This is masked linear regression (`masked_ridge`, Khan et al., IJCV 2020) for images with channels, with
the change of expression under a dial.
"""

from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, masked_ridge, masks

Channels = Literal["independent", "shared", "joint"]
"""How colour channels relate.

"independent": each output channel sees its own channel, with its own weights, as published. "shared":
one set of weights for all channels, each channel of a picture being one more example. "joint": each
output channel sees all channels of the window.
"""

_AXES = ("num", "height", "width", "channels")


class ExpressionModel(NamedTuple):
    """A learned change of expression; all that `synthesize` needs.

    To differentiate with respect to a model, pass `allow_int=True` to `jax.grad`: its mask is no number.

    Attributes:
      weights: `(height, width, out_channels, window_inputs, in_channels)`. Both channel axes are 1 for
        "shared", `in_channels` is 1 for "independent".
      bias: `(height, width, out_channels)`.
      mask: over the `height * width` pixels, the same for all channels.
    """

    weights: jax.Array
    bias: jax.Array
    mask: masks.Mask


def fit(
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    window: int | masks.Mask = 3,
    penalty: ArrayLike = 0.4,
    channels: Channels = "independent",
    penalize_bias: bool = True,
    batch_size: int | None = None,
) -> ExpressionModel:
    """Learns from pairs of pictures how an expression changes faces.

    Each output pixel is a ridge regression on a window of the input, see `masked_ridge.fit`. Under `jit`,
    a window's size and `channels` must be static: bind them with `functools.partial`.

    Args:
      neutral: `(num, height, width, channels)` floating point in [0, 1], the faces to start from.
      expressive: the same shape, the same people with the expression.
      window: side of the square window in pixels, odd, 3 in the paper; or any mask over the pixels.
      penalty: lambda >= 0, one for all or `(height, width)`; 0.4 in the paper.
      channels: how colour channels relate, see `Channels`.
      penalize_bias: whether the penalty includes the bias, as published.
      batch_size: pixels that are solved at once, see `masked_ridge.fit`.

    Returns:
      The model.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, a value is NaN, the window does not suit the picture, the penalty
        is negative, or a system is singular.

    >>> faces = jax.random.uniform(jax.random.key(0), (20, 8, 8, 3))
    >>> model = fit(faces, 1 - faces, window=3, penalty=1e-4)
    >>> bool(abs(synthesize(model, faces) + faces - 1).max() < 1e-2)
    True
    """
    where = "synthesis.fit"
    neutral = checks.as_floating(where, "neutral", neutral, _AXES)
    expressive = checks.as_floating(where, "expressive", expressive, _AXES)
    if neutral.shape != expressive.shape:
        raise checks.InputError(f"{where}: neutral is {neutral.shape}, but expressive is {expressive.shape}")
    if channels not in get_args(Channels):
        raise checks.InputError(
            f"{where}: channels must be one of {', '.join(get_args(Channels))}, not {channels!r}"
        )
    height, width = neutral.shape[1:3]
    if isinstance(window, masks.Mask):
        mask = window
    else:
        checks.positive_integer(where, "window, unless it is a masks.Mask,", window)
        mask = masks.square_window(height, width, window)
    masks.check(mask, where, num_inputs=height * width)
    if len(mask.indices) != height * width:
        raise checks.InputError(
            f"{where}: the mask has {len(mask.indices)} outputs, but pictures of {height} x {width} "
            f"have {height * width} pixels"
        )
    if np.shape(penalty) not in ((), (height, width)):
        raise checks.InputError(
            f"{where}: penalty must be a scalar or {(height, width)}, not {np.shape(penalty)}"
        )
    checks.not_negative(where, "penalty", penalty)
    checks.finite(where, "neutral", neutral)
    checks.finite(where, "expressive", expressive)

    dtype = jnp.promote_types(neutral.dtype, expressive.dtype)
    solution = _fit(
        neutral.astype(dtype),
        expressive.astype(dtype),
        mask,
        jnp.broadcast_to(jnp.asarray(penalty, dtype), (height, width)).reshape(-1),
        channels=channels,
        penalize_bias=penalize_bias,
        batch_size=batch_size,
    )
    masked_ridge.check_solved(solution, where)
    # (out_channels, pixels, window_inputs * in_channels) -> as in the model.
    out_channels, _, num_entries = solution.weights.shape
    in_channels = num_entries // mask.indices.shape[1]
    weights = jnp.moveaxis(solution.weights, 0, 1)
    return ExpressionModel(
        weights.reshape(height, width, out_channels, -1, in_channels),
        solution.bias.T.reshape(height, width, out_channels),
        mask,
    )


def synthesize(model: ExpressionModel, images: ArrayLike, *, intensity: ArrayLike = 1.0) -> jax.Array:
    """Puts the learned expression on faces.

        result = (1 - intensity) * images + intensity * prediction

    The result is not clipped, so that gradients pass; a picture is shown after clipping it to [0, 1].

    Args:
      model: from `fit`.
      images: `(num, height, width, channels)` floating point in [0, 1], of the model's height and width.
      intensity: 0 returns the images themselves, 1 the learned expression, more exaggerates it, less
        than 0 turns it into its opposite. One for all or `(num,)`.

    Returns:
      Pictures of the same shape.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: their size or number of channels is not the model's, a value is NaN, or intensity has
        another shape.
    """
    where = "synthesis.synthesize"
    images = checks.as_floating(where, "images", images, _AXES)
    height, width, out_channels, _, _ = model.weights.shape
    if images.shape[1:3] != (height, width):
        raise checks.InputError(
            f"{where}: the model is for pictures of {height} x {width}, not "
            f"{images.shape[1]} x {images.shape[2]}; resize them"
        )
    if out_channels not in (1, images.shape[3]):
        raise checks.InputError(f"{where}: the model is for {out_channels} channels, not {images.shape[3]}")
    if np.shape(intensity) not in ((), (len(images),)):
        raise checks.InputError(
            f"{where}: intensity must be a scalar or ({len(images)},), not {np.shape(intensity)}"
        )
    checks.finite(where, "images", images)
    amount = jnp.broadcast_to(jnp.asarray(intensity, images.dtype), (len(images),))
    return _synthesize(model, images, amount)


@partial(jax.jit, static_argnames=("channels", "penalize_bias", "batch_size"))
def _fit(
    neutral: jax.Array,
    expressive: jax.Array,
    mask: masks.Mask,
    penalties: jax.Array,
    *,
    channels: Channels,
    penalize_bias: bool,
    batch_size: int | None,
) -> masked_ridge.MaskedLinear:
    """One masked ridge fit per output channel: weights (out_channels, pixels, entries)."""
    fit_flat = partial(masked_ridge.fit, penalize_bias=penalize_bias, batch_size=batch_size)
    inputs, targets = _channels_first(neutral), _channels_first(expressive)
    if channels == "joint":
        # The inputs are not mapped over: all output channels share one factorisation for each pixel.
        wide = masks.across_channels(mask, len(inputs))
        fit_channels = jax.vmap(fit_flat, in_axes=(None, 0, None, None))
        return fit_channels(_channels_last(inputs), targets, wide, penalties)
    if channels == "shared":
        inputs, targets = (each.reshape(1, -1, each.shape[2]) for each in (inputs, targets))
    return jax.vmap(fit_flat, in_axes=(0, 0, None, None))(inputs, targets, mask, penalties)


@jax.jit
def _synthesize(model: ExpressionModel, images: jax.Array, intensity: jax.Array) -> jax.Array:
    height, width, out_channels, _, in_channels = model.weights.shape
    params = masked_ridge.MaskedLinear(
        jnp.moveaxis(model.weights.reshape(height * width, out_channels, -1), 1, 0),
        model.bias.reshape(height * width, out_channels).T,
    )
    inputs = _channels_first(images)
    if in_channels > 1:
        wide = masks.across_channels(model.mask, in_channels)
        predict = jax.vmap(masked_ridge.predict, in_axes=(0, None, None))
        prediction = predict(params, _channels_last(inputs), wide)
    else:
        if out_channels == 1:
            params = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(inputs), axis=0), params)
        prediction = jax.vmap(masked_ridge.predict, in_axes=(0, 0, None))(params, inputs, model.mask)
    prediction = jnp.moveaxis(prediction, 0, -1).reshape(images.shape)
    amount = intensity[:, None, None, None]
    return (1 - amount) * images + amount * prediction


def _channels_first(images: jax.Array) -> jax.Array:
    """(num, height, width, channels) -> (channels, num, pixels)."""
    return jnp.moveaxis(images, -1, 0).reshape(images.shape[-1], len(images), -1)


def _channels_last(planes: jax.Array) -> jax.Array:
    """(channels, num, pixels) -> (num, pixels * channels)."""
    return jnp.moveaxis(planes, 0, -1).reshape(planes.shape[1], -1)
