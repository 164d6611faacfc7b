r"""How fast are the baselines, beside scikit-learn on the same machine in the same run?

    python -m experiments.benchmark_baselines
    python -m experiments.benchmark_baselines --dataset=london --data_dir=...

Fits all output pixels of --num_pairs grey pictures of 64 x 64 (by default 4096 features, 4096 targets and 82
examples) with each baseline and with scikit-learn. scikit-learn fits the lasso and orthogonal matching
pursuit target by target, so these run on a sample of --num_targets pixels, in two ways: a loop with one call
for each target and the pictures as they are, and one call for the sample with arrays in Fortran order, which
scikit-learn does not copy. Peers are timed in float32 and in float64, and the faster counts. Both lassos stop
at the same relative duality gap; the table has the gaps that they reached, computed in float64. Times are of
warm, compiled runs; compile_seconds are those of the compilation.

Writes benchmark.json, benchmark.csv and config.json into --output_dir, and prints the table. Expected, in
about two minutes on 2 CPU cores: the lasso and matching pursuit take less than a twentieth of the loop's
time for a target; kernel and ridge regression take no more than one call.
"""

import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import flags
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Lasso, OrthogonalMatchingPursuit, Ridge

from experiments.pictures import data
from experiments.running import run_folder, script, timing
from mlr_jax import checks
from mlr_jax.baselines import kernel_ridge, l0_omp, l1_lasso, l2_ridge, reduced_rank

HEADER = (
    "method",
    "setting",
    "seconds",
    "compile_seconds",
    "ms_per_target",
    "peer",
    "peer_ms_per_target_loop",
    "peer_ms_per_target_one_call",
    "times_as_fast_as_loop",
    "times_as_fast_as_one_call",
    "agreement",
)

_NUM_PAIRS = flags.DEFINE_integer("num_pairs", 82, "Training pairs.", lower_bound=3)
_NUM_TARGETS = flags.DEFINE_integer(
    "num_targets", 64, "Output pixels that scikit-learn fits one by one.", lower_bound=1
)
_ALPHAS = flags.DEFINE_list("alphas", ["0.01", "0.003", "0.001", "0.0003"], "Penalties of the lasso.")
_TOLERANCE = flags.DEFINE_float("tolerance", 1e-4, "Relative duality gap at which the lasso is stopped.")
_NUM_NONZEROS = flags.DEFINE_list("num_nonzeros", ["3", "10"], "Inputs that a matching pursuit takes.")
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(run_folder)


class Problem(NamedTuple):
    """Inputs and targets, `(num_examples, num_pixels)` float32, and the pixels of the sample."""

    inputs: np.ndarray
    targets: np.ndarray
    sample: np.ndarray


class Peer(NamedTuple):
    """An estimator of scikit-learn.

    Attributes:
      name: of its class.
      fit: (inputs, targets) -> anything, for targets `(num_examples, any number)` or `(num_examples,)`.
      targets: the pixels that it fits: the sample, or all.
      loops: whether it is also called target by target.
    """

    name: str
    fit: Callable[[np.ndarray, np.ndarray], Any]
    targets: np.ndarray
    loops: bool


def benchmark() -> None:
    """The experiment: loads, measures, and writes the output folder."""
    alphas = [_number("alphas", text, float) for text in _ALPHAS.value]
    counts = [_number("num_nonzeros", text, int) for text in _NUM_NONZEROS.value]
    output_dir = run_folder.chosen("benchmark_baselines")
    problem = _load(data.cache_folder(output_dir))
    configuration = run_folder.describe_run(
        data.resolved_flags(),
        {"num_examples": len(problem.inputs), "num_features": problem.inputs.shape[1]},
    )
    run_folder.start(output_dir, configuration, outputs=("benchmark.json", "benchmark.csv"))
    rows: list[dict[str, Any]] = []
    measures = [partial(_measure_lasso, problem, alpha) for alpha in alphas]
    measures += [partial(_measure_omp, problem, count) for count in counts]
    measures += [partial(each, problem) for each in (_measure_ridge, _measure_kernel, _measure_pca)]
    print(f"{problem.inputs.shape[1]} features and targets, {len(problem.inputs)} examples, {data.title()}\n")
    for measure in measures:
        rows.append(measure())
        print(_line(rows[-1]), flush=True)
        # After every method: an interruption loses no finished one.
        run_folder.write_csv(output_dir / "benchmark.csv", HEADER, rows)
        document = configuration | {"results": rows}
        content = json.dumps(document, indent=2, default=str) + "\n"
        run_folder.write_bytes(output_dir / "benchmark.json", content.encode())
    print(f"\nTable and configuration: {output_dir}")


def _load(cache_dir: Path) -> Problem:
    pairs = data.load(cache_dir=cache_dir)
    if pairs.neutral.shape[-1] != 1:
        raise checks.InputError("the benchmark is for grey pictures: leave out --channels=3")
    num = _NUM_PAIRS.value
    if len(pairs.subjects) < num:
        raise checks.InputError(f"--num_pairs: there are only {len(pairs.subjects)} pairs, not {num}")
    inputs, targets = (each[:num].reshape(num, -1) for each in (pairs.neutral, pairs.expressive))
    num_pixels = inputs.shape[1]
    sample = np.linspace(0, num_pixels - 1, min(_NUM_TARGETS.value, num_pixels)).astype(int)
    return Problem(inputs, targets, sample)


def _measure_lasso(problem: Problem, alpha: float) -> dict[str, Any]:
    tolerance = _TOLERANCE.value
    params, seconds, compile_seconds = timing.compile_and_run(
        partial(l1_lasso.fit, alpha=alpha, tolerance=tolerance),
        jnp.asarray(problem.inputs),
        jnp.asarray(problem.targets),
    )

    def fit(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        # scikit-learn divides the gap by || y ||^2, l1_lasso by half of it.
        lasso = Lasso(alpha=alpha, tol=tolerance / 2, max_iter=100_000)
        return np.atleast_2d(lasso.fit(inputs, targets).coef_)

    linear = params.map
    weights = np.zeros((len(problem.sample), problem.inputs.shape[1]))
    for row, output in enumerate(problem.sample):
        valid = np.asarray(linear.mask.valid[output])
        indices = np.asarray(linear.mask.indices[output])[valid]
        weights[row, indices] = np.asarray(linear.linear.weights[output])[valid]
    peer = Peer("Lasso", fit, problem.sample, loops=True)

    def agreement(peer_weights: np.ndarray) -> str:
        own, theirs = (_gap(problem, alpha, each) for each in (weights, peer_weights))
        return f"gap {own:.1e} here, {theirs:.1e} there; {float(np.mean(params.iterations)):.0f} kinks"

    return _row("l1_lasso", f"alpha={alpha:g}", seconds, compile_seconds, problem, peer, agreement)


def _gap(problem: Problem, alpha: float, weights: np.ndarray) -> float:
    """The largest relative duality gap of weights `(sample, num_features)`, in float64."""
    inputs = problem.inputs.astype(np.float64)
    targets = problem.targets[:, problem.sample].astype(np.float64)
    inputs, targets = inputs - inputs.mean(axis=0), targets - targets.mean(axis=0)
    level = alpha * len(inputs)
    residual = targets - inputs @ weights.T
    scale = np.minimum(1, level / np.abs(inputs.T @ residual).max(axis=0))
    primal = (residual**2).sum(axis=0) / 2 + level * np.abs(weights).sum(axis=1)
    start = (targets**2).sum(axis=0) / 2
    dual = start - ((targets - scale * residual) ** 2).sum(axis=0) / 2
    return float(((primal - dual) / start).max())


def _measure_omp(problem: Problem, num_nonzeros: int) -> dict[str, Any]:
    params, seconds, compile_seconds = timing.compile_and_run(
        partial(l0_omp.fit, num_nonzeros=num_nonzeros),
        jnp.asarray(problem.inputs),
        jnp.asarray(problem.targets),
    )

    def fit(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        pursuit = OrthogonalMatchingPursuit(n_nonzero_coefs=num_nonzeros)
        return np.atleast_2d(pursuit.fit(inputs, targets).coef_)

    def agreement(peer_weights: np.ndarray) -> str:
        own = np.sort(np.asarray(params.mask.indices)[problem.sample], axis=1)
        same = [
            np.array_equal(support, np.flatnonzero(row))
            for support, row in zip(own, peer_weights, strict=True)
        ]
        return f"{sum(same)} of {len(same)} supports equal"

    peer = Peer("OrthogonalMatchingPursuit", fit, problem.sample, loops=True)
    setting = f"num_nonzeros={num_nonzeros}"
    return _row("l0_omp", setting, seconds, compile_seconds, problem, peer, agreement)


def _measure_ridge(problem: Problem) -> dict[str, Any]:
    penalty = 10.0
    return _measure_all(
        problem,
        "l2_ridge",
        f"penalty={penalty:g}",
        partial(l2_ridge.fit, penalty=penalty),
        l2_ridge.predict,
        "Ridge",
        lambda inputs, targets: Ridge(alpha=penalty).fit(inputs, targets).predict,
    )


def _measure_kernel(problem: Problem) -> dict[str, Any]:
    penalty, gamma = 0.1, 1 / float(np.sum(problem.inputs.var(axis=0)))
    kernel = kernel_ridge.rbf(gamma)
    return _measure_all(
        problem,
        "kernel_ridge",
        f"rbf penalty={penalty:g}",
        partial(kernel_ridge.fit, kernel=kernel, penalty=penalty, fit_intercept=False),
        kernel_ridge.predict,
        "KernelRidge",
        lambda inputs, targets: (
            KernelRidge(kernel="rbf", gamma=gamma, alpha=penalty).fit(inputs, targets).predict
        ),
    )


def _measure_pca(problem: Problem) -> dict[str, Any]:
    rank, penalty = min(20, len(problem.inputs) - 1), 1.0

    def fit(inputs: np.ndarray, targets: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        into, out = PCA(rank, svd_solver="full"), PCA(rank, svd_solver="full")
        scores, outputs = into.fit_transform(inputs), out.fit_transform(targets)
        ridge = Ridge(alpha=penalty, fit_intercept=False).fit(scores, outputs)
        return lambda faces: out.inverse_transform(ridge.predict(into.transform(faces)))

    return _measure_all(
        problem,
        "reduced_rank.fit_pca",
        f"ranks={rank} penalty={penalty:g}",
        partial(reduced_rank.fit_pca, penalty=penalty, input_rank=rank, output_rank=rank),
        reduced_rank.predict,
        "PCA, Ridge, PCA",
        fit,
    )


def _measure_all(
    problem: Problem,
    method: str,
    setting: str,
    fit: Callable[..., Any],
    predict: Callable[..., Any],
    peer_name: str,
    peer_fit: Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]],
) -> dict[str, Any]:
    """Measures a method that scikit-learn also fits in one call for all targets."""
    inputs, targets = jnp.asarray(problem.inputs), jnp.asarray(problem.targets)
    params, seconds, compile_seconds = timing.compile_and_run(fit, inputs, targets)
    own = np.asarray(predict(params, inputs))

    def agreement(peer_predict: Callable[[np.ndarray], np.ndarray]) -> str:
        largest = np.abs(own - peer_predict(problem.inputs)).max()
        return f"predictions differ by {largest:.1e} at most"

    peer = Peer(peer_name, peer_fit, np.arange(targets.shape[1]), loops=False)
    return _row(method, setting, seconds, compile_seconds, problem, peer, agreement)


def _row(
    method: str,
    setting: str,
    seconds: float,
    compile_seconds: float,
    problem: Problem,
    peer: Peer,
    agreement: Callable[[Any], str],
) -> dict[str, Any]:
    """Times the peer in its faster precision, and compares."""
    num_targets = problem.targets.shape[1]
    own = 1e3 * seconds / num_targets
    loop, call = np.inf, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # What it reached is in the table.
        for dtype in (np.float32, np.float64):
            inputs = problem.inputs.astype(dtype)
            targets = problem.targets[:, peer.targets].astype(dtype)
            if peer.loops:
                _, loop_seconds = timing.run(_loop, peer.fit, inputs, targets)
                loop = min(loop, 1e3 * loop_seconds / len(peer.targets))
            # In Fortran order, which scikit-learn does not copy.
            fortran = np.asfortranarray(inputs), np.asfortranarray(targets)
            result, call_seconds = timing.run(peer.fit, *fortran)
            call = min(call, 1e3 * call_seconds / len(peer.targets))
    return {
        "method": method,
        "setting": setting,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "ms_per_target": own,
        "peer": f"scikit-learn {peer.name}",
        "peer_ms_per_target_loop": float(loop) if peer.loops else "",
        "peer_ms_per_target_one_call": float(call),
        "times_as_fast_as_loop": float(loop / own) if peer.loops else "",
        "times_as_fast_as_one_call": float(call / own),
        "agreement": agreement(result),
    }


def _loop(fit: Callable[..., Any], inputs: np.ndarray, targets: np.ndarray) -> list[Any]:
    return [fit(inputs, target) for target in targets.T]


def _line(row: dict[str, Any]) -> str:
    loop = row["times_as_fast_as_loop"]
    against = f"{loop:6.1f} x loop, " if loop != "" else " " * 15
    return (
        f"{row['method']:20}  {row['setting']:20}  {row['seconds']:8.4f} s  {against}"
        f"{row['times_as_fast_as_one_call']:6.1f} x one call of {row['peer']}; {row['agreement']}"
    )


def _number(flag: str, text: str, kind: Callable[[str], Any]) -> Any:
    try:
        number = kind(text)
    except ValueError as error:
        raise checks.InputError(f"--{flag}: {text!r} is not a number") from error
    if not number > 0:
        raise checks.InputError(f"--{flag}: {text} is not above 0")
    return number


if __name__ == "__main__":
    flags.FLAGS.set_default("channels", "1")
    script.run(benchmark)
