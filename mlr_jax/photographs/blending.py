"""Puts a changed face back into the photograph that it was cut out of."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import alignment, resampling
from mlr_jax.alignment import Affine
from mlr_jax.photographs._numpy import affine_maps

FEATHER = 0.16
"""Width of the soft edge, as a part of half the crop's side."""

# Between a circle (2) and a square: faces fill their crops, but not the corners.
_ROUNDNESS = 4

# Rows that are computed at once: they keep the cores busy, in little memory.
_STRIP = 32


class Box(NamedTuple):
    """A rectangle of whole pixels.

    Attributes:
      top: its first row; negative above the photograph.
      left: its first column.
      height: in pixels.
      width: in pixels.
    """

    top: int
    left: int
    height: int
    width: int


def soft_mask(points: ArrayLike, size: int, *, feather: ArrayLike = FEATHER) -> jax.Array:
    """The opacity of a crop at points of it: 1 inside, 0 at its border and beyond.

    Along rounded squares |u|^4 + |v|^4 = c^4, u and v from -1 to 1 over the crop; in between it goes
    smoothly, 3 t^2 - 2 t^3.

    Args:
      points: `(..., 2)`, (x, y) in pixels of the crop.
      size: of the crop.
      feather: width of the soft edge, as a part of half the crop's side, above 0.

    Returns:
      `(...,)` in [0, 1].

    >>> soft_mask(jnp.array([[31.5, 31.5], [0.0, 0.0], [31.5, -0.5]]), 64)
    Array([1., 0., 0.], dtype=float32)
    """
    points = jnp.asarray(points)
    place = (points + 0.5) / size * 2 - 1
    # Above 0: at 0 a root has no derivative.
    radius = jnp.maximum(jnp.sum(place**_ROUNDNESS, axis=-1), 1e-12) ** (1 / _ROUNDNESS)
    t = jnp.clip((1 - radius) / feather, 0, 1)
    return t * t * (3 - 2 * t)


def bounding_box(affine: Affine, size: int) -> Box:
    """The whole pixels that a crop touches, inside the photograph or not.

    Args:
      affine: from points of the crop to points of the photograph; concrete.
      size: of the crop.
    """
    corners = np.array([[x, y] for x in (-0.5, size - 0.5) for y in (-0.5, size - 0.5)])
    places = affine_maps.apply(affine, corners)
    left, top = np.floor(places.min(axis=0)).astype(int)
    right, bottom = np.ceil(places.max(axis=0)).astype(int)
    return Box(int(top), int(left), int(bottom - top) + 1, int(right - left) + 1)


@partial(jax.jit, static_argnames=("oversampling",))
def put_back(
    photograph: jax.Array,
    face: jax.Array,
    affine: Affine,
    *,
    field: ArrayLike | None = None,
    gain: ArrayLike = 0.0,
    feather: ArrayLike = FEATHER,
    oversampling: int = 1,
) -> jax.Array:
    """Puts a changed crop over the photograph, with a soft edge.

        result = photograph + mask (face - (1 - gain) photograph)

    With `field`, the photograph's pixels move first, along mask * field, and are read once, with the cubic
    kernel. With `gain` 0 the crop replaces the photograph; with 1, `face` is a change that is added to it, so
    that details finer than the crop's pixels stay. The crop is read with the cubic kernel, too.

    Args:
      photograph: `(height, width, channels)` floating point, or a part of one, see `bounding_box`.
      face: `(size, size, channels)`.
      affine: from points of the crop to points of `photograph`.
      field: `(size, size, 2)`, where each pixel comes from, see `displacement`, in pixels of the crop; or
        None.
      gain: see above.
      feather: see `soft_mask`.
      oversampling: samples along each side of a pixel of the photograph, for one that is coarser than the
        crop, see `alignment.crop`.

    Returns:
      `(height, width, channels)`, not clipped. Where the mask is 0, it is the photograph to the bit.
    """
    height, width, channels = photograph.shape
    back = alignment.invert(affine)
    steps = (jnp.arange(oversampling) + 0.5) / oversampling - 0.5
    # Half precision is too coarse for places in a large picture.
    dtype = jnp.promote_types(photograph.dtype, jnp.float32)
    across = (jnp.arange(width)[:, None] + steps[None]).astype(dtype)

    def move(first: jax.Array) -> jax.Array:
        """The photograph's pixels that a strip of rows gets."""
        down = first + jnp.arange(_STRIP)
        here = jnp.stack(jnp.meshgrid(jnp.arange(width), down), axis=-1).astype(dtype)
        points = alignment.apply(back, here)
        mask = soft_mask(points, len(face), feather=feather)[..., None]
        step = mask * resampling.sample(jnp.asarray(field), points)
        turned = alignment.apply(Affine(affine.matrix, jnp.zeros_like(affine.offset)), step)
        return resampling.sample(photograph, here + turned, kernel="cubic")

    def lay(strip: tuple[jax.Array, jax.Array]) -> jax.Array:
        """One strip of rows."""
        below, first = strip
        if field is not None:
            below = move(first)
        down = (first + jnp.arange(_STRIP)[:, None] + steps[None]).astype(dtype)
        points = alignment.apply(back, jnp.stack(jnp.meshgrid(across.ravel(), down.ravel()), axis=-1))
        mask = soft_mask(points, len(face), feather=feather)[..., None]
        # Samples are masked before the mean is taken: those outside the crop are no part of the face.
        layers = mask * resampling.sample(face, points, kernel="cubic"), mask
        layer, covered = (
            each.reshape(_STRIP, oversampling, width, oversampling, -1).mean(axis=(1, 3)) for each in layers
        )
        return below + layer - (1 - gain) * covered * below

    num_strips = -(-height // _STRIP)
    padded = jnp.pad(photograph, ((0, num_strips * _STRIP - height), (0, 0), (0, 0)))
    strips = padded.reshape(num_strips, _STRIP, width, channels)
    laid = jax.lax.map(lay, (strips, jnp.arange(num_strips) * _STRIP))
    return laid.reshape(-1, width, channels)[:height]
