"""The same seed gives the same bits, in every process of a machine; on another device nearly the same."""

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

# What another device may differ by, of the greatest entry: rounding, in another order.
TOLERANCE = 1e-3


def learned() -> list[np.ndarray]:
    """Drawn faces, what is learned from them by both solvers, and what becomes of a face."""
    pairs = synthetic.load(image_size=16, channels=1, num_subjects=12)
    found = list(pairs[:2])
    for solver in ("primal", "dual"):
        model = synthesis.fit(*pairs[:2], penalty=0.4, solver=solver)
        found += [model.weights, model.bias, synthesis.synthesize(model, pairs.neutral[:2])]
    return [np.asarray(each) for each in found]


def digest() -> str:
    return hashlib.sha256(b"".join(each.tobytes() for each in learned())).hexdigest()


def test_the_same_bits_in_another_process():
    """Whatever order sets have there, and whatever else was computed here before."""
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
def test_nearly_the_same_on_the_cpu():
    found = learned()
    with jax.default_device(jax.devices("cpu")[0]):
        expected = learned()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE * np.abs(other).max())
