"""`synthesis.synthesize`: a learned expression on other faces."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, masked_ridge, masks
from mlr_jax._window_regression import channels as channel_groups, linear
from mlr_jax.masks import Mask
from mlr_jax.synthesis._model import AXES, ExpressionModel
from mlr_jax.window_linear import WindowLinear
from mlr_jax.windows import Window


def synthesize(model: ExpressionModel, images: ArrayLike, *, intensity: ArrayLike = 1.0) -> jax.Array:
    """Puts the learned expression on faces.

        result = (1 - intensity) * images + intensity * prediction

    The result is not clipped, so that gradients pass; clip it to [0, 1] for display.

    Args:
      model: from `fit`.
      images: `(num, height, width, channels)` floating point in [0, 1], of the model's height and width.
      intensity: 0 returns the images themselves, 1 the learned expression, more exaggerates it, less
        than 0 turns it into its opposite. One for all or `(num,)`.

    Returns:
      Pictures of the same shape.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: their size or number of channels is not the model's, a value is NaN, they are not in [0, 1]
        (see `fit`), or intensity is no finite number or has another shape.
    """
    where = "synthesis.synthesize"
    images = checks.as_floating(where, "images", images, AXES)
    check_images(model, where, images, intensity)
    model = checks.with_automatic_axes(where, model)
    return _synthesize(model, images, checks.as_plane(intensity, images.shape[:1], images.dtype))


def check_images(
    model: ExpressionModel, where: str, images: jax.Array | np.ndarray, intensity: ArrayLike
) -> None:
    """Raises InputError unless the model can be put on `images` with that intensity."""
    out_channels, _, _, height, width = model.weights.shape
    checks.channels_last(where, "images", images.shape)
    if images.shape[1:3] != (height, width):
        raise checks.InputError(
            f"{where}: the model is for pictures of {height} x {width}, not "
            f"{images.shape[1]} x {images.shape[2]}; resize them"
        )
    if out_channels not in (1, images.shape[3]):
        raise checks.InputError(f"{where}: the model is for {out_channels} channels, not {images.shape[3]}")
    checks.intensity(where, intensity, images.shape[0])
    checks.pictures(where, "images", images)


@jax.jit
def _synthesize(model: ExpressionModel, images: jax.Array, intensity: jax.Array | np.ndarray) -> jax.Array:
    params = WindowLinear(model.weights, model.bias)
    out_channels, _, in_channels, _, _ = model.weights.shape
    predict = partial(_predict, model.window)
    if in_channels > 1:
        prediction = predict(params, images)
    elif out_channels == 1:
        grey = predict(params, channel_groups.as_examples(images))
        prediction = jnp.moveaxis(grey.reshape(images.shape[-1:] + images.shape[:-1]), 0, -1)
    else:
        one_channel = jax.tree.map(lambda leaf: leaf[:, None], params)
        planes = jax.lax.map(lambda each: predict(*each), (one_channel, channel_groups.split(images)))
        prediction = jnp.moveaxis(planes[..., 0], 0, -1)
    amount = jnp.asarray(intensity)[:, None, None, None]
    return (1 - amount) * images + amount * prediction


def _predict(window: Window | Mask, params: WindowLinear, images: jax.Array) -> jax.Array:
    if isinstance(window, Window):
        return linear.predict(params, linear.view_images(images, window), window)
    out_channels, _, in_channels, height, width = params.weights.shape
    weights = jnp.moveaxis(params.weights, (1, 2), (3, 4)).reshape(out_channels, height * width, -1)
    flat = masked_ridge.MaskedLinear(weights, params.bias.reshape(out_channels, -1))
    wide = masks.across_channels(window, in_channels)
    predict = jax.vmap(masked_ridge.predict, in_axes=(0, None, None))
    outputs = predict(flat, images.reshape(images.shape[0], -1), wide)
    return jnp.moveaxis(outputs.reshape(out_channels, -1, height, width), 0, -1)
