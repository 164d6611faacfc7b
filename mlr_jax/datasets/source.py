"""Pairs of pictures that are read when they are asked for: as many as a disk holds.

A data set's `stream` opens a `Source` without reading its pictures. `batches` reads them in order, ahead of
whoever computes with them, and `load` reads all of them into memory. Memory holds file names besides.
"""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from mlr_jax import checks
from mlr_jax.alignment import Affine
from mlr_jax.datasets import cache
from mlr_jax.datasets.pairs import Pairs, check

# Decoding releases Python's lock, so that several pictures are read at a time. More threads than this only
# wait for the lock.
_NUM_THREADS = min(8, os.cpu_count() or 1)
# Batches that are read while another one is worked on.
_AHEAD = 2


class Place(NamedTuple):
    """Where a picture of a pair was cut out.

    Attributes:
      path: of the file.
      affine: from points of the picture to points of the file's.
    """

    path: str
    affine: Affine


class Source(NamedTuple):
    """A data set that is open for reading.

    Attributes:
      subjects: a subject id for each pair; one person may occur several times.
      shape: `(height, width, channels)` of every picture.
      read: reads a pair by its place in `subjects`: its neutral and its expressive picture, float32 in
        [0, 1]. Several threads may call it at once. Raises InputError, which names the picture.
      key: what determines the pictures, of what JSON can hold.
      places: where both pictures of a pair were cut out, by its place in `subjects`; None if nobody knows.
    """

    subjects: tuple[str, ...]
    shape: tuple[int, int, int]
    read: Callable[[int], tuple[np.ndarray, np.ndarray]]
    key: Mapping[str, object]
    places: Callable[[int], tuple[Place, Place]] | None = None


def take(source: Source, indices: Sequence[int] | np.ndarray) -> Source:
    """The pairs at `indices`, in that order."""
    chosen = np.asarray(indices, np.int64)
    of_what = json.dumps(source.key.get("taken")).encode()
    places = source.places
    return Source(
        subjects=tuple(source.subjects[i] for i in chosen),
        shape=source.shape,
        read=lambda index: source.read(int(chosen[index])),
        key={**source.key, "taken": hashlib.sha256(of_what + chosen.tobytes()).hexdigest()[:24]},
        places=None if places is None else lambda index: places(int(chosen[index])),
    )


def batches(
    source: Source,
    batch_size: int,
    *,
    start: int = 0,
    leave_out: Callable[[int, checks.InputError], object] | None = None,
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Reads all pairs in order, some at a time, ahead of time in threads of its own.

    A few batches are in memory at once, however many pairs there are.

    Args:
      source: to read from.
      batch_size: pairs in each batch but the last, which has the rest.
      start: the pair to begin with.
      leave_out: told the place of a pair that cannot be read, and why; its batch then has a pair less, or
        none. Without it such a pair is an error.

    Yields:
      `(neutral, expressive)`, each `(batch_size, height, width, channels)` float32.

    Raises:
      InputError: a picture cannot be read, and nobody wants it left out; the message names it.
    """
    checks.positive_integer("source.batches", "batch_size", batch_size)
    waiting: deque[_Batch] = deque()
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        try:
            for first in range(start, len(source.subjects), batch_size):
                last = min(first + batch_size, len(source.subjects))
                waiting.append(_submit(pool, source, range(first, last)))
                if len(waiting) > _AHEAD:
                    yield _wait(waiting.popleft(), leave_out)
            while waiting:
                yield _wait(waiting.popleft(), leave_out)
        finally:
            pool.shutdown(cancel_futures=True)


def load(
    source: Source,
    where: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[Sequence], Iterable] = iter,
) -> Pairs:
    """Reads all pairs into memory.

    Args:
      source: to read from.
      where: what it is, for error messages.
      cache_dir: where decoded pictures are kept for the next time, if anywhere.
      progress: wraps the subjects whose pairs are read, such as `tqdm.tqdm`.

    Raises:
      InputError: a picture cannot be read, or there are no pairs.
    """

    def compute() -> Pairs:
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            try:
                batch = _submit(pool, source, range(len(source.subjects)))
                for task, _ in zip(batch.tasks, progress(source.subjects), strict=True):
                    task.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return Pairs(batch.neutral, batch.expressive, source.subjects)

    return check(cache.load_or_compute(cache_dir, source.key, compute), where=where)


class _Batch(NamedTuple):
    """Pictures of the pairs `indices`, which are there when all tasks are done."""

    indices: range
    neutral: np.ndarray
    expressive: np.ndarray
    tasks: list[Future[None]]


def _submit(pool: ThreadPoolExecutor, source: Source, indices: range) -> _Batch:
    # New arrays each time: on a CPU, JAX may go on reading those of the batch before.
    neutral, expressive = (np.empty((len(indices), *source.shape), np.float32) for _ in range(2))

    def read(place: int, index: int) -> None:
        neutral[place], expressive[place] = source.read(index)

    return _Batch(indices, neutral, expressive, [pool.submit(read, *job) for job in enumerate(indices)])


def _wait(
    batch: _Batch, leave_out: Callable[[int, checks.InputError], object] | None
) -> tuple[np.ndarray, np.ndarray]:
    is_read = np.ones(len(batch.indices), bool)
    for place, (index, task) in enumerate(zip(batch.indices, batch.tasks, strict=True)):
        try:
            task.result()
        except checks.InputError as error:
            if leave_out is None:
                raise
            leave_out(index, error)
            is_read[place] = False
    if is_read.all():
        return batch.neutral, batch.expressive
    return batch.neutral[is_read], batch.expressive[is_read]
