"""The flags of all experiments that compare methods, and their values."""

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from absl import flags

from experiments.comparing.methods import GANS, METHODS, VARIANTS
from experiments.comparing.methods.method import Grid, Learn, Settings
from experiments.gans.settings import GanSettings
from experiments.pictures import data
from experiments.running import flag_values, run_folder
from mlr_jax import checks, synthesis

_METHODS = flags.DEFINE_list(
    "methods", None, f"Which to compare, of {', '.join(METHODS)}; by default all that the question is about."
)
_SELECT = flags.DEFINE_enum(
    "select",
    "cv",
    ["cv", "fixed"],
    "How hyper-parameters are found: cross-validation on the training pairs, or fixed values (for masked "
    "ridge those of the paper).",
)
_NUM_FOLDS = flags.DEFINE_integer("num_folds", 5, "Folds of the cross-validation.", lower_bound=2)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds", 1, "How many splits to run, with --seed and the numbers that follow it.", lower_bound=1
)
_CHANNEL_MODE = flags.DEFINE_enum(
    "channel_mode",
    "independent",
    get_args(synthesis.Channels),
    "How masked ridge treats colour: each channel on its own, one set of weights for all channels, or "
    "windows that see all channels.",
)
_LEARN = flags.DEFINE_enum(
    "learn",
    "expression",
    get_args(Learn),
    "What every regression predicts: the expressive picture, as published, or its difference from the "
    "neutral one.",
)
_GAN_BUDGET = flags.DEFINE_float(
    "gan_budget", 1200.0, "Seconds for which each GAN is trained on each split at most.", lower_bound=0
)
_GAN_PATIENCE = flags.DEFINE_integer(
    "gan_patience", 20, "Epochs without a new least held-out error, after which training ends.", lower_bound=1
)
_GAN_WIDTH = flags.DEFINE_integer("gan_width", 64, "Channels of GANs' first layers.", lower_bound=1)
_GAN_BATCH = flags.DEFINE_integer(
    "gan_batch",
    None,
    "Pictures that a step of StarGAN and of GANimation sees; by default 16 and 25, as published.",
    lower_bound=1,
)
_GAN_CHECKPOINTS = flags.DEFINE_string(
    "gan_checkpoints",
    None,
    "Folder with GANs that experiments.train_gan has trained on the same pairs, each in a folder of its "
    "name; they are not trained here.",
)
_NUM_FACES = flags.DEFINE_integer("num_faces", 6, "Test faces that figures show.", lower_bound=1)
_RESTART = flags.DEFINE_bool("restart", False, "Start again, without the trials of an earlier run.")
_FAST = flags.DEFINE_bool(
    "fast",
    False,
    "A few small grey faces, fixed values, few methods, but where flags say otherwise: a first look.",
)
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(run_folder)

_FEW = ("copy_input", "masked_ridge", "l2_ridge")
_SMALL = {"num_subjects": 24, "image_size": 16, "channels": "1", "select": "fixed"}


def apply_fast() -> bool:
    """Whether --fast is given. If so, sets the flags that it implies, unless they are given."""
    if _FAST.value:
        flag_values.set_unless_given(_SMALL)
    return _FAST.value


def is_restarted() -> bool:
    """Whether to ignore the results of an earlier run."""
    return _RESTART.value


def seeds() -> tuple[int, ...]:
    """The seeds of the splits.

    Raises:
      InputError: there are several, but they would all test on the same people.
    """
    return data.seeds(_NUM_SEEDS.value)


def num_folds() -> int:
    """The number of folds of a cross-validation."""
    return _NUM_FOLDS.value


def num_search_folds() -> int | None:
    """The number of folds of the search for hyper-parameters; None if they are fixed."""
    return _NUM_FOLDS.value if _SELECT.value == "cv" else None


def num_faces() -> int:
    """The number of test faces in figures."""
    return _NUM_FACES.value


def methods(suitable: Sequence[str] = tuple(METHODS), *, usual: Sequence[str] | None = None) -> list[str]:
    """The methods to compare.

    Args:
      suitable: those that the experiment is about.
      usual: those of them that are compared by default; unless it is given, all but `VARIANTS` and `GANS`,
        and with --fast a few.

    Raises:
      InputError: the flag names a method twice, or one that does not exist or does not suit.
    """
    is_usual_given = usual is not None
    usual = usual or [name for name in suitable if name not in (*VARIANTS, *GANS)]
    names = list(usual) if _METHODS.value is None else _METHODS.value
    if _FAST.value and _METHODS.value is None and not is_usual_given:
        names = [name for name in _FEW if name in names]
    for name in names:
        if name not in (*METHODS, *suitable):
            raise checks.InputError(f"--methods: there is no method {name!r}; there are {', '.join(METHODS)}")
        if name not in suitable:
            raise checks.InputError(
                f"--methods: this experiment is not about {name}, but about {', '.join(suitable)}"
            )
    flag_values.check_distinct("methods", names, what="method")
    return names


def grid(name: str, given: Mapping[str, Sequence[Any]] = {}) -> Grid:
    """The values of a method's hyper-parameters to choose from, a single one of each with --select=fixed.

    Args:
      name: of the method.
      given: hyper-parameter -> values, in place of the usual ones.
    """
    usual: Grid = METHODS[name].grid
    if _SELECT.value == "fixed":
        usual = {key: (value,) for key, value in METHODS[name].fixed.items()}
    return {key: given.get(key, values) for key, values in usual.items()}


def settings() -> Settings:
    """The settings of all methods, from the flags."""
    gan = GanSettings(
        _GAN_BUDGET.value,
        _GAN_PATIENCE.value,
        _GAN_WIDTH.value,
        _GAN_BATCH.value,
        _GAN_CHECKPOINTS.value,
    )
    return Settings(cast(synthesis.Channels, _CHANNEL_MODE.value), cast(Learn, _LEARN.value), gan)
