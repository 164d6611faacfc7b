"""Interpolates pictures between their pixels.

Points are (x, y) in pixels, and (0, 0) is the middle of the top left pixel. Beyond a picture its border is
repeated.
"""

from functools import partial
from typing import Literal, TypeVar, get_args

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax import checks

Kernel = Literal["linear", "cubic"]
"""How values between pixels are interpolated.

"linear": from the four nearest pixels, within their range. "cubic": from the sixteen nearest, with Keys'
convolution (a = -1/2; Keys, IEEE Trans. ASSP 29(6), 1981): smoother and sharper, but it may overshoot at
edges.
"""

_CUBIC_TAPS = 4

_Array = TypeVar("_Array", jax.Array, np.ndarray)


def sample(image: jax.Array, points: jax.Array, *, kernel: Kernel = "linear") -> jax.Array:
    """The values of a picture at any points.

    Differentiable with respect to both.

    Args:
      image: `(height, width, channels)` floating point.
      points: `(..., 2)`, (x, y).
      kernel: see `Kernel`.

    Returns:
      `(..., channels)`. Whole-numbered points within the picture give its pixels.

    Raises:
      InputError: there is no such kernel.

    >>> ramp = jnp.arange(4.0)[None, :, None] * jnp.ones((4, 1, 1))
    >>> sample(ramp, jnp.array([1.25, 2.0]))
    Array([1.25], dtype=float32)
    """
    if kernel not in get_args(Kernel):
        raise checks.InputError(
            f"resampling.sample: kernel must be one of {', '.join(get_args(Kernel))}, not {kernel!r}"
        )
    if kernel == "cubic":
        return _sample_cubic(image, points)
    x, y = jnp.moveaxis(points, -1, 0)
    read = partial(jax.scipy.ndimage.map_coordinates, coordinates=[y, x], order=1, mode="nearest")
    return jax.vmap(read, in_axes=-1, out_axes=-1)(image)


def _sample_cubic(image: jax.Array, points: jax.Array) -> jax.Array:
    height, width, _ = image.shape
    below = jnp.floor(points)
    columns, rows = jnp.moveaxis(below.astype(jnp.int32), -1, 0)
    weights_x, weights_y = (cubic_weights(part) for part in jnp.moveaxis(points - below, -1, 0))
    total = jnp.zeros((*points.shape[:-1], image.shape[-1]), image.dtype)
    for j in range(_CUBIC_TAPS):
        row = jnp.clip(rows + j - 1, 0, height - 1)
        line = jnp.zeros_like(total)
        for i in range(_CUBIC_TAPS):
            column = jnp.clip(columns + i - 1, 0, width - 1)
            line += weights_x[i][..., None] * image[row, column]
        total += weights_y[j][..., None] * line
    return total


def cubic_weights(t: _Array) -> tuple[_Array, ...]:
    """The weights of the four pixels around a point.

    Args:
      t: any shape, the distance of the point from the second of them, in pixels, in [0, 1).

    Returns:
      Four arrays of that shape, JAX's or NumPy's as `t` is; their sum is 1.
    """
    return (
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )
