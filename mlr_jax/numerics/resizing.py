"""Resizes pictures, by a matrix for each side."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

Method = Literal["linear", "cubic"]
"""The interpolation: linear, or Keys' cubic (a = -1/2)."""


def resize(planes: jax.Array, shape: tuple[int, int], method: Method) -> jax.Array:
    """Pictures of another size, anti-aliased where they shrink.

    The same as `jax.image.resize`, up to rounding. But the weights are computed by NumPy while tracing, so
    that only two products of matrices are left to compile.

    Args:
      planes: `(num, height, width, channels)` floating point.
      shape: the new (height, width).
      method: see `Method`.

    Returns:
      `(num, *shape, channels)`, of the same dtype.

    >>> resize(jnp.arange(2.0)[None, :, None, None], (4, 1), "linear")[0, :, 0, 0]
    Array([0.  , 0.25, 0.75, 1.  ], dtype=float32)
    """
    down, across = (
        jnp.asarray(_weights(before, after, method), planes.dtype)
        for before, after in zip(planes.shape[1:3], shape, strict=True)
    )
    return jnp.einsum("ih,jw,nhwc->nijc", down, across, planes, precision="highest")


def resize_on_host(plane: np.ndarray, shape: tuple[int, int], method: Method) -> np.ndarray:
    """The same for one picture, by NumPy.

    Args:
      plane: `(height, width, channels)` floating point.
      shape: the new (height, width).
      method: see `resize`.
    """
    down, across = (
        _weights(before, after, method).astype(plane.dtype)
        for before, after in zip(plane.shape[:2], shape, strict=True)
    )
    channels = [down @ plane[..., channel] @ across.T for channel in range(plane.shape[-1])]
    return np.stack(channels, axis=-1)


def _weights(before: int, after: int, method: Method) -> np.ndarray:
    """The weights of old pixels in new ones, `(after, before)`; each row has the sum 1."""
    places = (np.arange(after) + 0.5) * (before / after) - 0.5
    # The kernel is as wide as the larger of a new and an old pixel.
    distances = abs(places[:, None] - np.arange(before)[None]) / max(before / after, 1)
    weights = _linear(distances) if method == "linear" else _cubic(distances)
    return weights / weights.sum(axis=1, keepdims=True)


def _linear(t: np.ndarray) -> np.ndarray:
    return np.maximum(1 - t, 0)


def _cubic(t: np.ndarray) -> np.ndarray:
    near, far = (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    return np.where(t < 1, near, np.where(t < 2, far, 0))
