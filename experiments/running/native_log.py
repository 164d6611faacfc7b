"""Keeps the logs of native libraries, which have no switch, out of a script's messages."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def discarded() -> Iterator[None]:
    """Discards the standard error of the whole process meanwhile, and then restores it.

    For scripts of one thread only: file descriptors belong to the process, not to a thread.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # It is closed, and nothing can be written to it.
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
