"""Checkpoints: arrays on disk from which stopped work resumes, with the settings that made them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlr_jax import array_file, checks


class Format(NamedTuple):
    """The format of the checkpoints of one kind of work.

    Attributes:
      name: what a file holds, for messages.
      version: of the meaning of its contents.
      notes: names of further values in the header.
      remedy: what to do about an unsuitable file, for messages.
      descriptions: setting -> what a difference in it means, if its value means nothing to readers.
    """

    name: str
    version: int
    notes: tuple[str, ...]
    remedy: str
    descriptions: Mapping[str, str] = {}


class Checkpoint(NamedTuple):
    """The content of a file.

    Attributes:
      tree: the arrays, a pytree.
      notes: by their names, as JSON holds them.
    """

    tree: Any
    notes: dict[str, Any]


def save(
    path: Path, format: Format, settings: Mapping[str, Any], tree: Any, notes: Mapping[str, Any]
) -> None:
    """Replaces the file at once: a program that is killed leaves the old one or the new one.

    Args:
      path: of the file.
      format: of the work.
      settings: all that the arrays depend on, of what JSON can hold.
      tree: a pytree of arrays.
      notes: one for each name in `format.notes`, of what JSON can hold.
    """
    array_file.save(path, format.name, format.version, _by_name(tree), {"settings": dict(settings), **notes})


def load(path: Path, format: Format, settings: Mapping[str, Any], like: Any) -> Checkpoint | None:
    """Reads the arrays, to the bit.

    Args:
      path: of the file.
      format: of the work.
      settings: what the arrays must have been made with, of what JSON can hold.
      like: a pytree of arrays of the same shapes, or of shapes.

    Returns:
      The checkpoint, or None if there is no file.

    Raises:
      InputError: the file cannot be read, or was made with other settings; the message names them.
    """
    if not path.exists():
        return None
    try:
        arrays, header = array_file.load(path, format.name, format.version)
    except checks.InputError as error:
        raise checks.InputError(f"{error}; {format.remedy}") from error
    if set(header) != {"settings", *format.notes}:
        raise checks.InputError(f"{path} does not say what it was made with; {format.remedy}")
    differences = _differences(header["settings"], _as_json(settings), format.descriptions)
    if differences:
        raise checks.InputError(f"{path} was made with {', '.join(differences)}; {format.remedy}")
    expected = _by_name(like)
    if _shapes(arrays) != _shapes(expected):
        raise checks.InputError(f"{path} has other arrays than its settings ask for; {format.remedy}")
    leaves = [jnp.asarray(arrays[name]) for name in expected]
    tree = jax.tree.unflatten(jax.tree.structure(like), leaves)
    return Checkpoint(tree, {name: header[name] for name in format.notes})


def _by_name(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _shapes(arrays: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(settings)))


def _differences(
    then: Mapping[str, Any], now: Mapping[str, Any], descriptions: Mapping[str, str]
) -> list[str]:
    """The differences in words. Settings of one side only count if no common one differs."""
    changed = [name for name in now if name in then and then[name] != now[name]]
    return [
        descriptions.get(name, f"{name}={then.get(name)}, not {now.get(name)}")
        for name in changed or sorted(then.keys() ^ now.keys())
    ]
