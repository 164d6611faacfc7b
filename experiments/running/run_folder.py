"""The folder that a run writes: its configuration, tables and figures, each replaced atomically."""

import contextlib
import csv
import datetime
import functools
import io
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from absl import flags
from filelock import FileLock, Timeout

import mlr_jax
from mlr_jax import atomic_file, checks

_PACKAGES = ("jax", "jaxlib", "numpy", "dm_pix", "imageio", "pillow", "matplotlib", "scipy", "scikit-learn")


# The folders that this program has made, each with its parents that it has made.
_made: list[tuple[Path, ...]] = []

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder to write to; by default the experiment's name under runs/."
)


def chosen(experiment: str, *, is_shared: bool = False) -> Path:
    """The folder that the flag names, made if need be; by default `runs/` and the experiment's name.

    The program locks it until it ends, so that a second run cannot mix its files with the first's.

    Args:
      experiment: its name.
      is_shared: whether another process of the same run has locked it.

    Raises:
      InputError: it cannot be made or written to, or another run is writing into it.
    """
    folder = create(_OUTPUT_DIR.value or f"runs/{experiment}")
    if not is_shared:
        _reserve(folder.resolve())
    return folder


@functools.cache
def _reserve(folder: Path) -> FileLock:
    """Locks the folder, once, until the program ends."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise checks.InputError(
            f"--output_dir: another run is writing into {folder}; wait until it ends, or give another folder"
        ) from error
    return lock


def create(path: str, *, flag: str = "output_dir") -> Path:
    """Makes the folder, unless it is there.

    Git ignores a folder that is made here, so that no pictures of people are committed by accident.

    Args:
      path: of the folder.
      flag: that named it, for the message.

    Raises:
      InputError: it cannot be made or written to.
    """
    folder = Path(path).expanduser()
    try:
        if not folder.exists():
            missing = [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            _made.append((folder, *missing[1:]))
            (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise checks.InputError(
            f"--{flag}: cannot make the folder {folder}: {error.strerror or error}"
        ) from error
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise checks.InputError(f"--{flag}: {folder} is not a folder that can be written to")
    return folder


def remove_empty() -> None:
    """Removes the folders that this program has made and written nothing into, after it failed."""
    for folder, *parents in _made:
        with contextlib.suppress(OSError):
            if {path.name for path in folder.iterdir()} <= {".gitignore", ".lock"}:
                for path in folder.iterdir():
                    path.unlink()
                for path in (folder, *parents):
                    path.rmdir()  # Fails if it holds anything else.


def start(folder: Path, configuration: Mapping[str, Any], *, outputs: Sequence[str]) -> None:
    """Replaces config.json, and removes an earlier run's `outputs`, so that all files belong together."""
    for name in outputs:
        (folder / name).unlink(missing_ok=True)
    write_json(folder / "config.json", configuration)


def describe_run(resolved: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """All that a run depends on: flags (as `resolved`, where that differs), versions, machine."""
    by_module = flags.FLAGS.flags_by_module_dict()
    modules = [name for name in by_module if name.startswith("experiments.") or name == sys.argv[0]]
    device = jax.devices()[0]
    return {
        "flags": {flag.name: flag.value for name in modules for flag in by_module[name]} | dict(resolved),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"mlr_jax": mlr_jax.__version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES},
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
        },
        **extra,
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON, with text for values that it cannot hold."""
    write_bytes(path, (json.dumps(content, indent=2, default=str) + "\n").encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a table, numbers with six significant digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    write_bytes(path, text.getvalue().encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file such that it is always the old one or the new one, never a part."""
    with atomic_file.replacing(path) as file:
        file.write(content)
