"""Training from a disk, each time in a new process: its speed and its memory."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imageio.v3 as imageio
import numpy as np

from mlr_jax import checks

_NUM_DIFFERENT = 250


class Stream(NamedTuple):
    """The measures of trainings on one folder.

    Attributes:
      name: of the case.
      num_pairs: trained on.
      seconds: of the sums with compilation, each time.
      peak_bytes: the most memory that the process held; the median.
    """

    name: str
    num_pairs: int
    seconds: list[float]
    peak_bytes: int


def measure(*, num_runs: int, fast: bool) -> Iterator[Stream]:
    """Trains on folders of PNGs: few and many small grey pictures, and some large ones in colour.

    Only some of the pictures differ; the others are further names of the same files.
    """
    cases = [(8, 24, 1), (40, 24, 1)] if fast else [(1000, 128, 1), (20_000, 128, 1), (82, 1024, 3)]
    for num, size, channels in cases:
        with tempfile.TemporaryDirectory() as folder:
            _write_pairs(Path(folder), num, size, channels)
            runs = [_train(Path(folder), size, channels) for _ in range(num_runs)]
        colours = f" x {channels}" if channels > 1 else ""
        yield Stream(
            f"stream {num:,} pairs of {size} x {size}{colours}, r=3",
            num,
            [run["sum_seconds"] for run in runs],
            int(statistics.median(run["peak_bytes"] for run in runs)),
        )


def _write_pairs(folder: Path, num: int, size: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    coarse = np.linspace(0, 1, size)
    for expression in ("neutral", "happy"):
        (folder / expression).mkdir()
        for n in range(num):
            path = folder / expression / f"{n:06}.png"
            if n < _NUM_DIFFERENT:
                # Smooth, with the noise of a camera.
                waves = np.sin(rng.uniform(2, 20) * coarse + rng.uniform(0, 6))
                picture = 128 + 60 * waves[:, None] * waves + rng.normal(0, 3, (size, size))
                shape = (size, size, channels)[: 2 + (channels > 1)]
                whole = np.broadcast_to(picture[..., None], (size, size, channels)).reshape(shape)
                imageio.imwrite(path, np.clip(whole, 0, 255).astype(np.uint8), compress_level=1)
            else:
                os.link(folder / expression / f"{n % _NUM_DIFFERENT:06}.png", path)


def _train(folder: Path, size: int, channels: int) -> dict[str, Any]:
    output_dir = folder / "run"
    options = {
        "dataset": "folder",
        "data_dir": folder,
        "image_size": size,
        "channels": channels,
        "output_dir": output_dir,
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "experiments.train", "--restart", *flags]
    # With an arena for each of its threads, glibc holds more or less memory by chance.
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise checks.InputError(f"experiments.train failed: {done.stderr.strip()}")
    return json.loads((output_dir / "train.json").read_text())
