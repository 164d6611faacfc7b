"""Pictures that are aligned already, taken whole."""

import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mlr_jax import checks, images
from mlr_jax.datasets import cache
from mlr_jax.datasets.streams import PairStream


def whole(
    subjects: Sequence[str],
    path: Callable[[int, int], str],
    *,
    loader: tuple[str, int],
    image_size: int | None,
    channels: int,
    files: Iterable[str | os.PathLike[str]] = (),
) -> PairStream:
    """Opens pairs of pictures that are aligned already and of one size.

    Args:
      subjects: of the pairs, one at least.
      path: of a picture: `path(side, index)`, side 0 being the source and 1 the target.
      loader: the data set, and the version of the pictures that it makes of the same files.
      image_size: length in pixels that the shorter side is scaled to; None keeps the pictures' own size.
      channels: 1 (grey) or 3.
      files: others on which the pairs depend.

    Returns:
      The pairs; their size is that of the first source picture, which is read at once. Reading another one
      that cannot be decoded, or differs in size, raises an InputError that names it.

    Raises:
      InputError: a file is not there, or the first picture cannot be read.
    """
    first = images.to_channels(images.read(path(0, 0)), channels)

    def scale(picture: np.ndarray) -> np.ndarray:
        if image_size in (None, min(picture.shape[:2])):
            return picture  # Resizing would take it to the device and back.
        return images.resize(picture, image_size)

    def read_one(side: int, index: int) -> np.ndarray:
        picture = images.to_channels(images.read(path(side, index)), channels)
        if picture.shape != size:
            raise checks.InputError(
                f"{path(side, index)} is {picture.shape[1]} x {picture.shape[0]} pixels, but {path(0, 0)} is "
                f"{size[1]} x {size[0]}; all pictures must be of one size"
            )
        return scale(picture)

    def paths() -> Iterable[str | os.PathLike[str]]:
        yield from (path(side, index) for side in (0, 1) for index in range(len(subjects)))
        yield from files

    size = first.shape
    height, width, _ = scale(first).shape
    key = {
        "loader": loader,
        "files": cache.fingerprint(paths()),
        "image_size": image_size,
        "channels": channels,
    }
    return PairStream(
        tuple(subjects),
        (height, width, channels),
        lambda index: (read_one(0, index), read_one(1, index)),
        key,
        files=lambda index: (path(0, index), path(1, index)),
    )
