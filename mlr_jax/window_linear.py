"""A linear map from pictures to pictures in which every pixel has its own weights on the window around it.

What `masked_ridge.MaskedLinear` is for any mask, for windows: weights are one plane per offset, so that a
prediction is a sum of shifted pictures, and nothing is gathered.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, masks


class WindowLinear(NamedTuple):
    """The map.

    Attributes:
      weights: `(out_channels, num_offsets, in_channels, height, width)`; 0 where an offset leaves the
        picture.
      bias: `(out_channels, height, width)`.
    """

    weights: jax.Array
    bias: jax.Array


def predict(params: WindowLinear, images: ArrayLike, window: masks.Window) -> jax.Array:
    """Applies the map.

        outputs[n, p, o] = bias[o, p] + sum_{k, c} weights[o, k, c, p] * images[n, p + offsets[k], c]

    Args:
      params: the map.
      images: `(num, height, width, in_channels)` floating point.
      window: the one that `params` was fitted with.

    Returns:
      `(num, height, width, out_channels)`.

    Raises:
      TypeError: the images are not floating point.
      InputError: their size or number of channels is not the map's, or the window is another.
    """
    where = "window_linear.predict"
    images = checks.as_floating(where, "images", images, ("num", "height", "width", "in_channels"))
    _, num_offsets, in_channels, height, width = np.shape(params.weights)
    if images.shape[1:] != (height, width, in_channels):
        raise checks.InputError(
            f"{where}: the map is for pictures of {(height, width, in_channels)}, not {images.shape[1:]}"
        )
    if len(window.offsets) != num_offsets:
        raise checks.InputError(
            f"{where}: the map has {num_offsets} offsets, but the window {len(window.offsets)}; use the "
            "window that it was fitted with"
        )
    return _predict(params, images, window)


@partial(jax.jit, static_argnames="window")
def _predict(params: WindowLinear, images: jax.Array, window: masks.Window) -> jax.Array:
    _, height, width, in_channels = images.shape
    reach_y, reach_x = masks.reach(window)
    dtype = jnp.promote_types(params.weights.dtype, images.dtype)

    @partial(jax.checkpoint, prevent_cse=False)
    def predict_one(image: jax.Array) -> jax.Array:
        padded = jnp.pad(jnp.moveaxis(image, -1, 0), ((0, 0), (reach_y, reach_y), (reach_x, reach_x)))
        total = params.bias.astype(dtype)
        for k, (dy, dx) in enumerate(window.offsets):
            top, left = reach_y + dy, reach_x + dx
            for c in range(in_channels):
                plane = padded[c, top : top + height, left : left + width]
                total += params.weights[:, k, c] * plane[None]
        return jnp.moveaxis(total, 0, -1)

    # One picture after the other: the weights and all that is added up stay in the cache.
    return jax.lax.map(predict_one, images)
