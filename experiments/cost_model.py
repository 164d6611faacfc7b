r"""What a fit costs on paper, as a function of pixels, pairs, window and devices.

    python -m experiments.benchmark
    python -m experiments.cost_model

A fit of N pairs of P output pixels (times channels) on a window of r x r, K = r^2:

    primal   sums          P N L multiplications,  L = ((2 r - 1)^2 + 1) / 2 + r^2 lag images
             elimination   P K^3 / 3
    dual     kernels       P 2 r N^2: one column of the window is added, another one removed
             elimination   P N^3 / 3
             weights       P K N
    both     bytes read    8 P N; for the primal once, and never held together
             bytes held    8 P (L + 2) by streamed sums; 4 P (K + 1) by the weights
    D devices, pairs split   each P N / D of the sums; 12 P (L + 2) bytes joined once (largest, high and low
                             parts), of which a ring sends 2 (D - 1) / D
    D devices, rows split    each P / D of everything; halos of 2 (r // 2) rows from each side are sent once

Every kind of work has one rate, found from three fits of the benchmark (--benchmark names its file). The
table compares predictions and measurements of all other fits. Then follows a case too large to measure here:
--num_pairs pairs of --height x --width in colour on --num_devices such machines, each of which sends
--network_bytes_per_second and decodes as many pixels a second as the benchmark's stream of large pictures.

Expected: predictions within a factor of 2 of measurements.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from experiments.reporting import markdown
from experiments.running import script
from mlr_jax import checks, synthesis, windows

_BENCHMARK = flags.DEFINE_string(
    "benchmark", "runs/benchmark/benchmark.json", "What experiments.benchmark wrote."
)
_HEIGHT = flags.DEFINE_integer("height", 2160, "Of the pictures that are too many.", lower_bound=1)
_WIDTH = flags.DEFINE_integer("width", 3840, "Of these pictures.", lower_bound=1)
_NUM_PAIRS = flags.DEFINE_integer("num_pairs", 1_000_000, "Of these pictures.", lower_bound=1)
_NUM_DEVICES = flags.DEFINE_integer("num_devices", 1000, "Machines like the measured one.", lower_bound=1)
_NETWORK = flags.DEFINE_float(
    "network_bytes_per_second", 1e9, "What a machine sends; an assumption.", lower_bound=1
)

_CHANNELS = 3
_SIDE = 3


class Fit(NamedTuple):
    """A fit: `num_outputs` pixels times channels, `num` pairs, a window of `side` x `side`."""

    num_outputs: int
    num: int
    side: int


class Work(NamedTuple):
    """Multiplications of each kind.

    Attributes:
      sums: of lag images.
      elimination: of all pixels' systems.
      kernels: of the dual, with its weights.
    """

    sums: float
    elimination: float
    kernels: float


def num_lag_images(side: int) -> int:
    """The number for a window of `side` x `side`, with those of the targets."""
    return ((2 * side - 1) ** 2 + 1) // 2 + side**2


def work(fit: Fit) -> Work:
    """The multiplications of a fit with the solver that `synthesis.fit` chooses."""
    num_outputs, num, side = fit
    if synthesis.choose_solver(windows.square(side), num) == "primal":
        return Work(num_outputs * num * num_lag_images(side), num_outputs * side**6 / 3, 0)
    return Work(0, num_outputs * num**3 / 3, num_outputs * (2 * side * num**2 + side**2 * num))


def calibrate(measured: Mapping[Fit, float]) -> Work:
    """Seconds for each kind of multiplication, from three fits that are dominated by one each."""
    size = 128**2
    small, large, dual = Fit(size, 200, 3), Fit(size, 200, 7), Fit(size, 82, 15)
    for fit in (small, large, dual):
        if fit not in measured:
            raise checks.InputError(f"the benchmark has no {fit}; run it with --parts=fit,stream")
    # The first two share both kinds of the primal: two equations.
    (a, b, _), (c, d, _) = work(small), work(large)
    determinant = a * d - b * c
    sums = (measured[small] * d - measured[large] * b) / determinant
    elimination = (measured[large] * a - measured[small] * c) / determinant
    rest = measured[dual] - work(dual).elimination * elimination
    return Work(sums, elimination, rest / work(dual).kernels)


def seconds(fit: Fit, rates: Work) -> float:
    """The predicted seconds of a fit."""
    return sum(amount * rate for amount, rate in zip(work(fit), rates, strict=True))


def predict() -> None:
    """The script: reads the benchmark, prints predictions beside measurements, and the large case."""
    path = Path(_BENCHMARK.value)
    try:
        rows = json.loads(path.read_text())["results"]
    except (OSError, ValueError, KeyError) as error:
        raise checks.InputError(
            f"--benchmark: cannot read {path}; run experiments.benchmark first"
        ) from error
    measured = dict(_fits(rows))
    rates = calibrate(measured)
    rates_text = ", ".join(f"{name} {1e-9 / rate:.1f}" for name, rate in rates._asdict().items())
    print(f"G multiplications a second: {rates_text}\n")
    rows_of_fits = []
    for fit, found in measured.items():
        expected = seconds(fit, rates)
        name = f"{fit.num_outputs:,} outputs, N={fit.num}, r={fit.side}"
        rows_of_fits.append((name, f"{1e3 * expected:.3g}", f"{1e3 * found:.3g}", f"{found / expected:.2f}"))
    header = ("fit", "predicted, ms", "measured, ms", "measured / predicted")
    print(markdown.table(header, rows_of_fits))
    for line in _large(rates, _pixels_decoded_a_second(rows)):
        print(line)


def _fits(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Fit, float]]:
    for row in rows:
        match = re.fullmatch(r"fit (\d+) x (\d+)(?: x (\d+))?, N=(\d+), r=(\d+)", row["case"])
        if match and row["way"] == "mlr_jax":
            height, width, channels, num, side = (int(each or 1) for each in match.groups())
            yield Fit(height * width * channels, num, side), row["seconds"]


def _pixels_decoded_a_second(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Pixels a second of the stream of large colour pictures, both of each pair."""
    for row in rows:
        match = re.fullmatch(r"stream [\d,]+ pairs of (\d+) x (\d+) x 3, .*", row["case"])
        if match:
            return 2 * int(match[1]) * int(match[2]) * row["pairs_per_second"]
    return None


def _large(rates: Work, pixels_a_second: float | None) -> Iterator[str]:
    """The predicted cost of training on very many large pictures."""
    size, num, devices = _HEIGHT.value * _WIDTH.value, _NUM_PAIRS.value, _NUM_DEVICES.value
    each = Fit(_CHANNELS * size, -(-num // devices), _SIDE)
    planes = each.num_outputs * (num_lag_images(_SIDE) + 2)
    yield f"{num:,} pairs of {_WIDTH.value} x {_HEIGHT.value} in colour, r={_SIDE}, on {devices:,} devices:"
    yield f"- sums: {work(each).sums:.2g} multiplications each, {work(each).sums * rates.sums:.0f} s"
    if pixels_a_second is not None:
        decoding = 2 * size * each.num / pixels_a_second
        yield f"- reading {each.num:,} pairs each, as fast as the stream: {decoding / 3600:.1f} h"
    sent = 2 * (devices - 1) / devices * 12 * planes
    yield (
        f"- joining: {12 * planes / 1e9:.1f} GB, each sends {sent / 1e9:.1f} GB: "
        f"{sent / _NETWORK.value:.0f} s at {_NETWORK.value / 1e9:g} GB/s"
    )
    systems = work(each).elimination / devices * rates.elimination
    yield f"- solving, the rows split: {1e3 * systems:.1f} ms"
    yield (
        f"- held: {8 * planes / 1e9:.1f} GB of sums on each device, or {8 * planes / devices / 1e6:.1f} MB "
        f"with the rows split instead; {4 * each.num_outputs * (_SIDE**2 + 1) / 1e9:.1f} GB of weights"
    )


if __name__ == "__main__":
    script.run(predict)
