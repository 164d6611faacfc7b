r"""How fast are fit and prediction, beside other ways to do the same, and beside the machine's limit?

    python -m experiments.benchmark
    python -m experiments.benchmark --parts=fit,predict
    python -m experiments.benchmark --fast

Pictures are smooth noise, grey unless it says otherwise, float32. Each case is timed warm, on a synchronised
device: the median of --num_runs runs with the fastest and the slowest. Peers that would take minutes are
timed on a sample of pixels and scaled, as the table says. The error is that of the weights (or of the
predictions): the norm of the difference from the float64 solution over its norm, the largest over a sample of
pixels. Memory is that of a compiled computation beyond its arguments, results included; the peak of NumPy's
allocations; or, for training from a disk, the peak of the process.

The floor of a fit is the time to read its pictures once at the rate of a measured copy (bytes read and
written), and to do the least operations (one multiplication for each lag image, pixel and example, and K^3 /
6 a pixel for its system of K unknowns) at the rate of a measured matrix product; that of a prediction is the
time to read pictures and weights and to write the result.

The parts: "fit" and "predict" beside their peers; "select", a cross-validation of 40 candidates over 5 folds;
"solver", all solvers of synthesis.fit; "stream", training from a disk (experiments/train.py) in a new
process; "first", first calls, each in a new process without compiled programs, from its start to the result,
beside peers and the project at --baseline_commit (benchmarking/first_calls.py): seconds, CPU seconds,
compiled programs, the compiler's seconds, and those of a second call.

Writes benchmark.json, benchmark.csv, benchmark.md (the table), benchmark.png and config.json into
--output_dir.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.benchmarking import first_calls, fit_cases, measuring, peers, streaming_benchmark, tables
from experiments.benchmarking.fit_cases import FitCase
from experiments.benchmarking.measuring import Machine, Timed
from experiments.running import flag_values, run_folder, script, timing
from mlr_jax import masks, model_selection, synthesis, window_statistics, windows

_PENALTY = 0.4
# Numbers of pairs, and windows around those with as many inputs.
_CROSSOVER = ((20, (3, 5, 7)), (82, (5, 7, 9, 11, 13)), (200, (9, 11, 13, 15, 19)))

_NUM_RUNS = flags.DEFINE_integer("num_runs", 5, "Timed runs, after one that warms up.", lower_bound=1)
_FAST = flags.DEFINE_bool("fast", False, "Small pictures and one run each: to see that everything works.")
_NUM_SAMPLED = flags.DEFINE_integer(
    "num_sampled", 256, "Pixels on which slow peers are timed and errors are measured.", lower_bound=1
)
_PARTS = flags.DEFINE_list(
    "parts", ["fit", "predict", "select", "solver", "stream", "first"], "What to measure."
)
_FIRST_CALLS = flags.DEFINE_list("first_calls", list(first_calls.CALLS), "Of the part 'first': which.")
_BASELINE = flags.DEFINE_string(
    "baseline_commit",
    "24081ac",
    "Of the part 'first': the state of the project to compare with; '' for none.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", 3, "Of the part 'first': new processes of each way.", lower_bound=1
)
flags.adopt_module_key_flags(run_folder)


Row = dict[str, Any]


def benchmark() -> None:
    """The experiment: measures, prints and writes."""
    parts: dict[str, Callable[[Machine], Iterator[Row]]] = {
        "fit": _fits,
        "predict": _predictions,
        "select": _selection,
        "solver": _solvers,
        "stream": _streams,
        "first": _first_calls,
    }
    flag_values.check_names("parts", _PARTS.value, parts, what="part")
    output_dir = run_folder.chosen("benchmark")
    machine = measuring.machine(fast=_FAST.value, num_runs=_num_runs())
    configuration = run_folder.describe_run({}, machine._asdict())
    outputs = ("benchmark.json", "benchmark.csv", "benchmark.md", "benchmark.png")
    run_folder.start(output_dir, configuration, outputs=outputs)
    print(
        f"memory {machine.bytes_per_second / 1e9:.1f} GB/s, matrix product "
        f"{machine.multiplications_per_second / 1e9:.0f} G multiplications/s\n"
    )
    rows: list[Row] = []
    for name in _PARTS.value:
        for row in parts[name](machine):
            rows.append(row)
            print(tables.line(row), flush=True)
            # After every measurement: an interruption loses no finished one.
            run_folder.write_csv(output_dir / "benchmark.csv", tables.HEADER, rows)
            document = json.dumps(configuration | {"results": rows}, indent=2, default=str) + "\n"
            run_folder.write_bytes(output_dir / "benchmark.json", document.encode())
            run_folder.write_bytes(output_dir / "benchmark.md", tables.as_markdown(rows).encode())
    run_folder.write_bytes(output_dir / "benchmark.png", tables.draw(rows))
    print(f"\nTables, figure and configuration: {output_dir}")


def _sampled(mask: masks.Mask) -> np.ndarray:
    num_pixels = len(mask.indices)
    return np.linspace(0, num_pixels - 1, min(_NUM_SAMPLED.value, num_pixels)).astype(int)


def _fits(machine: Machine) -> Iterator[Row]:
    for case in fit_cases.all_cases(_FAST.value):
        yield from _fit(case, machine)


def _fit(case: FitCase, machine: Machine) -> Iterator[Row]:
    inputs, targets = peers.smooth_pairs(case.num, case.size, case.channels)
    window = windows.square(case.side)
    mask = masks.offset_mask(case.size, case.size, window.offsets)
    sample = _sampled(mask)
    grey = inputs[..., 0], targets[..., 0]
    double = grey[0].astype(np.float64), grey[1].astype(np.float64)
    exact = peers.loop(peers.solve_numpy, *double, mask, sample, _PENALTY)
    fit = partial(synthesis.fit, window=window, penalty=_PENALTY)
    model, timed = measuring.compiled(fit, jnp.asarray(inputs), jnp.asarray(targets), num_runs=_num_runs())
    weights = np.asarray(model.weights)[0, :, 0].reshape(-1, case.size**2).T[sample]
    floor = fit_cases.floor(case, window, machine)
    first = _row(str(case), "mlr_jax", timed, error=peers.relative_error(weights, exact), floor=floor)
    yield first
    for peer in case.peers:
        if peer == "plain_jax":
            flat = (jnp.asarray(each.reshape(case.num, -1)) for each in grey)
            solution, timed = measuring.compiled(
                partial(peers.plain_jax, mask, _PENALTY), *flat, num_runs=_num_runs()
            )
            found, scale = np.asarray(solution)[sample], 1.0
        else:
            solve = {"numpy_loop": peers.solve_numpy, "scikit_learn": peers.solve_scikit_learn}[peer]
            found, timed = measuring.plain(
                peers.loop, solve, *grey, mask, sample, _PENALTY, num_runs=_num_runs()
            )
            scale = case.size**2 / len(sample)
        timed = timed._replace(seconds=[second * scale for second in timed.seconds])
        scaled_from = "" if peer == "plain_jax" else f"{len(sample)} pixels"
        row = _row(
            str(case),
            peer,
            timed,
            error=peers.relative_error(found, exact),
            floor=floor,
            scaled_from=scaled_from,
        )
        yield row | {"times_as_long": row["seconds"] / first["seconds"]}


def _predictions(machine: Machine) -> Iterator[Row]:
    size, num = (24, 10) if _FAST.value else (128, 100)
    inputs, targets = peers.smooth_pairs(num, size)
    window = windows.square(3)
    model = synthesis.fit(inputs, targets, window=window, penalty=_PENALTY)
    result, timed = measuring.compiled(synthesis.synthesize, model, jnp.asarray(inputs), num_runs=_num_runs())

    mask = masks.offset_mask(size, size, window.offsets)
    weights = np.asarray(model.weights).reshape(-1, size**2).T
    matrix = peers.sparse_matrix(weights, mask, size**2)
    bias = np.asarray(model.bias).reshape(-1, 1)
    flat = inputs.reshape(num, -1)
    # The examples last, as a sparse product needs them.
    columns = np.ascontiguousarray(flat.T)
    exact = (matrix.astype(np.float64) @ columns.astype(np.float64) + bias).T
    floor = (2 * inputs.nbytes + weights.nbytes) / machine.bytes_per_second
    name = f"predict {num} of {size} x {size}, r=3"
    found = np.asarray(result).reshape(num, -1)
    first = _row(name, "mlr_jax", timed, error=peers.relative_error(found, exact), floor=floor)
    yield first
    ways: dict[str, Callable[[], np.ndarray]] = {
        "scipy_csr": lambda: np.ascontiguousarray((matrix @ flat.T + bias).T),
        "scipy_csr_transposed": lambda: (matrix @ columns + bias).T,
    }
    for way, function in ways.items():
        products, timed = measuring.plain(function, num_runs=_num_runs())
        row = _row(name, way, timed, error=peers.relative_error(products, exact), floor=floor)
        yield row | {"times_as_long": row["seconds"] / first["seconds"]}


def _selection(machine: Machine) -> Iterator[Row]:
    """All fits of a cross-validation over windows and penalties, from the folds' statistics."""
    size, num, sides = (24, 40, (1, 3, 5)) if _FAST.value else (128, 200, (1, 3, 5, 7))
    inputs, targets = (jnp.asarray(each) for each in peers.smooth_pairs(num, size))
    window = windows.square(max(sides))
    penalties = jnp.geomspace(0.1, 12.8, 10)
    empty = window_statistics.init(window, size, size)

    @jax.jit
    def sum_up(inputs: jax.Array, targets: jax.Array) -> list[window_statistics.WindowStatistics]:
        return [window_statistics.update(empty, inputs[k::5], targets[k::5]) for k in range(5)]

    def select() -> jax.Array:
        """From the pictures to the choice."""
        scores = model_selection.cross_validate(sum_up(inputs, targets), sides, penalties)
        return jax.block_until_ready(model_selection.choose(scores).penalty)

    fit = partial(synthesis.fit, window=window, penalty=_PENALTY)
    _, timed = measuring.compiled(fit, inputs, targets, num_runs=_num_runs())
    name = f"{len(sides)} windows x 10 penalties x 5 folds"
    first = _row(name, f"one fit, r={max(sides)}", timed)
    yield first
    _, seconds = timing.repeat(select, num_runs=_num_runs())
    row = _row(name, "mlr_jax", Timed(seconds, 0.0, None))
    yield row | {"times_as_long": row["seconds"] / first["seconds"]}


def _solvers(machine: Machine) -> Iterator[Row]:
    """Where the dual overtakes the primal: every solver on the same problems."""
    size = 16 if _FAST.value else 64
    for num, sides in ((10, (3, 5)),) if _FAST.value else _CROSSOVER:
        inputs, targets = (jnp.asarray(each) for each in peers.smooth_pairs(num, size))
        for side in sides:
            seconds = {}
            name = f"solver {size} x {size}, N={num}, r={side}"
            chosen = synthesis.choose_solver(windows.square(side), num)
            for solver in ("primal", "dual", "gather"):
                fit = partial(synthesis.fit, window=side, penalty=_PENALTY, solver=solver)
                _, timed = measuring.compiled(fit, inputs, targets, num_runs=_num_runs())
                row = _row(name, f"{solver} (chosen)" if solver == chosen else solver, timed)
                seconds[solver] = row["seconds"]
                yield row | {"times_as_long": row["seconds"] / seconds["primal"]}


def _streams(machine: Machine) -> Iterator[Row]:
    for stream in streaming_benchmark.measure(num_runs=min(3, _num_runs()), fast=_FAST.value):
        row = _row(stream.name, "experiments.train", Timed(stream.seconds, 0.0, stream.peak_bytes))
        yield row | {"pairs_per_second": stream.num_pairs / row["seconds"]}


def _first_calls(machine: Machine) -> Iterator[Row]:
    measured = first_calls.measure(
        _FIRST_CALLS.value,
        commit=_BASELINE.value or None,
        num_processes=1 if _FAST.value else _NUM_PROCESSES.value,
        fast=_FAST.value,
    )
    ours: dict[str, float] = {}
    for call in measured:
        if call.note:
            yield dict.fromkeys(tables.HEADER, "") | {
                "case": call.case,
                "way": call.way,
                "note": call.note,
            }
            continue
        error = "" if call.error is None else call.error
        row = _row(
            call.case,
            call.way,
            Timed(list(call.seconds), call.compile_seconds, call.peak_bytes),
            error=error,
        )
        row |= {
            "cpu_seconds": call.cpu_seconds,
            "programs": call.programs,
            "warm_seconds": "" if call.warm_seconds is None else call.warm_seconds,
        }
        if call.way == first_calls.OURS:
            ours[call.case] = row["seconds"]
        elif call.case in ours:
            row["times_as_long"] = row["seconds"] / ours[call.case]
        yield row


def _num_runs() -> int:
    return 1 if _FAST.value else _NUM_RUNS.value


def _row(
    case: str,
    way: str,
    timed: Timed,
    *,
    error: float | str = "",
    floor: float | None = None,
    scaled_from: str = "",
) -> Row:
    seconds = float(np.median(timed.seconds))
    return {
        "case": case,
        "way": way,
        "seconds": seconds,
        "fastest": min(timed.seconds),
        "slowest": max(timed.seconds),
        "compile_seconds": timed.compile_seconds,
        "peak_megabytes": "" if timed.peak_bytes is None else timed.peak_bytes / 1e6,
        "scaled_from": scaled_from,
        "error": error,
        "times_as_long": "",
        "over_floor": "" if floor is None else seconds / floor,
        "pairs_per_second": "",
        "cpu_seconds": "",
        "programs": "",
        "warm_seconds": "",
        "note": "",
    }


if __name__ == "__main__":
    script.run(benchmark, is_compiling_measured=True)
