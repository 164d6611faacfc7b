r"""Do several processes learn the same model as one? And how is such a training started?

    python -m experiments.train_distributed
    python -m experiments.train_distributed --num_processes=4 --devices_per_process=1 --dataset=london

starts processes on this machine, which find each other through `jax.distributed`, on its CPU and over its
loopback network. On several machines, each runs

    python -m experiments.train_distributed --join \
        --coordinator_address=FIRST_MACHINE:PORT --num_processes=4 --process_id=0     # then 1, 2, 3

on all its devices. Leave out the last three flags where JAX finds the other processes: under Slurm, Open MPI,
Kubernetes and on Cloud TPUs. If a process dies, the others end with an error as soon as its heartbeat is
missed.

The fits, each compared with one on a single device (`synthesis.fit`):

    streamed        each process reads its own pairs in batches; one sum over processes joins the statistics
                    (`sharding.join`)
    pairs           global arrays, the pairs split over all devices (`sharding.fit`)
    rows            global arrays, the rows of the pictures split over all devices
    pairs_and_rows  pairs split over processes, and rows over the devices of each

Process 0 prints, and writes to differences.csv and config.json in --output_dir, the largest difference of a
weight or bias relative to the largest of them, with the seconds of the fit, its compilation included. The
exit status is 1 if a difference is above 1e-5. Expected, on the default, in a minute or two: 4e-6 to 7e-6,
the distance by float32's rounding of each of these fits, and of that on a single device, from the exact one.
With --float64 they are below 1e-13.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.pictures import data
from experiments.running import local_processes, run_folder, script
from mlr_jax import checks, sharding, synthesis, window_statistics, windows
from mlr_jax.datasets.pairs import Pairs, take
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.window_linear import WindowLinear

HEADER = ("fit", "difference", "seconds")
FITS = ("streamed", "pairs", "rows", "pairs_and_rows")
_TOLERANCE = 1e-5
# Without a heartbeat, after which a process counts as dead.
_SILENCE_SECONDS = 60

_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "How many processes; 2 on this machine.", lower_bound=1
)
_DEVICES_PER_PROCESS = flags.DEFINE_integer(
    "devices_per_process", 2, "CPU devices of each process on this machine.", lower_bound=1
)
_JOIN = flags.DEFINE_bool("join", False, "Be one of the processes, instead of starting them.")
_FITS = flags.DEFINE_list("fits", list(FITS), f"Which: {', '.join(FITS)}.")
_COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None, "With --join: HOST:PORT of process 0, the port being a free one."
)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --join: from 0 on.", lower_bound=0)
_TIMEOUT_SECONDS = flags.DEFINE_integer(
    "timeout_seconds", 900, "After which processes on this machine are given up.", lower_bound=1
)
_WINDOW = flags.DEFINE_integer("window", 3, "Side of the window in pixels, odd.", lower_bound=1)
_PENALTY = flags.DEFINE_float("penalty", 0.4, "The penalty lambda.", lower_bound=0)
_FLOAT64 = flags.DEFINE_bool("float64", False, "Double precision, in which rounding explains nothing.")
_BATCH = flags.DEFINE_integer("batch", 20, "Pairs that are streamed at once.", lower_bound=1)
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(run_folder)


def work(coordinator_address: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes, fits, compares, and leaves them. JAX finds out arguments that are None.

    Raises:
      InputError: the data are invalid, or a difference is too large.
    """
    is_local = coordinator_address is not None and coordinator_address.startswith("127.")
    jax.distributed.initialize(
        coordinator_address,
        num_processes,
        process_id,
        # No other machine may reach it.
        coordinator_bind_address=coordinator_address if is_local else None,
        initialization_timeout=_TIMEOUT_SECONDS.value,
        heartbeat_timeout_seconds=_SILENCE_SECONDS,
        shutdown_timeout_seconds=_SILENCE_SECONDS,
    )
    is_first = jax.process_index() == 0
    if is_first:
        run_folder.chosen("train_distributed")
    multihost_utils.sync_global_devices("the folder is there")
    output_dir = run_folder.chosen("train_distributed", is_shared=not is_first)
    pairs = data.load(cache_dir=data.cache_folder(output_dir))
    if _FLOAT64.value:
        jax.config.update("jax_enable_x64", True)
        neutral, expressive = (each.astype(np.float64) for each in (pairs.neutral, pairs.expressive))
        pairs = Pairs(neutral, expressive, pairs.subjects)
    devices = np.array(sorted(jax.devices(), key=lambda device: (device.process_index, device.id)))
    if is_first:
        configuration = run_folder.describe_run(data.resolved_flags(), {"processes": jax.process_count()})
        run_folder.start(output_dir, configuration, outputs=("differences.csv",))
    # The devices of a process are neighbours, so that rows, whose halos are exchanged, stay in it.
    grid = Mesh(devices.reshape(jax.process_count(), -1), ("pairs", "rows"))
    line = Mesh(devices, ("all",))
    ways: dict[str, Callable[[], Any]] = {
        "streamed": lambda: _fit_streamed(pairs),
        "pairs": lambda: _fit_global(pairs, line, "all", None),
        "rows": lambda: _fit_global(pairs, line, None, "all"),
        "pairs_and_rows": lambda: _fit_global(pairs, grid, "pairs", "rows"),
    }
    expected = synthesis.fit(pairs.neutral, pairs.expressive, window=_WINDOW.value, penalty=_PENALTY.value)
    rows: list[dict[str, Any]] = []
    for name in _FITS.value:
        start = time.perf_counter()
        model = jax.block_until_ready(ways[name]())
        seconds = time.perf_counter() - start
        rows.append({"fit": name, "difference": _difference(model, expected), "seconds": seconds})
        if is_first:
            run_folder.write_csv(output_dir / "differences.csv", HEADER, rows)
    if is_first:
        counts = f"{jax.process_count()} processes, {len(devices)} devices, {len(pairs.subjects)} pairs"
        lines = [f"{row['fit']:14}  {row['difference']:10.1e}  {row['seconds']:7.1f}" for row in rows]
        table = [f"{HEADER[0]:14}  {HEADER[1]:>10}  {HEADER[2]:>7}", *lines]
        print(f"{counts}, {data.title()}", "", *table, "", f"Written to {output_dir}", sep="\n", flush=True)
    # Every process has the same numbers, and fails with the others.
    bad = [row for row in rows if not row["difference"] <= _TOLERANCE]
    if bad:
        raise checks.InputError(
            f"{bad[0]['fit']} differs from the fit on one device by {bad[0]['difference']:.1e}, which is "
            f"more than {_TOLERANCE:g}; --float64 says whether that is rounding"
        )
    jax.distributed.shutdown()


def _fit_streamed(pairs: Pairs) -> WindowLinear:
    """Each process reads its own pairs only, and has the whole model at the end."""
    # All were loaded for the comparison; a program that only trains reads only these.
    own = take(pairs, range(jax.process_index(), len(pairs.subjects), jax.process_count()))
    _, height, width, num_channels = pairs.neutral.shape
    window = windows.square(_WINDOW.value)
    maps = []
    for channel in range(num_channels):
        statistics = window_statistics.init(window, height, width, dtype=pairs.neutral.dtype)
        for start in range(0, len(own.subjects), _BATCH.value):
            batch = slice(start, start + _BATCH.value)
            inputs, targets = (each[batch, ..., channel, None] for each in (own.neutral, own.expressive))
            statistics = window_statistics.update(statistics, inputs, targets)
        statistics = sharding.join(statistics)
        maps.append(window_statistics.solve(statistics, window, _PENALTY.value))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *maps)


def _fit_global(pairs: Pairs, mesh: Mesh, pair_axis: str | None, row_axis: str | None) -> ExpressionModel:
    """Every process has its part of the pictures and of the model."""

    def spread(pictures: np.ndarray) -> np.ndarray | jax.Array:
        axes = (pair_axis, row_axis)
        if any(axis and size % mesh.shape[axis] for axis, size in zip(axes, pictures.shape, strict=False)):
            return pictures  # If they do not divide evenly, each process gives all of them.
        # Called for the parts of this process's devices: a program that only trains reads them here.
        sharded = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.make_array_from_callback(pictures.shape, sharded, lambda index: pictures[index])

    return sharding.fit(
        spread(pairs.neutral),
        spread(pairs.expressive),
        mesh=mesh,
        pairs=pair_axis,
        rows=row_axis,
        window=_WINDOW.value,
        penalty=_PENALTY.value,
    )


def _difference(model: ExpressionModel | WindowLinear, expected: ExpressionModel) -> float:
    """The largest of a weight or bias, relative to the largest of them."""
    differences = []
    for found, wanted in ((model.weights, expected.weights), (model.bias, expected.bias)):
        whole = np.asarray(
            multihost_utils.process_allgather(found, tiled=True) if _is_spread(found) else found
        )
        differences.append(np.abs(whole - wanted).max() / np.abs(wanted).max())
    # Unlike max, np.max returns NaN if there is one.
    return float(np.max(differences))


def _is_spread(array: Any) -> bool:
    return isinstance(array, jax.Array) and not array.is_fully_addressable


def _work_locally(coordinator_address: str, num_processes: int, process_id: int) -> None:
    """Sets up a process on this machine, and does its part."""
    flags.FLAGS(sys.argv)
    jax.config.update("jax_num_cpu_devices", _DEVICES_PER_PROCESS.value)
    work(coordinator_address, num_processes, process_id)


def main() -> None:
    """Checks the flags, and starts the processes or is one of them."""
    windows.square(_WINDOW.value)
    for name in _FITS.value:
        if name not in FITS:
            raise checks.InputError(f"--fits: there is no {name!r}; there are {', '.join(FITS)}")
    if not _FITS.value:
        raise checks.InputError("--fits must name at least one fit")
    if _JOIN.value:
        given = _COORDINATOR_ADDRESS.value, _NUM_PROCESSES.value, _PROCESS_ID.value
        if None in given and given != (None, None, None):
            raise checks.InputError(
                "--join needs --coordinator_address, --num_processes and --process_id, or none of them where "
                "a cluster manager that JAX knows starts the processes"
            )
        work(*given)
    elif (_COORDINATOR_ADDRESS.value, _PROCESS_ID.value) != (None, None):
        raise checks.InputError("--coordinator_address and --process_id need --join")
    else:
        local_processes.run(_work_locally, _NUM_PROCESSES.value or 2, _TIMEOUT_SECONDS.value)


if __name__ == "__main__":
    script.run(main)
