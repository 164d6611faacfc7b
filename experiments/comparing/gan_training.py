"""Trains the methods and GANs of `experiments.gan_comparison`, and applies them to every kind of picture."""

import csv
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparing import options, trials
from experiments.comparing.methods import GANS, make_method
from experiments.comparing.sessions import Session
from experiments.gans import optional
from experiments.pictures import data
from experiments.pictures.evaluation_sets import EvaluationSet
from experiments.running import memory, result_cache, timing
from mlr_jax import checks
from mlr_jax.array_file import ArrayFile
from mlr_jax.datasets.pairs import Pairs

if TYPE_CHECKING:
    from experiments.gans.contract import Gan

JOINT = ("stargan", "ganimation")
"""GANs that learn all expressions at once."""


class TrainingTask(NamedTuple):
    """The pairs to train a method on, and the pictures to apply it to.

    Attributes:
      train: pairs to learn from.
      kinds: name -> pictures to apply the method to.
      num_pairs: of `train`.
      expression: to learn.
      share: of the budget.
    """

    train: Pairs
    kinds: Mapping[str, EvaluationSet]
    num_pairs: int
    expression: str
    share: float = 1.0


class Learned(NamedTuple):
    """A trained method.

    Attributes:
      params: of the method.
      predict: (params, pictures) -> pictures; jittable.
      num_parameters: their number.
      seconds: of the training.
    """

    params: Any
    predict: Callable[[Any, jax.Array], jax.Array]
    num_parameters: int
    seconds: float


def load_or_learn(
    session: Session, name: str, task: TrainingTask, seed: int, *, targets: Sequence[str] | None
) -> ArrayFile:
    """Trains a method and applies it to all pictures of the task, unless an earlier run has done so.

    Args:
      session: of the experiment.
      name: of the method, in the registry or in `JOINT`.
      task: pairs to train on, and pictures.
      seed: of the split.
      targets: all expressions, where there are several.

    Returns:
      The predicted `pictures`; in the header `measured`, the numbers of a row, and `curve`, a GAN's training.

    Raises:
      InputError: the method does not suit the pictures, or has no finite solution.
    """
    every = np.concatenate([kind.inputs for kind in task.kinds.values()])
    settings, grid = options.settings(), options.grid(name) if name not in JOINT else {}
    what = {
        "code": [inspect.getsource(each) for each in (load_or_learn, _learn, _learn_joint)],
        "gans": result_cache.code_of_gans() if name in (*GANS, *JOINT) else None,
        "grid": {key: list(values) for key, values in grid.items()},
        "seed": seed,
        "settings": settings if name in (*GANS, *JOINT) else trials.without_gans(settings),
        "task": [task.expression, task.num_pairs, task.share],
        "targets": targets if name in JOINT else None,
        "folds": options.num_search_folds(),
    }

    def compute() -> ArrayFile:
        learned, curve = _learn(session, name, task, seed, targets or ())
        one = jnp.asarray(every[:1])
        predict, _ = timing.compile_ahead(jax.jit(learned.predict), (), learned.params, one)
        seconds = timing.run(predict, learned.params, one)[1]
        predicted = np.concatenate([predict(learned.params, picture[None]) for picture in jnp.asarray(every)])
        if not np.isfinite(predicted).all():
            raise checks.InputError(f"{name} has no finite solution on these pairs")
        measured = {
            "num_parameters": learned.num_parameters,
            "fit_seconds": learned.seconds,
            "predict_seconds": seconds,
            "megabytes": memory.compiled_bytes(predict) / 1e6,
        }
        return ArrayFile({"pictures": predicted}, {"measured": measured, "curve": curve})

    shown = Pairs(every, every[:0], ())
    return result_cache.load_or_compute(session.results, f"{name}-gans", what, (task.train, shown), compute)


def _learn(
    session: Session, name: str, task: TrainingTask, seed: int, targets: Sequence[str]
) -> tuple[Learned, list[dict[str, float]]]:
    """Trains a method; of a GAN also the curve of its training."""
    if name in JOINT:
        return _learn_joint(session, name, task, seed, targets)
    settings = options.settings()
    gan = settings.gan._replace(budget_seconds=settings.gan.budget_seconds * task.share)
    if task.share < 1 or seed != session.seeds[0]:
        gan = gan._replace(checkpoints=None)
    method = make_method(name, settings._replace(gan=gan))
    if method.train is not None:
        params, seconds = method.train(task.train, seed, session.results)
        curve = _read_curve(name, gan.checkpoints, session.results, task.train, seed)
        return Learned(params, method.predict, method.num_parameters(params), seconds), curve
    folds = options.num_search_folds()
    choice = trials.choose(name, method, options.grid(name), task.train, seed, folds).choice
    params, seconds, _ = trials.fit_timed(method, choice, task.train)
    return Learned(params, method.predict, method.num_parameters(params), seconds), []


def _read_curve(
    name: str, checkpoints: str | None, folder: Path, train: Pairs, seed: int
) -> list[dict[str, float]]:
    own = optional.fitting().folder_of(name, train, seed=seed, folder=folder)
    path = (own if checkpoints is None else Path(checkpoints).expanduser() / name) / "curve.csv"
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _learn_joint(
    session: Session, name: str, task: TrainingTask, seed: int, targets: Sequence[str]
) -> tuple[Learned, list[dict[str, float]]]:
    """Trains a GAN of all expressions once, and applies it to one."""
    from experiments.gans import fitting, training
    from experiments.gans.contract import num_parameters
    from experiments.gans.expression_sets import load_expression_set

    people, _ = load_expression_set(seed, targets, cache_dir=data.cache_folder(session.output_dir))
    settings = options.settings().gan
    limits = training.Limits(settings.budget_seconds * len(targets), patience=settings.patience)
    folder = session.results / f"{name}-{'-'.join(targets)}-{seed}"
    trained, gan = fitting.train(
        name,
        people,
        folder=folder,
        limits=limits,
        width=settings.width,
        batch_size=settings.batch_size,
        seed=seed,
    )
    if trained.ended_by == "signal":
        raise KeyboardInterrupt
    condition = jnp.eye(1 + len(targets))[1 + targets.index(task.expression)]
    params = trained.params, condition
    return Learned(
        params, _with_condition(gan), num_parameters(trained.params), trained.seconds
    ), trained.curve


@cache
def _with_condition(gan: "Gan") -> Callable[[Any, jax.Array], jax.Array]:
    """((parameters, condition), pictures) -> what the GAN generates; made once, so that it compiles once."""

    def predict(params: Any, pictures: jax.Array) -> jax.Array:
        networks, condition = params
        return gan.generate(networks, pictures, jnp.broadcast_to(condition, (len(pictures), len(condition))))

    return predict
