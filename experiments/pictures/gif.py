"""Animations as GIF files, whose palette suits what changes."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

# Of 256 colours, for the pixels that change; the eye is on them.
_CHANGING_COLOURS = 160
_MOST_PIXELS = 100_000  # from which colours are chosen
_CHUNK = 2**14  # colours that are compared with the palette at once


def encode(pictures: Sequence[np.ndarray], *, seconds: float, comment: str = "") -> bytes:
    """The file of an animation that repeats.

    All pictures share one palette, most of which serves the pixels that change: a palette of the whole
    picture has no room for the few pixels of the lips. What does not change is dithered once, and does not
    flicker.

    Args:
      pictures: `(height, width, 3)` uint8, two or more.
      seconds: that each is shown.
      comment: kept in the file.
    """
    frames = np.stack(pictures)
    is_changing = (frames != frames[0]).any(axis=(0, -1))
    changing, still = frames[:, is_changing].reshape(-1, 3), frames[0][~is_changing]
    numbers = (_CHANGING_COLOURS, 256 - _CHANGING_COLOURS) if len(changing) and len(still) else (256, 256)
    parts = [(each, number) for each, number in zip((changing, still), numbers, strict=True) if len(each)]
    palette = np.concatenate([_colours(each, number) for each, number in parts])
    carrier = Image.new("P", (1, 1))
    carrier.putpalette(palette.tobytes())
    dithered = Image.fromarray(frames[0]).quantize(palette=carrier, dither=Image.Dither.FLOYDSTEINBERG)
    shown = []
    for frame in frames:
        indices = np.array(dithered)
        indices[is_changing] = _nearest(frame[is_changing], palette)
        image = Image.fromarray(indices)
        image.putpalette(palette.tobytes())
        shown.append(image)
    content = io.BytesIO()
    shown[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=shown[1:],
        duration=round(1000 * seconds),
        loop=0,
        # Else Pillow drops colours that one frame does not use, and writes a palette for each.
        optimize=False,
        disposal=1,
        comment=comment.encode("ascii", "replace"),
    )
    return content.getvalue()


def _colours(pixels: np.ndarray, number: int) -> np.ndarray:
    """At most `number` colours, `(number, 3)` uint8, near all pixels `(num, 3)`."""
    pixels = pixels[:: 1 + len(pixels) // _MOST_PIXELS]
    reduced = Image.fromarray(pixels[None]).quantize(number, method=Image.Quantize.MEDIANCUT, kmeans=3)
    return np.array(reduced.getpalette(), np.uint8).reshape(-1, 3)[:number]


def _nearest(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """For each pixel `(num, 3)` the index of the nearest colour; Pillow's own search is coarser."""
    packed = pixels.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    kinds, places = np.unique(packed, return_inverse=True)
    colours = np.stack([kinds >> 16, kinds >> 8 & 255, kinds & 255], axis=-1).astype(np.float32)
    target = palette.astype(np.float32)
    squares = (target**2).sum(axis=-1)
    found = [
        (squares - 2 * colours[start : start + _CHUNK] @ target.T).argmin(axis=-1)
        for start in range(0, len(colours), _CHUNK)
    ]
    return np.concatenate([*found, np.empty(0, np.intp)])[places].astype(np.uint8)
