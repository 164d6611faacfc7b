"""`synthesis.fit`: one regression for each pixel, with a window and a penalty that are given or chosen."""

from collections.abc import Sequence
from typing import Literal, Unpack, cast, get_args

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, masks, model_selection, windows
from mlr_jax._window_regression import channels as channel_groups, regularization
from mlr_jax._window_regression.channels import Channels, check_channels
from mlr_jax.masks import Mask
from mlr_jax.synthesis import _solvers
from mlr_jax.synthesis._choosing import ChoiceOptions, fit_chosen, warn_at_end, with_mirrored
from mlr_jax.synthesis._model import ExpressionModel, Solver, as_pairs, warn_unsolved, with_weights
from mlr_jax.synthesis._towards import Towards, change, check_windows, with_identity
from mlr_jax.windows import Window

WindowLike = int | Window | Mask
"""A receptive field: the side of a square window in pixels, any window, or any mask over the pixels."""


def fit(
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    window: WindowLike | Sequence[int | Window] | Literal["auto"] = 3,
    penalty: ArrayLike | Literal["auto", "tuned"] = 0.4,
    channels: Channels = "independent",
    penalize_bias: bool = True,
    mirror: bool = False,
    solver: Solver | None = None,
    batch_size: int | None = None,
    weights: ArrayLike | None = None,
    towards: Towards = "zero",
    **choice: Unpack[ChoiceOptions],
) -> ExpressionModel:
    """Learns from pairs of pictures how an expression changes faces.

    Each output pixel is a ridge regression on a window of the input, see `masked_ridge.fit`. In a
    window, neighbouring pixels share work, see `choose_solver`; masks go through `masked_ridge`, with the
    same result. For pictures that are split over several devices, `sharding.fit` sends less between
    them. Under `jit`, a window's size, `channels` and `solver` must be static: bind them with
    `functools.partial`.

    "auto" chooses the window, the penalty, or both, by the held-out error, as `choose` does. "tuned" then
    tunes the penalties of each pixel and each offset. The model's `selection` holds the choice, its errors,
    and whether it is at an end of what was tried (`at_end`), of which a `checks.GridEndWarning` tells, too.

    Args:
      neutral: `(num, height, width, channels)` floating point in [0, 1], the faces to start from.
      expressive: the same shape, the same people with the expression.
      window: side of the square window in pixels, odd, 3 in the paper; or any `windows.Window`; or any mask
        over the pixels; or "auto"; or a list of windows to choose from.
      penalty: lambda >= 0, one for all or `(height, width)`, 0.4 in the paper; or "auto"; or "tuned".
      channels: how colour channels relate, see `Channels`.
      penalize_bias: whether the penalty includes the bias, as published.
      mirror: whether every pair counts a second time, mirrored left to right; a mirrored face is as likely as
        the face, so that there are twice as many examples.
      solver: see `Solver`; by default `choose_solver`'s, and "gather" for masks.
      batch_size: pixels that `masked_ridge.fit` solves at once, see there.
      weights: `(num,)`, 0 or more, of the squared errors of each pair: a pair of weight 2 counts as two, and
        one of weight 0 as none; it may hold NaN. Solvers are then "primal" and "gather", the default with
        more inputs than pairs. Not with "auto" or "tuned".
      towards: what the penalty shrinks a model to. "zero": to black pictures, as published. "input": to the
        input itself, so that a large penalty means no change; a pixel that is not solved is then its input
        and the mean change. In a mask, pixels that do not see themselves shrink to zero. Static.
      **choice: `per_pixel`, `subjects` and `num_folds` of `choose`, with "auto" or "tuned".

    Returns:
      The model.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, a value is NaN, pictures are not in [0, 1] (by more than 0.5, which
        results of another model may exceed it by), the window does not suit the picture or the solver, the
        penalty or a weight is negative, "auto" does not go with another option, or nothing can shrink towards
        the input.

    >>> import jax
    >>> from mlr_jax.synthesis import synthesize
    >>> faces = jax.random.uniform(jax.random.key(0), (20, 8, 8, 3))
    >>> model = fit(faces, 1 - faces, window=3, penalty=1e-4)
    >>> bool(abs(synthesize(model, faces) + faces - 1).max() < 1e-2)
    True
    """
    where = "synthesis.fit"
    for name in choice:
        if name not in ChoiceOptions.__annotations__:
            raise TypeError(f"{where}: there is no option {name!r}")
    if weights is not None:
        neutral, expressive, weights = with_weights(where, neutral, expressive, weights)
    neutral, expressive = as_pairs(where, neutral, expressive, weights=weights)
    check_channels(where, channels)
    if towards not in get_args(Towards):
        raise checks.InputError(f"{where}: towards must be 'zero' or 'input', not {towards!r}")
    size = neutral.shape[1:3]
    if isinstance(window, str) or model_selection.are_several(window) or isinstance(penalty, str):
        if solver not in (None, "primal"):
            raise checks.InputError(
                f"{where}: a window or penalty that is chosen needs the solver 'primal', not {solver!r}"
            )
        if weights is not None:
            raise checks.InputError(f'{where}: weights do not go with what is "auto" or "tuned"')
        targets = expressive
        if towards == "input":
            check_windows(where, model_selection.candidates(where, window, penalty, *size)[0])
            targets = change(neutral, expressive, None)
        model = fit_chosen(
            where, neutral, targets, window, penalty, channels, penalize_bias, mirror=mirror, **choice
        )
        warn_at_end(where, model, neutral)
    else:
        if choice.get("per_pixel") or choice.get("subjects") is not None:
            raise checks.InputError(f'{where}: per_pixel and subjects are for what is "auto" or "tuned"')
        field = _receptive_field(where, cast(WindowLike, window), *size)
        options = regularization.checked(where, penalty, size, neutral.dtype, penalize_bias=penalize_bias)
        chosen = _solver(where, solver, field, (1 + mirror) * len(neutral), neutral.shape[3], channels)
        if weights is not None and chosen == "dual":
            if solver == "dual":
                raise checks.InputError(f"{where}: weights need the solver 'primal' or 'gather', not 'dual'")
            chosen = "gather"
        inputs, targets = with_mirrored(neutral, expressive) if mirror else (neutral, expressive)
        if towards == "input":
            check_windows(where, [field])
            # After mirroring: which pixels of a mask see themselves need not be symmetric.
            targets = change(inputs, targets, field if isinstance(field, Mask) else None)
        model = _solvers.fit(
            inputs,
            targets,
            field,
            options,
            channels=channels,
            solver=chosen,
            batch_size=batch_size,
            weights=jnp.concatenate([weights, weights]) if mirror and weights is not None else weights,
        )
    if towards == "input":
        model = with_identity(model)
    warn_unsolved(where, model)
    return model


def _receptive_field(where: str, window: WindowLike, height: int, width: int) -> Window | Mask:
    """The caller's window or mask, after checking that it suits the pictures."""
    if isinstance(window, Mask):
        masks.check(window, where, num_inputs=height * width)
        if len(window.indices) != height * width:
            raise checks.InputError(
                f"{where}: the mask has {len(window.indices)} outputs, but pictures of {height} x {width} "
                f"have {height * width} pixels"
            )
        return window
    if not isinstance(window, Window):
        if np.ndim(window) == 2:
            raise checks.InputError(
                f"{where}: window is a matrix of {np.shape(window)}; masks.from_dense makes a mask of it"
            )
        checks.positive_integer(where, "window, unless it is a windows.Window or masks.Mask,", window)
        window = windows.square(int(window))
    windows.check(window, where, height, width)
    return window


def _solver(
    where: str,
    solver: Solver | None,
    field: Window | Mask,
    num_pairs: int,
    num_channels: int,
    channels: Channels,
) -> Solver:
    """The caller's solver, after checking that it suits the receptive field; or the fastest."""
    if solver not in (None, *get_args(Solver)):
        raise checks.InputError(
            f"{where}: solver must be one of {', '.join(get_args(Solver))}, not {solver!r}"
        )
    if isinstance(field, Mask):
        if solver not in (None, "gather"):
            raise checks.InputError(f"{where}: a mask can only be solved by 'gather', not {solver!r}")
        return "gather"
    if solver == "dual" and not field.is_rectangle:
        raise checks.InputError(
            f"{where}: the window is no rectangle without holes, which solver 'dual' needs; use 'primal'"
        )
    num_examples = channel_groups.num_examples(num_pairs, num_channels, channels)
    in_channels = channel_groups.num_inputs(num_channels, channels)
    return solver or _solvers.choose_solver(field, num_examples, in_channels=in_channels)
