"""JAX's compilation cache for scripts, in the user's cache folder.

Only scripts keep compiled programs: the library leaves the choice to the program that imports it.

The cache may change nothing but the time. JAX loads programs of another kind of processor with many warnings,
and they may crash: each kind has a separate folder. JAX warns of a damaged entry, which an interrupted run
may leave, at every run, and never replaces it: then all entries are removed. Scripts run without the cache if
its folder cannot be written or locked. Entries of other versions of JAX are not used, and go when the cache
is full.
"""

import contextlib
import hashlib
import itertools
import os
import platform
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
from absl import flags
from filelock import FileLock

OFF = "off"
VARIABLE = "MLR_JAX_COMPILATION_CACHE"
_JAX_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_MAX_BYTES = 2**29
_LOCK_SECONDS = 1.0
# Lines that determine the instruction set, on Intel and AMD, and on ARM.
_DECISIVE = ("model name", "flags", "CPU implementer", "CPU part", "Features")
# In each of JAX's warnings about an entry.
_COMPLAINT = "persistent compilation cache entry"

_FOLDER = flags.DEFINE_string(
    "compilation_cache",
    None,
    f"Folder where compiled programs are kept for the next run, or {OFF!r}. By default what {VARIABLE} "
    f"says; else what JAX is told by {_JAX_VARIABLE}; else mlr_jax/compiled in the user's cache folder.",
)


def start(*, by_default: bool = True) -> None:
    """Turns on JAX's compilation cache, as the flag says.

    Processes that this one starts do the same.

    Args:
      by_default: whether to do so without the flag: False where compilation is measured.
    """
    chosen = _FOLDER.value or (os.environ.get(VARIABLE) if by_default else OFF)
    if chosen:
        os.environ[VARIABLE] = chosen
    elif os.environ.get(_JAX_VARIABLE):
        return  # JAX reads its own variable.
    jax.config.update("jax_compilation_cache_dir", None)
    if chosen == OFF:
        return
    with contextlib.suppress(OSError, RuntimeError):  # No home, no room, no permission, or no locks.
        folder = Path(chosen).expanduser() if chosen else default_folder()
        _use(folder / kind_of_machine())


def default_folder() -> Path:
    """The folder in the system's folder for caches.

    Raises:
      RuntimeError: the user has no home.
    """
    if sys.platform == "win32":
        parent = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        parent = Path.home() / "Library" / "Caches"
    else:
        parent = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(parent) / "mlr_jax" / "compiled"


def _use(folder: Path) -> None:
    # Closed to other users: an entry is run as a program of this user.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # JAX locks the folder for every entry, and would wait for ten seconds each time.
    with FileLock(folder / ".lockfile", timeout=_LOCK_SECONDS):
        pass
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _MAX_BYTES)
    # Most programs for a CPU compile in less than the second below which JAX keeps none.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    show = warnings.showwarning

    def show_others(message: Warning | str, *where: Any, **options: Any) -> None:
        if _COMPLAINT in str(message):
            _empty(folder)
        else:
            show(message, *where, **options)

    warnings.showwarning = show_others


def _empty(folder: Path) -> None:
    """Removes all entries that can be removed; another process may do the same."""
    for pattern in ("*-cache", "*-atime"):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                path.unlink()


def kind_of_machine(cpu_info: str = "/proc/cpuinfo") -> str:
    """A name for all machines that can run each other's compiled programs.

    Args:
      cpu_info: Linux's description of the processors.
    """
    described = [platform.system(), platform.machine(), platform.processor()]
    with contextlib.suppress(OSError), open(cpu_info) as file:
        # The first processor stands for all. Other lines, such as its speed, change from time to time.
        first = itertools.takewhile(str.strip, file)
        described += [line.strip() for line in first if line.startswith(_DECISIVE)]
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]
