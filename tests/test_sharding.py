import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from mlr_jax import masks, sharding, synthesis, window_statistics
from mlr_jax.checks import InputError

ROOT = Path(__file__).parents[1]
PICTURES = np.random.default_rng(0).random((4, 5, 6, 1), np.float32)
WINDOW = masks.square(1)
MESH = Mesh(np.array(jax.devices()[:1]), ("i",))


@pytest.mark.long
def test_on_eight_devices():
    """How many devices there are is settled when JAX starts: hence a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/eight_devices.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def fit(**change):
    arguments = {
        "neutral": PICTURES,
        "expressive": PICTURES,
        "mesh": MESH,
        "rows": "i",
        "window": WINDOW,
    }
    return sharding.fit(**(arguments | change))


def test_one_device_is_a_mesh_too():
    expected = synthesis.fit(PICTURES, 1 - PICTURES, window=WINDOW)
    for axes in ({"rows": "i"}, {"rows": None, "pairs": "i"}, {"rows": None}):
        found = fit(expressive=1 - PICTURES, **axes)
        np.testing.assert_allclose(found.weights, expected.weights, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.bias, expected.bias, rtol=0, atol=1e-5)


def test_one_process_has_nothing_to_join():
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
    with pytest.raises(InputError, match=f"(sharding.fit|masks): .*{words}"):
        fit(**change)


def test_fit_wants_a_mesh_a_window_and_floating_point():
    with pytest.raises(TypeError, match=r"mesh must be a jax\.sharding\.Mesh, not a tuple"):
        fit(mesh=(1,))
    with pytest.raises(TypeError, match=r"window must be a masks\.Window, not a Mask"):
        fit(window=masks.square_window(5, 6, 3))
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
        ({"window": masks.square(3)}, r"made for a window without \(-1, -1\)"),
        ({"penalty": np.ones(3)}, r"penalty must be a scalar or \(5, 6\)"),
        ({}, "the statistics hold no pairs"),
        ({"rows": "j"}, "rows is 'j'"),
    ],
)
def test_clear_errors_of_solve(change, words):
    arguments = {"window": WINDOW, "penalty": 0.4, "mesh": MESH, "rows": "i"} | change
    with pytest.raises(InputError, match=f"sharding.solve: .*{words}"):
        sharding.solve(window_statistics.init(WINDOW, 5, 6), **arguments)
