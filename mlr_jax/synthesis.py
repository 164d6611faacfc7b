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

from mlr_jax import checks, masked_ridge, masks, window_dual, window_linear, window_statistics
from mlr_jax.window_linear import WindowLinear

Channels = Literal["independent", "shared", "joint"]
"""How colour channels relate.

"independent": each output channel sees its own channel, with its own weights, as published. "shared":
one set of weights for all channels, each channel of a picture being one more example. "joint": each
output channel sees all channels of the window.
"""

# Pictures that are averaged for the centre of the statistics.
_NUM_CENTRE = 16

_AXES = ("num", "height", "width", "channels")


class ExpressionModel(NamedTuple):
    """A learned change of expression; all that `synthesize` needs.

    Attributes:
      weights: `(out_channels, num_offsets, in_channels, height, width)`, one plane for each offset of the
        window, 0 where it leaves the picture. `out_channels` is 1 for "shared", `in_channels` is 1 unless
        "joint". For a mask, `num_offsets` are the entries of its rows.
      bias: `(out_channels, height, width)`.
      window: what each pixel sees: a window, which is static; or a mask over the `height * width` pixels, the
        same for all channels. To differentiate with respect to a model with a mask, pass `allow_int=True`
        to `jax.grad`, since a mask is no number.
    """

    weights: jax.Array
    bias: jax.Array
    window: masks.Window | masks.Mask


def fit(
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    window: int | masks.Window | masks.Mask = 3,
    penalty: ArrayLike = 0.4,
    channels: Channels = "independent",
    penalize_bias: bool = True,
    batch_size: int | None = None,
) -> ExpressionModel:
    """Learns from pairs of pictures how an expression changes faces.

    Each output pixel is a ridge regression on a window of the input, see `masked_ridge.fit`. In a
    window, neighbouring pixels share their work: through `window_statistics` if it has no more inputs than
    there are examples, otherwise through `window_dual`. All masks, and windows of the second kind that are no
    rectangles, go through `masked_ridge`. The result is the same. Pictures that are split over several
    devices had better go through `sharding.fit`, which sends less between them. Under `jit`, a window's
    size and `channels` must be static: bind them with `functools.partial`.

    Args:
      neutral: `(num, height, width, channels)` floating point in [0, 1], the faces to start from.
      expressive: the same shape, the same people with the expression.
      window: side of the square window in pixels, odd, 3 in the paper; or any `masks.Window`; or any mask
        over the pixels.
      penalty: lambda >= 0, one for all or `(height, width)`; 0.4 in the paper.
      channels: how colour channels relate, see `Channels`.
      penalize_bias: whether the penalty includes the bias, as published.
      batch_size: pixels that `masked_ridge.fit` solves at once, see there.

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
    if not isinstance(window, masks.Mask | masks.Window):
        checks.positive_integer(where, "window, unless it is a masks.Window or masks.Mask,", window)
        window = masks.square(int(window))
    if isinstance(window, masks.Window):
        masks.check_window(window, where, height, width)
    else:
        masks.check(window, where, num_inputs=height * width)
        if len(window.indices) != height * width:
            raise checks.InputError(
                f"{where}: the mask has {len(window.indices)} outputs, but pictures of {height} x {width} "
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
    model = _fit(
        neutral.astype(dtype),
        expressive.astype(dtype),
        window,
        jnp.broadcast_to(jnp.asarray(penalty, dtype), (height, width)),
        channels=channels,
        penalize_bias=penalize_bias,
        batch_size=batch_size,
    )
    checks.pixels_solved(where, model.bias, model.weights)
    return model


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
    out_channels, _, _, height, width = model.weights.shape
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
    window: masks.Window | masks.Mask,
    penalty: jax.Array,
    *,
    channels: Channels,
    penalize_bias: bool,
    batch_size: int | None,
) -> ExpressionModel:
    num, _, _, num_channels = neutral.shape
    in_channels = num_channels if channels == "joint" else 1
    num_examples = num * num_channels if channels == "shared" else num

    def fit_one(inputs: jax.Array, targets: jax.Array) -> WindowLinear:
        """One fit of `(num, height, width, channels)`, every output channel of which sees all inputs."""
        if isinstance(window, masks.Window):
            if len(window.offsets) * in_channels <= num_examples:
                return _fit_window(inputs, targets, window, penalty, penalize_bias)
            if window_dual.is_slidable(window):
                return window_dual.fit(inputs, targets, window, penalty, penalize_bias=penalize_bias)
        return _fit_mask(inputs, targets, window, penalty, penalize_bias, batch_size)

    if channels == "joint":
        params = fit_one(neutral, expressive)
    elif channels == "shared":
        params = fit_one(_as_grey(neutral), _as_grey(expressive))
    else:
        # One after the other: a single channel may be all that memory holds twice.
        each = jax.lax.map(lambda pair: fit_one(*pair), (_split(neutral), _split(expressive)))
        params = jax.tree.map(lambda leaf: leaf[:, 0], each)
    return ExpressionModel(*params, window)


def _fit_window(
    inputs: jax.Array, targets: jax.Array, window: masks.Window, penalty: jax.Array, penalize_bias: bool
) -> WindowLinear:
    _, height, width, in_channels = inputs.shape
    statistics = window_statistics.init(
        window,
        height,
        width,
        in_channels=in_channels,
        out_channels=targets.shape[-1],
        # Some pictures are enough to be near the mean of all.
        input_centre=jax.lax.stop_gradient(inputs[:_NUM_CENTRE].mean(axis=0)),
        target_centre=jax.lax.stop_gradient(targets[:_NUM_CENTRE].mean(axis=0)),
        dtype=inputs.dtype,
    )
    statistics = window_statistics.update(statistics, inputs, targets)
    return window_statistics.solve(statistics, window, penalty, penalize_bias=penalize_bias)


def _fit_mask(
    inputs: jax.Array,
    targets: jax.Array,
    window: masks.Window | masks.Mask,
    penalty: jax.Array,
    penalize_bias: bool,
    batch_size: int | None,
) -> WindowLinear:
    num, height, width, in_channels = inputs.shape
    wide = masks.across_channels(_as_mask(window, height, width), in_channels)
    fit = partial(masked_ridge.fit, penalize_bias=penalize_bias, batch_size=batch_size)
    # The inputs are not mapped over: all output channels share one factorisation for each pixel.
    solution = jax.vmap(fit, in_axes=(None, 0, None, None))(
        inputs.reshape(num, -1),
        jnp.moveaxis(targets, -1, 0).reshape(targets.shape[-1], num, -1),
        wide,
        penalty.reshape(-1),
    )
    # (out_channels, pixels, entries * in_channels) -> as in the model.
    weights = solution.weights.reshape(len(solution.weights), height, width, -1, in_channels)
    return WindowLinear(jnp.moveaxis(weights, (3, 4), (1, 2)), solution.bias.reshape(-1, height, width))


@jax.jit
def _synthesize(model: ExpressionModel, images: jax.Array, intensity: jax.Array) -> jax.Array:
    params = WindowLinear(model.weights, model.bias)
    out_channels, _, in_channels, _, _ = model.weights.shape
    predict = partial(_predict, model.window)
    if in_channels > 1:
        prediction = predict(params, images)
    elif out_channels == 1:
        grey = predict(params, _as_grey(images))
        prediction = jnp.moveaxis(grey.reshape(images.shape[-1:] + images.shape[:-1]), 0, -1)
    else:
        one_channel = jax.tree.map(lambda leaf: leaf[:, None], params)
        planes = jax.lax.map(lambda each: predict(*each), (one_channel, _split(images)))
        prediction = jnp.moveaxis(planes[..., 0], 0, -1)
    amount = intensity[:, None, None, None]
    return (1 - amount) * images + amount * prediction


def _predict(window: masks.Window | masks.Mask, params: WindowLinear, images: jax.Array) -> jax.Array:
    if isinstance(window, masks.Window):
        return window_linear.predict(params, images, window)
    out_channels, _, in_channels, height, width = params.weights.shape
    weights = jnp.moveaxis(params.weights, (1, 2), (3, 4)).reshape(out_channels, height * width, -1)
    flat = masked_ridge.MaskedLinear(weights, params.bias.reshape(out_channels, -1))
    wide = masks.across_channels(window, in_channels)
    predict = jax.vmap(masked_ridge.predict, in_axes=(0, None, None))
    outputs = predict(flat, images.reshape(len(images), -1), wide)
    return jnp.moveaxis(outputs.reshape(out_channels, len(images), height, width), 0, -1)


def _as_mask(window: masks.Window | masks.Mask, height: int, width: int) -> masks.Mask:
    if isinstance(window, masks.Window):
        return masks.offset_window(height, width, window.offsets)
    return window


def _as_grey(images: jax.Array) -> jax.Array:
    """(num, height, width, channels) -> (channels * num, height, width, 1)."""
    return jnp.moveaxis(images, -1, 0).reshape(-1, *images.shape[1:3], 1)


def _split(images: jax.Array) -> jax.Array:
    """(num, height, width, channels) -> (channels, num, height, width, 1)."""
    return jnp.moveaxis(images, -1, 0)[..., None]
