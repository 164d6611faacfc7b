"""Expressions on pictures: learn one from pairs of pictures, and put it on others.

This is masked linear regression (`masked_ridge`, Khan et al., IJCV 2020) for images with channels, with
the change of expression under a dial. `fit` takes all pairs at once; `init_statistics`, `update` and `solve`
take some at a time, as many as there may be.
"""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from mlr_jax import (
    checks,
    masked_ridge,
    masks,
    model_selection,
    window_dual,
    window_linear,
    window_ridge,
    window_statistics,
)
from mlr_jax.model_selection import FoldStatistics, Selection
from mlr_jax.model_selection.held_out import of_stacked
from mlr_jax.numerics import strips
from mlr_jax.window_linear import WindowLinear
from mlr_jax.window_statistics import WindowStatistics

Channels = Literal["independent", "shared", "joint"]
"""How colour channels relate.

"independent": each output channel sees its own channel, with its own weights, as published. "shared":
one set of weights for all channels, each channel of a picture being one more example. "joint": each
output channel sees all channels of the window.
"""

Solver = Literal["primal", "dual", "gather"]
"""How windows are solved.

"primal": from the sums that `window_statistics` shares among pixels, a system of the window's inputs for
each. "dual": from kernels that slide, a system of the examples for each (`window_dual`). "gather": pixel by
pixel (`masked_ridge`), which needs nothing of a window. All give the same weights.
"""

# Pictures that are averaged for the centre of the statistics.
_NUM_CENTRE = 16

_AXES = ("num", "height", "width", "channels")


class ExpressionModel(NamedTuple):
    """A learned change of expression; all that `synthesize` needs.

    Attributes:
      weights: `(out_channels, num_offsets, in_channels, height, width)`, one plane for each offset of the
        window, 0 where it leaves the picture. `out_channels` is 1 for "shared", `in_channels` is 1 unless
        "joint". For a mask, `num_offsets` are the entries of its rows.
      bias: `(out_channels, height, width)`.
      window: what each pixel sees: a window, which is static, and says which blurred or mirrored copies of a
        picture it looks at; or a mask over the `height * width` pixels, the same for all channels. To
        differentiate with respect to a model with a mask, pass `allow_int=True` to `jax.grad`, since a mask
        is no number.
      selection: where the window or the penalty was chosen: what was chosen, and from which errors.
      solved: the shape of `bias`, 1 where a pixel's system could be solved in its precision, and 0 where it
        could not and the pixel is predicted by the mean of its targets. None for a model from a file.
    """

    weights: jax.Array
    bias: jax.Array
    window: masks.Window | masks.Mask
    selection: Selection | None = None
    solved: jax.Array | None = None


@jax.tree_util.register_static
class ChannelMode(NamedTuple):
    """How colour channels relate, as a static part of a pytree.

    Attributes:
      channels: see `Channels`.
    """

    channels: Channels


class ExpressionStatistics(NamedTuple):
    """The sums over pairs from which `solve` makes a model.

    Attributes:
      mode: how colour channels relate. Static.
      groups: the statistics of the channels that are fitted together, along a first axis of all arrays: one
        group for each channel if they are "independent", otherwise a single one.
    """

    mode: ChannelMode
    groups: WindowStatistics


def fit(
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    window: int | masks.Window | masks.Mask | Sequence[int | masks.Window] | Literal["auto"] = 3,
    penalty: ArrayLike | Literal["auto", "tuned"] = 0.4,
    channels: Channels = "independent",
    penalize_bias: bool = True,
    mirror: bool = False,
    solver: Solver | None = None,
    batch_size: int | None = None,
    per_pixel: bool = False,
    subjects: Sequence[Hashable] | None = None,
    num_folds: int = 5,
) -> ExpressionModel:
    """Learns from pairs of pictures how an expression changes faces.

    Each output pixel is a ridge regression on a window of the input, see `masked_ridge.fit`. In a
    window, neighbouring pixels share their work, see `choose_solver`; masks go through `masked_ridge`. The
    result is the same. Pictures that are split over several devices had better go through `sharding.fit`,
    which sends less between them. Under `jit`, a window's size, `channels` and `solver` must be static: bind
    them with `functools.partial`.

    "auto" chooses the window, the penalty, or both, by the error on people who are left out, see
    `model_selection`: from one pass over the pairs, of `model_selection.WINDOWS` those that the pictures can
    hold, and of `model_selection.PENALTIES`. "tuned" goes on from there to penalties of each pixel and each
    offset (`model_selection.tune`). What was chosen, and from which errors, is the model's `selection`.

    Args:
      neutral: `(num, height, width, channels)` floating point in [0, 1], the faces to start from.
      expressive: the same shape, the same people with the expression.
      window: side of the square window in pixels, odd, 3 in the paper; or any `masks.Window`; or any mask
        over the pixels; or "auto"; or a list of windows to choose from.
      penalty: lambda >= 0, one for all or `(height, width)`, 0.4 in the paper; or "auto"; or "tuned".
      channels: how colour channels relate, see `Channels`.
      penalize_bias: whether the penalty includes the bias, as published.
      mirror: whether every pair counts a second time, left and right exchanged; faces being about as often
        one way round as the other, that is twice the examples.
      solver: see `Solver`; by default `choose_solver`'s, and "gather" for masks.
      batch_size: pixels that `masked_ridge.fit` solves at once, see there.
      per_pixel: whether "auto" chooses for each pixel, instead of once for the picture.
      subjects: whose picture each pair is, so that people are left out; by default each is another's.
      num_folds: in which they are left out, one after the other; fewer if there are fewer people.

    Returns:
      The model.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, a value is NaN, the window does not suit the picture or the solver, the
        penalty is negative, or "auto" does not go with what else was asked for.

    >>> faces = jax.random.uniform(jax.random.key(0), (20, 8, 8, 3))
    >>> model = fit(faces, 1 - faces, window=3, penalty=1e-4)
    >>> bool(abs(synthesize(model, faces) + faces - 1).max() < 1e-2)
    True
    """
    where = "synthesis.fit"
    neutral, expressive = as_pairs(where, neutral, expressive)
    _check_channels(where, channels)
    height, width = neutral.shape[1:3]
    is_chosen = isinstance(window, str) or model_selection.are_several(window) or isinstance(penalty, str)
    if not is_chosen and (per_pixel or subjects is not None):
        raise checks.InputError(f'{where}: per_pixel and subjects are for what is "auto" or "tuned"')
    folds = np.zeros(len(neutral), int)
    if is_chosen:
        if solver not in (None, "primal"):
            raise checks.InputError(f"{where}: what is chosen needs the solver 'primal', not {solver!r}")
        folds = model_selection.folds_of_pairs(where, len(neutral), subjects, num_folds)
    if mirror:
        folds = np.tile(folds, 2)
        neutral, expressive = (
            jnp.concatenate([each, jnp.flip(each, axis=2)]) for each in (neutral, expressive)
        )
    if is_chosen:
        return _fit_chosen(
            where,
            neutral,
            expressive,
            folds,
            window,
            penalty,
            channels=channels,
            penalize_bias=penalize_bias,
            per_pixel=per_pixel,
        )
    assert not isinstance(penalty, str)
    if not isinstance(window, masks.Mask | masks.Window):
        side = cast(int, window)
        checks.positive_integer(where, "window, unless it is a masks.Window or masks.Mask,", side)
        window = masks.square(int(side))
    if isinstance(window, masks.Window):
        masks.check_window(window, where, height, width)
    else:
        masks.check(window, where, num_inputs=height * width)
        if len(window.indices) != height * width:
            raise checks.InputError(
                f"{where}: the mask has {len(window.indices)} outputs, but pictures of {height} x {width} "
                f"have {height * width} pixels"
            )
    model = _fit(
        neutral,
        expressive,
        window,
        _penalties(where, penalty, height, width, neutral.dtype),
        channels=channels,
        penalize_bias=penalize_bias,
        solver=_check_solver(where, solver, window, neutral.shape, channels),
        batch_size=batch_size,
    )
    _warn_unsolved(where, model)
    return model


def choose_solver(window: masks.Window, num_examples: int, *, in_channels: int = 1) -> Solver:
    """The solver that is fastest for a window, as far as its shape and the numbers tell.

    Args:
      window: of offsets.
      num_examples: N; if channels are "shared", each channel of a picture is one.
      in_channels: that an output sees.

    Returns:
      "primal" if the window has at most as many inputs as there are examples (experiments/BENCHMARKS.md has
      where the two cross); otherwise "dual" if it is a rectangle, and "gather" if not.

    >>> choose_solver(masks.square(3), 82), choose_solver(masks.square(15), 82)
    ('primal', 'dual')
    """
    if len(window.offsets) * in_channels <= num_examples:
        return "primal"
    return "dual" if window_dual.is_slidable(window) else "gather"


def init_statistics(
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    window: int | masks.Window = 3,
    channels: Channels = "independent",
) -> ExpressionStatistics:
    """Statistics of no pairs yet, for pictures like the given ones.

    With `update` and `solve` they give the model of `fit` for any number of pairs, of which only some are in
    memory at a time:

        statistics = init_statistics(*first)
        for neutral, expressive in batches:
            statistics = update(statistics, neutral, expressive)
        model = solve(statistics)

    Args:
      neutral: `(num, height, width, channels)` floating point in [0, 1], some of the faces. Their size, dtype
        and channels are those of all; the mean of the first 16 is subtracted from every picture before it
        is multiplied, which changes the rounding but not the result.
      expressive: the same shape, the same people with the expression.
      window: side of the square window in pixels, odd; or any `masks.Window`. Not a mask: its pixels share no
        sums.
      channels: how colour channels relate, see `Channels`.

    Raises:
      TypeError: the pictures are not floating point, or the window is of another type.
      InputError: shapes do not agree, a value is NaN, or the window does not suit the picture.
    """
    where = "synthesis.init_statistics"
    neutral, expressive = as_pairs(where, neutral, expressive)
    _check_channels(where, channels)
    window = model_selection.as_window(where, window)
    masks.check_window(window, where, *neutral.shape[1:3])
    return _init(neutral, expressive, window, channels)


def update(
    statistics: ExpressionStatistics, neutral: ArrayLike, expressive: ArrayLike
) -> ExpressionStatistics:
    """Adds pairs.

    It is compiled once for each number of pairs. Which pairs come together, and in which order, changes the
    rounding of the sums but nothing else.

    Args:
      statistics: so far.
      neutral: `(num, height, width, channels)` floating point in [0, 1].
      expressive: the same shape.

    Returns:
      The statistics with these pairs.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: they are not of the size and the channels that the statistics are for, or a value is NaN.
    """
    where = "synthesis.update"
    neutral, expressive = as_pairs(where, neutral, expressive)
    num_groups, num_inputs, height, width = statistics.groups.input_centre.shape
    in_channels = num_inputs // len(masks.views(statistics.groups.window)[0])
    num_channels = {"independent": num_groups, "joint": in_channels, "shared": neutral.shape[3]}
    expected = (height, width, num_channels[statistics.mode.channels])
    if neutral.shape[1:] != expected:
        raise checks.InputError(
            f"{where}: the statistics are for pictures of {expected}, not {neutral.shape[1:]}"
        )
    return _update(statistics, neutral, expressive)


def solve(
    statistics: ExpressionStatistics,
    *,
    penalty: ArrayLike = 0.4,
    penalize_bias: bool = True,
    factors: ArrayLike | None = None,
) -> ExpressionModel:
    """The model of all pairs that were added.

    The same as that of `fit`, up to rounding, which always goes through the sums here: with fewer pairs than
    a window has inputs, a small penalty loses digits that the dual would keep.

    Args:
      statistics: of the pairs; for several penalties the same.
      penalty: lambda >= 0, one for all or `(height, width)`; 0.4 in the paper.
      penalize_bias: whether the penalty includes the bias, as published.
      factors: `(num_offsets,)`, by which it is multiplied for each offset: of `model_selection.tune`.

    Returns:
      The model.

    Raises:
      InputError: there are no pairs, or the penalty or a factor is negative or of another shape.
    """
    where = "synthesis.solve"
    num_pairs = statistics.groups.num_pairs
    if checks.is_concrete(num_pairs) and not (np.asarray(num_pairs) > 0).all():
        raise checks.InputError(f"{where}: the statistics hold no pairs; update them first")
    height, width = statistics.groups.input_centre.shape[2:]
    penalties = _penalties(where, penalty, height, width, num_pairs.dtype)
    model = _solve(statistics, penalties, factors, penalize_bias=penalize_bias)
    _warn_unsolved(where, model)
    return model


def synthesize(model: ExpressionModel, images: ArrayLike, *, intensity: ArrayLike = 1.0) -> jax.Array:
    """Puts the learned expression on faces.

        result = (1 - intensity) * images + intensity * prediction

    The result is not clipped, so that gradients pass; a picture is shown after clipping it to [0, 1].

    Args:
      model: from `fit`.
      images: `(num, height, width, channels)` floating point in [0, 1], of the model's height and width.
      intensity: 0 returns the images themselves, 1 the learned expression, more exaggerates it, less
        than 0 turns it into its opposite. One for all or `(num,)`.

    Returns:
      Pictures of the same shape.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: their size or number of channels is not the model's, a value is NaN, or intensity has
        another shape.
    """
    where = "synthesis.synthesize"
    images = checks.as_floating(where, "images", images, _AXES)
    check_images(model, where, images, intensity)
    return _synthesize(model, images, checks.as_plane(intensity, (len(images),), images.dtype))


def check_images(
    model: ExpressionModel, where: str, images: jax.Array | np.ndarray, intensity: ArrayLike
) -> None:
    """Raises InputError unless the model can be put on `images` with that intensity."""
    out_channels, _, _, height, width = model.weights.shape
    if images.shape[1:3] != (height, width):
        raise checks.InputError(
            f"{where}: the model is for pictures of {height} x {width}, not "
            f"{images.shape[1]} x {images.shape[2]}; resize them"
        )
    if out_channels not in (1, images.shape[3]):
        raise checks.InputError(f"{where}: the model is for {out_channels} channels, not {images.shape[3]}")
    if np.shape(intensity) not in ((), (len(images),)):
        raise checks.InputError(
            f"{where}: intensity must be a scalar or ({len(images)},), not {np.shape(intensity)}"
        )
    checks.finite(where, "images", images)


@partial(jax.jit, static_argnames=("channels", "penalize_bias", "solver", "batch_size"))
def _fit(
    neutral: jax.Array,
    expressive: jax.Array,
    window: masks.Window | masks.Mask,
    penalty: jax.Array | np.ndarray,
    *,
    channels: Channels,
    penalize_bias: bool,
    solver: Solver,
    batch_size: int | None,
) -> ExpressionModel:
    _, height, width, num_channels = neutral.shape
    in_channels = num_channels if channels == "joint" else 1
    num_views = 1
    if isinstance(window, masks.Window):
        num_views = len(masks.views(window)[0])
        neutral = window_linear.look(neutral, window)

    penalty = jnp.asarray(penalty)

    def fit_rows(neutral: jax.Array, expressive: jax.Array, penalty: jax.Array) -> WindowLinear:
        def fit_one(group: tuple[jax.Array, jax.Array]) -> WindowLinear:
            """One fit of `(num, height, width, channels)`, every output channel of which sees all inputs."""
            inputs, targets = group
            if isinstance(window, masks.Mask) or solver == "gather":
                seen = _views_first(inputs, num_views)
                return _fit_mask(seen, targets, window, penalty, penalize_bias, batch_size)
            if solver == "dual":
                return window_dual.fit(inputs, targets, window, penalty, penalize_bias=penalize_bias)
            statistics = window_statistics.of_pairs(
                window, inputs, targets, _centre(inputs), _centre(targets)
            )
            return window_statistics.solve(statistics, window, penalty, penalize_bias=penalize_bias)

        # One after the other: a single channel may be all that memory holds twice.
        return jax.lax.map(fit_one, (_group(neutral, channels, num_views), _group(expressive, channels)))

    if isinstance(window, masks.Mask) or solver != "primal":
        return _model(fit_rows(neutral, expressive, penalty), window)

    # The statistics of a strip stay in the cache, and those of all strips are never held together.
    def fit_strip(start: jax.Array, size: int) -> WindowLinear:
        cut = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=size)
        return fit_rows(cut(neutral, axis=1), cut(expressive, axis=1), cut(penalty, axis=0))

    return _model(strips.map_rows(fit_strip, height, window_ridge.plan(window, in_channels, width)), window)


@partial(jax.jit, static_argnames=("window", "channels"))
def _init(
    neutral: jax.Array, expressive: jax.Array, window: masks.Window, channels: Channels
) -> ExpressionStatistics:
    seen = window_linear.look(neutral, window)
    groups = _group(seen, channels, len(masks.views(window)[0])), _group(expressive, channels)
    return ExpressionStatistics(
        ChannelMode(channels), jax.lax.map(lambda pair: _begin(pair[0], pair[1], window), groups)
    )


@jax.jit
def _update(
    statistics: ExpressionStatistics, neutral: jax.Array, expressive: jax.Array
) -> ExpressionStatistics:
    channels = statistics.mode.channels
    window, num_pairs = statistics.groups[:2]
    num_views = len(masks.views(window)[0])
    seen = window_linear.look(neutral, window)

    def add_strip(start: jax.Array, size: int, planes: tuple[Any, ...]) -> tuple[Any, ...]:
        def group(images: jax.Array, num_views: int = 1) -> jax.Array:
            return _group(jax.lax.dynamic_slice_in_dim(images, start, size, axis=1), channels, num_views)

        groups = WindowStatistics(window, num_pairs, *planes), group(seen, num_views), group(expressive)
        return jax.lax.map(lambda one: window_statistics.update(*one), groups)[2:]

    # Strip by strip, so that sums that are given away are not held twice.
    plan = window_statistics.plan(window, neutral.shape[2])
    planes = strips.replace_rows(add_strip, statistics.groups[2:], plan)
    num_examples = len(neutral) * (neutral.shape[3] if channels == "shared" else 1)
    return statistics._replace(groups=WindowStatistics(window, num_pairs + num_examples, *planes))


@partial(jax.jit, static_argnames="penalize_bias")
def _solve(
    statistics: ExpressionStatistics,
    penalty: jax.Array | np.ndarray,
    factors: ArrayLike | None,
    *,
    penalize_bias: bool,
) -> ExpressionModel:
    window = statistics.groups.window
    solve_one = partial(
        window_statistics.solve,
        window=window,
        penalty=penalty,
        penalize_bias=penalize_bias,
        factors=factors,
    )
    return _model(jax.lax.map(solve_one, statistics.groups), window)


@partial(jax.jit, static_argnames=("window", "channels"))
def _sum_up_folds(
    neutral: jax.Array,
    expressive: jax.Array,
    members: ArrayLike,
    is_member: ArrayLike,
    *,
    window: masks.Window,
    channels: Channels,
) -> FoldStatistics:
    """The statistics of folds, all with the same centres.

    Args:
      neutral: `(num, height, width, channels)`.
      expressive: the same shape.
      members: `(num_folds, most)`, the pairs of each fold, filled up with some of them.
      is_member: the same shape, bool: which are no filling.
      window: static.
      channels: static.
    """
    num_channels = neutral.shape[3] if channels == "shared" else 1
    num_views = len(masks.views(window)[0])
    seen = _group(window_linear.look(neutral, window), channels, num_views)
    groups = seen, _group(expressive, channels)

    def of_fold(fold: tuple[jax.Array, jax.Array]) -> WindowStatistics:
        indices, is_counted = fold

        def of_group(pairs: tuple[jax.Array, jax.Array]) -> WindowStatistics:
            inputs, targets = pairs
            empty = _begin(inputs, targets, window)
            # Of shared channels, all pictures of one come after those of another.
            shifts = len(neutral) * jnp.arange(num_channels)
            own = (shifts[:, None] + indices[None]).reshape(-1)
            is_counted_own = jnp.tile(is_counted, num_channels)
            return window_statistics.add(empty, inputs[own], targets[own], is_counted=is_counted_own)

        return jax.lax.map(of_group, groups)

    return of_stacked(jax.lax.map(of_fold, (jnp.asarray(members), jnp.asarray(is_member))))


def _fit_chosen(
    where: str,
    neutral: jax.Array,
    expressive: jax.Array,
    fold_of: np.ndarray,
    window: Any,
    penalty: Any,
    *,
    channels: Channels,
    penalize_bias: bool,
    per_pixel: bool,
) -> ExpressionModel:
    """A fit whose window or penalty is chosen by the error on held-out folds."""
    windows, penalties = model_selection.candidates(where, window, penalty, *neutral.shape[1:3])
    largest_first = sorted(windows, key=lambda each: len(each.offsets), reverse=True)
    members = [np.flatnonzero(fold_of == fold) for fold in range(fold_of.max() + 1)]
    most = max(map(len, members))
    params, window, selection = model_selection.fit(
        _sum_up_folds(
            neutral,
            expressive,
            np.stack([np.resize(each, most) for each in members]),
            np.stack([np.arange(most) < len(each) for each in members]),
            window=masks.join(*largest_first),
            channels=channels,
        ),
        windows,
        penalties,
        per_pixel=per_pixel,
        tuned=isinstance(penalty, str) and penalty == "tuned",
        penalize_bias=penalize_bias,
    )
    model = _model(params, window)._replace(selection=selection)
    _warn_unsolved(where, model)
    return model


def _model(groups: WindowLinear, window: masks.Window | masks.Mask) -> ExpressionModel:
    """Joins the output channels of all groups, `(groups, channels of one, ...)`."""
    weights, bias, solved = _join_groups(groups)
    return ExpressionModel(weights, bias, window, solved=solved)


@jax.jit
def _join_groups(groups: WindowLinear) -> WindowLinear:
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), groups)


def _warn_unsolved(where: str, model: ExpressionModel) -> None:
    assert model.solved is not None
    checks.warn_unsolved(where, model.solved, stacklevel=5)


def _begin(inputs: jax.Array, targets: jax.Array, window: masks.Window) -> WindowStatistics:
    """The statistics of no pairs, centred for `(num, height, width, channels)` of one group."""
    _, height, width, in_channels = inputs.shape
    return window_statistics.init(
        window,
        height,
        width,
        in_channels=in_channels,
        out_channels=targets.shape[-1],
        input_centre=jnp.moveaxis(_centre(inputs), 0, -1),
        target_centre=jnp.moveaxis(_centre(targets), 0, -1),
        dtype=inputs.dtype,
    )


def _centre(images: jax.Array) -> jax.Array:
    """`(channels, height, width)`, the mean of some pictures, which are enough to be near the mean of all.

    One picture is added after the other: to the bit the same on any number of threads, as `mean` is not.
    """
    some = jax.lax.stop_gradient(images[:_NUM_CENTRE])
    return jnp.moveaxis(sum(some[1:], some[0]) / len(some), -1, 0)


def _views_first(inputs: jax.Array, num_views: int) -> jax.Array:
    """`(num, height, width, channels * views)` -> `(num, views, height, width, channels)`."""
    return jnp.moveaxis(inputs.reshape(*inputs.shape[:3], -1, num_views), -1, 1)


def _fit_mask(
    inputs: jax.Array,
    targets: jax.Array,
    window: masks.Window | masks.Mask,
    penalty: jax.Array,
    penalize_bias: bool,
    batch_size: int | None,
) -> WindowLinear:
    num, _, height, width, in_channels = inputs.shape
    mask = masks.as_mask(window, height, width) if isinstance(window, masks.Window) else window
    wide = masks.across_channels(mask, in_channels)
    fit = partial(masked_ridge.fit, penalize_bias=penalize_bias, batch_size=batch_size)
    # The inputs are not mapped over: all output channels share one factorisation for each pixel.
    solution = jax.vmap(fit, in_axes=(None, 0, None, None))(
        inputs.reshape(num, -1),
        jnp.moveaxis(targets, -1, 0).reshape(targets.shape[-1], num, -1),
        wide,
        penalty.reshape(-1),
    )
    # (out_channels, pixels, entries * in_channels) -> as in the model.
    weights = solution.weights.reshape(len(solution.weights), height, width, -1, in_channels)
    bias, solved = jax.tree.map(
        lambda leaf: leaf.reshape(-1, height, width), (solution.bias, solution.solved)
    )
    return WindowLinear(jnp.moveaxis(weights, (3, 4), (1, 2)), bias, solved)


@jax.jit
def _synthesize(model: ExpressionModel, images: jax.Array, intensity: jax.Array | np.ndarray) -> jax.Array:
    params = WindowLinear(model.weights, model.bias)
    out_channels, _, in_channels, _, _ = model.weights.shape
    predict = partial(_predict, model.window)
    if in_channels > 1:
        prediction = predict(params, images)
    elif out_channels == 1:
        grey = predict(params, _as_grey(images))
        prediction = jnp.moveaxis(grey.reshape(images.shape[-1:] + images.shape[:-1]), 0, -1)
    else:
        one_channel = jax.tree.map(lambda leaf: leaf[:, None], params)
        planes = jax.lax.map(lambda each: predict(*each), (one_channel, _split(images)))
        prediction = jnp.moveaxis(planes[..., 0], 0, -1)
    amount = jnp.asarray(intensity)[:, None, None, None]
    return (1 - amount) * images + amount * prediction


def _predict(window: masks.Window | masks.Mask, params: WindowLinear, images: jax.Array) -> jax.Array:
    if isinstance(window, masks.Window):
        return window_linear.predict(params, window_linear.look(images, window), window)
    out_channels, _, in_channels, height, width = params.weights.shape
    weights = jnp.moveaxis(params.weights, (1, 2), (3, 4)).reshape(out_channels, height * width, -1)
    flat = masked_ridge.MaskedLinear(weights, params.bias.reshape(out_channels, -1))
    wide = masks.across_channels(window, in_channels)
    predict = jax.vmap(masked_ridge.predict, in_axes=(0, None, None))
    outputs = predict(flat, images.reshape(len(images), -1), wide)
    return jnp.moveaxis(outputs.reshape(out_channels, len(images), height, width), 0, -1)


def as_pairs(where: str, neutral: ArrayLike, expressive: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Pairs of pictures as floating point of one dtype, after checking them.

    Args:
      where: the function that was called, for the message.
      neutral: `(num, height, width, channels)`.
      expressive: the same shape.

    Returns:
      Both, float32 or float64.

    Raises:
      TypeError: they are not floating point.
      InputError: their shapes differ, or a value is NaN or infinite.
    """
    neutral = checks.as_floating(where, "neutral", neutral, _AXES)
    expressive = checks.as_floating(where, "expressive", expressive, _AXES)
    if neutral.shape != expressive.shape:
        raise checks.InputError(f"{where}: neutral is {neutral.shape}, but expressive is {expressive.shape}")
    checks.finite(where, "neutral", neutral)
    checks.finite(where, "expressive", expressive)
    dtype = jnp.promote_types(neutral.dtype, expressive.dtype)
    return checks.as_dtype(neutral, dtype), checks.as_dtype(expressive, dtype)


def _check_channels(where: str, channels: str) -> None:
    if channels not in get_args(Channels):
        raise checks.InputError(
            f"{where}: channels must be one of {', '.join(get_args(Channels))}, not {channels!r}"
        )


def _check_solver(
    where: str,
    solver: Solver | None,
    window: masks.Window | masks.Mask,
    shape: tuple[int, ...],
    channels: Channels,
) -> Solver:
    """The solver for pictures of that shape, after checking that it suits the window."""
    if solver not in (None, *get_args(Solver)):
        raise checks.InputError(
            f"{where}: solver must be one of {', '.join(get_args(Solver))}, not {solver!r}"
        )
    if isinstance(window, masks.Mask):
        if solver not in (None, "gather"):
            raise checks.InputError(f"{where}: a mask can only be solved by 'gather', not {solver!r}")
        return "gather"
    if solver == "dual" and not window_dual.is_slidable(window):
        raise checks.InputError(
            f"{where}: the window is no rectangle without holes, which solver 'dual' needs; use 'primal'"
        )
    num_examples = shape[0] * (shape[3] if channels == "shared" else 1)
    in_channels = shape[3] if channels == "joint" else 1
    return solver or choose_solver(window, num_examples, in_channels=in_channels)


def _penalties(
    where: str, penalty: ArrayLike, height: int, width: int, dtype: DTypeLike
) -> jax.Array | np.ndarray:
    """One for each pixel."""
    if np.shape(penalty) not in ((), (height, width)):
        raise checks.InputError(
            f"{where}: penalty must be a scalar or {(height, width)}, not {np.shape(penalty)}"
        )
    checks.not_negative(where, "penalty", penalty)
    return checks.as_plane(penalty, (height, width), dtype)


def _group(images: jax.Array, channels: Channels, num_views: int = 1) -> jax.Array:
    """The examples of each regression of its own: `(groups, num, height, width, inputs of one)`."""
    if channels == "joint":
        return images[None]
    return _as_grey(images, num_views)[None] if channels == "shared" else _split(images, num_views)


def _as_grey(images: jax.Array, num_views: int = 1) -> jax.Array:
    """(num, height, width, channels * views) -> (channels * num, height, width, views)."""
    return _split(images, num_views).reshape(-1, *images.shape[1:3], num_views)


def _split(images: jax.Array, num_views: int = 1) -> jax.Array:
    """(num, height, width, channels * views) -> (channels, num, height, width, views)."""
    return jnp.moveaxis(images.reshape(*images.shape[:3], -1, num_views), 3, 0)
