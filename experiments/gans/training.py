"""Trains a GAN until its held-out error stops falling, or its budget ends.

Its folder has a checkpoint, saved regularly and when the run is stopped: the same command resumes there, with
the result of a run without a break.
"""

import csv
import functools
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.gans.contract import Gan, Params, State
from experiments.gans.early_stopping import HeldOut
from experiments.reporting import face_sheet
from experiments.running import checkpoint, run_folder, signals
from mlr_jax import atomic_file, checks

# Seconds between two checkpoints.
_SAVE_SECONDS = 120.0
# Held-out faces on the sheet of samples.
_NUM_SAMPLES = 6

_FILE = "checkpoint.npz"
_CHECKPOINT = checkpoint.Format(
    "GAN in training",
    1,
    notes=("curve", "totals", "seconds", "ended_by"),
    remedy="use another folder, or remove it",
    descriptions={"pictures": "other pictures"},
)


class Limits(NamedTuple):
    """When training ends.

    Attributes:
      budget_seconds: of training, held-out errors and compilation included, over all runs of a folder.
      num_epochs: that the learning rates' schedule spans.
      patience: epochs without a new least held-out error, after which training ends.
    """

    budget_seconds: float
    num_epochs: int = 200
    patience: int = 20


class Trained(NamedTuple):
    """The result of training.

    Attributes:
      params: for `generate`, of the epoch with the least held-out error.
      curve: a row for each epoch: epoch, step, seconds, the losses' means over it, held_out_l1.
      num_steps: finished steps.
      seconds: of training.
      ended_by: "error" if that stopped falling, "budget", "epochs", or "signal".
    """

    params: Params
    curve: list[dict[str, float]]
    num_steps: int
    seconds: float
    ended_by: str


class Progress(NamedTuple):
    """The state of a training, as its checkpoint holds it.

    Attributes:
      state: of the GAN.
      best: parameters for `generate`, of the epoch with the least held-out error.
      curve: see `Trained`.
      totals: the sums of the losses over the steps of the unfinished epoch.
      seconds: of training.
      ended_by: see `Trained`; "" while it goes on.
    """

    state: State
    best: Params
    curve: list[dict[str, float]]
    totals: dict[str, float]
    seconds: float
    ended_by: str


def train(
    gan: Gan,
    pictures: np.ndarray,
    held_out: HeldOut,
    *,
    folder: Path,
    key: jax.Array,
    limits: Limits,
    settings: Mapping[str, Any],
    is_quiet: bool = False,
) -> Trained:
    """Trains, or resumes.

    Writes into the folder: checkpoint.npz; curve.csv; and samples.png, held-out faces.

    Args:
      gan: to train.
      pictures: `(num_people, num_expressions, height, width, channels)` in [0, 1].
      held_out: the faces for early stopping.
      folder: of this training; made where needed.
      key: of all random choices.
      limits: when training ends.
      settings: all that the training depends on, as JSON can hold it; a folder resumes only with the same.
      is_quiet: whether no progress is shown.

    Returns:
      The trained GAN; after Ctrl-C or SIGTERM the state so far, from which the folder resumes.

    Raises:
      InputError: the folder holds a training with other settings, or one of an earlier version.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _FILE
    if (folder / "checkpoints").is_dir() and not path.exists():
        raise checks.InputError(
            f"{folder} holds a training of mlr_jax before 0.2.0, which cannot be resumed; use another folder"
        )
    atomic_file.remove_partial(path)
    step, generate = compiled(gan)
    steps_an_epoch = gan.steps_an_epoch
    data = jnp.asarray(pictures)
    with signals.noted() as stops:
        progress = _load(path, gan, settings) or _start(gan, key)
        state, best, curve, totals, seconds, _ = progress
        saved_at, started_at, before = seconds, time.perf_counter(), seconds

        def save() -> None:
            _save(path, settings, Progress(state, best, curve, totals, seconds, ended_by))

        ended_by = _ended(curve, seconds, limits)
        bar = tqdm(
            desc=folder.name,
            unit="step",
            initial=int(state.step),
            total=limits.num_epochs * steps_an_epoch,
            leave=False,
            disable=is_quiet or None,
        )
        with bar:
            while not ended_by:
                state, losses = step(state, data)
                for name, loss in losses.items():
                    totals[name] = totals.get(name, 0.0) + float(loss)
                seconds = before + time.perf_counter() - started_at
                bar.update()
                num_steps = int(state.step)
                if num_steps % steps_an_epoch == 0:
                    params = gan.synthesis_params(state.generators)
                    made = np.asarray(generate(params, *map(jnp.asarray, held_out[:2])))
                    row = {"epoch": num_steps // steps_an_epoch, "step": num_steps, "seconds": seconds}
                    row |= {name: total / steps_an_epoch for name, total in totals.items()}
                    row["held_out_l1"] = float(np.abs(made - held_out.truths).mean())
                    curve.append(row)
                    totals = {}
                    if row["held_out_l1"] <= min(each["held_out_l1"] for each in curve):
                        best = jax.tree.map(jnp.copy, params)
                    _write(folder, curve, held_out, made)
                    bar.set_postfix({key: f"{value:.3g}" for key, value in row.items() if key != "step"})
                    ended_by = _ended(curve, seconds, limits)
                elif seconds >= limits.budget_seconds and curve:
                    ended_by = "budget"
                if stops:
                    ended_by = "signal"
                if not ended_by and seconds - saved_at > _SAVE_SECONDS:
                    save()
                    saved_at = seconds
        save()
    return Trained(best, curve, int(state.step), seconds, ended_by)


def load(folder: Path, gan: Gan, settings: Mapping[str, Any]) -> Trained:
    """Reads a training from its checkpoint.

    Args:
      folder: of the training, as for `train`.
      gan: that was trained.
      settings: that it must have been trained with.

    Raises:
      InputError: there is none in the folder, or it was trained with other settings.
    """
    progress = _load(folder / _FILE, gan, settings)
    if progress is None:
        raise checks.InputError(f"{folder} holds no trained GAN; see experiments.train_gan")
    num_steps = int(progress.state.step)
    return Trained(progress.best, progress.curve, num_steps, progress.seconds, progress.ended_by)


@functools.cache
def compiled(gan: Gan) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The compiled step, to which the state is donated, and the compiled `generate`."""
    return jax.jit(gan.step, donate_argnums=0), jax.jit(gan.generate)


def initialize(gan: Gan, key: jax.Array) -> State:
    """The first state. Compiled without optimisations, which cost more than they save in one run."""
    options: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}
    state: State = jax.jit(gan.init).lower(key).compile(compiler_options=options)(key)
    return state


def _ended(curve: Sequence[Mapping[str, float]], seconds: float, limits: Limits) -> str:
    """Why training ends after an epoch; "" if it does not."""
    if not curve:
        return ""
    errors = [row["held_out_l1"] for row in curve]
    if len(errors) - 1 - int(np.argmin(errors)) >= limits.patience:
        return "error"
    if seconds >= limits.budget_seconds:
        return "budget"
    return "epochs" if len(curve) >= limits.num_epochs else ""


def _start(gan: Gan, key: jax.Array) -> Progress:
    state = initialize(gan, key)
    best = jax.tree.map(jnp.copy, gan.synthesis_params(state.generators))
    return Progress(state, best, [], {}, 0.0, "")


def _save(path: Path, settings: Mapping[str, Any], progress: Progress) -> None:
    tree = {"state": progress.state, "best": progress.best}
    notes = {name: getattr(progress, name) for name in _CHECKPOINT.notes}
    checkpoint.save(path, _CHECKPOINT, settings, tree, notes)


def _load(path: Path, gan: Gan, settings: Mapping[str, Any]) -> Progress | None:
    like = jax.eval_shape(gan.init, jax.random.key(0))
    tree = {"state": like, "best": gan.synthesis_params(like.generators)}
    found = checkpoint.load(path, _CHECKPOINT, settings, tree)
    return None if found is None else Progress(**found.tree, **found.notes)


def _write(folder: Path, curve: Sequence[Mapping[str, float]], held_out: HeldOut, made: np.ndarray) -> None:
    """The curve, and some held-out faces."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(curve[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in curve)
    run_folder.write_bytes(folder / "curve.csv", text.getvalue().encode())
    shown = slice(_NUM_SAMPLES)
    columns = {"input": held_out.inputs[shown], "made": made[shown], "truth": held_out.truths[shown]}
    last = curve[-1]
    title = f"epoch {last['epoch']:.0f}, held-out L1 {last['held_out_l1']:.4f}"
    sheet = face_sheet.draw(columns, [""] * len(columns["input"]), title)
    run_folder.write_bytes(folder / "samples.png", sheet)
