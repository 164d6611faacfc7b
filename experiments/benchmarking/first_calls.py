"""Measures first calls, each in a new process, with imports and compilation.

Ways take turns, process by process, so that a machine that becomes slower does so for all. Only the way that
says so finds compiled programs. An earlier commit of the project is one of the ways; it runs with the same
packages.
"""

import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from experiments.benchmarking import peers
from experiments.pictures import out_of_distribution
from experiments.running import compilation_cache
from mlr_jax import checks, masks
from mlr_jax.photographs import files

OURS = "mlr_jax"
FILLED = "mlr_jax, filled cache"
CALLS = ("import", "fit", "fit_7", "dual", "fit_and_synthesize", "auto", "photograph", "folder", "compare")

_ROOT = Path(__file__).resolve().parents[2]
_PROCESS = Path(__file__).with_name("first_call_process.py")
_PENALTY = 0.4
_NUM_SAMPLED = 32
_TIMEOUT_SECONDS = 900
_NUM_PHOTOGRAPHS = 12


class FirstCall(NamedTuple):
    """The measures of one way.

    Attributes:
      case: the call.
      way: this project, a peer, or an earlier commit.
      seconds: from the start of the process to the result, of each process.
      cpu_seconds: until then, all cores together; the median.
      programs: the number of compiled programs.
      compile_seconds: of the compiler or of a cache; the median.
      warm_seconds: of further calls in the same process, the median, if there were any.
      peak_bytes: the most memory that the process held; the median.
      error: of the weights, by `peers.relative_error`; None if there are none.
      note: why there are no measures, if so.
    """

    case: str
    way: str
    seconds: Sequence[float] = ()
    cpu_seconds: float = 0.0
    programs: int = 0
    compile_seconds: float = 0.0
    warm_seconds: float | None = None
    peak_bytes: int = 0
    error: float | None = None
    note: str = ""


class _Case(NamedTuple):
    """A call, and the ways to make it.

    Attributes:
      name: for the table.
      task: of the process.
      peers: besides this project and its earlier commit.
      exact: weights of the sampled pixels.
    """

    name: str
    task: dict[str, Any]
    peers: tuple[str, ...] = ()
    exact: np.ndarray | None = None


def measure(
    calls: Sequence[str],
    *,
    commit: str | None,
    num_processes: int,
    fast: bool,
) -> Iterator[FirstCall]:
    """Measures case by case.

    Args:
      calls: which of `CALLS`.
      commit: of the earlier state; None for none.
      num_processes: of each way.
      fast: on small pictures.

    Raises:
      InputError: there is no such call.
    """
    for call in calls:
        if call not in CALLS:
            raise checks.InputError(f"--first_calls: there is no call {call!r}; there are {', '.join(CALLS)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        earlier, note = _earlier(commit, folder)
        for case in _cases(calls, folder, fast):
            trees = {OURS: _ROOT} | dict.fromkeys(case.peers, _ROOT)
            if "script" in case.task:
                trees[FILLED] = _ROOT
            if earlier:
                trees[f"as of {commit}"] = earlier
            yield from _measure(case, trees, folder, num_processes)
            if note:
                yield FirstCall(case.name, f"as of {commit}", note=note)


def checkout(commit: str, folder: Path) -> None:
    """Writes the files of a commit into an existing folder; the repository stays unchanged.

    Raises:
      InputError: there is no git, no repository, or no such commit.
    """
    command = ["git", "-C", str(_ROOT), "archive", "--format=tar", f"--output={folder}.tar", commit, "--"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise checks.InputError(f"git cannot be started: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise checks.InputError(f"git does not know {commit}: {said[0] if said else 'no reason given'}")
    with tarfile.open(f"{folder}.tar") as archive:
        archive.extractall(folder, filter="data")
    Path(f"{folder}.tar").unlink()


def _earlier(commit: str | None, folder: Path) -> tuple[Path | None, str]:
    """The folder of the commit's files; or None, and the reason."""
    if commit is None:
        return None, ""
    tree = folder / "earlier"
    tree.mkdir()
    try:
        checkout(commit, tree)
    except checks.InputError as error:
        return None, str(error)
    return tree, ""


def _cases(calls: Sequence[str], folder: Path, fast: bool) -> Iterator[_Case]:
    loops = ("plain_jax", "numpy_loop")
    size, many, few = (24, 40, 10) if fast else (128, 200, 82)
    sides = {"fit": (3, many), "fit_7": (7, many), "dual": (15, few), "fit_and_synthesize": (3, many)}
    others = {"fit": (*loops, "scikit_learn"), "dual": ("numpy_loop",)}
    for call in calls:
        if call == "import":
            yield _Case("import", {"call": call}, (*loops, "scikit_learn"))
        elif call == "auto":
            side = 24 if fast else 64
            path, _, _ = _save(few, side, folder)
            yield _Case(f"first auto {side} x {side}, N={few}", {"call": call, "pictures": path})
        elif call in sides:
            side, num = sides[call]
            words = "fit + synthesize" if call == "fit_and_synthesize" else "fit"
            path, inputs, targets = _save(num, size, folder)
            mask = masks.square_mask(size, size, side)
            sample = np.linspace(0, size**2 - 1, _NUM_SAMPLED).astype(int)
            double = inputs.astype(np.float64), targets.astype(np.float64)
            task = {
                "call": "fit_and_synthesize" if call == "fit_and_synthesize" else "fit",
                "pictures": path,
                "side": side,
                "penalty": _PENALTY,
                "sample": sample.tolist(),
            }
            exact = peers.loop(peers.solve_numpy, *double, mask, sample, _PENALTY)
            yield _Case(
                f"first {words} {size} x {size}, N={num}, r={side}", task, others.get(call, loops), exact
            )
        elif call == "compare":
            command = ["experiments.compare_baselines", "--fast", "--output_dir=OUTPUT"]
            yield _Case("compare_baselines --fast", {"script": command})
        else:
            num = 1 if call == "photograph" else 3 if fast else _NUM_PHOTOGRAPHS
            source = folder / call
            source.mkdir()
            table = _write_photographs(source, num)
            command = [
                "experiments.synthesize",
                "--model=unsmile",
                f"--input={source}",
                f"--landmarks={table}",
            ]
            name = "one photograph" if num == 1 else f"{num} photographs of {num} sizes"
            yield _Case(f"synthesize, {name}", {"script": [*command, "--output=OUTPUT"]})


def _save(num: int, size: int, folder: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """Writes pairs into a file: its path, and the pairs as grey pictures `(num, size, size)`."""
    inputs, targets = peers.smooth_pairs(num, size)
    path = folder / "pictures.npz"
    np.savez(path, inputs=inputs, targets=targets)
    return str(path), inputs[..., 0], targets[..., 0]


def _write_photographs(folder: Path, num: int) -> Path:
    """Writes the astronaut in several sizes and shapes, and a table of her landmarks."""
    portrait = out_of_distribution.astronaut()
    levels = files.to_levels(portrait.picture, np.dtype(np.uint8))
    names = ["left_eye", "right_eye", "mouth_left", "mouth_right"]
    lines = [",".join(["file", *(f"{name}_{axis}" for name in names for axis in "xy")])]
    for i in range(num):
        scale = 1 + 0.17 * i
        whole = levels[: levels.shape[0] - 13 * i]
        size = round(whole.shape[1] * scale), round(whole.shape[0] * scale)
        Image.fromarray(whole).resize(size, Image.Resampling.LANCZOS).save(folder / f"{i:02}.jpg", quality=95)
        (x, y), half = portrait.mouth, 15
        points = [portrait.left_eye, portrait.right_eye, (x - half, y), (x + half, y)]
        lines.append(
            ",".join([f"{i:02}.jpg", *(f"{scale * value:.2f}" for point in points for value in point)])
        )
    path = folder.with_suffix(".csv")
    path.write_text("\n".join(lines) + "\n")
    return path


def _measure(
    case: _Case,
    trees: Mapping[str, Path],
    folder: Path,
    num_processes: int,
) -> Iterator[FirstCall]:
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in trees}
    notes: dict[str, str] = {}
    # The first round, which does not count, writes bytecode, reads files from the disk and fills the cache.
    for number in range(num_processes + 1):
        for way, tree in trees.items():
            if way in notes:
                continue
            try:
                taken = run(case.task | {"way": way, "is_repeated": number == num_processes}, tree, folder)
            except checks.InputError as problem:
                notes[way] = str(problem)
                continue
            if number:
                found[way].append(taken)
    for way, runs in found.items():
        if way in notes:
            yield FirstCall(case.name, way, note=notes[way])
            continue
        last = runs[-1]
        weights = last["weights"]
        yield FirstCall(
            case.name,
            way,
            seconds=[run["seconds"] for run in runs],
            cpu_seconds=statistics.median(run["cpu_seconds"] for run in runs),
            programs=last["programs"],
            compile_seconds=statistics.median(run["compile_seconds"] for run in runs),
            warm_seconds=statistics.median(last["warm"]) if last["warm"] else None,
            peak_bytes=int(statistics.median(run["peak_bytes"] for run in runs)),
            error=None if case.exact is None else peers.relative_error(np.array(weights), case.exact),
        )


def run(
    task: dict[str, Any], tree: Path, folder: Path, *, timeout_seconds: float = _TIMEOUT_SECONDS
) -> dict[str, Any]:
    """Starts a process and reads its measures.

    Args:
      task: see first_call_process.py.
      tree: the folder of the project that it runs.
      folder: for its files.
      timeout_seconds: after which it is stopped.

    Raises:
      InputError: it failed.
    """
    output = folder / "taken.json"
    output.unlink(missing_ok=True)
    filled = str(folder / "compiled")
    environment = {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {
        "PYTHONPATH": str(tree),
        # The first process writes bytecode there, for all commits and packages.
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        compilation_cache.VARIABLE: filled if task["way"] == FILLED else compilation_cache.OFF,
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(dir=folder) as results:
        if "script" in task:
            task = task | {"script": [part.replace("OUTPUT", f"{results}/new") for part in task["script"]]}
        command = [sys.executable, "-P", str(_PROCESS)]
        try:
            task = task | {"output": str(output), "started": time.monotonic()}
            done = subprocess.run(
                [*command, json.dumps(task)],
                cwd=tree,
                env=environment,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise checks.InputError(f"not finished in {timeout_seconds:.0f} seconds") from error
    if done.returncode or not output.exists():
        said = done.stderr.strip().splitlines()
        raise checks.InputError(f"failed: {said[-1] if said else f'exit status {done.returncode}'}")
    return json.loads(output.read_text())
