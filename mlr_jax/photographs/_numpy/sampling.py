"""Reads photographs between their pixels, and cuts faces out of them.

See `resampling` and `alignment.crop`. Points are (x, y) in pixels, and (0, 0) is the middle of the top left
pixel. Places are computed in double precision, colours in that of the pictures.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mlr_jax import resampling
from mlr_jax.alignment import Affine
from mlr_jax.photographs._numpy import affine_maps

Sample = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""`sample_linear` or `sample_cubic`."""

# Points that are computed together: their intermediate values stay in the cache.
_BLOCK = 2**14


def crop(image: np.ndarray, affine: Affine, size: int, *, oversampling: int = 1) -> np.ndarray:
    """See `alignment.crop`.

    Args:
      image: `(height, width, channels)` floating point.
      affine: from points of the crop to points of the picture.
      size: of the crop, in pixels.
      oversampling: samples along each side of a pixel.
    """
    ((xx, xy), (yx, yy)), (left, top) = affine_maps.doubled(affine)
    image_planes = planes(image)
    across = places_along(size, oversampling)
    result = np.empty((size, size, len(image_planes)), image.dtype)

    def read(rows: slice) -> None:
        down = places_along(size, oversampling)[rows.start * oversampling : rows.stop * oversampling, None]
        x, y = xx * across + (xy * down + left), yx * across + (yy * down + top)
        for channel, samples in enumerate(sample_linear(image_planes, x, y)):
            result[rows, :, channel] = mean_of_samples(samples, oversampling)

    for_blocks(read, size, size * oversampling**2)
    return result


def sample_linear(planes: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values of `(channels, height, width)` at points; `(channels, *x.shape)`."""
    return _sample(planes, x, y, lambda part: (1 - part, part))


def sample_cubic(planes: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As `sample_linear`, with the cubic kernel, see `resampling.Kernel`."""
    return _sample(planes, x, y, resampling.cubic_weights)


def planes(image: np.ndarray) -> np.ndarray:
    """`(height, width, channels)` -> `(channels, height, width)`, each channel contiguous for sampling."""
    return np.ascontiguousarray(np.moveaxis(image, -1, 0))


def for_blocks(work: Callable[[slice], None], num_rows: int, points_per_row: int) -> None:
    """Works on blocks of rows, on all cores: NumPy lets other threads run while it computes."""
    step = max(1, _BLOCK // max(points_per_row, 1))
    blocks = [slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]
    if len(blocks) == 1:
        work(blocks[0])
        return
    with ThreadPoolExecutor(min(len(blocks), os.cpu_count() or 1)) as pool:
        for _ in pool.map(work, blocks):
            pass


def places_along(length: int, oversampling: int) -> np.ndarray:
    """Places of the samples along a side of `length` pixels."""
    return (np.arange(length * oversampling) + 0.5) / oversampling - 0.5


def mean_of_samples(samples: np.ndarray, oversampling: int) -> np.ndarray:
    """The mean of each pixel: `(rows * oversampling, columns * oversampling)` -> `(rows, columns)`."""
    if oversampling == 1:
        return samples
    rows, columns = (length // oversampling for length in samples.shape)
    return samples.reshape(rows, oversampling, columns, oversampling).mean(axis=(1, 3))


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
    # Clipped before they become whole numbers, which may not hold places far away.
    first = np.clip(below, -len(weights), length + len(weights)).astype(np.intp) - (len(weights) // 2 - 1)
    return [np.clip(first + tap, 0, length - 1) for tap in range(len(weights))], weights
