r"""How fast are fit and prediction, beside other ways to do the same, and beside the machine's limit?

    python -m experiments.benchmark
    python -m experiments.benchmark --fast

Pictures are smooth noise, grey, float32. Each case is timed warm, on a synchronised device: the median of
--num_runs runs with the fastest and the slowest. Peers that would take minutes are timed on a sample of
pixels and scaled, which the table says. The error is that of the weights (or of the predictions), the
largest over a sample of pixels of the norm of the difference from the float64 solution over its norm.

The floor of a fit is the time to read its pictures once at the speed of a measured copy (bytes read and
written), and to do the operations that cannot be avoided (one multiplication for each lag image, pixel and
example, and K^3 / 6 a pixel for its system of K unknowns) at the speed of a measured matrix product; that of
a prediction the time to read pictures and weights and to write the result.

Writes benchmark.json, benchmark.csv, benchmark.png and config.json into --output_dir.
"""

import io
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib.figure import Figure
from scipy import sparse
from sklearn.linear_model import Ridge

from experiments import run_folder, script, timing
from mlr_jax import masks, synthesis, window_statistics

HEADER = (
    "case",
    "way",
    "seconds",
    "fastest",
    "slowest",
    "compile_seconds",
    "scaled_from",
    "error",
    "times_as_fast",
    "over_floor",
)
_PENALTY = 0.4

_NUM_RUNS = flags.DEFINE_integer("num_runs", 5, "Timed runs, after one that warms up.", lower_bound=1)
_FAST = flags.DEFINE_bool("fast", False, "Small pictures and one run each: to see that everything works.")
_NUM_SAMPLED = flags.DEFINE_integer(
    "num_sampled", 256, "Pixels on which slow peers are timed and errors are measured.", lower_bound=1
)
flags.adopt_module_key_flags(run_folder)


class Case(NamedTuple):
    """Something to measure: `num` pairs of `size` x `size`, a window of `side` x `side`."""

    name: str
    size: int
    num: int
    side: int
    peers: tuple[str, ...] = ()


def cases(fast: bool) -> list[Case]:
    """The cases of the fits."""
    every = ("numpy_loop", "scikit_learn", "plain_jax")
    if fast:
        return [Case("fit 24, N=40, r=3", 24, 40, 3, every), Case("fit 24, N=10, r=5", 24, 10, 5, every)]
    return [
        Case("fit 128, N=200, r=3", 128, 200, 3, every),
        Case("fit 128, N=200, r=7", 128, 200, 7, ("plain_jax",)),
        Case("fit 128, N=82, r=11", 128, 82, 11),
        Case("fit 128, N=82, r=15", 128, 82, 15, ("numpy_loop",)),
        Case("fit 128, N=82, r=31", 128, 82, 31),
        Case("fit 128, N=82, r=3", 128, 82, 3),
        Case("fit 512, N=82, r=3", 512, 82, 3),
    ]


def benchmark() -> None:
    """The experiment: measures, prints and writes."""
    output_dir = run_folder.chosen("benchmark")
    outputs = ("benchmark.json", "benchmark.csv", "benchmark.png")
    traffic_rate, product_rate = _traffic_rate(), _product_rate()
    machine = {"bytes_per_second": traffic_rate, "multiplications_per_second": product_rate}
    configuration = run_folder.describe_run({}, machine)
    run_folder.start(output_dir, configuration, outputs=outputs)
    print(
        f"memory {traffic_rate / 1e9:.1f} GB/s, matrix product {product_rate / 1e9:.1f} G multiplications/s\n"
    )
    rows: list[dict[str, Any]] = []
    measures: list[Callable[[], list[dict[str, Any]]]] = [
        partial(_measure_fit, case, traffic_rate, product_rate) for case in cases(_FAST.value)
    ]
    measures += [partial(_measure_prediction, traffic_rate), _measure_selection]
    for measure in measures:
        for row in measure():
            rows.append(row)
            print(_line(row), flush=True)
            # After every measurement, so that an interruption loses none that is finished.
            run_folder.write_csv(output_dir / "benchmark.csv", HEADER, rows)
            document = json.dumps(configuration | {"results": rows}, indent=2, default=str) + "\n"
            run_folder.write_bytes(output_dir / "benchmark.json", document.encode())
    run_folder.write_bytes(output_dir / "benchmark.png", _draw(rows))
    print(f"\nTable, figure and configuration: {output_dir}")


def _pictures(num: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth noise in [0, 1], and what a wide window of it predicts well: `(num, size, size)` float32."""
    rng = np.random.default_rng(0)
    inputs = rng.random((num, size, size))
    for axis in (1, 2):
        inputs = (inputs + np.roll(inputs, 1, axis) + np.roll(inputs, -1, axis)) / 3
    targets = 0.6 * inputs + 0.3 * np.roll(inputs, 2, 2) + 0.1 * rng.random(inputs.shape)
    return inputs.astype(np.float32), targets.astype(np.float32)


def _sampled(mask: masks.Mask) -> np.ndarray:
    num_pixels = len(mask.indices)
    return np.linspace(0, num_pixels - 1, min(_NUM_SAMPLED.value, num_pixels)).astype(int)


def _measure_fit(case: Case, traffic_rate: float, product_rate: float) -> list[dict[str, Any]]:
    inputs, targets = _pictures(case.num, case.size)
    window = masks.square(case.side)
    mask = masks.offset_window(case.size, case.size, window.offsets)
    sample = _sampled(mask)
    exact = _loop(_solve_numpy, inputs.astype(np.float64), targets.astype(np.float64), mask, sample)

    fit = partial(synthesis.fit, window=window, penalty=_PENALTY)
    model, timed = _timed(fit, jnp.asarray(inputs)[..., None], jnp.asarray(targets)[..., None])
    weights = np.asarray(model.weights).reshape(-1, case.size**2).T[sample]
    num_lags = len({(b[0] - a[0], b[1] - a[1]) for a in window.offsets for b in window.offsets}) // 2 + 1
    size = min(len(window.offsets), case.num)
    sums = num_lags + len(window.offsets) if size == len(window.offsets) else size**2 / case.num
    operations = case.size**2 * (sums * case.num + size**3 / 6)
    floor = 2 * inputs.nbytes / traffic_rate + operations / product_rate
    rows = [_row(case.name, "mlr_jax", timed, error=_error(weights, exact), floor=floor)]
    for peer in case.peers:
        if peer == "plain_jax":
            flat = (jnp.asarray(each.reshape(case.num, -1)) for each in (inputs, targets))
            solution, timed = _timed(partial(_plain_jax, mask), *flat)
            found, scale = np.asarray(solution)[sample], 1.0
        else:
            solve = {"numpy_loop": _solve_numpy, "scikit_learn": _solve_scikit_learn}[peer]
            found, timed = _timed_plainly(_loop, solve, inputs, targets, mask, sample)
            scale = case.size**2 / len(sample)
        timed = timed._replace(seconds=[second * scale for second in timed.seconds])
        scaled_from = "" if peer == "plain_jax" else f"{len(sample)} pixels"
        row = _row(case.name, peer, timed, error=_error(found, exact), floor=floor, scaled_from=scaled_from)
        rows.append(row | {"times_as_fast": row["seconds"] / rows[0]["seconds"]})
    return rows


def _loop(
    solve: Callable[[np.ndarray, np.ndarray], np.ndarray],
    inputs: np.ndarray,
    targets: np.ndarray,
    mask: masks.Mask,
    pixels: np.ndarray,
) -> np.ndarray:
    """A plain loop over pixels: weights `(pixels, entries)`, each solved from (design, target)."""
    inputs, targets = (each.reshape(len(each), -1) for each in (inputs, targets))
    weights = np.zeros((len(pixels), mask.indices.shape[1]), inputs.dtype)
    ones = np.ones((len(inputs), 1), inputs.dtype)
    for row, pixel in enumerate(pixels):
        valid = mask.valid[pixel]
        design = np.concatenate([inputs[:, mask.indices[pixel][valid]], ones], axis=1)
        weights[row, valid] = solve(design, targets[:, pixel])[:-1]
    return weights


def _solve_numpy(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    ridge = np.asarray(_PENALTY, design.dtype) * np.eye(design.shape[1], dtype=design.dtype)
    return np.linalg.solve(design.T @ design + ridge, design.T @ target)


def _solve_scikit_learn(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    return Ridge(alpha=_PENALTY, fit_intercept=False).fit(design, target).coef_


def _plain_jax(mask: masks.Mask, inputs: jax.Array, targets: jax.Array) -> jax.Array:
    """What one would write first: gather, einsum, Cholesky, vmapped over pixels."""

    def solve(indices: jax.Array, valid: jax.Array, target: jax.Array) -> jax.Array:
        seen = jnp.where(valid[None], inputs[:, indices], 0)
        design = jnp.concatenate([seen, jnp.ones((len(inputs), 1), inputs.dtype)], axis=1)
        gram = jnp.einsum("nk,nl->kl", design, design, precision="highest")
        gram += _PENALTY * jnp.eye(len(gram), dtype=gram.dtype)
        right = jnp.einsum("nk,n->k", design, target, precision="highest")
        return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(gram), True), right)[:-1]

    return jax.vmap(solve)(jnp.asarray(mask.indices), jnp.asarray(mask.valid), targets.T)


def _measure_prediction(traffic_rate: float) -> list[dict[str, Any]]:
    size, num = (24, 10) if _FAST.value else (128, 100)
    inputs, targets = _pictures(num, size)
    window = masks.square(3)
    model = synthesis.fit(inputs[..., None], targets[..., None], window=window, penalty=_PENALTY)
    result, timed = _timed(synthesis.synthesize, model, jnp.asarray(inputs)[..., None])

    mask = masks.offset_window(size, size, window.offsets)
    rows = np.repeat(np.arange(size**2), len(window.offsets)).reshape(mask.indices.shape)
    weights = np.asarray(model.weights).reshape(-1, size**2).T
    matrix = sparse.csr_matrix(
        (weights[mask.valid], (rows[mask.valid], mask.indices[mask.valid])), shape=(size**2, size**2)
    )
    bias = np.asarray(model.bias).reshape(-1, 1)
    flat = inputs.reshape(num, -1)
    # The examples last, as a sparse product wants them; or the pictures as they come.
    columns = np.ascontiguousarray(flat.T)
    exact = (matrix.astype(np.float64) @ columns.astype(np.float64) + bias).T
    floor = (2 * inputs.nbytes + weights.nbytes) / traffic_rate
    name = f"predict {num} of {size}, r=3"
    found = np.asarray(result).reshape(num, -1)
    table = [_row(name, "mlr_jax", timed, error=_error(found, exact), floor=floor)]
    ways: dict[str, Callable[[], np.ndarray]] = {
        "scipy_csr": lambda: np.ascontiguousarray((matrix @ flat.T + bias).T),
        "scipy_csr_transposed": lambda: (matrix @ columns + bias).T,
    }
    for way, function in ways.items():
        products, timed = _timed_plainly(function)
        row = _row(name, way, timed, error=_error(products, exact), floor=floor)
        table.append(row | {"times_as_fast": row["seconds"] / table[0]["seconds"]})
    return table


def _measure_selection() -> list[dict[str, Any]]:
    """All fits of a cross-validation over windows and penalties, from the folds' statistics."""
    size, num, sides = (24, 40, (1, 3, 5)) if _FAST.value else (128, 200, (1, 3, 5, 7))
    inputs, targets = (jnp.asarray(each)[..., None] for each in _pictures(num, size))
    window = masks.square(max(sides))
    penalties = jnp.geomspace(0.1, 12.8, 10)

    def select(inputs: jax.Array, targets: jax.Array) -> list[jax.Array]:
        empty = window_statistics.init(window, size, size)
        folds = [window_statistics.update(empty, inputs[k::5], targets[k::5]) for k in range(5)]
        whole = folds[0]
        for fold in folds[1:]:
            whole = window_statistics.merge(whole, fold)
        means = []
        for fold in folds:
            rest = window_statistics.subtract(whole, fold)
            for side in sides:
                solve = partial(window_statistics.solve, rest, masks.square(side))
                means.append(jax.lax.map(lambda penalty, solve=solve: solve(penalty).bias.mean(), penalties))
        return means

    _, timed = _timed(select, inputs, targets)
    fit = partial(synthesis.fit, window=window, penalty=_PENALTY)
    _, once = _timed(fit, inputs, targets)
    name = f"{len(sides)} windows x 10 penalties x 5 folds"
    first = _row(name, "mlr_jax", timed)
    second = _row(name, f"one fit, r={max(sides)}", once)
    return [first, second | {"times_as_fast": second["seconds"] / first["seconds"]}]


class _Timed(NamedTuple):
    seconds: list[float]
    compile_seconds: float


def _timed(function: Callable[..., Any], *args: Any) -> tuple[Any, _Timed]:
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    compile_seconds = time.perf_counter() - start
    result, timed = _timed_plainly(compiled, *args)
    return result, timed._replace(compile_seconds=compile_seconds)


def _timed_plainly(function: Callable[..., Any], *args: Any) -> tuple[Any, _Timed]:
    result, seconds = timing.repeat(function, *args, num_runs=1 if _FAST.value else _NUM_RUNS.value)
    return result, _Timed(seconds, 0.0)


def _row(
    case: str,
    way: str,
    timed: _Timed,
    *,
    error: float | str = "",
    floor: float | None = None,
    scaled_from: str = "",
) -> dict[str, Any]:
    seconds = float(np.median(timed.seconds))
    return {
        "case": case,
        "way": way,
        "seconds": seconds,
        "fastest": min(timed.seconds),
        "slowest": max(timed.seconds),
        "compile_seconds": timed.compile_seconds,
        "scaled_from": scaled_from,
        "error": error,
        "times_as_fast": "",
        "over_floor": "" if floor is None else seconds / floor,
    }


def _error(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest relative error of a row."""
    difference = np.linalg.norm(found - exact, axis=1)
    return float((difference / np.maximum(np.linalg.norm(exact, axis=1), np.finfo(np.float32).tiny)).max())


def _traffic_rate() -> float:
    """Bytes read and written a second by a copy that no cache holds."""
    array = jnp.ones((2**20 if _FAST.value else 2**26,), jnp.float32)
    _, timed = _timed(lambda x: x + 1, array)
    return 2 * array.nbytes / min(timed.seconds)


def _product_rate() -> float:
    """Multiplications a second of a float32 matrix product."""
    size = 256 if _FAST.value else 2048
    matrix = jnp.ones((size, size), jnp.float32)
    _, timed = _timed(partial(jnp.matmul, precision="highest"), matrix, matrix)
    return size**3 / min(timed.seconds)


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['case']:36}  {row['way']:20}  {1e3 * row['seconds']:9.1f} ms"]
    parts.append(f"({1e3 * row['fastest']:.1f} to {1e3 * row['slowest']:.1f})")
    if row["times_as_fast"] != "":
        parts.append(f"{row['times_as_fast']:.3g} times mlr_jax's")
    if row["over_floor"] != "":
        parts.append(f"{row['over_floor']:.1f} x floor")
    if row["error"] != "":
        parts.append(f"error {row['error']:.0e}")
    if row["scaled_from"]:
        parts.append(f"scaled from {row['scaled_from']}")
    if row["compile_seconds"]:
        parts.append(f"compiled in {row['compile_seconds']:.1f} s")
    return "  ".join(parts)


def _draw(rows: list[dict[str, Any]]) -> bytes:
    """Seconds of every way, case by case, on a logarithmic axis."""
    figure = Figure(figsize=(8, 0.3 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    labels = [f"{row['case']}: {row['way']}" for row in rows]
    colours = ["tab:blue" if row["way"] == "mlr_jax" else "tab:grey" for row in rows]
    axes.barh(range(len(rows)), [row["seconds"] for row in rows], color=colours)
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("seconds")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()


if __name__ == "__main__":
    script.run(benchmark)
