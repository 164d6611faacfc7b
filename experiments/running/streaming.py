"""Sums over the pairs of a stream, in memory that does not grow with their number, and their checkpoints."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.running import checkpoint, memory
from mlr_jax import checks, synthesis
from mlr_jax.datasets import streams
from mlr_jax.datasets.streams import PairStream
from mlr_jax.synthesis import Channels, ExpressionStatistics

# With fewer bytes of sums nothing needs a gigabyte, and memory is not checked, which takes time.
_MANY_BYTES = 2**26
# Of a batch's pictures; several batches are in memory.
_BATCH_BYTES = 2**26
_LARGEST_BATCH = 40

_CHECKPOINT = checkpoint.Format(
    "training's sums",
    3,
    notes=("num_pairs", "left_out"),
    remedy="use another --output_dir, or --restart to begin anew",
    descriptions={
        "files": "other pictures (by their paths, sizes and times of change)",
        "taken": "another choice of the pairs",
    },
)


class Sums(NamedTuple):
    """The sums over the first pairs of a data set.

    Attributes:
      num_pairs: their number, unreadable ones included.
      statistics: the sums.
      left_out: for each unreadable pair, the reason.
    """

    num_pairs: int
    statistics: ExpressionStatistics
    left_out: tuple[str, ...] = ()


class Summed(NamedTuple):
    """The result of `accumulate`.

    Attributes:
      sums: over all pairs, or up to a stop.
      seconds: of the call.
      waiting_seconds: of these, spent waiting for pictures.
    """

    sums: Sums
    seconds: float
    waiting_seconds: float


def batch_size(stream: PairStream) -> int:
    """The default number of pairs in a batch."""
    pair_bytes = 8 * math.prod(stream.shape)
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // pair_bytes))


def statistics_like(
    stream: PairStream, *, window: int, channels: Channels, batch_size: int
) -> ExpressionStatistics:
    """The shapes of the sums, without computing any.

    Raises:
      InputError: the window does not suit the pictures.
    """
    pictures = _batch_like(stream, batch_size)
    init = partial(synthesis.init_statistics, window=window, channels=channels)
    return jax.eval_shape(init, pictures, pictures)


def check_memory(like: ExpressionStatistics, stream: PairStream, batch_size: int) -> None:
    """Raises InputError if the sums, or solving from them, would not fit into memory."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))
    available = memory.available_bytes()
    if available is None or size < _MANY_BYTES:
        return
    needed = size
    if needed <= available:
        pictures = _batch_like(stream, batch_size)
        # An update puts the new sums where the old ones were.
        update = memory.needed_bytes(synthesis.update, like, pictures, pictures) - size
        needed = max(update, memory.needed_bytes(synthesis.solve, like))
    if needed > available:
        height, width, _ = stream.shape
        raise checks.InputError(
            f"the window's sums would need {needed / 2**30:.1f} GiB of memory at {height} x {width}, and "
            f"{available / 2**30:.1f} GiB are free; choose a smaller --window or --image_size"
        )


def save(path: Path, settings: Mapping[str, Any], sums: Sums) -> None:
    """Replaces the checkpoint at once: a program that is killed leaves the old one or the new one."""
    notes = {"num_pairs": sums.num_pairs, "left_out": list(sums.left_out)}
    checkpoint.save(path, _CHECKPOINT, settings, sums.statistics, notes)


def load(path: Path, settings: Mapping[str, Any], like: ExpressionStatistics) -> Sums | None:
    """Reads the sums of a checkpoint, to the bit; None if there is no file.

    Raises:
      InputError: the file cannot be read, or was made with other settings; the message names them.
    """
    found = checkpoint.load(path, _CHECKPOINT, settings, like)
    if found is None:
        return None
    return Sums(found.notes["num_pairs"], found.tree, tuple(found.notes["left_out"]))


def accumulate(
    stream: PairStream,
    earlier: Sums | None,
    *,
    window: int,
    channels: Channels,
    batch_size: int,
    save_every: int,
    save: Callable[[Sums], None],
    is_stopped: Callable[[], bool],
    advance: Callable[[int], object],
    leave_out: Callable[[str], object] | None = None,
) -> Summed:
    """Adds all remaining pairs to the sums.

    Batches always begin at the same pairs, and the centre is the mean of the first one: sums that resume from
    a checkpoint are to the bit those of a run without a break.

    Args:
      stream: of the pairs.
      earlier: the sums so far, over whole batches, if there are any.
      window: side of the window, in pixels.
      channels: how colour channels relate.
      batch_size: pairs that are added at once.
      save_every: pairs after which the sums are saved, at the end of a batch.
      save: stores the sums. Called at the end, too, and before a picture's error is raised.
      is_stopped: called after every batch; if true, the sums so far are saved and returned.
      advance: called with the number of pairs of every batch, for a progress bar.
      leave_out: called with the reason why a pair cannot be read, and is left out; if None, this is an error.

    Returns:
      The sums.

    Raises:
      InputError: a picture cannot be read and `leave_out` is None, or no pair can be read; the message names
        it.
    """
    start = time.perf_counter()
    waiting = 0.0
    total = len(stream.subjects)
    left_out = list(earlier.left_out) if earlier else []

    def note(index: int, error: checks.InputError) -> None:
        left_out.append(f"{stream.subjects[index]}: {error}")
        if leave_out is not None:
            leave_out(left_out[-1])

    # The old sums are donated: the new ones take their memory.
    update = jax.jit(synthesis.update, donate_argnums=0)
    sums = earlier
    num_pairs = saved = earlier.num_pairs if earlier else 0
    reading = streams.batches(stream, batch_size, start=saved, leave_out=None if leave_out is None else note)
    with contextlib.closing(reading) as reader:
        while num_pairs < total:
            asked = time.perf_counter()
            try:
                neutral, expressive = next(reader)
            except checks.InputError:
                if sums is not None and sums.num_pairs > saved:
                    save(sums)
                raise
            waiting += time.perf_counter() - asked
            num_in_batch = min(batch_size, total - num_pairs)
            num_pairs += num_in_batch
            if len(neutral):
                if sums is None:
                    zero = synthesis.init_statistics(neutral, expressive, window=window, channels=channels)
                    sums = Sums(0, zero)
                added = update(sums.statistics, neutral, expressive)
                # Threads read on meanwhile. Without waiting, batches would queue up for the device.
                sums = sums._replace(statistics=jax.block_until_ready(added))
            if sums is not None:
                sums = sums._replace(num_pairs=num_pairs, left_out=tuple(left_out))
            advance(num_in_batch)
            if sums is not None and num_pairs // save_every > saved // save_every:
                save(sums)
                saved = num_pairs
            if is_stopped() and sums is not None:
                break
    if sums is None:
        raise checks.InputError(f"none of the {total:,} pairs can be read; the first is {left_out[0]}")
    if sums.num_pairs > saved:
        save(sums)
    return Summed(sums, time.perf_counter() - start, waiting)


def _batch_like(stream: PairStream, batch_size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((min(batch_size, len(stream.subjects)), *stream.shape), "float32")
