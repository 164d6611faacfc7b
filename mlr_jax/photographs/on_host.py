"""Looks at photographs through affine maps, and lays faces over them, in NumPy.

What `alignment` and `blending` do in JAX, to rounding. A photograph is in the host's memory and of any size,
and JAX compiles for every size anew: here nothing is compiled. Points are (x, y) in pixels, and (0, 0) is the
middle of the top left pixel. Places are computed in double precision, colours in that of the pictures.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mlr_jax import resampling
from mlr_jax.alignment import Affine, FaceTemplate

Sample = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""`sample_linear` or `sample_cubic`."""

# Points that are looked at together: what is computed for them stays in the cache.
_BLOCK = 2**14


def doubled(affine: Affine) -> Affine:
    """The map in double precision, on the host."""
    return Affine(np.asarray(affine.matrix, np.float64), np.asarray(affine.offset, np.float64))


def apply(affine: Affine, points: np.ndarray) -> np.ndarray:
    """See `alignment.apply`; in double precision."""
    matrix, offset = doubled(affine)
    return np.asarray(points, np.float64) @ matrix.T + offset


def invert(affine: Affine) -> Affine:
    """The map back, see `alignment.invert`; in double precision."""
    matrix, offset = doubled(affine)
    (a, b), (c, d) = matrix
    back = np.array([[d, -b], [-c, a]]) / (a * d - b * c)
    return Affine(back, -back @ offset)


def pixels_per_pixel(affine: Affine) -> float:
    """See `alignment.pixels_per_pixel`."""
    return float(np.linalg.norm(doubled(affine).matrix, 2))


def mouth_ratio(left_eye: np.ndarray, right_eye: np.ndarray, mouth: np.ndarray) -> float:
    """See `alignment.mouth_ratio`."""
    left_eye, right_eye, mouth = (np.asarray(point, np.float64) for point in (left_eye, right_eye, mouth))
    right, down = across = right_eye - left_eye
    below = mouth - (left_eye + right_eye) / 2
    return float(below @ np.array([-down, right]) / (across @ across))


def crop_from_eyes(
    left_eye: np.ndarray, right_eye: np.ndarray, mouth_ratio: float, size: int, template: FaceTemplate
) -> Affine:
    """See `alignment.crop_from_eyes`; in single precision."""
    left_eye, right_eye = (np.asarray(point, np.float64) for point in (left_eye, right_eye))
    right, down = across = right_eye - left_eye
    middle, downwards = (left_eye + right_eye) / 2, np.array([-down, right])
    eye_distance, eye_height, mouth_height = map(float, template)
    # From the middle between the eyes, in pixels of the crop.
    to_right, to_mouth = eye_distance * size, (mouth_height - eye_height) * size
    matrix = np.stack([across / to_right, mouth_ratio * downwards / to_mouth], axis=1)
    offset = middle - matrix @ np.array([0.5 * size - 0.5, eye_height * size - 0.5])
    return Affine(matrix.astype(np.float32), offset.astype(np.float32))


def crop(image: np.ndarray, affine: Affine, size: int, *, oversampling: int = 1) -> np.ndarray:
    """See `alignment.crop`.

    Args:
      image: `(height, width, channels)` floating point.
      affine: from points of the crop to points of the picture.
      size: of the crop, in pixels.
      oversampling: samples along each side of a pixel.
    """
    ((xx, xy), (yx, yy)), (left, top) = doubled(affine)
    image_planes = planes(image)
    across = _steps(size, oversampling)
    result = np.empty((size, size, len(image_planes)), image.dtype)

    def look(rows: slice) -> None:
        down = _steps(size, oversampling)[rows.start * oversampling : rows.stop * oversampling, None]
        x, y = xx * across + (xy * down + left), yx * across + (yy * down + top)
        for channel, samples in enumerate(sample_linear(image_planes, x, y)):
            result[rows, :, channel] = _mean(samples, oversampling)

    _for_blocks(look, size, size * oversampling**2)
    return result


def put_back(
    photograph: np.ndarray,
    face: np.ndarray,
    affine: Affine,
    *,
    field: np.ndarray | None = None,
    gain: float = 0.0,
    feather: float,
    oversampling: int = 1,
) -> np.ndarray:
    """See `blending.put_back`, whose arguments these are."""
    height, width, channels = photograph.shape
    size = len(face)
    turn = doubled(affine).matrix
    ((xx, xy), (yx, yy)), (left, top) = invert(affine)
    whole, layer = planes(photograph), planes(face)
    flow = None if field is None else planes(field)
    result = photograph.copy()

    def places(rows: slice, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of the crop, and how much it counts there; `steps` along each side of a pixel."""
        across = _steps(width, steps)
        down = _steps(height, steps)[rows.start * steps : rows.stop * steps, None]
        x, y = xx * across + (xy * down + left), yx * across + (yy * down + top)
        return x, y, _soft_mask(x, y, size, feather).astype(photograph.dtype)

    def lay(rows: slice) -> None:
        below = np.moveaxis(photograph[rows], -1, 0).copy()
        x, y, mask = middles = places(rows, 1)
        if flow is not None:
            inside = mask > 0
            u, v = mask[inside] * sample_linear(flow, x[inside], y[inside])
            down, across = np.nonzero(inside)
            right = across + (turn[0, 0] * u + turn[0, 1] * v)
            lower = down + rows.start + (turn[1, 0] * u + turn[1, 1] * v)
            below[:, inside] = sample_cubic(whole, right, lower)
        x, y, mask = middles if oversampling == 1 else places(rows, oversampling)
        inside = mask > 0
        covered = _mean(mask, oversampling)
        # Each sample is masked before the mean is taken, as what lies outside is no part of the face.
        laid = np.zeros((channels, *mask.shape), photograph.dtype)
        laid[:, inside] = mask[inside] * sample_cubic(layer, x[inside], y[inside])
        for channel in range(channels):
            added = _mean(laid[channel], oversampling) - (1 - gain) * covered * below[channel]
            result[rows, :, channel] = below[channel] + added

    _for_blocks(lay, height, width * oversampling**2)
    return result


def _for_blocks(work: Callable[[slice], None], num_rows: int, points_per_row: int) -> None:
    """Does the rows some at a time, on all cores; NumPy lets other threads run while it computes."""
    step = max(1, _BLOCK // max(points_per_row, 1))
    blocks = [slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]
    if len(blocks) == 1:
        work(blocks[0])
        return
    with ThreadPoolExecutor(min(len(blocks), os.cpu_count() or 1)) as pool:
        for _ in pool.map(work, blocks):
            pass


def _steps(length: int, oversampling: int) -> np.ndarray:
    """Places of the samples along a side."""
    return (np.arange(length * oversampling) + 0.5) / oversampling - 0.5


def _mean(samples: np.ndarray, oversampling: int) -> np.ndarray:
    """`(rows * oversampling, columns * oversampling)` -> `(rows, columns)`."""
    if oversampling == 1:
        return samples
    rows, columns = (length // oversampling for length in samples.shape)
    return samples.reshape(rows, oversampling, columns, oversampling).mean(axis=(1, 3))


def planes(image: np.ndarray) -> np.ndarray:
    """`(height, width, channels)` -> `(channels, height, width)`, each channel in one piece, for sampling."""
    return np.ascontiguousarray(np.moveaxis(image, -1, 0))


def _soft_mask(x: np.ndarray, y: np.ndarray, size: int, feather: float) -> np.ndarray:
    """See `blending.soft_mask`."""
    u, v = (x + 0.5) * (2 / size) - 1, (y + 0.5) * (2 / size) - 1
    u *= u
    v *= v
    radius = np.sqrt(np.sqrt(u * u + v * v))
    t = np.clip((1 - radius) / feather, 0, 1)
    return t * t * (3 - 2 * t)


def sample_linear(planes: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values of `(channels, height, width)` at points; `(channels, *x.shape)`."""
    return _sample(planes, x, y, lambda part: (1 - part, part))


def sample_cubic(planes: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As `sample_linear`, with the cubic kernel, see `resampling.Kernel`."""
    return _sample(planes, x, y, resampling.cubic_weights)


def _sample(
    planes: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    kernel: Callable[[np.ndarray], tuple[np.ndarray, ...]],
) -> np.ndarray:
    """Sums of the pixels around, by a kernel's weights of as many along each side."""
    channels, height, width = planes.shape
    columns, weights_x = _around(x, width, planes.dtype, kernel)
    rows, weights_y = _around(y, height, planes.dtype, kernel)
    flat = planes.reshape(channels, -1)
    total = np.zeros((channels, *np.broadcast_shapes(x.shape, y.shape)), planes.dtype)
    for row, weight_y in zip(rows, weights_y, strict=True):
        start = row * width
        places = [start + column for column in columns]
        for channel in range(channels):
            line = sum(
                weight_x * flat[channel].take(place)
                for weight_x, place in zip(weights_x, places, strict=True)
            )
            total[channel] += weight_y * line
    return total


def _around(
    places: np.ndarray,
    length: int,
    dtype: np.dtype,
    kernel: Callable[[np.ndarray], tuple[np.ndarray, ...]],
) -> tuple[list[np.ndarray], tuple[np.ndarray, ...]]:
    """The pixels around places along a side, beyond which its border is repeated, and their weights."""
    below = np.floor(places)
    weights = kernel((places - below).astype(dtype))
    # Before they are whole numbers, which may not hold what lies far away.
    first = np.clip(below, -len(weights), length + len(weights)).astype(np.intp) - (len(weights) // 2 - 1)
    return [np.clip(first + tap, 0, length - 1) for tap in range(len(weights))], weights
