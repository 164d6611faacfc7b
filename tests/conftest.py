import contextlib
import ctypes
import gc
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest

from mlr_jax import checks
from mlr_jax._window_regression import accumulation

# The tests spend most of their time compiling. One thread, fewer optimisations and, where there is a choice,
# the older emitters of fused loops make that faster; results differ by rounding. XLA_FLAGS="" selects the
# compiler's defaults. Flags that it does not know end the program.
_FLAGS = ["--xla_cpu_parallel_codegen_split_count=1", "--xla_backend_optimization_level=1"]
if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))

# Silent rank promotion is a bug. Set before any array is made.
jax.config.update("jax_numpy_rank_promotion", "raise")
# So is a NaN, except where a test allows it with `jax.debug_nans(False)`. Scripts run with users' settings.
jax.config.update("jax_debug_nans", True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="try many more examples and kills")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        # The scripts of all workers share a compilation cache, which starts empty. Set the variable to keep
        # the cache between runs.
        folder = tempfile.TemporaryDirectory(prefix="compiled", ignore_cleanup_errors=True)
        os.environ.setdefault("MLR_JAX_COMPILATION_CACHE", folder.name)
        config.add_cleanup(folder.cleanup)
    is_thorough = config.getoption("--thorough")
    hypothesis.settings.register_profile(
        "mlr_jax",
        max_examples=2000 if is_thorough else 60,
        derandomize=not is_thorough,
        deadline=None,
        database=None,
    )
    hypothesis.settings.load_profile("mlr_jax")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most long tests start first, so that no worker waits for another at the end."""
    num_long = Counter(item.path for item in items if item.get_closest_marker("long"))
    items.sort(key=lambda item: -num_long[item.path])


# Beyond these sizes a worker drops its compiled programs, a megabyte or more each: after a file, and within a
# file, whose tests share more programs.
_MOST_BYTES_AFTER_A_FILE = 2**30
_MOST_BYTES_AFTER_A_TEST = 2**31


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    is_last = nextitem is None or nextitem.path != item.path
    if _resident_bytes() > (_MOST_BYTES_AFTER_A_FILE if is_last else _MOST_BYTES_AFTER_A_TEST):
        jax.clear_caches()
        gc.collect()
        # The C library keeps freed memory; not every C library has a function to return it.
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    """The resident memory of this process; 0 on systems other than Linux, which do not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
    except (OSError, StopIteration):
        return 0


@pytest.fixture(scope="module")
def small_blocks() -> Iterator[None]:
    """Statistics use blocks of a few pairs, which compile sooner; most tests then need several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accumulation, "_BLOCK", 4)
        jax.clear_caches()
        yield
    jax.clear_caches()


def _without_optimizations() -> Iterator[None]:
    """Programs take half the time to compile, and longer to run."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


unoptimized = pytest.fixture(_without_optimizations)
# For files that compile much and compute little; the tests of the mathematics run optimised.
unoptimized_file = pytest.fixture(_without_optimizations, scope="module")


@pytest.fixture
def x64(unoptimized) -> Iterator[None]:
    """Float64 tests a formula; optimised float32 tests what users get."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def any_levels() -> Iterator[None]:
    """For files that test the mathematics, whose numbers need not be pictures in [0, 1]."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "LEAST_LEVEL", -np.inf)
        patch.setattr(checks, "MOST_LEVEL", np.inf)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def london_dir() -> Path:
    if not os.environ.get("MLR_JAX_DATA"):
        pytest.skip("MLR_JAX_DATA is not set: the pictures of real people are not there")
    return Path(os.environ["MLR_JAX_DATA"]) / "london"
