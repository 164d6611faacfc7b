r"""Trains masked ridge on as many pairs as a disk holds, and writes the model.

    python -m experiments.train --dataset=folder --data_dir=FOLDER --model=smile.npz
    python -m experiments.train --dataset=london --channel_mode=joint --window=5

Threads decode pictures while the batch before them is added to sums (mlr_jax/window_statistics.py), from
which the model is solved. Memory does not grow with the number of pairs. Training uses all pairs, unless
--test_list or --test_fraction leaves people out.

The script saves the sums every --save_every pairs, and on Ctrl-C or SIGTERM. The same command resumes there,
and gives the same model to the bit. Once all pairs are summed, another --penalty only solves again. Other
data, windows, channel modes, batch sizes, versions and kinds of devices change the sums, and need another
--output_dir, or --restart.

A pair with an unreadable picture is left out and counted, and a line says why; with --strict it ends the
training, after the sums so far are saved.

--kind=warped_ridge trains a model whose pixels move before they mix (mlr_jax/warped_ridge.py). It needs all
pairs in memory, and starts again after a stop. The displacement fields come from registration of the
pictures, or from --points of a face mesh in both.

    python -m experiments.train --kind=warped_ridge --window=5 --penalty=6.4 --channel_mode=shared ...

Writes into --output_dir: config.json; statistics.npz, the sums; train.json, time and memory; and model.npz
(mlr_jax/model_file.py), unless --model names another file.
"""

import contextlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import jax
import numpy as np
from absl import flags
from jax.typing import ArrayLike
from tqdm import tqdm

import mlr_jax
from experiments.pictures import data, whole_faces
from experiments.running import memory, run_folder, script, signals, streaming
from mlr_jax import atomic_file, checks, displacement, model_file, synthesis, warped_ridge
from mlr_jax.datasets import streams
from mlr_jax.datasets.streams import PairStream

_WINDOW = flags.DEFINE_integer("window", 3, "Side of the window in pixels, odd.")
_PENALTY = flags.DEFINE_float("penalty", 0.4, "The penalty lambda.", lower_bound=0)
_CHANNEL_MODE = flags.DEFINE_enum(
    "channel_mode",
    "independent",
    get_args(synthesis.Channels),
    "How colour is treated: each channel on its own, one set of weights for all channels, or windows that "
    "see all channels.",
)
_KIND = flags.DEFINE_enum(
    "kind",
    "masked_ridge",
    ["masked_ridge", "warped_ridge"],
    "The published model, or the one whose pixels move before they mix, for which all pairs must fit into "
    "memory.",
)
_PENALIZE_BIAS = flags.DEFINE_bool(
    "penalize_bias", True, "Whether the penalty includes the bias, as published."
)
_POINTS = flags.DEFINE_string(
    "points",
    None,
    "For --kind=warped_ridge, an npz file with `files` (num_files,), relative to its folder, and `points` "
    "(num_files, num_points, 2), (x, y) in their pixels; by default pictures are registered.",
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    None,
    "Pairs that are added at once; by default 40, or as many as 64 MiB hold.",
    lower_bound=1,
)
_SAVE_EVERY = flags.DEFINE_integer(
    "save_every", 5000, "Pairs after which the sums are saved, at the end of a batch.", lower_bound=1
)
_RESTART = flags.DEFINE_bool("restart", False, "Start again, without the sums of an earlier run.")
_STRICT = flags.DEFINE_bool("strict", False, "End where a picture cannot be read, instead of leaving it out.")
_WEIGHTS = flags.DEFINE_enum(
    "weights", "float32", ["float32", "float16"], "Numbers in the model's file; float16 take half the space."
)
_MODEL = flags.DEFINE_string("model", None, "File of the model; by default model.npz in the output folder.")
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(run_folder)


def train() -> None:
    """Trains the model and writes it."""
    channels = cast(synthesis.Channels, _CHANNEL_MODE.value)
    output_dir = run_folder.chosen("train")
    model_path = _model_path(output_dir)
    sums_path = output_dir / "statistics.npz"
    stream = data.stream()
    if _POINTS.value is not None and _KIND.value != "warped_ridge":
        raise checks.InputError("--points need --kind=warped_ridge: in the published model no pixel moves")
    if _KIND.value == "warped_ridge":
        return _train_warped(stream, output_dir, model_path)
    batch_size = _BATCH_SIZE.value or streaming.batch_size(stream)
    options: dict[str, Any] = {"window": _WINDOW.value, "channels": channels, "batch_size": batch_size}
    like = streaming.statistics_like(stream, **options)
    streaming.check_memory(like, stream, batch_size)
    settings = _settings(stream, like, batch_size)
    if _RESTART.value:
        sums_path.unlink(missing_ok=True)
    earlier = streaming.load(sums_path, settings, like)
    for path in (sums_path, model_path):
        atomic_file.remove_partial(path)
    num_before = earlier.num_pairs if earlier else 0
    configuration = run_folder.describe_run(
        data.resolved_flags(),
        {"num_pairs": len(stream.subjects), "num_pairs_before": num_before, "settings": settings},
    )
    run_folder.start(output_dir, configuration, outputs=("train.json", "model.npz"))

    with contextlib.ExitStack() as stack:
        stops = stack.enter_context(signals.noted())
        bar = stack.enter_context(
            tqdm(desc="summing", unit="pair", total=len(stream.subjects), initial=num_before, leave=False)
        )
        summed = streaming.accumulate(
            stream,
            earlier,
            **options,
            save_every=_SAVE_EVERY.value,
            save=lambda sums: streaming.save(sums_path, settings, sums),
            is_stopped=lambda: bool(stops),
            advance=bar.update,
            leave_out=None if _STRICT.value else _report_left_out,
        )
    num_summed = summed.sums.num_pairs
    if stops and num_summed < len(stream.subjects):
        again = "the same command" + (" without --restart" if _RESTART.value else "")
        print(
            f"stopped after {num_summed:,} of {len(stream.subjects):,} pairs, whose sums are saved in "
            f"{sums_path}; {again} goes on from there",
            file=sys.stderr,
        )
        sys.exit(128 + stops[0])

    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.UnsolvedWarning)  # They are counted below.
        model = synthesis.solve(
            summed.sums.statistics, penalty=_PENALTY.value, penalize_bias=_PENALIZE_BIAS.value
        )
    measured = _measured_template(stream)
    model_file.save(
        model_path,
        model,
        template=data.template(stream),
        metadata=measured
        | _metadata(stream, left_out=[why.partition(": ")[0] for why in summed.sums.left_out]),
        dtype=_WEIGHTS.value,
    )
    figures = {
        "num_pairs": num_summed - len(summed.sums.left_out),
        "num_pairs_before": num_before - len(earlier.left_out if earlier else ()),
        "left_out": summed.sums.left_out,
        "pairs_per_second": (num_summed - num_before) / summed.seconds,
        "sum_seconds": summed.seconds,
        "waiting_seconds": summed.waiting_seconds,
        "solve_seconds": time.perf_counter() - start,
        "num_unsolved": int(np.sum(np.asarray(model.solved) == 0)),
        "peak_bytes": memory.peak_bytes(),
        "model": str(model_path),
    }
    run_folder.write_bytes(output_dir / "train.json", (json.dumps(figures, indent=2) + "\n").encode())
    _report(stream, figures, output_dir)


def _train_warped(stream: PairStream, output_dir: Path, model_path: Path) -> None:
    """Trains a warped ridge on all pairs in memory."""
    if not _PENALIZE_BIAS.value:
        raise checks.InputError("--nopenalize_bias: the bias of a warped ridge is penalised")
    fields: ArrayLike | None = None if _POINTS.value is None else data.landmark_fields(stream, _POINTS.value)
    configuration = run_folder.describe_run(data.resolved_flags(), {"num_pairs": len(stream.subjects)})
    run_folder.start(output_dir, configuration, outputs=("train.json", "model.npz"))
    with tqdm(desc="reading", unit="pair", total=len(stream.subjects), leave=False) as bar:

        def progress(subjects: Sequence[str]) -> Iterator[str]:
            for subject in subjects:
                yield subject
                bar.update()

        pairs = streams.load(stream, data.name(), progress=progress)
    start = time.perf_counter()
    if fields is None:
        fields = displacement.register(pairs.expressive, pairs.neutral)
    unfolded = displacement.unfold(fields)
    if num_folded := int(np.sum(np.asarray(unfolded.num_folded) > 0)):
        print(f"note: {num_folded} of {len(pairs.subjects)} fields folded somewhere, and were smoothed there")
    model = warped_ridge.fit(
        pairs.neutral,
        pairs.expressive,
        fields=unfolded.fields,
        window=_WINDOW.value,
        penalty=_PENALTY.value,
        channels=cast(synthesis.Channels, _CHANNEL_MODE.value),
    )
    metadata = _measured_template(stream) | _metadata(stream)
    model_file.save(
        model_path, model, template=data.template(stream), metadata=metadata, dtype=_WEIGHTS.value
    )
    figures = {
        "num_pairs": len(stream.subjects),
        "fit_seconds": time.perf_counter() - start,
        "peak_bytes": memory.peak_bytes(),
        "model": str(model_path),
    }
    run_folder.write_bytes(output_dir / "train.json", (json.dumps(figures, indent=2) + "\n").encode())
    print(f"{len(stream.subjects):,} pairs, {data.title()}")
    print(f"registered, solved and written in {figures['fit_seconds']:.1f} s with compilation")
    print(f"\nModel: {model_path}\nFigures and configuration: {output_dir}")


def _report_left_out(why: str) -> None:
    tqdm.write(f"left out: {why}", file=sys.stderr)


def _report(stream: PairStream, figures: dict[str, Any], output_dir: Path) -> None:
    height, width, channels = stream.shape
    print(f"{figures['num_pairs']:,} pairs, {data.title()}, {height} x {width} x {channels}")
    if figures["num_pairs_before"]:
        print(f"{figures['num_pairs_before']:,} of them were summed before")
    if figures["left_out"]:
        print(
            f"note: {len(figures['left_out']):,} others could not be read, and were left out; train.json "
            "names them"
        )
    if figures["num_pairs"] > figures["num_pairs_before"]:
        print(
            f"summed in {figures['sum_seconds']:.1f} s with compilation, {figures['pairs_per_second']:.0f} "
            f"pairs a second; {figures['waiting_seconds']:.1f} s of it waiting for pictures"
        )
    if figures["num_unsolved"]:
        print(
            f"note: {figures['num_unsolved']:,} pixels could not be solved in their precision, and are "
            "predicted by the mean of their targets; raise --penalty"
        )
    peak = figures["peak_bytes"]
    print(
        f"solved and written in {figures['solve_seconds']:.1f} s"
        + ("" if peak is None else f"; {peak / 2**20:.0f} MiB of memory at most")
    )
    print(f"\nModel: {figures['model']}\nSums, figures and configuration: {output_dir}")


def _measured_template(stream: PairStream) -> dict[str, Any]:
    """For the model's file, where the faces are if the pictures are taken whole; says if they differ."""
    if data.template(stream) is not None:
        return {}
    measured = whole_faces.measure(stream)
    if measured is None:
        return {}
    if not measured.is_aligned:
        print(
            f"note: the faces are not aligned: in {measured.num_pictures} pictures the eyes are up to "
            f"{measured.apart:.1f} eye distances apart, those of {measured.subject} the farthest; the model "
            "will be of little use. Align them by their landmarks, as --dataset=manifest does",
            file=sys.stderr,
        )
        return {}
    return {"measured_template": ",".join(f"{part:.3f}" for part in measured.template)}


def _model_path(output_dir: Path) -> Path:
    if _MODEL.value is None:
        return output_dir / "model.npz"
    path = Path(_MODEL.value).expanduser()
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise checks.InputError(f"--model: {path} is not a file in a folder that can be written to")
    return path


def _settings(stream: PairStream, like: synthesis.ExpressionStatistics, batch_size: int) -> dict[str, Any]:
    """All that the bits of the sums depend on."""
    key = {name: value for name, value in stream.key.items() if name != "loader"}
    return {
        **data.settings(),
        "data set's version": stream.key["loader"],
        **key,
        "num_pairs": len(stream.subjects),
        "picture_shape": stream.shape,
        "window": _WINDOW.value,
        "channel_mode": _CHANNEL_MODE.value,
        "batch_size": batch_size,
        "dtype": str(like.groups.num_pairs.dtype),
        "mlr_jax version": mlr_jax.__version__,
        "jax version": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }


def _metadata(stream: PairStream, *, left_out: Sequence[str] = ()) -> dict[str, Any]:
    """The record of the training in the model's file; `left_out` are the subjects of unreadable pairs."""
    return {
        **data.settings(),
        "num_pairs": len(stream.subjects) - len(left_out),
        **({"left_out": list(left_out)} if left_out else {}),
        "picture_shape": stream.shape,
        "window": _WINDOW.value,
        "kind": _KIND.value,
        "channel_mode": _CHANNEL_MODE.value,
        "penalty": _PENALTY.value,
        "penalize_bias": _PENALIZE_BIAS.value,
        "mlr_jax version": mlr_jax.__version__,
    }


if __name__ == "__main__":
    script.run(train)
