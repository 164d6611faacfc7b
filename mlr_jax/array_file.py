"""Arrays and a few words about them in one .npz file, which is never half written.

NumPy's own format without pickle: any program that reads it can read these, and nothing in them is run.
"""

import contextlib
import glob
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks

_HEADER = "header"


class ArrayFile(NamedTuple):
    """What a file holds.

    Attributes:
      arrays: by their names.
      header: what was written about them.
    """

    arrays: dict[str, np.ndarray]
    header: dict[str, Any]


def save(
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    arrays: Mapping[str, ArrayLike],
    header: Mapping[str, Any],
) -> None:
    """Writes a file such that it is always the old one or the new one, even after a loss of power.

    The same arrays and header give the same bytes.

    Args:
      path: of the file, in a folder that exists.
      kind: what it holds, such as "expression model"; `load` asks for it.
      version: of the arrays' and the header's meaning.
      arrays: to be written, by their names; none is called "header".
      header: what JSON can hold.

    Raises:
      TypeError: the header holds what JSON cannot.
      OSError: the file cannot be written.
    """
    path = Path(path)
    text = json.dumps({"kind": kind, "version": version, "header": dict(header)}, sort_keys=True)
    contents = {name: np.asarray(array) for name, array in arrays.items()} | {_HEADER: np.array(text)}
    # In the same folder, since only there a file can take another's place at once.
    partial_path = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial_path.open("wb") as file:
            np.savez(file, allow_pickle=False, **contents)
            file.flush()
            os.fsync(file.fileno())
        partial_path.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial_path.unlink()
        raise


def remove_partial(path: str | os.PathLike[str]) -> None:
    """Removes what killed programs may have left unfinished of a file; no other may be writing it."""
    path = Path(path)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        leftover.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], kind: str, version: int) -> ArrayFile:
    """Reads a file that `save` wrote.

    Args:
      path: of the file.
      kind: what it must hold.
      version: the one that the caller understands.

    Raises:
      InputError: there is no such file, it is damaged, or it holds something else or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise checks.InputError(f"there is no file {path}")
    try:
        # Opened here, since NumPy leaves open what it finds broken.
        with path.open("rb") as stream:
            content = np.load(stream, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            with content:
                arrays = {name: content[name] for name in content.files}
        outer = json.loads(arrays.pop(_HEADER).item())
        found, written, header = outer["kind"], outer["version"], outer["header"]
    except Exception as error:  # Whatever zip, NumPy and JSON find wrong with it.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise checks.InputError(f"{path} is damaged, or no {kind} at all: {reason}") from error
    if found != kind:
        raise checks.InputError(f"{path} holds no {kind}, but: {found}")
    if written != version:
        age = "a newer" if written > version else "an older"
        raise checks.InputError(
            f"{path} was written by {age} mlr_jax (format {written}; this one reads {version})"
        )
    return ArrayFile(arrays, header)
