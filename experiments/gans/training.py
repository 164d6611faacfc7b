"""Trains a GAN until its error on people who are left out stops falling, or its budget ends.

Everything that a run needs to go on is in its folder, saved from time to time and when it is stopped: the
same command goes on from there, and comes to what it would have come to without a break.
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
import orbax.checkpoint as ocp
from tqdm import tqdm

from experiments.gans.contract import Gan, Params, State
from experiments.reporting import face_sheet
from experiments.running import run_folder, streaming
from mlr_jax import checks

# Between two saves, unless the run ends.
_SAVE_SECONDS = 120.0
# Of the held-out faces, on the sheet of samples.
_NUM_SAMPLES = 6


class Questions(NamedTuple):
    """Faces that are to change, and what they should become.

    Attributes:
      inputs: `(num, height, width, channels)` in [0, 1].
      conditions: `(num, num_expressions)`, one-hot, the expressions to reach.
      truths: the shape of the inputs.
    """

    inputs: np.ndarray
    conditions: np.ndarray
    truths: np.ndarray


class Limits(NamedTuple):
    """When training ends.

    Attributes:
      budget_seconds: of training, held-out errors and compilation included, over all runs of a folder.
      num_epochs: for which learning rates are planned.
      patience: epochs without a new least error on the people who are left out, after which it ends.
    """

    budget_seconds: float
    num_epochs: int = 200
    patience: int = 20


class Trained(NamedTuple):
    """What training has come to.

    Attributes:
      params: what `generate` needs, of where the error on held-out people was least.
      curve: a row for each epoch: epoch, step, seconds, the losses' means over it, held_out_l1.
      num_steps: that were done.
      seconds: that they took.
      ended_by: "error" if that stopped falling, "budget", "epochs", or "signal".
    """

    params: Params
    curve: list[dict[str, float]]
    num_steps: int
    seconds: float
    ended_by: str


def questions(pictures: np.ndarray, source: int, targets: Sequence[int]) -> Questions:
    """Every person asked for every target.

    Args:
      pictures: `(num_people, num_expressions, height, width, channels)` in [0, 1].
      source: the expression to start from.
      targets: those to reach.
    """
    conditions = np.eye(pictures.shape[1], dtype=np.float32)[list(targets)]
    shape = (-1, *pictures.shape[2:])
    return Questions(
        np.repeat(pictures[:, source], len(targets), axis=0),
        np.tile(conditions, (len(pictures), 1)),
        pictures[:, list(targets)].reshape(shape),
    )


def leave_out(
    subjects: Sequence[str], *, fraction: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Some of the training people, whose error says where to stop, and all others.

    Args:
      subjects: whose pictures there are.
      fraction: of the people that are left out; one at least.
      seed: of the choice.

    Returns:
      The places of `(those to train on, those left out)`, in ascending order.

    Raises:
      InputError: there is only one person.
    """
    people = sorted(set(subjects))
    if len(people) < 2:
        raise checks.InputError(
            "training a GAN needs two people, of whom one is left out to say where to stop"
        )
    num = min(max(round(fraction * len(people)), 1), len(people) - 1)
    order = np.random.default_rng(seed).permutation(len(people))
    is_left = np.isin(subjects, [people[i] for i in order[:num]])
    return np.flatnonzero(~is_left), np.flatnonzero(is_left)


def train(
    gan: Gan,
    pictures: np.ndarray,
    held_out: Questions,
    *,
    folder: Path,
    key: jax.Array,
    limits: Limits,
    settings: Mapping[str, Any],
    is_quiet: bool = False,
) -> Trained:
    """Trains, or goes on.

    Writes into the folder: `checkpoints`; curve.csv; and samples.png, held-out faces as they are made.

    Args:
      gan: what is trained.
      pictures: `(num_people, num_expressions, height, width, channels)` in [0, 1].
      held_out: what says where to stop.
      folder: of this training; made where needed.
      key: from which everything random comes.
      limits: when it ends.
      settings: all that the training depends on, of what JSON can hold: a folder goes on with the same only.
      is_quiet: whether no progress is shown.

    Returns:
      What it came to. After Ctrl-C or a request to end, what it had come to; the folder can go on.

    Raises:
      InputError: the folder holds a training with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    step, generate = compiled(gan)
    steps_an_epoch = gan.steps_an_epoch
    data = jnp.asarray(pictures)
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    with (
        streaming.noted_signals() as signals,
        ocp.CheckpointManager((folder / "checkpoints").absolute(), options=options) as manager,
    ):
        state, best, notes = _begin(manager, gan, key, settings)
        curve: list[dict[str, float]] = notes["curve"]
        seconds: float = notes["seconds"]
        saved_at, begun_at, before = seconds, time.perf_counter(), seconds

        def save() -> None:
            notes.update(seconds=seconds, ended_by=ended_by)
            _save(manager, state, best, notes)

        totals: dict[str, float] = dict(notes["totals"])
        ended_by = _ended(curve, seconds, limits)
        progress = tqdm(
            desc=folder.name,
            unit="step",
            initial=int(state.step),
            total=limits.num_epochs * steps_an_epoch,
            leave=False,
            disable=is_quiet or None,
        )
        with progress:
            while not ended_by:
                state, losses = step(state, data)
                for name, loss in losses.items():
                    totals[name] = totals.get(name, 0.0) + float(loss)
                seconds = before + time.perf_counter() - begun_at
                progress.update()
                num_steps = int(state.step)
                if num_steps % steps_an_epoch == 0:
                    params = gan.synthesis_params(state.generators)
                    made = _answer(generate, params, held_out)
                    row = {"epoch": num_steps // steps_an_epoch, "step": num_steps, "seconds": seconds}
                    row |= {name: total / steps_an_epoch for name, total in totals.items()}
                    row["held_out_l1"] = float(np.abs(made - held_out.truths).mean())
                    curve.append(row)
                    totals = {}
                    if row["held_out_l1"] <= min(each["held_out_l1"] for each in curve):
                        best = jax.tree.map(jnp.copy, params)
                    _write(folder, curve, held_out, made)
                    progress.set_postfix({key: f"{value:.3g}" for key, value in row.items() if key != "step"})
                    ended_by = _ended(curve, seconds, limits)
                elif seconds >= limits.budget_seconds and curve:
                    ended_by = "budget"
                if signals:
                    ended_by = "signal"
                notes["totals"] = totals
                if not ended_by and seconds - saved_at > _SAVE_SECONDS:
                    save()
                    saved_at = seconds
        save()
    return Trained(best, curve, int(state.step), seconds, ended_by)


def load(folder: Path, gan: Gan, settings: Mapping[str, Any]) -> Trained:
    """What a training has come to so far.

    Args:
      folder: that `train` was given.
      gan: that was trained.
      settings: that it must have been trained with.

    Raises:
      InputError: there is none in the folder, or it was trained with other settings.
    """
    path = folder / "checkpoints"
    if not path.is_dir():
        raise checks.InputError(f"{folder} holds no trained GAN; see experiments.train_gan")
    with ocp.CheckpointManager(path.absolute()) as manager:
        if manager.latest_step() is None:
            raise checks.InputError(f"{folder} holds no trained GAN; see experiments.train_gan")
        _check_settings(manager, settings)
        state, best, notes = _restore(manager, gan)
    return Trained(best, notes["curve"], int(state.step), notes["seconds"], notes["ended_by"])


@functools.cache
def compiled(gan: Gan) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Its step, which is given the state, and its `generate`: compiled once."""
    return jax.jit(gan.step, donate_argnums=0), jax.jit(gan.generate)


def initialize(gan: Gan, key: jax.Array) -> State:
    """The state to begin with. What runs once is not optimised: that takes longer than is won."""
    options: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}
    state: State = jax.jit(gan.init).lower(key).compile(compiler_options=options)(key)
    return state


def _ended(curve: Sequence[Mapping[str, float]], seconds: float, limits: Limits) -> str:
    """Why training ends after an epoch, or nothing."""
    if not curve:
        return ""
    errors = [row["held_out_l1"] for row in curve]
    if len(errors) - 1 - int(np.argmin(errors)) >= limits.patience:
        return "error"
    if seconds >= limits.budget_seconds:
        return "budget"
    return "epochs" if len(curve) >= limits.num_epochs else ""


def _begin(
    manager: ocp.CheckpointManager, gan: Gan, key: jax.Array, settings: Mapping[str, Any]
) -> tuple[State, Params, dict[str, Any]]:
    """The state to go on from, the best parameters so far, and notes."""
    if manager.latest_step() is None:
        state = initialize(gan, key)
        best = jax.tree.map(jnp.copy, gan.synthesis_params(state.generators))
        return state, best, {"settings": dict(settings), "curve": [], "seconds": 0.0, "totals": {}}
    _check_settings(manager, settings)
    return _restore(manager, gan)


def _check_settings(manager: ocp.CheckpointManager, settings: Mapping[str, Any]) -> None:
    """Raises InputError unless a folder's training was begun with these settings."""
    asked = ocp.args.Composite(notes=ocp.args.JsonRestore())
    begun = manager.restore(manager.latest_step(), args=asked).notes["settings"]
    names = sorted(name for name in begun.keys() | settings.keys() if begun.get(name) != settings.get(name))
    if names:
        raise checks.InputError(
            f"{manager.directory.parent} holds a training with other settings ({', '.join(names)}); use "
            "another folder, or remove it"
        )


def _restore(manager: ocp.CheckpointManager, gan: Gan) -> tuple[State, Params, dict[str, Any]]:
    like = jax.eval_shape(gan.init, jax.random.key(0))
    found = manager.restore(
        manager.latest_step(),
        args=ocp.args.Composite(
            state=ocp.args.StandardRestore(like),
            best=ocp.args.StandardRestore(gan.synthesis_params(like.generators)),
            notes=ocp.args.JsonRestore(),
        ),
    )
    return found.state, found.best, found.notes


def _save(manager: ocp.CheckpointManager, state: State, best: Params, notes: Mapping[str, Any]) -> None:
    if manager.latest_step() == int(state.step):
        return
    manager.save(
        int(state.step),
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            best=ocp.args.StandardSave(best),
            notes=ocp.args.JsonSave(dict(notes)),
        ),
    )


def _answer(generate: Callable[..., jax.Array], params: Params, asked: Questions) -> np.ndarray:
    return np.asarray(generate(params, jnp.asarray(asked.inputs), jnp.asarray(asked.conditions)))


def _write(folder: Path, curve: Sequence[Mapping[str, float]], held_out: Questions, made: np.ndarray) -> None:
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
