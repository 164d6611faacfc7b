"""The fits that the benchmark measures, and the least time of each."""

from typing import NamedTuple

import numpy as np

from experiments.benchmarking.measuring import Machine
from mlr_jax import windows


class FitCase(NamedTuple):
    """A fit to measure: `num` pairs of `size` x `size`, a window of `side` x `side`."""

    size: int
    num: int
    side: int
    peers: tuple[str, ...] = ()
    channels: int = 1

    def __str__(self) -> str:
        colours = f" x {self.channels}" if self.channels > 1 else ""
        return f"fit {self.size} x {self.size}{colours}, N={self.num}, r={self.side}"


def all_cases(fast: bool) -> list[FitCase]:
    """The cases of the fits."""
    every = ("numpy_loop", "scikit_learn", "plain_jax")
    if fast:
        return [FitCase(24, 40, 3, every), FitCase(24, 10, 5, every)]
    return [
        FitCase(128, 200, 3, every),
        FitCase(128, 200, 7, ("plain_jax",)),
        FitCase(128, 82, 11),
        FitCase(128, 82, 15, ("numpy_loop",)),
        FitCase(128, 82, 31),
        FitCase(128, 82, 3),
        FitCase(512, 82, 3),
        FitCase(1024, 82, 3, channels=3),
    ]


def floor(case: FitCase, window: windows.Window, machine: Machine) -> float:
    """The least seconds of a fit on the machine."""
    num_inputs = len(window.offsets)
    lags = {(b[0] - a[0], b[1] - a[1]) for a in window.offsets for b in window.offsets}
    if num_inputs <= case.num:
        sums, size = len(lags) // 2 + 1 + num_inputs, num_inputs
    else:
        # The kernels of the dual: one multiplication for each two examples.
        sums, size = case.num, case.num
    num_outputs = case.size**2 * case.channels
    operations = num_outputs * (sums * case.num + size**3 / 6)
    num_bytes = 2 * case.num * num_outputs * np.dtype(np.float32).itemsize
    return num_bytes / machine.bytes_per_second + operations / machine.multiplications_per_second
