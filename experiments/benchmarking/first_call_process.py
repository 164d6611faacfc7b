"""One first call, measured from the start of this process; `first_calls` starts it.

    python -P experiments/benchmarking/first_call_process.py TASK

PYTHONPATH may name the code of an earlier commit: this file imports only modules that have long existed.
"""

import functools
import json
import resource
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_COMPILE = "/jax/core/compile/backend_compile_duration"
_HIT = "/jax/compilation_cache/cache_hits"
_WARM_RUNS = 3

Call = Callable[[], Any]


def main() -> None:
    """Runs the task, a call (repeated) or a script, and writes its measures into a file."""
    task = json.loads(sys.argv[1])
    compiled: list[float] = []
    hits: list[str] = []
    if task["way"] not in ("numpy_loop", "scikit_learn"):
        import jax

        def listen(event: str, duration_secs: float, **_: Any) -> None:
            if event == _COMPILE:
                compiled.append(duration_secs)

        jax.monitoring.register_event_duration_secs_listener(listen)
        jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
    warm: list[float] = []
    weights = None
    if "script" in task:
        _run(task["script"])
        found = _taken(task, compiled, hits)
    else:
        call = _CALLS[task["call"]](task)
        result = call()
        found = _taken(task, compiled, hits)
        for _ in range(_WARM_RUNS if task["is_repeated"] else 0):
            start = time.perf_counter()
            call()
            warm.append(time.perf_counter() - start)
        weights = None if result is None else result[task["sample"]].tolist()
    with open(task["output"], "w") as file:
        json.dump(found | {"warm": warm, "weights": weights}, file)


def _taken(task: dict[str, Any], compiled: list[float], hits: list[str]) -> dict[str, Any]:
    """The measures until now; the system's clock is the same for all processes."""
    seconds = time.monotonic() - task["started"]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "programs": len(compiled) - hits.count(_HIT),
        "compile_seconds": sum(compiled),
        "peak_bytes": _peak_bytes(),
    }


def _peak_bytes() -> int:
    """The most memory that this process has held."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        # The system's own count below would include the program that started this one.
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _run(command: list[str]) -> None:
    """Runs a module as `python -m` does."""
    sys.argv = command
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise


def _import(task: dict[str, Any]) -> Call:
    """The imports that each way needs."""
    match task["way"]:
        case "plain_jax":
            import jax.numpy
            import jax.scipy.linalg  # noqa: F401
        case "numpy_loop":
            import numpy  # noqa: F401
        case "scikit_learn":
            import sklearn.linear_model  # noqa: F401
        case _:
            import mlr_jax  # noqa: F401
    return lambda: None


def _fit(task: dict[str, Any]) -> Call:
    """From pictures in memory to weights `(pixels, entries)`."""
    inputs, targets = _pictures(task)
    height, width = inputs.shape[1:3]
    if task["way"] in ("plain_jax", "numpy_loop", "scikit_learn"):
        solve = _peer(task, inputs, targets)
        return lambda: solve()[0]
    import jax
    import numpy as np

    from mlr_jax import synthesis

    def fit() -> Any:
        model = synthesis.fit(inputs, targets, window=task["side"], penalty=task["penalty"])
        return np.asarray(jax.block_until_ready(model).weights)[0, :, 0].reshape(-1, height * width).T

    return fit


def _fit_and_synthesize(task: dict[str, Any]) -> Call:
    """As `_fit`, and predicts the training pictures, too."""
    inputs, targets = _pictures(task)
    height, width = inputs.shape[1:3]
    if task["way"] in ("plain_jax", "numpy_loop"):
        solve = _peer(task, inputs, targets)

        def fit_and_predict() -> Any:
            weights, predict = solve()
            predict(weights)
            return weights

        return fit_and_predict
    import jax
    import numpy as np

    from mlr_jax import synthesis

    def fit_and_synthesize() -> Any:
        model = synthesis.fit(inputs, targets, window=task["side"], penalty=task["penalty"])
        jax.block_until_ready(synthesis.synthesize(model, inputs))
        return np.asarray(model.weights)[0, :, 0].reshape(-1, height * width).T

    return fit_and_synthesize


def _peer(task: dict[str, Any], inputs: Any, targets: Any) -> Callable[[], tuple[Any, Callable[[Any], Any]]]:
    """A peer's fit, which returns weights and a prediction from them; no peer returns the bias."""
    import numpy as np

    from experiments.benchmarking import peers

    inputs, targets = inputs[..., 0], targets[..., 0]
    mask = _mask(task["side"], *inputs.shape[1:])
    flat_inputs, flat_targets = inputs.reshape(len(inputs), -1), targets.reshape(len(targets), -1)
    if task["way"] == "plain_jax":
        import jax

        fit = jax.jit(functools.partial(peers.plain_jax, mask, task["penalty"]))
        predict = jax.jit(functools.partial(peers.plain_jax_prediction, mask))
        return lambda: (
            np.asarray(fit(flat_inputs, flat_targets)),
            lambda weights: jax.block_until_ready(predict(weights, flat_inputs)),
        )
    solve = {"numpy_loop": peers.solve_numpy, "scikit_learn": peers.solve_scikit_learn}[task["way"]]
    pixels = np.arange(len(mask.indices))
    return lambda: (
        peers.loop(solve, inputs, targets, mask, pixels, task["penalty"]),
        lambda weights: np.einsum("pk,npk->np", weights, flat_inputs[:, mask.indices]),
    )


def _auto(task: dict[str, Any]) -> Call:
    """The model chooses window and penalty itself."""
    import jax

    from mlr_jax import synthesis

    inputs, targets = _pictures(task)

    def fit() -> None:
        jax.block_until_ready(synthesis.fit(inputs, targets, window="auto", penalty="auto"))

    return fit


def _pictures(task: dict[str, Any]) -> tuple[Any, Any]:
    import numpy as np

    with np.load(task["pictures"]) as file:
        return file["inputs"], file["targets"]


def _mask(side: int, height: int, width: int) -> Any:
    """The mask of a square window, as in `mlr_jax.masks`, by NumPy alone."""
    import numpy as np

    reach = np.arange(side) - side // 2
    rows = np.arange(height)[:, None, None, None] + reach[:, None]
    columns = np.arange(width)[:, None, None] + reach
    shape = height, width, side, side
    valid = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    indices = np.where(valid, rows * width + columns, 0)
    return SimpleNamespace(
        indices=np.broadcast_to(indices, shape).reshape(height * width, -1),
        valid=np.broadcast_to(valid, shape).reshape(height * width, -1),
    )


_CALLS: dict[str, Callable[[dict[str, Any]], Call]] = {
    "import": _import,
    "fit": _fit,
    "fit_and_synthesize": _fit_and_synthesize,
    "auto": _auto,
}


if __name__ == "__main__":
    main()
