"""Gaussian means of pictures, whose border is repeated."""

import jax
import jax.numpy as jnp
import numpy as np


def blur(planes: jax.Array, sigma: float) -> jax.Array:
    """Gaussian means around every pixel.

    Args:
      planes: `(height, width, channels)` floating point. Beyond the border it is repeated.
      sigma: standard deviation in pixels; pixels further than 2.5 of them do not count. 0 leaves the
        planes as they are.

    Returns:
      The same shape and dtype.

    >>> blur(jnp.ones((3, 4, 1)), 2.0).shape
    (3, 4, 1)
    """
    if sigma == 0:
        return planes
    shares = weights(sigma)
    reach = len(shares) // 2
    for axis in (0, 1):
        length = planes.shape[axis]
        margins = [(0, 0)] * planes.ndim
        margins[axis] = (reach, reach)
        padded = jnp.pad(planes, margins, mode="edge")
        # Shifted pictures, since convolutions on CPUs are slow for one channel, and only float32.
        shifted = (
            jax.lax.slice_in_dim(padded, start, start + length, axis=axis) for start in range(len(shares))
        )
        planes = sum(
            (float(weight) * each for weight, each in zip(shares, shifted, strict=True)),
            start=jnp.zeros_like(planes),
        )
    return planes


def weights(sigma: float) -> np.ndarray:
    """The filter: an odd number of taps, whose sum is 1."""
    reach = int(2.5 * sigma) + 1
    heights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return heights / heights.sum()
