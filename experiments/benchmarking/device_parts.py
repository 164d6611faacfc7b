"""The parts of `experiments.device_check`, each a separate process that writes a line for each result.

python -m experiments.benchmarking.device_parts PART TASK
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

_PENALTY = 0.4
_NUM_SAMPLED = 64
_NUM_RUNS = 5
# Products of 11 bits, as of a tensor core for float32, have errors above 1e-3.
_MOST_ERROR = 1e-4
_MOST_DIFFERENCE = 1e-5
_GAN_STEPS = 50

Row = dict[str, Any]


def main() -> None:
    """Does one part."""
    part, task = sys.argv[1], json.loads(sys.argv[2])
    deadline = time.monotonic() + task["seconds"]
    with open(task["found"], "a") as file:
        for row in PARTS[part](task["fast"], deadline, Path(task["folder"])):
            file.write(json.dumps(row) + "\n")
            file.flush()


def check(fast: bool, deadline: float, folder: Path) -> Iterator[Row]:
    """Checks results: the largest relative error of a pixel's weights, or of a picture."""
    del folder
    import jax
    import jax.numpy as jnp

    from experiments.benchmarking import peers
    from mlr_jax import masks, synthesis

    yield _describe()
    size = 16 if fast else 128
    cases: list[tuple[synthesis.Solver, int, int]] = [("primal", 3, 20), ("dual", 5, 10), ("gather", 3, 20)]
    if not fast:
        cases = [("primal", 3, 200), ("primal", 7, 200), ("dual", 15, 82), ("gather", 5, 82)]
    for solver, side, num in cases:
        if _is_over(deadline):
            return
        inputs, targets = peers.smooth_pairs(num, size)
        fit = partial(synthesis.fit, window=side, penalty=_PENALTY, solver=solver)
        model = fit(inputs, targets)
        mask = masks.square_mask(size, size, side)
        sample = np.linspace(0, size**2 - 1, _NUM_SAMPLED).astype(int)
        double = inputs[..., 0].astype(np.float64), targets[..., 0].astype(np.float64)
        exact = peers.loop(peers.solve_numpy, *double, mask, sample, _PENALTY)
        weights = np.asarray(model.weights)[0, :, 0].reshape(-1, size**2).T
        name = f"{solver}, {size} x {size}, N={num}, r={side}"
        yield _checked(f"weights: {name}", peers.relative_error(weights[sample], exact), _MOST_ERROR)
        again = np.asarray(fit(inputs, targets).weights)[0, :, 0].reshape(-1, size**2).T
        yield _checked(f"the same fit again: {name}", peers.relative_error(again, weights), _MOST_DIFFERENCE)
        if (solver, side) == ("primal", 3):
            matrix = peers.sparse_matrix(weights.astype(np.float64), mask, size**2)
            bias = np.asarray(model.bias, np.float64).reshape(-1, 1)
            expected = (matrix @ inputs.reshape(num, -1).T.astype(np.float64) + bias).T
            predicted = np.asarray(synthesis.synthesize(model, inputs)).reshape(num, -1)
            yield _checked(f"prediction: {name}", peers.relative_error(predicted, expected), _MOST_ERROR)
            sums = synthesis.init_statistics(inputs, targets, window=side)
            for part in (slice(0, num // 2), slice(num // 2, num)):
                sums = synthesis.update(sums, inputs[part], targets[part])
            in_parts = np.asarray(synthesis.solve(sums, penalty=_PENALTY).weights)
            in_parts = in_parts[0, :, 0].reshape(-1, size**2).T
            yield _checked(
                f"sums in parts: {name}", peers.relative_error(in_parts[sample], exact), _MOST_ERROR
            )
    matrix = jnp.asarray(peers.smooth_pairs(1, 64 if fast else 1024)[0][0, :, :, 0])
    exact = np.asarray(matrix, np.float64) @ np.asarray(matrix, np.float64)
    for precision in ("highest", "default"):
        product = np.asarray(jnp.matmul(matrix, matrix, precision=jax.lax.Precision(precision)))
        error = peers.relative_error(product, exact)
        # The default is the device's choice; the library always asks for the highest.
        limit = _MOST_ERROR / 10 if precision == "highest" else None
        yield _checked(f"a matrix product, {precision} precision", error, limit)


def measure_warm(fast: bool, deadline: float, folder: Path) -> Iterator[Row]:
    """Fits and predictions of growing pictures, from arrays on the device."""
    del folder
    import jax

    from mlr_jax import synthesis

    yield _describe()
    num = 10 if fast else 82
    for size in (16,) if fast else (128, 256, 512, 1024):
        if _is_over(deadline):
            return
        inputs = jax.random.uniform(jax.random.key(0), (num, size, size, 3))
        targets = 0.7 * inputs + 0.3 * jax.random.uniform(jax.random.key(1), inputs.shape)
        fit = jax.jit(partial(synthesis.fit, window=3, penalty=_PENALTY))
        model, row = _timed(f"fit {size} x {size} x 3, N={num}, r=3", fit, inputs, targets)
        yield row
        _, row = _timed(
            f"predict {num} of {size} x {size} x 3, r=3", jax.jit(synthesis.synthesize), model, inputs
        )
        yield row


def _timed(case: str, jitted: Any, *args: Any) -> tuple[Any, Row]:
    from experiments.running import memory, timing

    compiled, compile_seconds = timing.compile_ahead(jitted, (), *args)
    result, seconds = timing.repeat(compiled, *args, num_runs=_NUM_RUNS)
    row = {
        "case": case,
        "ms": 1e3 * float(np.median(seconds)),
        "fastest": 1e3 * min(seconds),
        "slowest": 1e3 * max(seconds),
        "compile_seconds": compile_seconds,
        "megabytes": memory.compiled_bytes(compiled) / 1e6,
    }
    return result, row


def measure_first(fast: bool, deadline: float, folder: Path) -> Iterator[Row]:
    """First fits, each in a new process that has nothing compiled."""
    from experiments.benchmarking import first_calls, peers
    from mlr_jax import checks

    num = 10 if fast else 82
    root = Path(__file__).resolve().parents[2]
    for size in (16,) if fast else (128, 256, 512, 1024):
        inputs, targets = peers.smooth_pairs(num, size, 3)
        pictures = folder / "pictures.npz"
        np.savez(pictures, inputs=inputs, targets=targets)
        del inputs, targets
        for way in ("mlr_jax", "plain_jax"):
            if _is_over(deadline):
                return
            task = {
                "call": "fit",
                "way": way,
                "pictures": str(pictures),
                "side": 3,
                "penalty": _PENALTY,
                "sample": [0],
                "is_repeated": True,
            }
            case = {
                "case": f"first fit {size} x {size}{' x 3' if way == 'mlr_jax' else ''}, N={num}, r=3",
                "way": way,
            }
            left = max(deadline - time.monotonic(), 1)
            try:
                taken = first_calls.run(task, root, folder, timeout_seconds=left)
            except checks.InputError as error:
                yield case | {"not_done": str(error)}
                continue
            yield case | {
                "seconds": taken["seconds"],
                "cpu_seconds": taken["cpu_seconds"],
                "programs": taken["programs"],
                "compile_seconds": taken["compile_seconds"],
                "again_ms": 1e3 * float(np.median(taken["warm"])),
            }


def train_pix2pix(fast: bool, deadline: float, folder: Path) -> Iterator[Row]:
    """Steps of the GAN until the time is over, and its held-out error."""
    del folder
    import jax
    import jax.numpy as jnp

    from experiments.gans import registry
    from experiments.gans.contract import Task
    from mlr_jax.datasets import synthetic

    yield _describe()
    size, num, width = (32, 4, 4) if fast else (128, 100, 64)
    faces = synthetic.load(image_size=size, num_subjects=num)
    pictures = jnp.stack([jnp.asarray(faces.neutral), jnp.asarray(faces.expressive)], axis=1)
    num_seen = num - max(num // 10, 1)
    gan = registry.make("pix2pix", Task(size, 3, num_people=num_seen), width=width)
    condition = jnp.tile(jnp.array([0.0, 1.0]), (num - num_seen, 1))

    @jax.jit
    def steps(state: Any, seen: jax.Array) -> Any:
        return jax.lax.fori_loop(0, 2 if fast else _GAN_STEPS, lambda _, now: gan.step(now, seen)[0], state)

    @jax.jit
    def held_out(state: Any, left: jax.Array) -> jax.Array:
        made = gan.generate(gan.synthesis_params(state.generators), left[:, 0], condition)
        return abs(made - left[:, 1]).mean()

    state = jax.jit(gan.init)(jax.random.key(0))
    start = time.monotonic()
    took: list[float] = []
    # No round starts that would not end in time.
    while not took or (not fast and time.monotonic() + 2 * max(took[-3:]) < deadline):
        start = time.monotonic()
        state = jax.block_until_ready(steps(state, pictures[:num_seen]))
        error = float(held_out(state, pictures[num_seen:]))
        took.append(time.monotonic() - start)
        # The first round also compiles.
        warm = took[1:] or took
        yield {
            "what": f"pix2pix, width {width}, {size} x {size} x 3, {num_seen} people",
            "steps": int(state.step),
            "seconds": time.monotonic() - start,
            "ms_a_step": 1e3 * sum(warm) / len(warm) / (int(state.step) / len(took)),
            "held_out_l1": error,
            "copy_l1": float(abs(pictures[num_seen:, 0] - pictures[num_seen:, 1]).mean()),
        }


def _describe() -> Row:
    import jax

    device = jax.devices()[0]
    return {
        "device": {
            "kind": device.device_kind,
            "platform": device.platform,
            "count": jax.device_count(),
            "jax": jax.__version__,
        }
    }


def _checked(what: str, error: float, limit: float | None) -> Row:
    row = {"what": what, "error": error}
    # NaN fails: it is not below the limit.
    return row if limit is None else row | {"limit": limit, "passed": bool(error < limit)}


def _is_over(deadline: float) -> bool:
    return time.monotonic() > deadline


PARTS: dict[str, Callable[[bool, float, Path], Iterator[Row]]] = {
    "checks": check,
    "warm": measure_warm,
    "first": measure_first,
    "pix2pix": train_pix2pix,
}


if __name__ == "__main__":
    main()
