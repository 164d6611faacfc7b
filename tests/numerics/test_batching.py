import jax
import numpy as np
import pytest

from mlr_jax.numerics import batching

CPU_BYTES = 2 * 2**20
# 64 outputs fill the memory.
NUMBERS = CPU_BYTES // 4 // 64


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")


def test_batches_fill_the_memory():
    assert batching.default_batch_size(1024, NUMBERS, np.float32) == 64
    assert batching.default_batch_size(1024, 2 * NUMBERS, np.float32) == 32
    assert batching.default_batch_size(1024, NUMBERS, np.float64) == 32


def test_few_outputs_are_one_batch():
    assert batching.default_batch_size(10, NUMBERS, np.float32) == 10


def test_one_output_may_exceed_the_memory():
    assert batching.default_batch_size(1000, CPU_BYTES, np.float32) == 1


@pytest.mark.parametrize(
    ("num_outputs", "size"), [(96, 48), (100, 50), (90, 45), (65 * 63, 63), (33 * 2, 33)]
)
def test_batches_are_of_one_size_where_a_divisor_is_near(num_outputs, size):
    assert batching.default_batch_size(num_outputs, NUMBERS, np.float32) == size


@pytest.mark.parametrize("num_outputs", [67, 3 * 67, 31 * 67])
def test_batches_have_a_rest_where_no_divisor_is_near(num_outputs):
    """The largest divisor is at most half of the batch that fits."""
    assert batching.default_batch_size(num_outputs, NUMBERS, np.float32) == 64


def test_at_least_goes_before_the_memory():
    assert batching.default_batch_size(1024, CPU_BYTES, np.float32, at_least=32) == 32
    assert batching.default_batch_size(1024, NUMBERS, np.float32, at_least=32) == 64
    assert batching.default_batch_size(10, CPU_BYTES, np.float32, at_least=32) == 10


def test_accelerators_have_larger_batches(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert batching.default_batch_size(2**20, NUMBERS, np.float32) == 64 * 128


def test_batch_sizes_are_always_possible():
    for num_outputs in range(1, 200):
        for numbers in (1, NUMBERS // 3, NUMBERS, 100 * NUMBERS):
            size = batching.default_batch_size(num_outputs, numbers, np.float32)
            assert 1 <= size <= num_outputs
            assert size == 1 or size * numbers * 4 <= CPU_BYTES
