"""A seed gives the same bits in every process of a machine, and nearly the same on another device."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mlr_jax import synthesis
from mlr_jax.datasets import synthetic

# The relative difference on another device, which rounds in another order.
TOLERANCE = 1e-3


def learned() -> list[np.ndarray]:
    """Drawn faces, models by both solvers, and the predictions of two faces."""
    pairs = synthetic.load(image_size=16, channels=1, num_subjects=12)
    found = list(pairs[:2])
    for solver in ("primal", "dual"):
        model = synthesis.fit(*pairs[:2], penalty=0.4, solver=solver)
        found += [model.weights, model.bias, synthesis.synthesize(model, pairs.neutral[:2])]
    return [np.asarray(each) for each in found]


def digest() -> str:
    return hashlib.sha256(b"".join(each.tobytes() for each in learned())).hexdigest()


def test_another_process_gives_the_same_bits():
    """Neither the order of sets nor earlier computations matter."""
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import digest; print(digest())"],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == digest()


@pytest.mark.skipif(jax.default_backend() == "cpu", reason="there is no other device than the CPU")
def test_the_cpu_gives_nearly_the_same():
    found = learned()
    with jax.default_device(jax.devices("cpu")[0]):
        expected = learned()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE * np.abs(other).max())
