"""`sharding.fit` and `sharding.synthesize`: models of pictures on many devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from mlr_jax import checks, synthesis, windows
from mlr_jax._window_regression import statistics as sums_over_pairs
from mlr_jax._window_regression.channels import Channels, check_channels
from mlr_jax._window_regression.regularization import Regularization
from mlr_jax.sharding._halo import on_strips
from mlr_jax.sharding._mesh import (
    EACH,
    PICTURES,
    PIXELS,
    PLANES,
    WEIGHTS,
    MeshSplit,
    as_pictures,
    as_regularization,
    layout_on,
    num_devices,
    place,
    place_statistics,
    split_of,
)
from mlr_jax.sharding._statistics import add, solve_window
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.window_linear import WindowLinear


def fit(
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    mesh: Mesh,
    pairs: str | None = None,
    rows: str | None = None,
    window: int | windows.Window = 3,
    penalty: ArrayLike = 0.4,
    channels: Channels = "independent",
    penalize_bias: bool = True,
) -> ExpressionModel:
    """Learns from pairs of pictures how an expression changes faces: `synthesis.fit` on many devices.

    Split over rows alone, each device calls `synthesis.fit` on its strip, and devices send each other only
    halos. Split over pairs, the fit always goes through `window_statistics`, whose sums have the size of
    `2 * num_offsets` pictures or more, whatever the number of pairs.

    Args:
      neutral: `(num, height, width, channels)` floating point in [0, 1], the faces to start from.
      expressive: the same shape, the same people with the expression.
      mesh: of the devices.
      pairs: its axis over which the pairs are split, if any.
      rows: its axis over which the rows are split, if any.
      window: side of the square window in pixels, odd, or any `windows.Window`; not a mask.
      penalty: lambda >= 0, one for all or `(height, width)`.
      channels: how colour channels relate, see `synthesis.Channels`.
      penalize_bias: whether the penalty includes the bias, as published.

    Returns:
      The model, its rows split as those of the pictures.

    Raises:
      TypeError: the pictures are not floating point, or `window` is no window.
      InputError: shapes do not agree, a value is NaN, pictures are not in [0, 1] (see `synthesis.fit`), the
        window does not suit the picture, the penalty is negative, or the mesh has no such axis.
    """
    where = "sharding.fit"
    split = split_of(where, mesh, pairs, rows)
    neutral = as_pictures(where, "neutral", neutral, split)
    expressive = as_pictures(where, "expressive", expressive, split)
    if neutral.shape != expressive.shape:
        raise checks.InputError(f"{where}: neutral is {neutral.shape}, but expressive is {expressive.shape}")
    checks.channels_last(where, "neutral", neutral.shape)
    check_channels(where, channels)
    size = neutral.shape[1:3]
    if isinstance(window, int | np.integer):
        checks.positive_integer(where, "window", window)
        window = windows.square(int(window))
    windows.check(window, where, *size)
    check_views(where, window)
    dtype = jnp.promote_types(neutral.dtype, expressive.dtype)
    options = as_regularization(where, penalty, size, dtype, split, penalize_bias=penalize_bias)
    checks.pictures(where, "neutral", neutral)
    checks.pictures(where, "expressive", expressive, may_be_change=True)
    model = _fit(
        neutral.astype(dtype),
        expressive.astype(dtype),
        options,
        window=window,
        channels=channels,
        split=split,
    )
    assert model.solved is not None
    checks.warn_unsolved(where, model.solved)
    return model


def synthesize(
    model: ExpressionModel,
    images: ArrayLike,
    *,
    mesh: Mesh,
    pairs: str | None = None,
    rows: str | None = None,
    intensity: ArrayLike = 1.0,
) -> jax.Array:
    """Puts the learned expression on faces: `synthesis.synthesize` on many devices.

    Args:
      model: from either `fit`, of a window.
      images: `(num, height, width, channels)` floating point in [0, 1], of the model's height and width.
      mesh: of the devices.
      pairs: its axis over which the pictures are split, if any.
      rows: its axis over which their rows are split, if any.
      intensity: 0 returns the images themselves, 1 the learned expression. One for all or `(num,)`.

    Returns:
      Pictures of the same shape, split in the same way.

    Raises:
      TypeError: the pictures are not floating point, or the model is of a mask.
      InputError: their size or number of channels is not the model's, a value is NaN, they are not in [0, 1]
        (see `synthesis.fit`), intensity is no finite number or has another shape, or the mesh has no such
        axis.
    """
    where = "sharding.synthesize"
    split = split_of(where, mesh, pairs, rows)
    images = as_pictures(where, "images", images, split)
    synthesis.check_images(model, where, images, intensity)
    if not isinstance(model.window, windows.Window):
        raise TypeError(
            f"{where}: the model must be of a windows.Window, not a {type(model.window).__name__}"
        )
    check_views(where, model.window)
    amount = jnp.broadcast_to(jnp.asarray(intensity, images.dtype), (len(images),))
    model = model._replace(
        weights=place(model.weights, WEIGHTS, split), bias=place(model.bias, PLANES, split)
    )
    return _synthesize(model, images, place(amount, EACH, split), split=split)


def check_views(where: str, window: windows.Window) -> None:
    """Raises InputError for a window that reads copies of whole pictures."""
    if window.views:
        raise checks.InputError(
            f"{where}: the window looks at blurred or mirrored pictures, which need more rows than a device "
            "has; use `window_linear.look` and `update`, or one device"
        )


@partial(jax.jit, static_argnames=("window", "channels", "split"))
def _fit(
    neutral: jax.Array,
    expressive: jax.Array,
    regularization: Regularization,
    *,
    window: windows.Window,
    channels: Channels,
    split: MeshSplit,
) -> ExpressionModel:
    height = neutral.shape[1]

    def fit_strip(neutral: jax.Array, expressive: jax.Array, own: Regularization) -> tuple:
        model = synthesis.fit(
            neutral,
            expressive,
            window=window,
            penalty=own.penalty,
            channels=channels,
            penalize_bias=own.penalize_bias,
        )
        return model.weights, model.bias, model.solved

    def fit_one(inputs: jax.Array, targets: jax.Array) -> WindowLinear:
        """A fit in which every output channel sees all inputs."""
        centres = (
            jnp.moveaxis(jax.lax.stop_gradient(each.mean(axis=0)), -1, 0) for each in (inputs, targets)
        )
        empty = sums_over_pairs.empty(window, *centres, dtype=inputs.dtype)
        statistics = add(place_statistics(empty, split), inputs, targets, split=split)
        return solve_window(statistics, window, regularization, split=split)

    def as_grey(images: jax.Array) -> jax.Array:
        """Each channel as a picture, split in the same way as the pictures."""
        return jnp.moveaxis(images, -1, 1).reshape(-1, *images.shape[1:3], 1)

    if split.pairs is None:
        params = WindowLinear(
            *on_strips(
                fit_strip,
                (neutral, expressive, regularization),
                (PICTURES, PICTURES, PIXELS),
                (WEIGHTS, PLANES, PLANES),
                height=height,
                halo=window.reach[0],
                split=split,
            )
        )
    elif channels == "joint":
        params = fit_one(neutral, expressive)
    elif channels == "shared":
        params = fit_one(as_grey(neutral), as_grey(expressive))
    else:
        planes = (jnp.moveaxis(images, -1, 0)[..., None] for images in (neutral, expressive))
        each = jax.lax.map(lambda pair: fit_one(*pair), tuple(planes))
        params = jax.tree.map(lambda leaf: leaf[:, 0], each)
    return ExpressionModel(params.weights, params.bias, window, solved=params.solved)


@partial(jax.jit, static_argnames="split")
def _synthesize(
    model: ExpressionModel, images: jax.Array, intensity: jax.Array, *, split: MeshSplit
) -> jax.Array:
    num, height = images.shape[:2]
    assert isinstance(model.window, windows.Window)
    missing = -num % num_devices(split, "pairs")
    images = jnp.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))

    def synthesize_strip(weights: jax.Array, bias: jax.Array, *pictures: jax.Array) -> tuple:
        images, intensity = pictures
        return (
            synthesis.synthesize(ExpressionModel(weights, bias, model.window), images, intensity=intensity),
        )

    (result,) = on_strips(
        synthesize_strip,
        (model.weights, model.bias, images, jnp.pad(intensity, (0, missing))),
        (WEIGHTS, PLANES, PICTURES, EACH),
        (PICTURES,),
        height=height,
        halo=model.window.reach[0],
        split=split,
    )
    return jax.lax.with_sharding_constraint(result[:num], layout_on((num, height), PICTURES, split))
