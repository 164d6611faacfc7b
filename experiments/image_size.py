r"""How large can the pictures be? (Khan et al., IJCV 2020, claims b and c)

Fits every method to pictures of growing size, with fixed hyper-parameters, and records its parameters, the
memory and time of one fit, and its test error:

    python -m experiments.image_size
    python -m experiments.image_size --dataset=london --data_dir=... --channels=1

Before a fit, the compiler reports its memory, pictures and results included. A fit is not tried if it needs
more than --memory_gib or than is free, or would take more than --seconds if it grew as over the last two
sizes; nor is any larger one. --image_size and --select have no effect.

dense_gib is the float32 memory of the parameters as they are counted: the dense regressions here never store
their D x D weights as the paper's did, but two factors with as many rows as there are pairs.

Writes into --output_dir: config.json; results.csv, a row for each size and method, with the reason of a stop;
and image_size.png, parameters, memory, time and error against the size. The same command resumes a stopped
run.

Expected: masked ridge reaches 1024 x 1024 in two seconds and 0.7 GiB; time stops the lasso above 128, and l0
above 512. The other regressions reach it, too, as implemented here, with worse pictures; stored in full, l2's
matrix would take 16 GiB at 256 x 256 and 256 GiB at 512 x 512. London, grey, 74 pairs: MSE x 1e3
of masked ridge 4.6 at 64, 6.6 at 1024 within 0.1. In eleven minutes on 2 CPU cores (AMD EPYC) that other
jobs shared.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.comparing import options, sessions, sweep
from experiments.comparing.methods import METHODS, make_method
from experiments.comparing.sessions import Session
from experiments.comparing.sweep import Job, Row
from experiments.reporting import curves
from experiments.reporting.curves import Panel
from experiments.running import flag_values, memory, result_cache, run_folder, script, timing
from mlr_jax import checks, metrics
from mlr_jax.array_file import ArrayFile
from mlr_jax.datasets.pairs import Pairs

HEADER = (
    "image_size",
    "method",
    "num_parameters",
    "dense_gib",
    "memory_gib",
    "fit_seconds",
    "mse",
    "ssim",
    "seed",
    "stopped_by",
)
OUTPUTS = ("results.csv", "image_size.png")

# Shorter times do not show how time grows.
_SHORT_SECONDS = 0.1

_SIZES = flags.DEFINE_multi_integer(
    "sizes", [32, 64, 128, 256, 512, 1024], "Sides of the faces in pixels.", lower_bound=16
)
_MEMORY_GIB = flags.DEFINE_float("memory_gib", 24, "Memory that a fit may take, in GiB.", lower_bound=0)
_SECONDS = flags.DEFINE_float("seconds", 300, "Time that a fit may be expected to take.", lower_bound=0)
flags.adopt_module_key_flags(options)


def measure() -> None:
    """The experiment."""
    sizes = flag_values.ascending(_SIZES, fast=(16, 32) if options.apply_fast() else None)
    names = options.methods()
    described = {"sizes": sizes, "hyper-parameters": {name: METHODS[name].fixed for name in names}}
    session = sessions.start("image_size", OUTPUTS, described, at={"image_size": sizes[0]})
    rows = sweep.run(
        session,
        partial(_jobs, session, sizes, names),
        len(sizes) * len(names),
        unit="fit",
        write=sweep.writer(session, HEADER),
    ).rows
    run_folder.write_bytes(session.output_dir / "image_size.png", _draw(rows, session.title))
    print(f"{session.title}\n")
    for row in rows:
        print(_line(row))
    print(f"\nTable, figure and configuration: {session.output_dir}")


def _jobs(session: Session, sizes: Sequence[int], names: Sequence[str], seed: int) -> Iterator[Job]:
    """A job for each size and method."""
    earlier: dict[str, list[Row]] = {name: [] for name in names}

    def measure(name: str, train: Pairs, test: Pairs) -> list[Row]:
        row = {"image_size": train.neutral.shape[1], "method": name, "seed": seed}
        row |= _measure(session, name, train, test, earlier[name])
        earlier[name].append(row)
        return [row]

    for size in sizes:
        train, test = session.load(seed, {"image_size": size})
        for name in names:
            yield Job(f"{name}, {size} x {size}", partial(measure, name, train, test))


def _measure(
    session: Session, name: str, train: Pairs, test: Pairs, earlier: Sequence[Row]
) -> dict[str, Any]:
    """The measures of a fit, or the reason why it was stopped."""
    limits = {"memory_gib": _MEMORY_GIB.value, "seconds": _SECONDS.value}
    expected = _expected_seconds(earlier, train.neutral.shape[1])
    code = inspect.getsource(_fit)
    what = {
        "code": code,
        "choice": METHODS[name].fixed,
        "settings": options.settings(),
        "limits": limits,
        "expected": expected,
    }
    compute = partial(_fit, name, train, test, expected)
    try:
        return result_cache.load_or_compute(
            session.results, f"{name}-size", what, (train, test), compute
        ).header
    except checks.InputError as error:
        return {"stopped_by": str(error)}


def _expected_seconds(earlier: Sequence[Row], size: int) -> float:
    """The time of a fit if it grows as over the last two sizes; infinite if the last one was stopped."""
    if earlier and earlier[-1]["stopped_by"]:
        return np.inf
    if len(earlier) < 2:
        return 0.0
    (small, short), (large, long) = ((row["image_size"], row["fit_seconds"]) for row in earlier[-2:])
    # After short times the power is 2; it is at most 4, the square of the number of pixels.
    power = min(max(np.log(long / short) / np.log(large / small), 2), 4) if long > _SHORT_SECONDS else 2
    return float(f"{long * (size / large) ** power:.2g}")


def _fit(name: str, train: Pairs, test: Pairs, expected: float) -> ArrayFile:
    """Compiles, and fits if time and memory allow."""
    method = make_method(name, options.settings())
    arrays = jnp.asarray(train.neutral), jnp.asarray(train.expressive)
    compiled = jax.jit(partial(method.fit, **METHODS[name].fixed)).lower(*arrays).compile()
    needed = memory.compiled_bytes(compiled)
    row: dict[str, Any] = dict.fromkeys(HEADER[2:-2], "") | {"memory_gib": needed / 2**30, "stopped_by": ""}
    if needed > _MEMORY_GIB.value * 2**30:
        return ArrayFile({}, row | {"stopped_by": "memory"})
    if expected > _SECONDS.value:
        return ArrayFile({}, row | {"stopped_by": "time"})
    available = memory.available_bytes()
    if available is not None and needed > available:
        # Not stored: another run may have more free memory.
        raise checks.InputError(
            f"memory: it needs {needed / 2**30:.1f} GiB, and {available / 2**30:.1f} GiB are free"
        )
    params, seconds = timing.run(compiled, *arrays)
    del compiled
    pictures = jax.jit(method.predict)(params, jnp.asarray(test.neutral))
    truth = jnp.asarray(test.expressive)
    num_parameters = method.num_parameters(params)
    row |= {
        "num_parameters": num_parameters,
        "dense_gib": 4 * num_parameters / 2**30,
        "fit_seconds": seconds,
        "mse": float(metrics.mse(pictures, truth).mean()),
        "ssim": float(metrics.ssim(pictures, truth).mean()),
    }
    return ArrayFile({}, row)


def _draw(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    panels = []
    for label, column, scale, is_log in (
        ("parameters", "num_parameters", 1, True),
        ("memory of one fit, GiB", "memory_gib", 1, True),
        ("seconds for one fit", "fit_seconds", 1, True),
        ("mean squared error x 1e3", "mse", 1e3, False),
    ):
        found: dict[str, dict[float, list[float]]] = {}
        for row in rows:
            value = row.get(column, "")
            if value != "" and not (is_log and value == 0):
                curve = found.setdefault(row["method"], {})
                curve.setdefault(row["image_size"], []).append(value * scale)
        limits = {f"{_MEMORY_GIB.value:g} GiB": _MEMORY_GIB.value} if column == "memory_gib" else {}
        panels.append(Panel(label, found, references=limits, is_log=is_log))
    return curves.draw(panels, "side of the picture, pixels", title, is_log=True)


def _line(row: Mapping[str, Any]) -> str:
    what = f"{row['image_size']:>5}  {row['method']:<12}"
    if row["stopped_by"]:
        needed = f", {row['memory_gib']:.1f} GiB" if row.get("memory_gib") else ""
        return f"{what}  stopped by {row['stopped_by']}{needed}"
    return (
        f"{what}  {row['num_parameters']:>15,} parameters  {row['memory_gib']:8.3f} GiB  "
        f"{row['fit_seconds']:9.4f} s  MSE x 1e3 {row['mse'] * 1e3:.3f}"
    )


if __name__ == "__main__":
    script.run(measure)
