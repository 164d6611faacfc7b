"""Training from a disk, each time in a process of its own: how fast it is, and how much memory it holds."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as imageio
import numpy as np

from mlr_jax import checks

_NUM_DIFFERENT = 250


class Stream(NamedTuple):
    """What one training took: seconds of the sums with compilation, and all memory of the process."""

    name: str
    num_pairs: int
    seconds: float
    peak_bytes: int


def measure(*, fast: bool) -> Iterator[Stream]:
    """Trains on folders of PNGs: few and many small grey pictures, and some large ones in colour.

    Only some of the pictures differ; the others are further names of the same files.
    """
    cases = [(8, 24, 1), (40, 24, 1)] if fast else [(1000, 128, 1), (20_000, 128, 1), (82, 1024, 3)]
    for num, size, channels in cases:
        with tempfile.TemporaryDirectory() as folder:
            _write_pairs(Path(folder), num, size, channels)
            yield _train(Path(folder), num, size, channels)


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


def _train(folder: Path, num: int, size: int, channels: int) -> Stream:
    output_dir = folder / "run"
    options = {
        "dataset": "folder",
        "data_dir": folder,
        "image_size": size,
        "channels": channels,
        "output_dir": output_dir,
    }
    command = [sys.executable, "-m", "experiments.train", *(f"--{k}={v}" for k, v in options.items())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise checks.InputError(f"experiments.train failed: {done.stderr.strip()}")
    figures = json.loads((output_dir / "train.json").read_text())
    colours = f" x {channels}" if channels > 1 else ""
    name = f"stream {num:,} pairs of {size} x {size}{colours}, r=3"
    return Stream(name, num, figures["sum_seconds"], figures["peak_bytes"])
