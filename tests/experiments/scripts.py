"""Runs the experiments' scripts, each in a process of its own that need not import what they all import.

That takes two seconds, and many scripts take less. So they are forks of one process that has imported it. As
with `python -m`, a script is `__main__`, has its flags in `sys.argv`, and ends as the interpreter ends. What
one script has compiled, the next one need not, whichever test runs it.

A test that sends signals to a script, or asks how much memory it had, starts it with `start`.
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
# No import starts JAX's threads, which a fork would not have.
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
    """Runs `python -m module flags`, ten minutes at most: its exit status, and what it said.

    Where little is computed, it does not pay that the compiler optimises it. After `kill_after` seconds it is
    killed.
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
    """Starts `python -m module flags`, not forked, with more in its environment, through another command."""
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
    """A flag for scripts that load pairs: what one has decoded or drawn, the next one need not."""
    folder = tempfile.TemporaryDirectory(prefix="pictures")
    atexit.register(folder.cleanup)
    return f"--cache_dir={folder.name}"


def compiled() -> str:
    """A flag for scripts that measure compiling, and by themselves use no cache: that of all others."""
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
    # It ends with its input.
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    """Forks for every line of the input, and answers with the exit status."""
    for name in _IMPORTED:
        importlib.import_module(name)
    # Nobody need look through all that was imported, to free it at the end.
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
    """After a time, unless it has ended by then. It stays to be waited for."""
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
    """Optimises one program all the same: faces would be drawn in five seconds, not in half a one."""
    import jax

    from mlr_jax.datasets import synthetic

    synthetic._photograph = jax.jit(
        synthetic._photograph.__wrapped__,
        static_argnames=("num_batches", "image_size"),
        compiler_options={"xla_backend_optimization_level": 3},
    )


if __name__ == "__main__":
    _serve()
