"""A linear map from pictures to pictures in which every pixel has its own weights on the window around it.

For windows, as `masked_ridge.MaskedLinear` for masks: weights are one plane per offset, so that a prediction
is a sum of shifted pictures, without a gather.
"""

import jax
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks
from mlr_jax._window_regression import linear
from mlr_jax._window_regression.linear import WindowLinear
from mlr_jax.windows import Window

__all__ = ["WindowLinear", "look", "predict"]


def look(images: jax.Array, window: Window) -> jax.Array:
    """The copies of pictures that a window reads.

    Args:
      images: `(num, height, width, channels)` floating point.
      window: any; if all its offsets read the picture itself, the images are returned.

    Returns:
      `(num, height, width, channels * num_views)`: all distinct views of the first channel, then of the
      second, and so on. These are the inputs with `in_channels` of a regression on this window.
    """
    return linear.view_images(images, window)


def predict(params: WindowLinear, images: ArrayLike, window: Window) -> jax.Array:
    """Applies the map.

        outputs[n, p, o] = bias[o, p] + sum_{k, c} weights[o, k, c, p] * images[n, p + offsets[k], c]

    Args:
      params: the map.
      images: `(num, height, width, in_channels)` floating point; of a window with views, what `look` returns,
        of which offset k sees its own view.
      window: the one that `params` was fitted with.

    Returns:
      `(num, height, width, out_channels)`.

    Raises:
      TypeError: the images are not floating point.
      InputError: their size or number of channels is not the map's, or the window is another.
    """
    where = "window_linear.predict"
    images = checks.as_floating(where, "images", images, ("num", "height", "width", "in_channels"))
    params = checks.with_automatic_axes(where, params)
    _, num_offsets, in_channels, height, width = np.shape(params.weights)
    expected = (height, width, in_channels * window.num_views)
    if images.shape[1:] != expected:
        raise checks.InputError(f"{where}: the map is for pictures of {expected}, not {images.shape[1:]}")
    if len(window.offsets) != num_offsets:
        raise checks.InputError(
            f"{where}: the map has {num_offsets} offsets, but the window {len(window.offsets)}; use the "
            "window that it was fitted with"
        )
    return linear.predict(params, images, window)
