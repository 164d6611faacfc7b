"""How long a function takes, compiled or plain, and what the machine does at best."""

import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.running import timing


class Machine(NamedTuple):
    """Peak rates: bytes read and written a second, and multiplications a second of a matrix product."""

    bytes_per_second: float
    multiplications_per_second: float


class Timed(NamedTuple):
    """Seconds of every run, seconds of compiling, and bytes held at most beyond the arguments."""

    seconds: list[float]
    compile_seconds: float
    peak_bytes: int | None


def compiled(function: Callable[..., Any], *args: Any, num_runs: int) -> tuple[Any, Timed]:
    """Compiles a pure function and times it warm, after one run: its result, and what it took."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    compile_seconds = time.perf_counter() - start
    result, seconds = timing.repeat(compiled, *args, num_runs=num_runs)
    analysis = compiled.memory_analysis()
    peak = None if analysis is None else analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return result, Timed(seconds, compile_seconds, peak)


def plain(function: Callable[..., Any], *args: Any, num_runs: int) -> tuple[Any, Timed]:
    """Times a function of NumPy, after one run: its result, and what it took."""
    result, seconds = timing.repeat(function, *args, num_runs=num_runs)
    # In a separate run, since tracing memory takes time.
    tracemalloc.start()
    function(*args)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return result, Timed(seconds, 0.0, peak)


def machine(*, fast: bool, num_runs: int) -> Machine:
    """Measures the machine, on small arrays if `fast`."""
    return Machine(_traffic_rate(fast, num_runs), _product_rate(fast, num_runs))


def _traffic_rate(fast: bool, num_runs: int) -> float:
    """Bytes read and written a second by a copy that no cache holds."""
    array = jnp.ones((2**20 if fast else 2**26,), jnp.float32)
    _, timed = compiled(lambda x: x + 1, array, num_runs=num_runs)
    return 2 * array.nbytes / min(timed.seconds)


def _product_rate(fast: bool, num_runs: int) -> float:
    """Multiplications a second of a float32 matrix product."""
    size = 256 if fast else 2048
    matrix = jnp.ones((size, size), jnp.float32)
    _, timed = compiled(partial(jnp.matmul, precision="highest"), matrix, matrix, num_runs=num_runs)
    return size**3 / min(timed.seconds)
