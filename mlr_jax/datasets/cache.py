"""Keeps decoded and aligned pairs on disk, under a key of everything that determines them."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from mlr_jax import atomic_file
from mlr_jax.checks import InputError
from mlr_jax.datasets.pairs import Pairs


def load_or_compute(
    cache_dir: str | os.PathLike[str] | None,
    key: Mapping[str, object],
    compute: Callable[[], Pairs],
) -> Pairs:
    """Returns the pairs kept under `key`, or computes and keeps them.

    If the file cannot be read, they are computed anew; if it cannot be written, a warning is logged. Files
    are replaced atomically, so that a killed run leaves none half written.

    Args:
      cache_dir: a folder, made where needed; None keeps nothing.
      key: all that determines the pairs, as values that JSON can hold.
      compute: makes the pairs.

    Returns:
      The pairs.
    """
    if cache_dir is None:
        return compute()
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    path = Path(cache_dir) / f"pairs-{digest}.npz"
    if path.exists():
        try:
            # Opened here: NumPy does not close a broken file.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                return Pairs(file["neutral"], file["expressive"], tuple(file["subjects"].tolist()))
        except Exception as error:  # Any broken file is computed anew.
            logging.warning("the cached pictures %s cannot be read (%s) and are made anew", path, error)
    pairs = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file.replacing(path) as file:
            np.savez(
                file,
                neutral=pairs.neutral,
                expressive=pairs.expressive,
                subjects=np.array(pairs.subjects),
            )
    except OSError as error:
        logging.warning("cannot keep the decoded pictures in %s: %s", path, error)
    return pairs


def fingerprint(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Digest of the path, size and time of change of each file, for a cache key.

    Raises:
      InputError: one cannot be found.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        digest.update(os.fsencode(os.path.abspath(path)))
        digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]
