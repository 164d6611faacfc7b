"""Pictures on disk and in memory: read, write, change size and channels."""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import jax
import numpy as np
from jax.typing import ArrayLike
from PIL import Image, ImageOps, UnidentifiedImageError

from mlr_jax import checks

EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".heic", ".heif"),
)
"""The endings of the files in a folder that are read as pictures."""

MOST_PIXELS = 80_000_000
"""The most pixels of a picture. Larger files are rejected: they may be crafted to exhaust the memory."""

# AVIF is last, since older versions of Pillow lack it.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP", "GIF", "JPEG2000", "TGA", "ICO", "AVIF")
"""The formats that `read` accepts, by Pillow's names, besides HEIC with the extra `heic`.

Others run programs (EPS) or are rare.
"""

LUMA = (0.299, 0.587, 0.114)
"""The weights of Rec. 601, as in every common "convert to grey"."""

# In a file of the ISO base media format, which AVIF is too; in AVIF's cases Pillow reads it.
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
# What systems put into folders.
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")

_Decoded = TypeVar("_Decoded")


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture of any common kind (grey, palette, alpha, 16 bit, CMYK) as RGB.

    It is turned upright by its EXIF tag; transparent parts are laid on white, as `photographs.files.write`
    does.

    Args:
      path: of the file.

    Returns:
      `(height, width, 3)` float32 in [0, 1].

    Raises:
      InputError: there is no such file, it cannot be decoded, it has more than `MOST_PIXELS`, or it holds NaN
        or values outside the range of its type; the message names it.
    """
    levels, alpha = decode(path, _levels, convert_deep=split_alpha)
    white = {"u1": 255, "u2": 65535, "i4": 65535}.get(levels.dtype.str[1:], 1)
    result = levels.astype(np.float32) / np.float32(white)
    if not np.isfinite(result).all():
        raise checks.InputError(f"{path} holds values that are NaN or infinite")
    if result.min() < 0 or result.max() > 1:
        raise checks.InputError(
            f"{path} holds {levels.dtype} values from {levels.min():g} to {levels.max():g}, but at most "
            f"{white} can be shown; save it with 8 or 16 bits"
        )
    if alpha is not None:
        # In this order what is opaque keeps its bits; in place, since pictures may be large.
        opacity = (alpha.astype(np.float32) / np.float32(np.iinfo(alpha.dtype).max))[..., None]
        result *= opacity
        result += 1 - opacity
        np.clip(result, 0, 1, out=result)
    return result if result.shape[-1] == 3 else np.repeat(result, 3, axis=-1)


def names_in(folder: str | os.PathLike[str]) -> list[str]:
    """The names of the pictures in a folder, sorted: files with one of `EXTENSIONS`, hidden ones left out.

    Warns of other files with a `checks.PassedOverWarning`, which counts and names them.

    Args:
      folder: that exists.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_file())
    others = [name for name in names if os.path.splitext(name)[1].lower() not in EXTENSIONS]
    passed_over = [name for name in others if name.lower() not in _SYSTEM_FILES]
    if passed_over:
        shown = ", ".join(passed_over[:5]) + (", ..." if len(passed_over) > 5 else "")
        warnings.warn(
            f"{folder}: passed over {len(passed_over)} of {len(names)} files, "
            f"which are no readable pictures: {shown}",
            checks.PassedOverWarning,
            stacklevel=2,
        )
    unread = set(others)
    return [name for name in names if name not in unread]


def decode(
    path: str | os.PathLike[str],
    convert: Callable[[Image.Image], _Decoded],
    *,
    convert_deep: Callable[[Image.Image, np.ndarray], _Decoded] | None = None,
) -> _Decoded:
    """Opens a picture, turns it upright by its EXIF tag, and converts it.

    Args:
      path: of the file.
      convert: reads the pixels of Pillow's picture, which is closed afterwards.
      convert_deep: called instead for PNG and TIFF files with several channels of 16 bits, of which Pillow's
        picture has the upper 8; its second argument is their levels, `(height, width, 2 to 4)` uint16.

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
        with path.open("rb") as file, _open(file) as image:
            width, height = image.size
            if 0 < width * height <= MOST_PIXELS:
                if not isinstance(image, Image.Image):
                    image = image.to_pillow()
                arguments = _deep_arguments(image)
                upright = ImageOps.exif_transpose(image)
                if arguments is None or convert_deep is None:
                    return convert(upright)
                return convert_deep(upright, _deep_levels(path, arguments, upright))
    except UnidentifiedImageError as error:  # Its message has the name, too.
        raise checks.InputError(f"cannot read {path} as a picture: cannot identify its format") from error
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


def split_alpha(image: Image.Image, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Splits the channels of a picture into `(levels, alpha)`.

    Args:
      image: Pillow's, which says in its header if one level is transparent.
      planes: its levels, `(height, width, 1 to 4)`.

    Returns:
      `(height, width, 1 or 3)`, and `(height, width)` of the same dtype, or None without transparency.
    """
    if planes.shape[-1] in (2, 4):
        return planes[..., :-1], planes[..., -1]
    transparent = image.info.get("transparency")
    if transparent is None or planes.dtype != np.uint16:
        return planes, None
    is_visible = (planes != np.array(transparent)).any(axis=-1)
    return planes, np.where(is_visible, 65535, 0).astype(np.uint16)


def _open(file: BinaryIO) -> Any:
    """A picture whose pixels are not read yet: Pillow's, or one of pillow-heif with `to_pillow`."""
    head = file.read(12)
    file.seek(0)
    if head[4:8] != b"ftyp" or head[8:] not in _HEIC_BRANDS:
        return Image.open(file, formats=FORMATS)
    try:
        import pillow_heif
    except ImportError as error:
        raise checks.InputError(
            f"HEIC is read by the extra 'heic', {checks.how_to_install('heic')}; or save it as JPEG or PNG"
        ) from error
    # Without registering it: that would change Pillow for the whole program.
    return contextlib.nullcontext(pillow_heif.open_heif(file))


def _levels(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """The levels of a picture, RGB, or grey if they are deeper than 8 bits; and its transparency."""
    # Converting more than 8 bits would clip them, so these are read as they are.
    if image.mode == "F" or image.mode.startswith("I"):
        return split_alpha(image, np.asarray(image)[..., None])
    return split_alpha(image, np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")))


_OTHER_BYTE = {"B": "L", "L": "B", "N": "L" if sys.byteorder == "big" else "B"}


def _deep_arguments(image: Image.Image) -> tuple[Any, ...] | None:
    """The arguments of Pillow's decoder, if it is to keep the upper byte of several channels of 16 bits.

    Args:
      image: whose pixels have not been read yet.
    """
    tiles: Any = getattr(image, "tile", None) or ()
    arguments: Any = tiles[0].args if len(tiles) == 1 else None
    arguments = (arguments,) if isinstance(arguments, str) else tuple(arguments or ())
    is_deep = arguments and str(arguments[0])[:-1] in ("LA;16", "RGB;16", "RGBA;16")
    return arguments if is_deep else None


def _deep_levels(path: Path, arguments: tuple[Any, ...], upright: Image.Image) -> np.ndarray:
    """All bits of a picture with several channels of 16 bits, `(height, width, 2 to 4)` uint16, upright.

    Pillow keeps the byte that it takes for the upper one: told the other order of bytes, it reads the lower.

    Args:
      path: of the file.
      arguments: from `_deep_arguments`.
      upright: Pillow's picture, of the upper bytes.
    """
    raw, *others = arguments

    def read_as(mode: str) -> np.ndarray:
        again: Any  # Pillow's type does not have the tiles of all formats.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as again:
            again.tile = [again.tile[0]._replace(args=(mode, *others))]
            return np.asarray(ImageOps.exif_transpose(again))

    if raw[:-1] == "LA;16":  # In PNG only. Read as if its four bytes were four channels.
        both = read_as("RGBA")
        return both[..., ::2].astype(np.uint16) << 8 | both[..., 1::2]
    planes = np.asarray(upright).astype(np.uint16)
    planes <<= 8
    planes |= read_as(raw[:-1] + _OTHER_BYTE[raw[-1]])
    return planes
