r"""How long does a photograph take, and how many faces a second does a model change?

    python -m experiments.benchmark_photographs

The photograph is scikit-image's astronaut, enlarged to --megapixels and saved as JPEG and PNG. The steps are
timed one by one, warm: reading, finding the face (with the extra `align`), cutting it out, changing it,
putting it back, and writing. The first time imports packages, and compiles nothing.

Training is timed on pairs of synthetic people in memory, fields included.

The model alone is timed on one face of 128 x 128 in colour, as of a webcam, and on 100 at once. So is its
masked regression, beside NumPy, which adds the same weighted, shifted pictures; the results are compared.

Writes benchmark.csv and config.json into --output_dir, and prints the table.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from PIL import Image

from experiments.pictures import out_of_distribution
from experiments.reporting import markdown
from experiments.running import native_log, run_folder, script, timing
from mlr_jax import checks, pretrained, warped_ridge
from mlr_jax.alignment import FaceTemplate
from mlr_jax.datasets import synthetic
from mlr_jax.masks import Window
from mlr_jax.model_file import Model
from mlr_jax.photographs import expressions, faces, files
from mlr_jax.photographs.expressions import Landmarks
from mlr_jax.photographs.files import Photograph
from mlr_jax.synthesis import synthesize
from mlr_jax.warped_ridge import WarpedModel

HEADER = ("what", "ms", "first_ms", "faces_per_second", "peer", "peer_ms", "times_as_fast", "difference")

_MEGAPIXELS = flags.DEFINE_float("megapixels", 12.0, "Size of the photograph.", lower_bound=0.05)
_NUM_PAIRS = flags.DEFINE_integer(
    "num_pairs", 82, "Pairs to train on; as many as the London set has.", lower_bound=2
)
flags.adopt_module_key_flags(run_folder)


def benchmark() -> None:
    """Measures, prints and writes."""
    output_dir = run_folder.chosen("benchmark_photographs")
    described = {"megapixels": _MEGAPIXELS.value, "num_pairs": _NUM_PAIRS.value}
    run_folder.start(output_dir, run_folder.describe_run({}, described), outputs=("benchmark.csv",))
    saved = pretrained.load("smile")
    rows = [
        *_photograph(saved.model, saved.template or FaceTemplate()),
        _training(expressions.model_size(saved.model)),
        *_models(saved.model),
    ]
    run_folder.write_csv(output_dir / "benchmark.csv", HEADER, rows)
    cells = [[_cell(row.get(column, "")) for column in HEADER] for row in rows]
    print(markdown.table(HEADER, cells), end="")
    print(f"\nTable and configuration: {output_dir}")


def _photograph(model: Model, template: FaceTemplate) -> list[dict[str, Any]]:
    """The steps from photograph to photograph, and their total."""
    portrait = out_of_distribution.astronaut()
    small = files.to_levels(portrait.picture, np.dtype(np.uint8))
    scale = (_MEGAPIXELS.value * 1e6 / (small.shape[0] * small.shape[1])) ** 0.5
    size = round(small.shape[1] * scale), round(small.shape[0] * scale)
    left_eye, right_eye, mouth = (((x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5) for x, y in portrait[1:])
    landmarks = Landmarks(left_eye, right_eye, mouth)
    rows: list[dict[str, Any]] = []

    def measure(what: str, function: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = function()
        first = time.perf_counter() - start
        _, seconds = timing.run(function)
        rows.append({"what": what, "ms": 1e3 * seconds, "first_ms": 1e3 * first})
        return result

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photograph.jpg"
        Image.fromarray(small).resize(size, Image.Resampling.LANCZOS).save(path, quality=95)
        photograph = measure("read JPEG", lambda: files.read(path))
        try:
            with native_log.discarded():
                measure("find the face", lambda: faces.find(photograph.levels))
        except checks.InputError as error:
            print(f"finding the face is left out: {error}")
        side = expressions.model_size(model)
        cutout = measure(
            "cut the face out", lambda: expressions.cut_out(photograph, landmarks, side, template)
        )
        found = measure("change it", lambda: expressions.effect(model, cutout))
        result: Photograph = measure("put it back", lambda: expressions.put_back(photograph, cutout, found))
        measure("write JPEG", lambda: files.write(Path(folder) / "result.jpg", result))
        total: dict[str, Any] = {"what": f"all of it, {size[0]} x {size[1]}"}
        for column in ("ms", "first_ms"):
            total[column] = sum(row[column] for row in rows)
        measure("write PNG instead", lambda: files.write(Path(folder) / "result.png", result))
    return [*rows[:-1], total, rows[-1]]


def _training(size: int) -> dict[str, Any]:
    """A warped ridge from pairs in memory, registration of their fields included."""
    pairs = synthetic.load(image_size=size, num_subjects=_NUM_PAIRS.value)
    arrays = jnp.asarray(pairs.neutral), jnp.asarray(pairs.expressive)
    start = time.perf_counter()
    jax.block_until_ready(warped_ridge.fit(*arrays))
    first = time.perf_counter() - start
    _, seconds = timing.run(warped_ridge.fit, *arrays)
    shape = " x ".join(map(str, arrays[0].shape[1:]))
    what = f"train warped ridge, {_NUM_PAIRS.value} pairs of {shape}"
    return {"what": what, "ms": 1e3 * seconds, "first_ms": 1e3 * first}


def _models(model: Model) -> list[dict[str, Any]]:
    """The model alone, and its masked regression beside NumPy."""
    assert isinstance(model, WarpedModel)
    masked = model.change
    weights, bias = np.asarray(masked.weights), np.asarray(masked.bias)
    rng = np.random.default_rng(0)
    rows = []
    for count in (1, 100):
        pictures = rng.random((count, *bias.shape[1:], 3), np.float32)
        on_device = jnp.asarray(pictures)
        rows.append(_time("warped ridge", partial(warped_ridge.synthesize, model), on_device)[0])
        row, result = _time("masked ridge", partial(synthesize, masked), on_device)
        expected, peer_seconds = timing.run(_with_numpy, weights, bias, masked.window, pictures)
        rows.append(
            {
                **row,
                "peer": "NumPy, shifted pictures",
                "peer_ms": 1e3 * peer_seconds,
                "times_as_fast": 1e3 * peer_seconds / row["ms"],
                "difference": float(abs(np.asarray(result) - expected).max()),
            }
        )
    return rows


def _time(
    name: str, function: Callable[[jax.Array], jax.Array], pictures: jax.Array
) -> tuple[dict[str, Any], jax.Array]:
    """A row of the table, and the result."""
    start = time.perf_counter()
    function(pictures).block_until_ready()
    first = time.perf_counter() - start
    result, seconds = timing.run(function, pictures)
    count, height, width, _ = pictures.shape
    row = {
        "what": f"{name}, {count} of {height} x {width} x 3",
        "ms": 1e3 * seconds,
        "first_ms": 1e3 * first,
        "faces_per_second": count / seconds,
    }
    return row, result


def _with_numpy(weights: np.ndarray, bias: np.ndarray, window: Any, pictures: np.ndarray) -> np.ndarray:
    """A shared model's prediction: for each offset, the shifted pictures times its plane of weights."""
    offsets = window.offsets if isinstance(window, Window) else ()
    reach = max(abs(step) for offset in offsets for step in offset)
    height, width = bias.shape[1:]
    padded = np.pad(pictures, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    total = np.broadcast_to(bias[0][None, :, :, None], pictures.shape).copy()
    for plane, (down, right) in zip(weights[0, :, 0], offsets, strict=True):
        rows, columns = (
            slice(reach + down, reach + down + height),
            slice(reach + right, reach + right + width),
        )
        total += plane[None, :, :, None] * padded[:, rows, columns]
    return total


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    script.run(benchmark, is_compiling_measured=True)
