"""Puts a changed face back into its photograph. See `blending`, whose arguments these are."""

import numpy as np

from mlr_jax.alignment import Affine
from mlr_jax.photographs._numpy import affine_maps, sampling


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
    turn = affine_maps.doubled(affine).matrix
    ((xx, xy), (yx, yy)), (left, top) = affine_maps.invert(affine)
    whole, layer = sampling.planes(photograph), sampling.planes(face)
    flow = None if field is None else sampling.planes(field)
    result = photograph.copy()

    def places(rows: slice, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of the crop, and its opacity there; `steps` along each side of a pixel."""
        across = sampling.places_along(width, steps)
        down = sampling.places_along(height, steps)[rows.start * steps : rows.stop * steps, None]
        x, y = xx * across + (xy * down + left), yx * across + (yy * down + top)
        return x, y, _soft_mask(x, y, size, feather).astype(photograph.dtype)

    def lay(rows: slice) -> None:
        below = np.moveaxis(photograph[rows], -1, 0).copy()
        x, y, mask = middles = places(rows, 1)
        if flow is not None:
            inside = mask > 0
            u, v = mask[inside] * sampling.sample_linear(flow, x[inside], y[inside])
            down, across = np.nonzero(inside)
            right = across + (turn[0, 0] * u + turn[0, 1] * v)
            lower = down + rows.start + (turn[1, 0] * u + turn[1, 1] * v)
            below[:, inside] = sampling.sample_cubic(whole, right, lower)
        x, y, mask = middles if oversampling == 1 else places(rows, oversampling)
        inside = mask > 0
        covered = sampling.mean_of_samples(mask, oversampling)
        # Samples are masked before the mean is taken: those outside the crop are no part of the face.
        laid = np.zeros((channels, *mask.shape), photograph.dtype)
        laid[:, inside] = mask[inside] * sampling.sample_cubic(layer, x[inside], y[inside])
        for channel in range(channels):
            added = (
                sampling.mean_of_samples(laid[channel], oversampling) - (1 - gain) * covered * below[channel]
            )
            result[rows, :, channel] = below[channel] + added

    sampling.for_blocks(lay, height, width * oversampling**2)
    return result


def _soft_mask(x: np.ndarray, y: np.ndarray, size: int, feather: float) -> np.ndarray:
    """See `blending.soft_mask`."""
    u, v = (x + 0.5) * (2 / size) - 1, (y + 0.5) * (2 / size) - 1
    u *= u
    v *= v
    radius = np.sqrt(np.sqrt(u * u + v * v))
    t = np.clip((1 - radius) / feather, 0, 1)
    return t * t * (3 - 2 * t)
