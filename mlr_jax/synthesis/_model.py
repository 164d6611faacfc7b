"""The model and the statistics of an expression, and the checks that fits share."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks
from mlr_jax._window_regression.channels import Channels
from mlr_jax._window_regression.statistics import WindowStatistics
from mlr_jax.masks import Mask
from mlr_jax.model_selection import Selection
from mlr_jax.numerics.serialization import exported, exported_static
from mlr_jax.window_linear import WindowLinear
from mlr_jax.window_statistics import without_missing
from mlr_jax.windows import Window

Solver = Literal["primal", "dual", "gather"]
"""How a fit solves the pixels' systems.

"primal": systems over the window's inputs, from sums that pixels share (`window_statistics`). "dual": systems
over the examples, from a sliding kernel (`window_dual`). "gather": pixel by pixel, for any window or mask
(`masked_ridge`). All give the same weights.
"""

AXES = ("num", "height", "width", "channels")


@exported
class ExpressionModel(NamedTuple):
    """A learned change of expression; all that `synthesize` needs.

    Attributes:
      weights: `(out_channels, num_offsets, in_channels, height, width)`, one plane for each offset of the
        window, 0 where it leaves the picture. `out_channels` is 1 for "shared", `in_channels` is 1 unless
        "joint". For a mask, `num_offsets` are the entries of its rows.
      bias: `(out_channels, height, width)`.
      window: what each pixel sees: a window, which is static, and says which blurred or mirrored copies of a
        picture it reads; or a mask over the `height * width` pixels, the same for all channels. To
        differentiate with respect to a model with a mask, pass `allow_int=True` to `jax.grad`, since its
        indices are integers.
      selection: the choice of window and penalty with its errors; None if nothing was chosen.
      solved: the shape of `bias`, 1 where a pixel's system could be solved in its precision, and 0 where it
        could not and the pixel is predicted by the mean of its targets. None for a model from a file.
    """

    weights: jax.Array
    bias: jax.Array
    window: Window | Mask
    selection: Selection | None = None
    solved: jax.Array | None = None

    def __repr__(self) -> str:
        return checks.shown(self)


@exported_static(lambda mode: mode.channels, lambda channels: ChannelMode(channels))
@jax.tree_util.register_static
class ChannelMode(NamedTuple):
    """How colour channels relate, as a static part of a pytree.

    Attributes:
      channels: see `Channels`.
    """

    channels: Channels


@exported
class ExpressionStatistics(NamedTuple):
    """The sums over pairs from which `solve` makes a model.

    Attributes:
      mode: how colour channels relate. Static.
      groups: the statistics of the channels that are fitted together, along a first axis of all arrays: one
        group for each channel if they are "independent", otherwise a single one.
    """

    mode: ChannelMode
    groups: WindowStatistics

    def __repr__(self) -> str:
        return checks.shown(self)


def join_groups(groups: WindowLinear, window: Window | Mask) -> ExpressionModel:
    """The model of all groups' output channels, `(groups, channels of one, ...)`."""
    weights, bias, solved = _flatten(groups)
    return ExpressionModel(weights, bias, window, solved=solved)


@jax.jit
def _flatten(groups: WindowLinear) -> WindowLinear:
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), groups)


def as_pairs(
    where: str, neutral: ArrayLike, expressive: ArrayLike, *, weights: ArrayLike | None = None
) -> tuple[jax.Array, jax.Array]:
    """Pairs of pictures as floating point of one dtype, after checking them.

    Args:
      where: the function that was called, for the message.
      neutral: `(num, height, width, channels)`.
      expressive: the same shape.
      weights: `(num,)` or None; pairs of weight 0 may hold any numbers.

    Returns:
      Both, float32 or float64.

    Raises:
      TypeError: they are not floating point.
      InputError: their shapes differ, a value is NaN or infinite, or they are not in [0, 1], see
        `checks.pictures`.
    """
    neutral = checks.as_floating(where, "neutral", neutral, AXES)
    expressive = checks.as_floating(where, "expressive", expressive, AXES)
    checks.known_number(where, "pairs", neutral)
    checks.known_number(where, "pairs", expressive)
    if neutral.shape != expressive.shape:
        raise checks.InputError(f"{where}: neutral is {neutral.shape}, but expressive is {expressive.shape}")
    checks.channels_last(where, "neutral", neutral.shape)
    if weights is None:
        checks.pictures(where, "neutral", neutral)
        checks.pictures(where, "expressive", expressive, may_be_change=True)
    elif checks.is_concrete(neutral, expressive, weights):
        counted = np.asarray(weights) > 0
        if counted.any():
            checks.pictures(where, "neutral", np.asarray(neutral)[counted])
            checks.pictures(where, "expressive", np.asarray(expressive)[counted], may_be_change=True)
    dtype = jnp.promote_types(neutral.dtype, expressive.dtype)
    return checks.as_dtype(neutral, dtype), checks.as_dtype(expressive, dtype)


def with_weights(
    where: str, neutral: ArrayLike, expressive: ArrayLike, weights: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array | np.ndarray]:
    """Pairs, for `as_pairs`, and their weights after checking them; NaN of a pair of weight 0 becomes 0."""
    neutral = checks.as_floating(where, "neutral", neutral, AXES)
    expressive = checks.as_floating(where, "expressive", expressive, AXES)
    dtype = jnp.promote_types(neutral.dtype, expressive.dtype)
    weights = checks.weights(where, weights, (neutral.shape[:1],), dtype)
    return without_missing(neutral, weights), without_missing(expressive, weights), weights


def warn_unsolved(where: str, model: ExpressionModel) -> None:
    """Warns if pixels fall back to their mean, with the line that called a function of this package."""
    assert model.solved is not None
    checks.warn_unsolved(where, model.solved, stacklevel=5)
