"""Finished results on disk, from which a stopped run resumes.

The key of a result has all that it depends on, pictures, code and device included: a stopped run resumes, one
that asks for more computes only that, and no outdated result is used.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mlr_jax
from mlr_jax import array_file, checks
from mlr_jax.array_file import ArrayFile
from mlr_jax.datasets.pairs import Pairs

_KIND = "finished piece of an experiment"
_VERSION = 2

_EXPERIMENTS = Path(__file__).parents[1]
# The code of experiments that determines results. Scripts add the code of their own computations to `what`.
_CODE = (
    "comparing/cross_validation.py",
    "comparing/folds.py",
    "comparing/methods/*.py",
    "comparing/trials.py",
    "pictures/splits.py",
    "running/memory.py",
    "running/result_cache.py",
    "running/timing.py",
)


def load_or_compute(
    folder: Path,
    name: str,
    what: Mapping[str, Any],
    pairs: Sequence[Pairs],
    compute: Callable[[], ArrayFile],
) -> ArrayFile:
    """Returns the stored result, or computes and stores it.

    Args:
      folder: of finished results; made if needed.
      name: of the result, with which its file name begins.
      what: it depends on, besides `pairs`, the library and the device; as JSON can hold it.
      pairs: that it depends on.
      compute: makes it.

    Raises:
      All that `compute` raises; then nothing is stored.
    """
    path = folder / f"{name}-{_digest(name, what, pairs)}.npz"
    try:
        return array_file.load(path, _KIND, _VERSION)
    except checks.InputError:  # There is none, or a damaged one, which is replaced.
        pass
    arrays, header = compute()
    folder.mkdir(parents=True, exist_ok=True)
    array_file.save(path, _KIND, _VERSION, arrays, header)
    return ArrayFile({key: np.asarray(array) for key, array in arrays.items()}, header)


def _digest(name: str, what: Mapping[str, Any], pairs: Sequence[Pairs]) -> str:
    device = jax.devices()[0]
    context = {
        "device": [device.platform, device.device_kind],
        "dtype": jnp.zeros(()).dtype.name,
        "jax": jax.__version__,
        "code": _code(),
    }
    digest = hashlib.sha256(json.dumps([name, what, context], sort_keys=True).encode())
    for each in pairs:
        digest.update(json.dumps([each.neutral.shape, each.subjects]).encode())
        for pictures in each[:2]:
            digest.update(np.ascontiguousarray(pictures).tobytes())
    return digest.hexdigest()[:24]


@cache
def code_of_gans() -> str:
    """A digest of the code on which only results of GANs depend."""
    return _digest_files((_EXPERIMENTS / "gans").glob("*.py"))


@cache
def _code() -> str:
    own = [path for pattern in _CODE for path in _EXPERIMENTS.glob(pattern)]
    return _digest_files([*own, *Path(str(mlr_jax.__file__)).parent.rglob("*.py")])


def _digest_files(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()
