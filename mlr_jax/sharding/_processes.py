"""`sharding.join`: adds up the statistics of processes that streamed their own pairs."""

import zlib
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlr_jax import checks
from mlr_jax.sharding._statistics import psum, sums_of, with_sums
from mlr_jax.window_statistics import WindowStatistics


def join(statistics: WindowStatistics) -> WindowStatistics:
    """Adds up the statistics that each process made of its own pairs.

    Every process calls it after its last pair; numbers of pairs may differ. Without `jax.distributed` there
    is one process, and nothing to do.

    Args:
      statistics: of this process's pairs, on its own devices; made with the same window, size and centres
        on all processes.

    Returns:
      The sums of all, the same on every process, on its first device.

    Raises:
      InputError: they were made with different windows, sizes or centres, or are not on this process's
        devices alone.
    """
    where = "sharding.join"
    leaves = jax.tree.leaves(statistics)
    if any(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in leaves):
        raise checks.InputError(
            f"{where}: the statistics lie on the devices of several processes; those of `update` on such "
            "a mesh are joined already"
        )
    if jax.process_count() == 1:
        return statistics
    # Sums of different shapes would deadlock; sums of different windows or centres would be wrong.
    centres = statistics.input_centre, statistics.target_centre
    described = repr((statistics.window, [(each.shape, each.dtype) for each in centres])).encode()
    mark = np.uint32(zlib.crc32(b"".join([described, *(np.asarray(each).tobytes() for each in centres)])))
    marks = np.asarray(multihost_utils.process_allgather(mark)).reshape(-1)
    if (marks != marks[0]).any():
        other = int(np.argmax(marks != marks[0]))
        raise checks.InputError(
            f"{where}: process {other} has statistics of another window, size or centre than process 0"
        )
    firsts = {device.process_index: device for device in reversed(jax.devices())}
    mesh = Mesh(np.array([firsts[i] for i in range(jax.process_count())]), ("processes",))
    parts = statistics.num_pairs, sums_of(statistics)

    def globally(leaf: jax.Array) -> jax.Array:
        each = NamedSharding(mesh, PartitionSpec("processes"))
        return jax.make_array_from_process_local_data(each, np.asarray(leaf)[None])

    num_pairs, sums = _join(jax.tree.map(globally, parts), mesh=mesh)
    local = jax.tree.map(lambda leaf: leaf.addressable_data(0), (num_pairs, sums))
    return with_sums(statistics, *local)


@partial(jax.jit, static_argnames="mesh")
def _join(parts: Any, *, mesh: Mesh) -> Any:
    """Adds up numbers of pairs and sums `(processes, ...)`."""

    def add_up(parts: Any) -> Any:
        num_pairs, sums = jax.tree.map(lambda leaf: leaf[0], parts)
        return jax.lax.psum(num_pairs, "processes"), psum(sums, "processes", mesh.size)

    specs = PartitionSpec("processes"), PartitionSpec()
    return jax.shard_map(add_up, mesh=mesh, in_specs=specs[:1], out_specs=specs[1])(parts)
