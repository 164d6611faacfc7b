"""Aligns faces: affine maps from landmarks, and anti-aliased crops along them.

Points are (x, y) in pixels, and (0, 0) is the middle of the top left pixel.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import resampling
from mlr_jax.numerics.serialization import exported

# Samples computed at once; a large face in a large picture has a hundred million.
_MOST_SAMPLES = 2**20


@exported
class Affine(NamedTuple):
    """The map p -> matrix @ p + offset of points (x, y).

    Attributes:
      matrix: `(2, 2)`.
      offset: `(2,)`.
    """

    matrix: jax.Array | np.ndarray
    offset: jax.Array | np.ndarray


class FaceTemplate(NamedTuple):
    """Positions of the landmarks in an aligned crop, as fractions of its width and height.

    The face fills the crop from the brows' top to the chin.

    Attributes:
      eye_distance: between the middles of the eyes, which lie level and symmetric.
      eye_height: of the eyes, from the top.
      mouth_height: of the mouth, from the top.
    """

    eye_distance: float = 0.39
    eye_height: float = 0.36
    mouth_height: float = 0.78


def apply(affine: Affine, points: ArrayLike) -> jax.Array:
    """Maps points `(..., 2)`."""
    points = jnp.asarray(points)
    turned = jnp.einsum("ij,...j->...i", affine.matrix, points, precision="highest")
    return turned + jnp.broadcast_to(affine.offset, turned.shape)


def invert(affine: Affine) -> Affine:
    """The inverse map.

    >>> apply(invert(Affine(2 * jnp.eye(2), jnp.ones(2))), jnp.array([5.0, 3.0]))
    Array([2., 1.], dtype=float32)
    """
    (a, b), (c, d) = affine.matrix
    matrix = jnp.array([[d, -b], [-c, a]]) / (a * d - b * c)
    return Affine(matrix, -apply(Affine(matrix, jnp.zeros_like(affine.offset)), affine.offset))


def compose(outer: Affine, inner: Affine) -> Affine:
    """The map that takes p to outer(inner(p))."""
    matrix = jnp.matmul(outer.matrix, inner.matrix, precision="highest")
    return Affine(matrix, apply(outer, inner.offset))


def affine_from_points(source: ArrayLike, target: ArrayLike) -> Affine:
    """The affine map that takes `source` to `target` with the least squared error.

    Args:
      source: `(num_points, 2)`, at least three points, not on one line.
      target: `(num_points, 2)`, their positions after the map.

    Returns:
      The map, exact for three points.
    """
    source, target = jnp.asarray(source), jnp.asarray(target)
    homogeneous = jnp.concatenate([source, jnp.ones_like(source[:, :1])], axis=1)
    solution = jnp.linalg.lstsq(homogeneous, target)[0]
    return Affine(solution[:2].T, solution[2])


def similarity_from_points(source: ArrayLike, target: ArrayLike) -> Affine:
    """The rotation, scaling and shift that take `source` to `target` with the least squared error.

    In complex numbers, a in p -> a p + b is the least squares fit of the centred points.

    Args:
      source: `(num_points, 2)`, at least two points, not all in one place.
      target: `(num_points, 2)`, their positions after the map.

    Returns:
      The map, which mirrors nothing and keeps angles; exact for two points.
    """
    source, target = jnp.asarray(source), jnp.asarray(target)
    from_middle, to_middle = source.mean(axis=0), target.mean(axis=0)
    p, q = source - from_middle[None], target - to_middle[None]
    cosine = jnp.sum(p * q)
    sine = jnp.sum(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])
    matrix = jnp.array([[cosine, -sine], [sine, cosine]]) / jnp.sum(p**2)
    return Affine(matrix, to_middle - apply(Affine(matrix, jnp.zeros_like(to_middle)), from_middle))


def crop_from_eyes(
    left_eye: ArrayLike,
    right_eye: ArrayLike,
    mouth_ratio: ArrayLike,
    size: int,
    *,
    template: FaceTemplate = FaceTemplate(),
) -> Affine:
    """The map from an aligned crop of `size` x `size` pixels into the picture that it is cut from.

    It makes the eyes level, and stretches the face along the line from the eyes to the mouth, so that eyes
    and mouths of different people coincide.

    Args:
      left_eye: `(2,)`, the middle of the eye that is on the left in the picture.
      right_eye: `(2,)`.
      mouth_ratio: of this face, see `mouth_ratio`; or of another picture of the same person, to align the
        mouth of that picture instead.
      size: of the crop.
      template: where the landmarks go.

    Returns:
      The map from points of the crop to points of the picture, as `crop` takes it.
    """
    left_eye, right_eye = jnp.asarray(left_eye), jnp.asarray(right_eye)
    across = right_eye - left_eye
    mouth = (left_eye + right_eye) / 2 + mouth_ratio * _downwards(across)
    half = template.eye_distance / 2
    places = jnp.array(
        [
            [0.5 - half, template.eye_height],
            [0.5 + half, template.eye_height],
            [0.5, template.mouth_height],
        ]
    )
    return affine_from_points(places * size - 0.5, jnp.stack([left_eye, right_eye, mouth]))


def mouth_ratio(left_eye: ArrayLike, right_eye: ArrayLike, mouth: ArrayLike) -> jax.Array:
    """The distance of the mouth below the line through the eyes, in eye distances.

    Args:
      left_eye: `(2,)`.
      right_eye: `(2,)`.
      mouth: `(2,)`, its middle.

    Returns:
      A scalar; it does not depend on the head's tilt or size.
    """
    left_eye, right_eye = jnp.asarray(left_eye), jnp.asarray(right_eye)
    across = right_eye - left_eye
    below = jnp.asarray(mouth) - (left_eye + right_eye) / 2
    return jnp.sum(below * _downwards(across)) / jnp.sum(across**2)


def crop(image: ArrayLike, affine: Affine, size: int, *, oversampling: int = 1) -> jax.Array:
    """Cuts a square out of a picture along an affine map, anti-aliased.

    Each pixel of the crop is the mean over `oversampling ** 2` bilinear samples spread over its area.

    Args:
      image: `(height, width, channels)`.
      affine: from points of the crop to points of the picture.
      size: of the crop, in pixels.
      oversampling: samples along each side of a pixel; `pixels_per_pixel`, rounded up, is enough.

    Returns:
      `(size, size, channels)`. Beyond the picture its border is repeated.
    """
    return resample(image, affine, (size, size), oversampling=oversampling)


@partial(jax.jit, static_argnames=("shape", "kernel", "oversampling"))
def resample(
    image: ArrayLike,
    affine: Affine,
    shape: tuple[int, int],
    *,
    kernel: resampling.Kernel = "linear",
    oversampling: int = 1,
) -> jax.Array:
    """Resamples a picture along an affine map, anti-aliased.

    Each pixel of the result is the mean over `oversampling ** 2` samples spread over its area.

    Args:
      image: `(height, width, channels)`; whole numbers are converted to floating point.
      affine: from points of the result to points of the picture.
      shape: (height, width) of the result.
      kernel: see `resampling.Kernel`.
      oversampling: samples along each side of a pixel, see `crop`.

    Returns:
      `(*shape, channels)`. Beyond the picture its border is repeated.
    """
    image = jnp.asarray(image)
    image = image.astype(jnp.result_type(image.dtype, float))
    height, width = shape
    across, down = (
        (jnp.arange(length * oversampling) + 0.5) / oversampling - 0.5 for length in (width, height)
    )
    # Half precision is too coarse for positions in a large picture.
    dtype = jnp.promote_types(image.dtype, jnp.float32)

    def row(down: jax.Array) -> jax.Array:
        """One row of the result."""
        points = jnp.stack(jnp.meshgrid(across, down), axis=-1).astype(dtype)
        samples = resampling.sample(image, apply(affine, points), kernel=kernel)
        return samples.reshape(oversampling, width, oversampling, -1).mean(axis=(0, 2))

    rows = down.reshape(height, oversampling)
    at_once = max(1, _MOST_SAMPLES // (width * oversampling**2))
    return jax.vmap(row)(rows) if at_once >= height else jax.lax.map(row, rows, batch_size=at_once)


def pixels_per_pixel(affine: Affine) -> jax.Array:
    """The largest distance in the picture between neighbouring pixels of the crop."""
    return jnp.linalg.svd(affine.matrix, compute_uv=False)[0]


def _downwards(across: jax.Array) -> jax.Array:
    """The vector rotated by 90 degrees, towards larger y."""
    return jnp.stack([-across[1], across[0]])
