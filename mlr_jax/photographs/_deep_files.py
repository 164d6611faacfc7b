"""Files with several channels of 16 bits, which Pillow does not write."""

import struct
import zlib

import numpy as np

# By the number of channels: grey with transparency, RGB, RGB with transparency.
_PNG_KINDS = {2: 4, 3: 2, 4: 6}
_SHORT, _LONG, _TEXT, _BYTES = 3, 4, 2, 7  # types of TIFF


def png(planes: np.ndarray, *, exif: bytes, icc_profile: bytes | None) -> bytes:
    """A PNG file.

    Args:
      planes: `(height, width, 2 to 4)` uint16, transparency last.
      exif: metadata, as Pillow's `Exif.tobytes` gives them.
      icc_profile: colour profile, or None.
    """
    height, width, channels = planes.shape
    pixel = 2 * channels  # bytes
    rows = planes.astype(">u2").view(np.uint8).reshape(height, width * pixel)
    # Each byte minus that of the pixel to the left, filter 1, which suits photographs.
    filtered = np.concatenate([np.ones((height, 1), np.uint8), rows], axis=1)
    filtered[:, 1 + pixel :] -= rows[:, :-pixel]
    compressor = zlib.compressobj(strategy=zlib.Z_RLE)
    pixels = compressor.compress(filtered.tobytes()) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_KINDS[channels], 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if icc_profile is not None:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile)))
    chunks += [(b"eXIf", exif.removeprefix(b"Exif\0\0")), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def tiff(planes: np.ndarray, *, description: str, software: str, icc_profile: bytes | None) -> bytes:
    """A TIFF file of colour, not compressed.

    Args:
      planes: `(height, width, 2 to 4)` uint16, transparency last; grey with transparency becomes colour.
      description: of the picture.
      software: that made it.
      icc_profile: colour profile, or None.
    """
    if planes.shape[-1] == 2:  # Few programs, and not Pillow, read grey with transparency.
        planes = planes[..., [0, 0, 0, 1]]
    height, width, channels = planes.shape
    pixels = planes.astype("<u2").tobytes()

    def numbers(kind: int, *values: int) -> tuple[int, int, bytes]:
        return kind, len(values), struct.pack(f"<{len(values)}{'H' if kind == _SHORT else 'I'}", *values)

    def text(value: str) -> tuple[int, int, bytes]:
        return _TEXT, len(value) + 1, value.encode("ascii") + b"\0"

    tags = {
        256: numbers(_LONG, width),
        257: numbers(_LONG, height),
        258: numbers(_SHORT, *[16] * channels),
        259: numbers(_SHORT, 1),  # no compression
        262: numbers(_SHORT, 2),  # RGB
        270: text(description),
        273: numbers(_LONG, 8),  # The pixels follow the header, in one strip.
        277: numbers(_SHORT, channels),
        278: numbers(_LONG, height),
        279: numbers(_LONG, len(pixels)),
        305: text(software),
    }
    if channels == 4:
        tags[338] = numbers(_SHORT, 2)  # The last channel is transparency.
    if icc_profile is not None:
        tags[34675] = (_BYTES, len(icc_profile), icc_profile)
    start = 8 + len(pixels)  # of the table of tags, which is even
    entries, values = b"", b""
    place = start + 2 + 12 * len(tags) + 4
    for tag, (kind, count, content) in tags.items():
        entries += struct.pack("<HHI", tag, kind, count)
        if len(content) <= 4:
            entries += content.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", place + len(values))
            values += content + b"\0" * (len(content) % 2)
    table = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, start) + pixels + table + values
