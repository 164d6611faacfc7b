"""How much memory a computation takes, how much there is, and how much was used."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


def needed_bytes(function: Callable[..., Any], *args: Any) -> int:
    """Returns the memory that `function` takes on the device, its arguments and results included.

    Args:
      function: pure and jittable. It is compiled, not run.
      *args: its arguments; their values do not matter.
    """
    return compiled_bytes(jax.jit(function).lower(*args).compile())


def compiled_bytes(compiled: jax.stages.Compiled) -> int:
    """Returns the memory that a compiled function takes on the device, arguments and results included."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0  # This device does not report it.
    return (
        analysis.temp_size_in_bytes
        + analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
    )


def available_bytes() -> int | None:
    """Returns the memory that is left on the device, or None if neither device nor system reports it."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    limits = [_linux_available(), _control_group_available()]
    known = [limit for limit in limits if limit is not None]
    if known:
        return min(known)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def peak_bytes() -> int | None:
    """Returns the most memory that this program has had in the machine's main memory, or None."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        # The system's own count below would include the program that started this one.
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None  # Windows has none.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _linux_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(kilobytes[0]) * 1024 if kilobytes else None


def _control_group_available() -> int | None:
    """The memory that a container may still take."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        # Without pages of files, which the system can drop at once.
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        used -= int(statistics.get("inactive_file", 0))
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(int(limit) - used, 0)
