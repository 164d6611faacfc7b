"""Pairs of pictures that are read one by one: a data set may be larger than memory.

A data set's `stream` returns a `PairStream` without reading its pictures: memory holds file names only.
`batches` reads them in order, ahead of the computation, and `load` reads all of them into memory.
"""

import contextlib
import hashlib
import inspect
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

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


class PairStream(NamedTuple):
    """A data set that is open for reading.

    Attributes:
      subjects: a subject id for each pair; one person may occur several times.
      shape: `(height, width, channels)` of every picture.
      read: reads a pair by its place in `subjects`: its neutral and its expressive picture, float32 in
        [0, 1]. Several threads may call it at once. Raises InputError, which names the picture.
      key: all that determines the pictures, as values that JSON can hold.
      places: where both pictures of a pair were cut out, by its place in `subjects`; None if they were not
        cut out of files.
      files: the files of both pictures of each pair, by its place in `subjects`; None if there are none.
    """

    subjects: tuple[str, ...]
    shape: tuple[int, int, int]
    read: Callable[[int], tuple[np.ndarray, np.ndarray]]
    key: Mapping[str, object]
    places: Callable[[int], tuple[Place, Place]] | None = None
    files: Callable[[int], tuple[str, str]] | None = None


class Copies(NamedTuple):
    """Pictures that several subjects have, see `find_copies`.

    Attributes:
      people: for each of these subjects the one of them that stands for all who share pictures.
      files: groups of files with the same content, of several subjects.
    """

    people: Mapping[str, str]
    files: tuple[tuple[str, ...], ...]


def find_copies(stream: PairStream) -> Copies:
    """Finds subjects who share a picture, by the content of its file: they are one person.

    Reads files only where two have the same size. A picture that was encoded again is not found.

    Args:
      stream: of the pairs; without files nothing is found.
    """
    owners: dict[str, set[str]] = {}
    if stream.files is not None:
        for index, subject in enumerate(stream.subjects):
            for path in stream.files(index):
                owners.setdefault(os.path.normpath(path), set()).add(subject)
    by_size: dict[int, list[str]] = {}
    for path in owners:
        with contextlib.suppress(OSError):  # Reading it says so.
            by_size.setdefault(os.path.getsize(path), []).append(path)
    by_content: dict[bytes, list[str]] = {}
    for paths in by_size.values():
        for path in paths if len(paths) > 1 or len(owners[paths[0]]) > 1 else ():
            with contextlib.suppress(OSError), open(path, "rb") as file:
                by_content.setdefault(hashlib.file_digest(file, "sha256").digest(), []).append(path)
    people: dict[str, str] = {}

    def person(subject: str) -> str:
        while people.get(subject, subject) != subject:
            subject = people[subject]
        return subject

    groups = []
    for paths in by_content.values():
        sharing = sorted(set().union(*(owners[path] for path in paths)))
        if len(sharing) > 1:
            groups.append(tuple(sorted(paths)))
            first, *others = sorted({person(subject) for subject in sharing})
            people.update(dict.fromkeys((first, *others), first))
            people.update(dict.fromkeys(sharing, first))
    return Copies({subject: person(subject) for subject in people}, tuple(sorted(groups)))


def take(stream: PairStream, indices: Sequence[int] | np.ndarray) -> PairStream:
    """The pairs at `indices`, in that order."""
    chosen = np.asarray(indices, np.int64)
    before = json.dumps(stream.key.get("taken")).encode()
    places, files = stream.places, stream.files
    return PairStream(
        subjects=tuple(stream.subjects[i] for i in chosen),
        shape=stream.shape,
        read=lambda index: stream.read(int(chosen[index])),
        key={**stream.key, "taken": hashlib.sha256(before + chosen.tobytes()).hexdigest()[:24]},
        places=None if places is None else lambda index: places(int(chosen[index])),
        files=None if files is None else lambda index: files(int(chosen[index])),
    )


def batches(
    stream: PairStream,
    batch_size: int,
    *,
    start: int = 0,
    leave_out: Callable[[int, checks.InputError], object] | None = None,
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Reads all pairs in order, some at a time, ahead of time, in background threads.

    A few batches are in memory at once, however many pairs there are.

    Args:
      stream: to read from.
      batch_size: pairs in each batch but the last, which has the rest.
      start: the pair to begin with.
      leave_out: called with the place of a pair that cannot be read and with the error; its batch then has a
        pair less, or none. Without it such a pair is an error.

    Yields:
      `(neutral, expressive)`, each `(batch_size, height, width, channels)` float32.

    Raises:
      InputError: a picture cannot be read, and there is no `leave_out`; the message names it.
    """
    checks.positive_integer("streams.batches", "batch_size", batch_size)
    waiting: deque[_Batch] = deque()
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        try:
            for first in range(start, len(stream.subjects), batch_size):
                last = min(first + batch_size, len(stream.subjects))
                waiting.append(_submit(pool, stream, range(first, last)))
                if len(waiting) > _AHEAD:
                    yield _wait(waiting.popleft(), leave_out)
            while waiting:
                yield _wait(waiting.popleft(), leave_out)
        finally:
            pool.shutdown(cancel_futures=True)


def load(
    stream: PairStream,
    name: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[Sequence], Iterable] | None = None,
) -> Pairs:
    """Reads all pairs into memory.

    Args:
      stream: to read from.
      name: of the data set, for error messages.
      cache_dir: a folder that keeps the decoded pictures for the next time; None keeps nothing.
      progress: wraps the subjects whose pairs are read, such as `tqdm.tqdm`; None shows nothing.

    Raises:
      InputError: a picture cannot be read, or there are no pairs.
    """

    def compute() -> Pairs:
        shown = stream.subjects if progress is None else progress(stream.subjects)
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            try:
                batch = _submit(pool, stream, range(len(stream.subjects)))
                for task, _ in zip(batch.tasks, shown, strict=True):
                    task.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return Pairs(batch.neutral, batch.expressive, stream.subjects)

    return check(cache.load_or_compute(cache_dir, stream.key, compute), where=name)


def loader(open_stream: Callable[..., PairStream], name: str) -> Callable[..., Pairs]:
    """The `load` function of a data set, which opens its stream and reads all pairs into memory.

    Args:
      open_stream: the data set's `stream`, a function of `data_dir` and of options.
      name: of the data set, for error messages; `{data_dir}` in it stands for the folder.

    Returns:
      A function that takes the arguments of `open_stream` and the options of `load`. Its signature and its
      docstring say so.
    """
    opens = inspect.signature(open_stream)
    own = [each for each in inspect.signature(load).parameters.values() if each.kind is each.KEYWORD_ONLY]
    signature = opens.replace(parameters=[*opens.parameters.values(), *own], return_annotation=Pairs)

    # Without explicit options: Sphinx takes defaults that it finds here for those of the signature.
    def load_all(*args: Any, **options: Any) -> Pairs:
        bound = signature.bind(*args, **options)
        own_options = {each.name: bound.arguments.pop(each.name, each.default) for each in own}
        called = name.format(data_dir=bound.arguments.get("data_dir"))
        return load(open_stream(*bound.args, **bound.kwargs), called, **own_options)

    load_all.__name__ = load_all.__qualname__ = "load"
    load_all.__module__ = open_stream.__module__
    load_all.__doc__ = _LOAD_DOCSTRING.format(
        args=_section(open_stream, "Args"), own=_option_lines(own), returns=_section(open_stream, "Returns")
    )
    load_all.__signature__ = signature  # type: ignore[attr-defined]
    return load_all


_LOAD_DOCSTRING = """Reads all pairs of `stream` into memory.

Args:
{args}
{own}

Returns:
{returns}

Raises:
  InputError: as for `stream`, or a picture cannot be read; the message names it.
"""


def _section(function: Callable, name: str) -> str:
    """The lines of a section of a function's docstring."""
    return (inspect.getdoc(function) or "").partition(f"\n{name}:\n")[2].partition("\n\n")[0]


def _option_lines(options: Sequence[inspect.Parameter]) -> str:
    """The lines about options in the docstring of `load`."""
    lines = _section(load, "Args").splitlines()
    return "\n".join(line for each in options for line in lines if line.startswith(f"  {each.name}:"))


class _Batch(NamedTuple):
    """Pictures of the pairs `indices`, which are complete when all tasks are done."""

    indices: range
    neutral: np.ndarray
    expressive: np.ndarray
    tasks: list[Future[None]]


def _submit(pool: ThreadPoolExecutor, stream: PairStream, indices: range) -> _Batch:
    # New arrays each time: on a CPU, JAX may go on reading those of the batch before.
    neutral, expressive = (np.empty((len(indices), *stream.shape), np.float32) for _ in range(2))

    def read(place: int, index: int) -> None:
        neutral[place], expressive[place] = stream.read(index)

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
