"""Photographs on disk: `read` keeps all that `write` needs to write them unchanged."""

import contextlib
import io
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from mlr_jax import atomic_file, checks, images

# By file ending.
_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".bmp": "BMP",
}

ENDINGS = tuple(_FORMATS)
"""The endings of the files that `write` can make."""

_JPEG_QUALITY = 95
_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131  # EXIF tags
_NOTE = "Synthetic: facial expression changed by a program"


class Photograph(NamedTuple):
    """A photograph as it is stored, the right way up.

    Attributes:
      levels: `(height, width, 1 or 3)`, uint8 or (grey only) uint16: grey, or RGB.
      alpha: `(height, width)` of the same dtype, or None if it has no transparency.
      icc_profile: its colour profile, or None.
    """

    levels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None


def read(path: str | os.PathLike[str]) -> Photograph:
    """Reads a photograph of any common kind: grey, colour, palette, transparent, 16 bit, CMYK.

    It is turned upright as its EXIF tag says. Grey stays grey, with 8 or 16 bits; palettes and CMYK become
    RGB, by their colour profile if there is one; colour is reduced to 8 bits a channel. Of an
    animation the first picture is taken.

    Args:
      path: of the file.

    Raises:
      InputError: there is no such file, it cannot be decoded, it has more than
        `images.MOST_PIXELS`, or values outside the range of its type; the message names it.
    """
    return images.decode(path, _photograph)


def write(path: str | os.PathLike[str], photograph: Photograph) -> None:
    """Writes a photograph atomically: the file is always the old one or the new one, never a part.

    Except in BMP, its metadata say that it is synthetic. PNG, TIFF and BMP keep every level of 8 bits, PNG
    and TIFF those of 16 bits too, unless there is transparency; JPEG and WebP come close (quality 95). A
    format without transparency gets the picture on white. EXIF data (camera, place, time) are not carried
    over.

    Args:
      path: of the file; its ending, one of `ENDINGS`, selects the format.
      photograph: to be written.

    Raises:
      InputError: the ending is another, or the format cannot hold so large a picture.
      OSError: the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise checks.InputError(f"{path}: pictures are written as {', '.join(ENDINGS)}, not {ending!r}")
    levels, alpha, icc_profile = photograph
    if alpha is not None and ending in (".jpg", ".jpeg", ".bmp"):
        covered = to_unit(alpha)[..., None]
        levels, alpha = to_levels(covered * to_unit(levels) + (1 - covered), levels.dtype), None
    # Only grey without transparency can be deeper than 8 bits, in PNG and TIFF.
    if levels.dtype != np.uint8 and (alpha is not None or ending not in (".png", ".tif", ".tiff")):
        levels, alpha = _eight_bits(levels), None if alpha is None else _eight_bits(alpha)
    planes = levels if alpha is None else np.concatenate([levels, alpha[..., None]], axis=-1)
    image = Image.fromarray(np.ascontiguousarray(planes[..., 0] if planes.shape[-1] == 1 else planes))
    exif = Image.Exif()
    exif[_DESCRIPTION], exif[_SOFTWARE] = _NOTE, "mlr_jax"
    options: dict = {} if ending == ".bmp" else {"exif": exif, "icc_profile": icc_profile}
    if ending in (".jpg", ".jpeg"):
        options |= {"quality": _JPEG_QUALITY, "subsampling": 0}
    elif ending == ".webp":
        options |= {"quality": _JPEG_QUALITY}
    elif ending == ".png":
        # Photographs become a few percent larger, and take a fifth of the time.
        options |= {"compress_type": zlib.Z_RLE}
    # Encoded in memory first: if that fails, the old file stays.
    content = io.BytesIO()
    try:
        image.save(content, format=_FORMATS[ending], **options)
    except (OSError, ValueError) as error:
        raise checks.InputError(
            f"{path}: {image.width} x {image.height} pixels cannot be written as {ending[1:]}: "
            + checks.one_line(error)
        ) from error
    with atomic_file.replacing(path) as file:
        file.write(content.getvalue())


def to_unit(levels: np.ndarray) -> np.ndarray:
    """Levels as float32 in [0, 1]."""
    return levels.astype(np.float32) / np.float32(np.iinfo(levels.dtype).max)


def to_levels(picture: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The levels nearest to a picture in [0, 1], to which it is clipped; `to_unit` back, exactly."""
    white = np.iinfo(dtype).max
    return np.round(np.clip(picture, 0, 1) * np.float32(white)).astype(dtype)


def _photograph(image: Image.Image) -> Photograph:
    icc_profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        return Photograph(_sixteen_bits(np.asarray(image))[..., None], None, icc_profile)
    is_transparent = image.has_transparency_data
    is_grey = image.mode in ("1", "L", "LA", "La")
    if image.mode in ("CMYK", "LAB") and icc_profile:
        # The profile describes inks, but the file is written as RGB. A profile that is invalid is ignored.
        with contextlib.suppress(ImageCms.PyCMSError):
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(icc_profile), target, outputMode="RGB")
            image = converted or image
        icc_profile = None
    mode = ("LA" if is_transparent else "L") if is_grey else ("RGBA" if is_transparent else "RGB")
    planes = np.asarray(image.convert(mode))
    planes = planes.reshape(*planes.shape[:2], -1)
    if is_transparent:
        return Photograph(planes[..., :-1], planes[..., -1], icc_profile)
    return Photograph(planes, None, icc_profile)


def _sixteen_bits(values: np.ndarray) -> np.ndarray:
    """Grey levels of a picture that is deeper than 8 bits; floating point from 0 (black) to 1."""
    white = 1 if np.issubdtype(values.dtype, np.floating) else 65535
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= white):
        raise checks.InputError(
            f"it holds {values.dtype} values from {values.min():g} to {values.max():g}, but at most {white} "
            "can be shown; save it with 8 or 16 bits"
        )
    return values.astype(np.uint16) if white > 1 else to_levels(values, np.dtype(np.uint16))


def _eight_bits(levels: np.ndarray) -> np.ndarray:
    return to_levels(to_unit(levels), np.dtype(np.uint8))
