"""Pictures on disk and in memory: read, write, change size and channels."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from jax.typing import ArrayLike
from PIL import Image, ImageOps

from mlr_jax import checks

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".webp")
"""The endings of the files that `datasets.folder` reads."""

MOST_PIXELS = 80_000_000
"""The most pixels of a picture. Larger files are rejected: they may be crafted to exhaust the memory."""

# AVIF is last, since older versions of Pillow lack it.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP", "GIF", "JPEG2000", "TGA", "ICO", "AVIF")
"""The formats that `read` accepts, by Pillow's names. Others run programs (EPS) or are rare."""

LUMA = (0.299, 0.587, 0.114)
"""The weights of Rec. 601, as in every common "convert to grey"."""

_Decoded = TypeVar("_Decoded")


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture of any common kind (grey, palette, alpha, 16 bit, CMYK) as RGB.

    It is turned upright by its EXIF tag; transparency is dropped.

    Args:
      path: of the file.

    Returns:
      `(height, width, 3)` float32 in [0, 1].

    Raises:
      InputError: there is no such file, it cannot be decoded, it has more than `MOST_PIXELS`, or it holds NaN
        or values outside the range of its type; the message names it.
    """
    levels = decode(path, _levels)
    white = {"u1": 255, "u2": 65535, "i4": 65535}.get(levels.dtype.str[1:], 1)
    result = levels.astype(np.float32) / np.float32(white)
    if not np.isfinite(result).all():
        raise checks.InputError(f"{path} holds values that are NaN or infinite")
    if result.min() < 0 or result.max() > 1:
        raise checks.InputError(
            f"{path} holds {levels.dtype} values from {levels.min():g} to {levels.max():g}, but at most "
            f"{white} can be shown; save it with 8 or 16 bits"
        )
    return result if result.ndim == 3 else np.repeat(result[..., None], 3, axis=-1)


def decode(path: str | os.PathLike[str], convert: Callable[[Image.Image], _Decoded]) -> _Decoded:
    """Opens a picture, turns it upright by its EXIF tag, and converts it.

    Args:
      path: of the file.
      convert: reads the pixels of Pillow's picture, which is closed afterwards.

    Returns:
      The result of `convert`.

    Raises:
      InputError: there is no such file, it cannot be decoded, `convert` fails, or it has more than
        `MOST_PIXELS`; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise checks.InputError(f"there is no picture {path}")
    try:
        # From the open file: given a name, Pillow maps the file, and scrambles a TIFF that it rotates.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if 0 < width * height <= MOST_PIXELS:
                return convert(ImageOps.exif_transpose(image))
    except Exception as error:  # Decoders raise anything: OSError, SyntaxError, ValueError, ...
        raise checks.InputError(f"cannot read {path} as a picture: {checks.one_line(error)}") from error
    raise checks.InputError(
        f"{path} has {width} x {height} pixels, but must have 1 to {MOST_PIXELS:,}; make it smaller"
    )


def write(path: str | os.PathLike[str], image: ArrayLike) -> None:
    """Writes a picture with 8 bits a channel; the file's ending selects the format.

    Args:
      path: of the file, whose folder exists.
      image: `(height, width, 1 or 3)` floats, clipped to [0, 1].

    Raises:
      TypeError: it does not hold floating-point numbers.
      InputError: it has another shape.
    """
    checks.as_floating("images.write", "image", image, ("height", "width", "channels"))
    if np.shape(image)[-1] not in (1, 3):
        raise checks.InputError(f"images.write: image must have 1 or 3 channels, not {np.shape(image)[-1]}")
    import imageio.v3 as iio  # Slow to import.

    levels = np.round(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8)
    iio.imwrite(Path(path), levels[..., 0] if levels.shape[-1] == 1 else levels)


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Returns `(..., 3)` as it is for 3 channels, or its luma `(..., 1)` for 1.

    Raises:
      InputError: `channels` is neither 1 nor 3.
    """
    if channels == 3:
        return image
    if channels != 1:
        raise checks.InputError(f"images: channels must be 1 (grey) or 3 (colour), not {channels}")
    # White is 1, though the rounded weights may add up to a little more.
    return np.minimum(image @ np.array(LUMA, image.dtype), 1)[..., None]


def resize(image: ArrayLike, size: int) -> np.ndarray:
    """Scales a picture until its shorter side has `size` pixels, anti-aliased.

    Args:
      image: `(height, width, channels)` in [0, 1].
      size: of the shorter side, in pixels.

    Returns:
      A picture of nearly the same aspect ratio; the same values if it has that size already.

    Raises:
      InputError: the size is not positive, or the picture is not in [0, 1], see `synthesis.fit`.
    """
    checks.positive_integer("images.resize", "size", size)
    checks.pictures("images.resize", "image", image)
    height, width, channels = np.shape(image)
    scale = size / min(height, width)
    shape = (round(height * scale), round(width * scale), channels)
    # Rounded weights may add up to more than 1, and white must stay in [0, 1].
    return np.clip(np.asarray(jax.image.resize(image, shape, "linear", antialias=True)), 0, 1)


def _levels(image: Image.Image) -> np.ndarray:
    """The levels of a picture: RGB, or grey `(height, width)` if they are deeper than 8 bits."""
    # Converting more than 8 bits would clip them, so these are read as they are.
    is_deep = image.mode == "F" or image.mode.startswith("I")
    return np.asarray(image if is_deep else image.convert("RGB"))
