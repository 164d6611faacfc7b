import sys

import jax.numpy as jnp
import numpy as np

from experiments.comparing import trials
from experiments.comparing.methods import METHODS
from experiments.comparing.methods.method import Settings
from experiments.running import memory
from mlr_jax.datasets import synthetic


def test_needed_bytes_count_the_arrays_of_a_computation():
    """A vector becomes a sorted matrix, which needs between one and five matrices."""
    size = 1000
    needed = memory.needed_bytes(lambda x: jnp.sort(x[:, None] * x[None], axis=0), jnp.ones(size))
    assert 4 * size**2 <= needed <= 20 * size**2


def test_available_memory_is_known():
    available = memory.available_bytes()
    assert 2**20 < available < 2**50


def test_available_memory_without_system_files(monkeypatch):
    """Without the files of the system and control group, all memory of the machine; else None."""

    def refuse(*_):
        raise OSError

    monkeypatch.setattr(memory.Path, "read_text", refuse)
    assert memory.available_bytes() == memory.os.sysconf("SC_PHYS_PAGES") * memory.os.sysconf("SC_PAGE_SIZE")
    held = np.ones(2**21)
    assert held.nbytes <= memory.peak_bytes() < 2**40
    monkeypatch.setattr(memory.os, "sysconf", refuse)
    assert memory.available_bytes() is None
    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory.peak_bytes() is None


def test_the_limit_of_a_container_counts(monkeypatch):
    files = {"memory.max": "5000\n", "memory.current": "3000\n", "memory.stat": "anon 1\ninactive_file 700\n"}
    monkeypatch.setattr(memory.Path, "read_text", lambda path: files[path.name])
    monkeypatch.setattr(memory, "_linux_available", lambda: 10_000)
    assert memory.available_bytes() == 5000 - (3000 - 700)
    monkeypatch.setattr(memory, "_linux_available", lambda: 1000)
    assert memory.available_bytes() == 1000
    files["memory.max"] = "max\n"
    monkeypatch.setattr(memory, "_linux_available", lambda: 10_000)
    assert memory.available_bytes() == 10_000


def test_the_limit_of_a_device_counts(monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 90, "bytes_in_use": 20}

    monkeypatch.setattr(memory.jax, "devices", lambda: [Device()])
    assert memory.available_bytes() == 70


def test_a_method_that_needs_too_much_memory_is_named(monkeypatch):
    train = synthetic.load(image_size=96, channels=1, num_subjects=3)
    method = METHODS["l2_ridge"].make(Settings())
    monkeypatch.setattr(trials, "_MANY_NUMBERS", 1)
    tried = [{"penalty": 1.0}]
    assert trials.memory_problem(method, tried, train) is None
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**18)
    problem = trials.memory_problem(method, tried, train)
    assert "would need 0.0 GiB of memory at 96 x 96, and 0.0 GiB are free" in problem
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    assert trials.memory_problem(method, tried, train) is None


def test_peak_bytes_cover_held_arrays():
    held = np.ones(2**23)
    assert held.nbytes <= memory.peak_bytes() < 2**40
