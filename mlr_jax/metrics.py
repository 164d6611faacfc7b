"""Errors and similarity of pictures to the truth, one number for each picture.

Pictures are `(num, height, width, channels)` with a data range of 1. Model output is not clipped.
"""

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks
from mlr_jax.images import LUMA

_AXES = ("num", "height", "width", "channels")
_SSIM_WINDOW = 11


def mse(images: ArrayLike, truth: ArrayLike) -> jax.Array:
    """Mean squared error over pixels and channels, (num,).

    Raises:
      InputError: the shapes differ, or are not `(num, height, width, channels)`.
    """
    return dm_pix.mse(*_check("mse", images, truth))


def psnr(images: ArrayLike, truth: ArrayLike) -> jax.Array:
    """Peak signal-to-noise ratio -10 log10(MSE) in dB for a peak of 1, (num,).

    Raises:
      InputError: as `mse`, or the truth is not in [0, 1], see `synthesis.fit`.
    """
    images, truth = _check("psnr", images, truth)
    checks.pictures("metrics.psnr", "truth", truth)
    return dm_pix.psnr(images, truth)


def ssim(images: ArrayLike, truth: ArrayLike) -> jax.Array:
    """Structural similarity of Wang et al. (2004), mean over pixels and channels, (num,).

    With a Gaussian window of 11 pixels and sigma 1.5, over the pixels whose window is whole.

    Raises:
      InputError: as `psnr`, or a side is shorter than 11 pixels.
    """
    images, truth = _check("ssim", images, truth)
    checks.pictures("metrics.ssim", "truth", truth)
    if min(images.shape[1:3]) < _SSIM_WINDOW:
        raise checks.InputError(
            f"metrics.ssim: its window needs {_SSIM_WINDOW} pixels along each side, but pictures are "
            f"{images.shape[1]} x {images.shape[2]}"
        )
    # dm_pix promotes integers, which a caller may have forbidden.
    with jax.numpy_dtype_promotion("standard"):
        return dm_pix.ssim(images, truth, max_val=1.0, filter_size=_SSIM_WINDOW, filter_sigma=1.5)


def laplacian_variance(images: ArrayLike) -> jax.Array:
    """Variance of the Laplacian of the luma, (num,): larger for a sharper picture.

    The sum of the four neighbours minus four times the pixel, over all pixels but those of the border
    (Pech-Pacheco et al., ICPR 2000). `sharpness` is its ratio to that of a real picture of the same face.

    Raises:
      InputError: the pictures are not `(num, height, width, channels)`, or a side is shorter than 3 pixels.
    """
    images = checks.as_floating("metrics.laplacian_variance", "images", images, _AXES)
    if min(images.shape[1:3]) < 3:
        raise checks.InputError(
            f"metrics.laplacian_variance: pictures of {images.shape[1]} x {images.shape[2]} are too small"
        )
    luma = images @ jnp.asarray(LUMA, images.dtype) if images.shape[-1] == 3 else images.mean(axis=-1)
    middle = luma[:, 1:-1, 1:-1]
    around = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    return jnp.var(around - 4 * middle, axis=(1, 2))


def sharpness(images: ArrayLike, truth: ArrayLike) -> jax.Array:
    """Laplacian variance relative to that of the truth, (num,): 1 is as sharp, 0 is flat.

    Measured on the face: an eighth of each side is left out at each border. Values are clipped to [0, 1]
    first, as a display does. Not finite where the truth is flat.

    Raises:
      InputError: as `psnr`, or a side of the middle is shorter than 3 pixels.
    """
    images, truth = _check("sharpness", images, truth)
    checks.pictures("metrics.sharpness", "truth", truth)
    top, left = images.shape[1] // 8, images.shape[2] // 8
    middle = (slice(None), slice(top, images.shape[1] - top), slice(left, images.shape[2] - left))
    made, real = (laplacian_variance(jnp.clip(each[middle], 0, 1)) for each in (images, truth))
    return made / real


def _check(name: str, images: ArrayLike, truth: ArrayLike) -> tuple[jax.Array, jax.Array]:
    where = f"metrics.{name}"
    if np.shape(images) != np.shape(truth):
        raise checks.InputError(f"{where}: images are {np.shape(images)}, but truth is {np.shape(truth)}")
    return (
        checks.as_floating(where, "images", images, _AXES),
        checks.as_floating(where, "truth", truth, _AXES),
    )
