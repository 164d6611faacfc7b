import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from mlr_jax import masks, sharding, synthesis, window_statistics, windows
from mlr_jax.checks import InputError
from mlr_jax.numerics.compensated import Sum
from mlr_jax.sharding import _statistics

ROOT = Path(__file__).parents[1]
PICTURES = np.random.default_rng(0).random((4, 5, 6, 1), np.float32)
WINDOW = windows.square(1)
MESH = Mesh(np.array(jax.devices()[:1]), ("i",))


def environment(flags: str) -> dict[str, str]:
    """Variables for a new process, since JAX fixes its number of devices at the start."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return outer | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{outer.get('XLA_FLAGS', '')} {flags}"}


@pytest.mark.long
def test_on_eight_devices():
    # The tests compute little, so that optimisation does not pay.
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/eight_devices.py"],
        cwd=ROOT,
        env=environment(flags),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_on_two_processes():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "tests.two_processes", address]
    options = {"cwd": ROOT, "env": environment(""), "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    both = [subprocess.Popen([*command, index], text=True, **options) for index in ("0", "1")]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], "\n".join(outputs)


def test_sums_over_devices_keep_their_digits():
    """The spacing of float32 numbers near 1e8 is 8."""
    high = np.random.default_rng(0).standard_normal((9, 7), np.float32) * np.float32([[1e8]] + 8 * [[1e-2]])
    low = high * np.float32(1e-8)
    add_up = jax.vmap(lambda *sums: _statistics.psum(sums, "i", 9), axis_name="i")
    (total,) = jax.jit(add_up)(Sum(high, low))
    expected = high.sum(axis=0, dtype=np.float64) + low.sum(axis=0, dtype=np.float64)
    for device in range(9):
        found = np.asarray(total.high[device], np.float64) + np.asarray(total.low[device], np.float64)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def fit(**change):
    arguments = {
        "neutral": PICTURES,
        "expressive": PICTURES,
        "mesh": MESH,
        "rows": "i",
        "window": WINDOW,
    }
    return sharding.fit(**(arguments | change))


def test_one_device_is_a_mesh():
    expected = synthesis.fit(PICTURES, 1 - PICTURES, window=WINDOW)
    for axes in ({"rows": "i"}, {"rows": None, "pairs": "i"}, {"rows": None}):
        found = fit(expressive=1 - PICTURES, **axes)
        np.testing.assert_allclose(found.weights, expected.weights, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.bias, expected.bias, rtol=0, atol=1e-5)


def test_join_on_one_process_changes_nothing():
    empty = window_statistics.init(WINDOW, 5, 6)
    assert sharding.join(empty) is empty


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": "rows"}, "rows is 'rows', but the mesh has the axes 'i'"),
        ({"pairs": "j"}, "pairs is 'j', but the mesh has the axes 'i'"),
        ({"pairs": "i"}, "pairs and rows are both 'i'"),
        ({"neutral": PICTURES[0]}, r"neutral must have the 4 axes \(num, height, width, channels\)"),
        ({"neutral": PICTURES[:3]}, "neutral is .* but expressive is"),
        ({"neutral": PICTURES * np.nan}, r"neutral holds 120 .* index \(0, 0, 0, 0\)"),
        ({"channels": "rgb"}, "one of independent, shared, joint, not 'rgb'"),
        ({"window": 4}, "size must be odd"),
        ({"window": 7}, "larger than the picture"),
        ({"penalty": -1}, "penalty must be 0 or more"),
        ({"penalty": np.ones(5)}, r"penalty must be a scalar or \(5, 6\), not \(5,\)"),
    ],
)
def test_clear_errors_of_fit(change, words):
    with pytest.raises(InputError, match=f"(sharding.fit|windows): .*{words}"):
        fit(**change)


def test_fit_needs_a_mesh_a_window_and_floating_point():
    with pytest.raises(TypeError, match=r"mesh must be a jax\.sharding\.Mesh, not a tuple"):
        fit(mesh=(1,))
    with pytest.raises(TypeError, match=r"window must be a windows\.Window, not a Mask"):
        fit(window=masks.square_mask(5, 6, 3))
    with pytest.raises(TypeError, match="expressive must hold floating-point numbers, not uint8"):
        fit(expressive=PICTURES.astype(np.uint8))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": PICTURES[:, :4]}, "for pictures of 5 x 6, not 4 x 6; resize them"),
        ({"images": PICTURES.repeat(2, axis=-1)}, "for 3 channels, not 2"),
        ({"intensity": np.ones(3)}, r"intensity must be a scalar or \(4,\), not \(3,\)"),
        ({"images": PICTURES.repeat(3, axis=-1) * np.inf}, "images holds 360 values"),
        ({"rows": "rows"}, "rows is 'rows'"),
    ],
)
def test_clear_errors_of_synthesize(change, words):
    model = synthesis.ExpressionModel(np.ones((3, 1, 1, 5, 6)), np.ones((3, 5, 6)), WINDOW)
    arguments = {"images": PICTURES.repeat(3, axis=-1), "mesh": MESH, "rows": "i"} | change
    with pytest.raises(InputError, match=f"sharding.synthesize: .*{words}"):
        sharding.synthesize(model, **arguments)


def test_synthesize_needs_a_window_without_views():
    model = synthesis.ExpressionModel(np.ones((1, 1, 1, 5, 6)), np.ones((1, 5, 6)), WINDOW)
    arguments = {"images": PICTURES, "mesh": MESH, "rows": "i"}
    with pytest.raises(TypeError, match=r"model must be of a windows\.Window, not a Mask"):
        sharding.synthesize(model._replace(window=masks.square_mask(5, 6, 1)), **arguments)
    viewed = windows.mirrored(windows.square(1))
    model = model._replace(window=viewed, weights=np.ones((1, 2, 1, 5, 6)))
    with pytest.raises(InputError, match=r"sharding.synthesize: the window looks at blurred or mirrored"):
        sharding.synthesize(model, **arguments)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": PICTURES[:3]}, "there are 3 inputs, but 4 targets"),
        ({"targets": PICTURES[:, :4]}, r"for targets of \(5, 6, 1\), not \(4, 6, 1\)"),
        ({"targets": PICTURES * np.nan}, "targets holds 120 values"),
        ({"pairs": "j"}, "pairs is 'j'"),
    ],
)
def test_clear_errors_of_update(change, words):
    arguments = {"inputs": PICTURES, "targets": PICTURES, "mesh": MESH, "pairs": "i"} | change
    with pytest.raises(InputError, match=f"sharding.update: .*{words}"):
        sharding.update(window_statistics.init(WINDOW, 5, 6), **arguments)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window": windows.square(3)}, r"made for a window without \(-1, -1\)"),
        ({"penalty": np.ones(3)}, r"penalty must be a scalar or \(5, 6\)"),
        ({}, "the statistics hold no pairs"),
        ({"rows": "j"}, "rows is 'j'"),
    ],
)
def test_clear_errors_of_solve(change, words):
    arguments = {"window": WINDOW, "penalty": 0.4, "mesh": MESH, "rows": "i"} | change
    with pytest.raises(InputError, match=f"sharding.solve: .*{words}"):
        sharding.solve(window_statistics.init(WINDOW, 5, 6), **arguments)
