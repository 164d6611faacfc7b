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
from mlr_jax.photographs import _deep_files

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

DEEP_ENDINGS = (".png", ".tif", ".tiff")
"""The endings of those among them that hold 16 bits a channel."""

_JPEG_QUALITY = 95
_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131  # EXIF tags
_NOTE, _PROGRAM = "Synthetic: facial expression changed by a program", "mlr_jax"


class Photograph(NamedTuple):
    """A photograph as it is stored, the right way up.

    Attributes:
      levels: `(height, width, 1 or 3)`, uint8 or uint16: grey, or RGB.
      alpha: `(height, width)` of the same dtype, or None if it has no transparency.
      icc_profile: its colour profile, or None.
    """

    levels: np.ndarray
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None


def read(path: str | os.PathLike[str]) -> Photograph:
    """Reads a photograph of any common kind: grey, colour, palette, transparent, 16 bit, CMYK.

    It is turned upright as its EXIF tag says. Grey stays grey; palettes and CMYK become RGB, by their colour
    profile if there is one. PNG and TIFF keep 8 or 16 bits a channel; colour in other formats is reduced to 8
    bits. Of an animation the first picture is taken.

    Args:
      path: of the file.

    Raises:
      InputError: there is no such file, it cannot be decoded, it has more than
        `images.MOST_PIXELS`, or values outside the range of its type; the message names it.
    """
    return images.decode(path, _photograph, convert_deep=_deep_photograph)


def write(path: str | os.PathLike[str], photograph: Photograph, *, how: str = "") -> None:
    """Writes a photograph atomically: the file is always the old one or the new one, never a part.

    Except in BMP, its metadata say that it is synthetic, and how it was made. PNG, TIFF and BMP keep every
    level of 8 bits, PNG and TIFF (`DEEP_ENDINGS`) those of 16 bits too, which become 8 in the others; JPEG
    and WebP come close (quality 95). A format without transparency gets the picture on white. EXIF data
    (camera, place, time) are not carried over.

    Args:
      path: of the file; its ending, one of `ENDINGS`, selects the format.
      photograph: to be written.
      how: it was made, such as by which model, for the metadata.

    Raises:
      InputError: the ending is another, the photograph's levels are not as described there, or the format
        cannot hold so large a picture.
      OSError: the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise checks.InputError(f"{path}: pictures are written as {', '.join(ENDINGS)}, not {ending!r}")
    check("files.write", photograph)
    levels, alpha, icc_profile = photograph
    if alpha is not None and ending in (".jpg", ".jpeg", ".bmp"):
        covered = to_unit(alpha)[..., None]
        levels, alpha = to_levels(covered * to_unit(levels) + (1 - covered), levels.dtype), None
    if levels.dtype != np.uint8 and ending not in DEEP_ENDINGS:
        levels, alpha = _eight_bits(levels), None if alpha is None else _eight_bits(alpha)
    planes = levels if alpha is None else np.concatenate([levels, alpha[..., None]], axis=-1)
    exif, label = Image.Exif(), describe(how)
    exif[_DESCRIPTION], exif[_SOFTWARE] = label, _PROGRAM
    # Encoded in memory first: if that fails, the old file stays.
    if planes.dtype != np.uint8 and planes.shape[-1] > 1:
        encoded = (
            _deep_files.png(planes, exif=exif.tobytes(), icc_profile=icc_profile)
            if ending == ".png"
            else _deep_files.tiff(planes, description=label, software=_PROGRAM, icc_profile=icc_profile)
        )
    else:
        encoded = _encode(path, planes, exif, icc_profile)
    with atomic_file.replacing(path) as file:
        file.write(encoded)


def _encode(path: Path, planes: np.ndarray, exif: Image.Exif, icc_profile: bytes | None) -> bytes:
    """The content of a file that Pillow can write."""
    ending = path.suffix.lower()
    image = Image.fromarray(np.ascontiguousarray(planes[..., 0] if planes.shape[-1] == 1 else planes))
    options: dict = {} if ending == ".bmp" else {"exif": exif, "icc_profile": icc_profile}
    if ending in (".jpg", ".jpeg"):
        options |= {"quality": _JPEG_QUALITY, "subsampling": 0}
    elif ending == ".webp":
        options |= {"quality": _JPEG_QUALITY}
    elif ending == ".png":
        # Photographs become a few percent larger, and take a fifth of the time.
        options |= {"compress_type": zlib.Z_RLE}
    content = io.BytesIO()
    try:
        image.save(content, format=_FORMATS[ending], **options)
    except (OSError, ValueError) as error:
        raise checks.InputError(
            f"{path}: {image.width} x {image.height} pixels cannot be written as {ending[1:]}: "
            + checks.one_line(error)
        ) from error
    return content.getvalue()


def describe(how: str) -> str:
    """What the metadata of a changed photograph say, in ASCII, as they have to.

    >>> describe("model smile")
    'Synthetic: facial expression changed by a program (model smile)'
    """
    shown = checks.one_line(how).encode("ascii", "backslashreplace").decode() if how else ""
    return f"{_NOTE} ({shown})" if shown else _NOTE


def check(where: str, photograph: Photograph) -> None:
    """Raises InputError unless a photograph holds what `Photograph` says.

    Args:
      where: the function that was called, for the message.
      photograph: to be checked.
    """
    levels, alpha, _ = photograph
    check_levels(where, levels)
    if alpha is not None and (np.shape(alpha), alpha.dtype) != (levels.shape[:2], levels.dtype):
        raise checks.InputError(
            f"{where}: the photograph's alpha must be {levels.dtype} {levels.shape[:2]} as its levels are, "
            f"not {alpha.dtype} {np.shape(alpha)}"
        )


def check_levels(where: str, levels: np.ndarray) -> None:
    """Raises InputError unless `levels` are those of a photograph, see `Photograph`."""
    if not isinstance(levels, np.ndarray) or levels.dtype not in (np.uint8, np.uint16):
        raise checks.InputError(
            f"{where}: the photograph's levels must be NumPy's uint8 or uint16, not "
            f"{getattr(levels, 'dtype', type(levels).__name__)}; files.to_levels makes them from [0, 1]"
        )
    if levels.ndim != 3 or levels.shape[-1] not in (1, 3) or 0 in levels.shape:
        raise checks.InputError(
            f"{where}: the photograph's levels must be (height, width, 1 or 3), not {levels.shape}"
        )


def to_unit(levels: np.ndarray) -> np.ndarray:
    """Levels, uint8 or uint16, as float32 in [0, 1]."""
    return levels.astype(np.float32) / np.float32(np.iinfo(levels.dtype).max)


def to_levels(picture: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The levels nearest to a picture in [0, 1], to which it is clipped; `to_unit` back, exactly."""
    white = np.iinfo(dtype).max
    return np.round(np.clip(picture, 0, 1) * np.float32(white)).astype(dtype)


def _photograph(image: Image.Image) -> Photograph:
    icc_profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_photograph(image, _sixteen_bits(np.asarray(image))[..., None])
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


def _deep_photograph(image: Image.Image, planes: np.ndarray) -> Photograph:
    return Photograph(*images.split_alpha(image, planes), image.info.get("icc_profile"))


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
