"""Checks that need two processes; `test_sharding` runs this module in each.

python -m tests.two_processes COORDINATOR_ADDRESS PROCESS_ID
"""

import sys
from functools import partial

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from mlr_jax import sharding, synthesis, window_statistics, windows
from mlr_jax.checks import InputError, UnsolvedWarning

PICTURES = np.random.default_rng(0).random((6, 4, 5, 1), np.float32)
# Each process needs a row of the other.
WINDOW = windows.from_offsets([(0, 0), (1, 0)])


def check_join(index: int) -> None:
    empty = window_statistics.init(WINDOW, 4, 5)
    own = PICTURES[:4] if index == 0 else PICTURES[4:]
    joined = sharding.join(window_statistics.update(empty, own, own**2))
    expected = window_statistics.update(empty, PICTURES, PICTURES**2)
    assert float(joined.num_pairs) == 6
    for one, other in zip(jax.tree.leaves(joined), jax.tree.leaves(expected), strict=True):
        assert one.is_fully_addressable
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    # Joined statistics accept more pairs.
    window_statistics.update(joined, own, own)

    others = [
        window_statistics.init(WINDOW, 4, 5, input_centre=0.4),
        # As many lag images, at another distance.
        window_statistics.init(windows.from_offsets([(0, 0), (1, index)]), 4, 5),
        window_statistics.init(WINDOW, 5, 4),
    ]
    for other in others:
        with pytest.raises(InputError, match="process 1 has statistics of another window, size or centre"):
            sharding.join(other if index == 1 else empty)


def check_global_arrays(index: int) -> None:
    mesh = Mesh(np.array(jax.devices()), ("i",))
    fit = partial(sharding.fit, mesh=mesh, rows="i", window=WINDOW)

    def whole(rows: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(NamedSharding(mesh, P(None, "i")), rows)

    own = PICTURES[:, 2 * index : 2 * index + 2]
    pictures = whole(own)
    assert pictures.shape == PICTURES.shape
    model = fit(pictures, 1 - pictures**2)
    expected = synthesis.fit(PICTURES, 1 - PICTURES**2, window=WINDOW)
    for found, everywhere in ((model.weights, expected.weights), (model.bias, expected.bias)):
        own_rows = everywhere[..., 2 * index : 2 * index + 2, :]
        np.testing.assert_allclose(found.addressable_data(0), own_rows, rtol=0, atol=1e-5)
    # The same NumPy arrays on all processes are accepted, too.
    same = fit(PICTURES, 1 - PICTURES**2)
    np.testing.assert_array_equal(same.weights.addressable_data(0), model.weights.addressable_data(0))

    statistics = window_statistics.init(WINDOW, 4, 5)
    statistics = sharding.update(statistics, pictures, pictures, mesh=mesh, rows="i")
    with pytest.raises(InputError, match="lie on the devices of several processes"):
        sharding.join(statistics)
    # All processes must report the bad pixel of one.
    with pytest.raises(InputError, match="neutral holds values that are NaN"):
        fit(whole(own * (np.nan if index == 1 else 1)), pictures)
    with pytest.warns(UnsolvedWarning, match="the systems of some pixels cannot be solved"):
        fit(whole(own * index), pictures, penalty=0)


if __name__ == "__main__":
    address, index = sys.argv[1], int(sys.argv[2])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, index, heartbeat_timeout_seconds=10)
    check_join(index)
    check_global_arrays(index)
    jax.distributed.shutdown()
