"""Runs the experiments' scripts, each in its own process, without repeating their common imports.

The imports take two seconds, and many scripts take less. So each script is a fork of one process that has
done the imports. As with `python -m`, it is `__main__`, has its flags in `sys.argv`, and ends as the
interpreter ends. The scripts of all tests share a compilation cache.

Tests that send signals to a script, or measure its memory, use `start`.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
# None of these imports starts JAX's threads, which a fork would lose.
_IMPORTED = (
    "dm_pix",
    "imageio.v3",
    "jax.experimental.multihost_utils",
    "jax.scipy.linalg",
    "matplotlib.pyplot",
    "multiprocessing.connection",
    "scipy.sparse",
    "scipy.stats",
    "sklearn.decomposition",
    "sklearn.kernel_ridge",
    "sklearn.linear_model",
    "tqdm",
)
_TIMEOUT_SECONDS = 600


def run(
    module: str, *flags: str, optimize: bool = True, kill_after: float | None = None
) -> subprocess.CompletedProcess:
    """Runs `python -m module flags` for at most ten minutes, and returns its exit status and output.

    Optimisation does not pay for scripts that compute little. `kill_after` kills the script after so many
    seconds.
    """
    server = _server()
    with tempfile.TemporaryDirectory() as folder:
        outputs = [str(Path(folder) / name) for name in ("output", "errors")]
        print(json.dumps([kill_after, module, flags, *outputs, optimize]), file=server.stdin, flush=True)
        return_code = int(server.stdout.readline())
        said = [Path(each).read_text() for each in outputs]
    return subprocess.CompletedProcess(["python", "-m", module, *flags], return_code, *said)


def start(
    module: str, *flags: str, environment: Mapping[str, str] = {}, through: Sequence[str] = ()
) -> subprocess.Popen:
    """Starts `python -m module flags` without a fork, behind the command `through`, with more variables."""
    return subprocess.Popen(
        [*through, sys.executable, "-m", module, *flags],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@functools.cache
def cached() -> str:
    """A flag for scripts that load pairs: they share decoded and drawn pictures."""
    folder = tempfile.TemporaryDirectory(prefix="pictures")
    atexit.register(folder.cleanup)
    return f"--cache_dir={folder.name}"


def compiled() -> str:
    """A flag for scripts that measure compilation and have no cache by default: the cache of all others."""
    return f"--compilation_cache={os.environ['MLR_JAX_COMPILATION_CACHE']}"


@functools.cache
def _server() -> subprocess.Popen:
    server = subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    # The server ends with its input.
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    """Forks for every line of the input, and prints the exit status."""
    for name in _IMPORTED:
        importlib.import_module(name)
    # Spares the garbage collector the imported modules.
    gc.freeze()
    while line := sys.stdin.readline():
        kill_after, *script = json.loads(line)
        process = os.fork()
        if process == 0:
            _become(*script)
            return
        if kill_after is not None:
            _kill(process, kill_after)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _kill(process: int, seconds: float) -> None:
    """Kills a process after a time, unless it has ended. The caller must still wait for it."""
    deadline = time.monotonic() + seconds
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while time.monotonic() < deadline and os.waitid(os.P_PID, process, options) is None:
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)


def _become(module: str, flags: list[str], output: str, errors: str, optimize: bool) -> None:
    for number, path in enumerate((os.devnull, output, errors)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    if not optimize:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
        _draw_fast()
    signal.alarm(_TIMEOUT_SECONDS)
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _draw_fast() -> None:
    """Optimises the drawing of faces nevertheless, which takes half a second then, not five."""
    import jax

    from mlr_jax.datasets import synthetic

    synthetic._photograph = jax.jit(
        synthetic._photograph.__wrapped__,
        static_argnames=("num_batches", "image_size"),
        compiler_options={"xla_backend_optimization_level": 3},
    )


if __name__ == "__main__":
    _serve()
