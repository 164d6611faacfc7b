"""Files that are always the old ones or the new ones, whatever stops a program or fills a disk."""

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file to be written such that it is always the old one or the new one, never a part.

    What fails leaves the old one, and no part of the new one, which on a full disk would be in the way.

    Args:
      path: of the file, in a folder that exists.

    Yields:
      What to write to; it takes the old file's place when all is written and on the disk.

    Raises:
      OSError: the file cannot be written; it names the file.
    """
    path = Path(path)
    # In the same folder, since only there a file can take another's place at once.
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
        # Of a full disk Python says no more than that.
        if isinstance(error, OSError) and error.errno and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def remove_partial(path: str | os.PathLike[str]) -> None:
    """Removes what killed programs may have left unfinished of a file; no other may be writing it."""
    path = Path(path)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        leftover.unlink(missing_ok=True)
