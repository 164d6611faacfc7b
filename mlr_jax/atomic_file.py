"""Replaces files atomically: after a crash or on a full disk, the old file remains."""

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file for writing, which replaces the old one once all of it is on the disk.

    A failure keeps the old file, and removes the unfinished one to free its space.

    Args:
      path: of the file, in a folder that exists.

    Yields:
      The stream to write to.

    Raises:
      OSError: the file cannot be written; it names the file.
    """
    path = Path(path)
    # In the same folder: only there can a file replace another one atomically.
    partial_path = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial_path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial_path.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial_path.unlink()
        # When the disk is full, Python does not name the file.
        if isinstance(error, OSError) and error.errno and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def remove_partial(path: str | os.PathLike[str]) -> None:
    """Removes unfinished versions of a file that killed programs left; no program may be writing it."""
    path = Path(path)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        leftover.unlink(missing_ok=True)
