"""Arrays and a JSON header in one .npz file, written atomically.

NumPy's format without pickle: any program that reads .npz can read these files, and `load` runs no code from
them. A checksum over the whole content detects damage. `load` checks every size that a file claims: even for
a malicious file it takes no more memory than the size on disk and 32 MiB.
"""

import hashlib
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from mlr_jax import atomic_file, checks

_HEADER = "header"
_LONGEST_HEADER = 2**20  # characters
_DTYPES = "biufcUS"  # numbers and text, no objects

# The most bytes of one read. A directory of thousands of members is shorter.
_MOST_BYTES = 2**18

# The header that `numpy.save` writes before an array in C's order; NumPy's own reader evaluates it as Python.
_NPY = re.compile(
    rb"\{'descr': '([<>|][%s][1-9]\d{0,17})', 'fortran_order': False, "
    rb"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), \} *\n" % _DTYPES.encode()
)


class ArrayFile(NamedTuple):
    """The contents of a file.

    Attributes:
      arrays: by their names.
      header: the values that were saved with them.
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
    """Writes a file atomically: it is always the old one or the new one, even after a loss of power.

    The same arrays and header give the same bytes.

    Args:
      path: of the file, in a folder that exists.
      kind: of its contents, such as "expression model"; `load` checks it.
      version: of the layout of arrays and header.
      arrays: of numbers or text, by their names; none is called "header".
      header: values that JSON can hold.

    Raises:
      TypeError: the header has a value that JSON cannot hold, or an array neither numbers nor text.
      InputError: the header is longer than 1 MiB.
      OSError: the file cannot be written.
    """
    path = Path(path)
    contents = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    digest = hashlib.sha256()
    for name, array in contents.items():
        if array.dtype.kind not in _DTYPES or not array.dtype.itemsize:
            raise TypeError(f"array_file.save: {name} must hold numbers or text, not {array.dtype}")
        digest.update(_label(name, array))
        digest.update(_bytes(array))
    # Through JSON once, so that it is the same after reading: keys become text, tuples lists.
    outer = json.loads(json.dumps({"kind": kind, "version": version, "header": dict(header)}))
    text = json.dumps(outer | {"sha256": _finish(digest, outer)}, sort_keys=True)
    if len(text) > _LONGEST_HEADER:
        raise checks.InputError(f"{path}: its header would be longer than {_LONGEST_HEADER} letters")
    with atomic_file.replacing(path) as file:
        # Numbers and text are never pickled. NumPy 2.0 would write `allow_pickle=False` as an array.
        members: dict[str, Any] = {**contents, _HEADER: np.array(text)}
        np.savez(file, **members)


def load(path: str | os.PathLike[str], kind: str, version: int) -> ArrayFile:
    """Reads a file that `save` wrote.

    Args:
      path: of the file.
      kind: that it must have.
      version: that the caller can read.

    Raises:
      InputError: there is no such file, it is damaged or was altered, or it holds something else or of
        another version; the message says which.
    """
    path = Path(path)
    if not path.is_file():
        raise checks.InputError(f"there is no file {path}")
    try:
        with _ShortReads(path) as file, zipfile.ZipFile(file) as archive:
            members = _members(archive, path.stat().st_size)
            outer = _read_header(archive, members)
            found, written, header = outer["kind"], outer["version"], outer["header"]
            arrays, digest = {}, hashlib.sha256()
            if (found, written) == (kind, version):
                arrays = {name: _read(archive, member, digest) for name, member in members.items()}
                if outer.pop("sha256", None) != _finish(digest, outer):
                    raise ValueError("its checksum does not fit its contents")
    except Exception as error:  # zip, NumPy and JSON raise many kinds.
        reason = checks.one_line(error)
        raise checks.InputError(
            f"{path} is damaged, was altered, or is no {kind} at all: {reason}; use another copy"
        ) from error
    if found != kind:
        raise checks.InputError(f"{path} holds no {kind}, but: {checks.one_line(found)}")
    if written != version:
        age, remedy = ("a newer", "update mlr_jax") if written > version else ("an older", "train again")
        raise checks.InputError(
            f"{path} was written by {age} mlr_jax (format {checks.one_line(written)}; this one reads "
            f"{version}); {remedy}"
        )
    return ArrayFile(arrays, header)


class _ShortReads(io.FileIO):
    """A file that rejects long reads, such as of a directory that claims to be long."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_BYTES:
            raise ValueError("its directory is too long")
        return super().read(size)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members by the names of their arrays; checks that together they fit into `size` bytes."""
    members = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name == member.filename or name in members:
            raise ValueError(f"its member {member.filename} is not an array, or is there twice")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError(f"its member {member.filename} is compressed")
        members[name] = member
    if sum(member.file_size for member in members.values()) > size:
        raise ValueError("its members are larger than the file")
    return members


def _read_header(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> dict[str, Any]:
    """Takes the header out of the members."""
    member = members.pop(_HEADER, None)
    if member is None or member.file_size > 4 * _LONGEST_HEADER + _MOST_BYTES:
        raise ValueError("it has no header, or one that is too long")
    outer = json.loads(_read(archive, member, hashlib.sha256()).item())
    types = {"kind": str, "version": int, "header": dict}
    if type(outer) is not dict or any(type(outer.get(name)) is not kind for name, kind in types.items()):
        raise ValueError("its header has other parts")
    return outer


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, digest: "hashlib._Hash") -> np.ndarray:
    """Reads an array, checks that it is exactly as large as its member, and adds it to the digest."""
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        start = stream.read(10)
        length = int.from_bytes(start[8:], "little")
        match = _NPY.fullmatch(stream.read(length))
        if not start.startswith(b"\x93NUMPY\x01\x00") or match is None:
            raise ValueError(f"{name} is no array of numbers or text")
        dtype, shape = np.dtype(match[1].decode()), tuple(map(int, re.findall(rb"\d+", match[2])))
        if 10 + length + dtype.itemsize * math.prod(shape) != member.file_size:
            raise ValueError(f"{name} claims to be {dtype} of the shape {shape}, which does not fit its size")
        array = np.empty(shape, dtype)
        digest.update(_label(name, array))
        for part in _parts(_bytes(array)):
            part[:] = stream.read(len(part))
            digest.update(part)
        stream.read(1)  # At its end, zip's own checksum is compared.
    return array


def _label(name: str, array: np.ndarray) -> bytes:
    return json.dumps([name, array.dtype.str, array.shape]).encode()


def _bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array in C's order, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def _parts(whole: memoryview) -> Iterator[memoryview]:
    return (whole[start : start + _MOST_BYTES] for start in range(0, len(whole), _MOST_BYTES))


def _finish(digest: "hashlib._Hash", outer: Mapping[str, Any]) -> str:
    """The checksum of the arrays, which are in the digest, and of the header."""
    digest.update(json.dumps(outer, sort_keys=True).encode())
    return digest.hexdigest()
