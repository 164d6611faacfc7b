"""The time of a computation: compiled, warm and synchronised."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

_LONG_SECONDS = 2.0


def compile_ahead(jitted: Any, static: tuple[Any, ...], *args: Any) -> tuple[jax.stages.Compiled, float]:
    """Compiles a function, unless it has been compiled for such arguments before.

    Args:
      jitted: what `jax.jit` returned.
      static: the values of its static arguments, which come first.
      *args: the others.

    Returns:
      `(compiled, seconds)`: the compiled function of `args`, and the seconds of the compilation.
    """
    start = time.perf_counter()
    compiled = jitted.lower(*static, *args).compile()
    return compiled, time.perf_counter() - start


def compile_and_run(function: Callable[..., Any], *args: Any) -> tuple[Any, float, float]:
    """Compiles and runs a pure function.

    Args:
      function: pure and jittable.
      *args: its arguments.

    Returns:
      `(result, seconds, compile_seconds)`, with seconds as `run` measures them.
    """
    compiled, compile_seconds = compile_ahead(jax.jit(function), (), *args)
    result, seconds = run(compiled, *args)
    return result, seconds, compile_seconds


def run(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """Times any function.

    Returns:
      `(result, seconds)`: seconds are the median of five runs after a warm-up; of fewer, at least of the
      first, if all take longer than two seconds.
    """
    seconds: list[float] = []
    # The first run warms up; it counts only if there is no other.
    while len(seconds) < 6 and sum(seconds) < _LONG_SECONDS:
        start = time.perf_counter()
        result = jax.block_until_ready(function(*args))
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds[1:] or seconds)


def repeat(function: Callable[..., Any], *args: Any, num_runs: int) -> tuple[Any, list[float]]:
    """Runs a function once to warm it up and `num_runs` times more: its result and their seconds."""
    seconds = []
    for _ in range(num_runs + 1):
        start = time.perf_counter()
        result = jax.block_until_ready(function(*args))
        seconds.append(time.perf_counter() - start)
    return result, seconds[1:]
