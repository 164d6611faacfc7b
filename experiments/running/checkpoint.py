"""How far a training has come, on disk: sums over pairs, and what they are the sums of."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlr_jax import array_file, checks
from mlr_jax.synthesis import ExpressionStatistics

_KIND = "training's sums"
_VERSION = 3

# Settings that are digests say nothing to a reader.
_DIGESTS = {
    "files": "other pictures (by their paths, sizes and times of change)",
    "taken": "another choice of the pairs",
}


class Checkpoint(NamedTuple):
    """The sums over the first pairs of a data set.

    Attributes:
      num_pairs: how many, those that could not be read among them.
      statistics: the sums.
      left_out: why, for each pair that could not be read.
    """

    num_pairs: int
    statistics: ExpressionStatistics
    left_out: tuple[str, ...] = ()


def save(path: Path, settings: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Replaces the file at once: a program that is killed leaves the old one or the new one."""
    header = {
        "settings": dict(settings),
        "num_pairs": checkpoint.num_pairs,
        "left_out": list(checkpoint.left_out),
    }
    array_file.save(path, _KIND, _VERSION, _by_name(checkpoint.statistics), header)


def load(path: Path, settings: Mapping[str, Any], like: ExpressionStatistics) -> Checkpoint | None:
    """Reads the sums again, to the bit.

    Args:
      path: of the file.
      settings: what they must have been made with, of what JSON can hold.
      like: arrays of the same shapes, or their shapes.

    Returns:
      The sums, or None if there is no file.

    Raises:
      InputError: the file cannot be read, or was made with other settings; the message names them.
    """
    if not path.exists():
        return None
    remedy = "use another --output_dir, or --restart to begin anew"
    try:
        arrays, header = array_file.load(path, _KIND, _VERSION)
    except checks.InputError as error:
        raise checks.InputError(f"{error}; {remedy}") from error
    if set(header) != {"settings", "num_pairs", "left_out"}:
        raise checks.InputError(f"{path} does not say what it was made with; {remedy}")
    differences = _differences(header["settings"], _as_json(settings))
    if differences:
        raise checks.InputError(f"{path} was made with {', '.join(differences)}; {remedy}")
    expected = _by_name(like)
    if _shapes(arrays) != _shapes(expected):
        raise checks.InputError(f"{path} has other arrays than its settings ask for; {remedy}")
    leaves = [jnp.asarray(arrays[name]) for name in expected]
    statistics = jax.tree.unflatten(jax.tree.structure(like), leaves)
    return Checkpoint(header["num_pairs"], statistics, tuple(header["left_out"]))


def _by_name(statistics: ExpressionStatistics) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(statistics)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _shapes(arrays: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(settings)))


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words. Settings that another data set has not count only where nothing else differs."""
    changed = [name for name in now if name in then and then[name] != now[name]]
    return [
        _DIGESTS[name] if name in _DIGESTS else f"{name}={then.get(name)}, not {now.get(name)}"
        for name in changed or sorted(then.keys() ^ now.keys())
    ]
