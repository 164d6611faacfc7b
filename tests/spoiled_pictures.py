"""Reads thousands of damaged pictures in a separate process, which test_images.py runs.

    python -m tests.spoiled_pictures SEED NUM MODULE

Prints the outcome as JSON.
"""

import importlib
import io
import json
import resource
import struct
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mlr_jax import images
from mlr_jax.checks import InputError
from mlr_jax.photographs import _deep_files

KINDS = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "jpg": ("L", "RGB", "CMYK"),
    "tif": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F"),
    "gif": ("L", "P"),
    "bmp": ("1", "L", "P", "RGB"),
    "webp": ("RGB", "RGBA"),
    "ppm": ("L", "RGB"),
}
COMPRESSIONS = ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg")


def pictures(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Yields one file of each kind, as its ending and bytes."""
    levels = rng.integers(0, 256, (11, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for ending, modes in KINDS.items():
        for mode in modes:
            image = Image.fromarray(levels)
            if mode in ("I;16", "F"):
                deep = np.asarray(image.convert("L")).astype(np.uint16 if mode == "I;16" else np.float32)
                image = Image.fromarray(deep * 257 if mode == "I;16" else deep / np.float32(255))
            else:
                image = image.convert(mode)
            options = [{"exif": exif}] if ending in ("png", "jpg", "webp") else [{}]
            if ending == "tif":
                options = [{"compression": each} for each in COMPRESSIONS]
            for each in options:
                file = io.BytesIO()
                try:
                    image.save(file, Image.registered_extensions()[f".{ending}"], **each)
                except (OSError, RuntimeError):  # The mode does not have this compression.
                    continue
                yield ending, file.getvalue()
    for channels in (2, 3, 4):
        deep = rng.integers(0, 2**16, (11, 9, channels), dtype=np.uint16)
        yield "png", _deep_files.png(deep, exif=exif.tobytes(), icc_profile=None)
        yield "tif", _deep_files.tiff(deep, description="", software="", icc_profile=None)


def spoil(rng: np.random.Generator, content: bytes, ending: str) -> bytes:
    """Damages a file in one of many ways; most PNGs get right checksums."""
    data = bytearray(content)
    place = int(rng.integers(min(len(data), 60) if rng.random() < 0.5 else len(data)))
    length = int(rng.integers(1, 20))
    way = rng.integers(6)
    if way == 0:
        for spot in rng.integers(len(data), size=int(rng.integers(1, 6))):
            data[spot] ^= 1 << int(rng.integers(8))
    elif way == 1:
        del data[place:]
    elif way == 2:
        data[place:place] = rng.bytes(length)
    elif way == 3:
        del data[place : place + length]
    elif way == 4:
        data[place : place + length] = rng.bytes(length)
    else:  # A huge number or 0 in two or four bytes, perhaps of a size or an offset.
        number = int(rng.choice([0, 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1]))
        form = rng.choice(["<I", ">I", "<H", ">H"])
        data[place : place + struct.calcsize(form)] = struct.pack(form, number % 256 ** struct.calcsize(form))
    return with_sums(data) if ending == "png" and rng.random() < 0.7 else bytes(data)


def with_sums(data: bytearray) -> bytes:
    """A PNG with right checksums of its chunks."""
    start = 8
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[start + 4 : end]))
        start = end + 4
    return bytes(data)


def huge() -> Iterator[tuple[str, bytes]]:
    """Yields files whose headers claim far more data than there is."""
    for width, height in ((2**31 - 1, 2**31 - 1), (100_000, 100_000), (40_000, 2_100), (8_900, 8_900)):
        chunk = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
        body = b"IDAT" + zlib.compress(bytes(100))
        chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (chunk, body))
        yield "png", b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
        yield "ppm", b"P6 %d %d 255\n" % (width, height)
        info = struct.pack("<I2i2H6I", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        yield "bmp", b"BM" + struct.pack("<I2HI", 54, 0, 0, 54) + info
        entries = [
            (256, width),
            (257, height),
            (258, 8),
            (259, 1),
            (262, 1),
            (273, 8),
            (277, 1),
            (278, height),
        ]
        for tile in ((), ((322, 2**16), (323, 2**14), (324, 8), (325, 100))):
            tags = sorted([*entries, *tile, (279, 100)])
            packed = b"".join(struct.pack("<2H2I", tag, 4, 1, value) for tag, value in tags)
            yield "tif", b"II*\0" + struct.pack("<IH", 8, len(tags)) + packed + bytes(4)
    yield (
        "gif",
        b"GIF89a" + struct.pack("<2H3B", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
    )
    frame = b"\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\x01\x22\0\x02\x11\1\x03\x11\1"
    yield "jpg", b"\xff\xd8" + frame + b"\xff\xda\0\x0c\x03\1\0\2\x11\3\x11\0\x3f\0" + bytes(50)


def main(seed: int, num: int, module: str) -> None:
    """Reads all of them, and prints how many were readable and how much memory that took."""
    read = importlib.import_module(module).read
    rng = np.random.default_rng(seed)
    kinds = list(pictures(rng))
    warnings.simplefilter("ignore")  # Decoders warn when they repair something.
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    found = {"pictures": 0, "refused": 0, "others": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture"
        for _, content in kinds:
            path.write_bytes(content)
            read(path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        chosen = (kinds[n % len(kinds)] for n in range(num))
        for content in [
            *(spoil(rng, content, ending) for ending, content in chosen),
            *(c for _, c in huge()),
        ]:
            path.write_bytes(content)
            try:
                picture = read(path)
            except InputError as error:
                found["refused"] += 1
                if not str(error).isprintable():
                    found["others"].append(f"not one line: {error}")
            except Exception as error:
                found["others"].append(f"{type(error).__name__}: {error}")
            else:
                found["pictures"] += 1
                if read is images.read:
                    assert picture.dtype == np.float32
                    assert picture.ndim == 3
                    assert picture.shape[-1] == 3
                    assert 0 <= picture.min() <= picture.max() <= 1
    found["mebibytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
