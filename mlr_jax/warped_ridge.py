"""Warped ridge: moves pixels before it changes colours.

Masked regression blurs parts that move by a different amount in each person. This model first moves the
pixels of a face along a displacement field, itself predicted by a masked regression from a small picture of
the face, and then changes their colours by a masked regression on the moved face:

    moved(p)  = face(p + u(p))
    result(p) = moved(p) + change(p),   change = masked ridge(moved) + tint - moved, smoothed.

The intensity scales both parts, so that a face moves from one expression to the other.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import (
    checks,
    displacement,
    synthesis,
    window_dual,
    window_linear,
    window_statistics,
    windows,
)
from mlr_jax.numerics import resizing
from mlr_jax.numerics.blurring import blur
from mlr_jax.numerics.serialization import exported
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.window_linear import WindowLinear

FIELD_SIZE = 32
"""Side in pixels of the small faces from which fields are predicted, and of the fields."""

SMOOTHING = 1.0
"""Standard deviation in pixels of the Gaussian that smooths the change of colours, whose details are blur."""

_AXES = ("num", "height", "width", "channels")
_BORDER = 12  # fields fade over 1 / _BORDER of the side


@exported
class WarpedModel(NamedTuple):
    """A learned expression that moves pixels and changes them.

    Attributes:
      field: predicts the displacement, in sides of the face, from a small grey face: weights
        `(2, num_offsets, 1, FIELD_SIZE, FIELD_SIZE)`, bias `(2, FIELD_SIZE, FIELD_SIZE)`.
      field_window: the window of each pixel of a field. Static.
      change: predicts the expressive face from the moved one.
      tint: `(channels, height, width)`, the mean residual of that prediction over the training pairs. It
        restores colours, which fade if channels share weights and a bias, or if the bias is penalised.
    """

    field: WindowLinear
    field_window: windows.Window
    change: ExpressionModel
    tint: jax.Array

    def __repr__(self) -> str:
        return checks.shown(self)


@exported
class Parts(NamedTuple):
    """The two parts of a result: result = warp(face, fields) + changes.

    Attributes:
      fields: `(num, height, width, 2)`, in pixels of the face.
      changes: `(num, height, width, channels)`.
      num_folded: `(num,)` int32, at how many pixels a predicted field folded and was repaired, see
        `displacement.unfold`.
    """

    fields: jax.Array
    changes: jax.Array
    num_folded: jax.Array


@exported
class Applied(NamedTuple):
    """The result of a model, and its parts.

    Attributes:
      outputs: `(num, height, width, channels)`, the faces with the expression.
      parts: the fields and changes that make them.
    """

    outputs: jax.Array
    parts: Parts


def fit(
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    fields: ArrayLike | None = None,
    window: int | windows.Window = 5,
    penalty: ArrayLike = 6.4,
    channels: synthesis.Channels = "shared",
    field_window: int = 9,
    field_penalty: ArrayLike = 1000.0,
    mirrored: bool = True,
) -> WarpedModel:
    """Learns from pairs of pictures how an expression moves and changes faces.

    Args:
      neutral: `(num, height, width, channels)` floating point in [0, 1], aligned faces to start from.
      expressive: the same shape, the same people with the expression.
      fields: `(num, height, width, 2)`, for each pair where the pixels of the expressive picture come from in
        the neutral one, see `displacement`; by default `displacement.register` finds them.
      window: of the change of colours, see `synthesis.fit`.
      penalty: of the change of colours.
      channels: how colour channels relate, see `synthesis.Channels`.
      field_window: side of the window that predicts the field, in pixels of the small face, odd.
      field_penalty: of the weights that predict it; its bias, the mean field, is not penalised. A very
        large one leaves only the mean field.
      mirrored: whether each pair counts twice for the field, as it is and mirrored left to right, as suits
        faces.

    Returns:
      The model.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, a value is NaN, pictures are not in [0, 1] (see `synthesis.fit`), or an
        option does not suit the pictures.
    """
    where = "warped_ridge.fit"
    neutral, expressive = synthesis.as_pairs(where, neutral, expressive)
    if fields is None:
        fields = displacement.register(expressive, neutral)
    fields = checks.as_floating(where, "fields", fields, (*_AXES[:3], "axis"))
    if fields.shape != (*neutral.shape[:3], 2):
        raise checks.InputError(f"{where}: fields must be {(*neutral.shape[:3], 2)}, not {fields.shape}")
    checks.finite(where, "fields", fields)
    checks.positive_integer(where, "field_window", field_window)
    square = windows.square(int(field_window))
    field = fit_fields(neutral, fields, square, field_penalty, mirrored=mirrored)
    moved = displacement.warp(neutral, predict_fields(field, square, neutral).fields)
    change, tint = fit_change(moved, expressive, window=window, penalty=penalty, channels=channels)
    return WarpedModel(field, square, change, tint)


def synthesize(
    model: WarpedModel, images: ArrayLike, *, intensity: ArrayLike = 1.0, smoothing: float = SMOOTHING
) -> jax.Array:
    """Puts the learned expression on faces.

    The result is not clipped, so that gradients pass; clip it to [0, 1] for display.

    Args:
      model: from `fit`.
      images: `(num, height, width, channels)` floating point in [0, 1], of the model's height and width.
      intensity: 0 returns the images themselves, 1 the learned expression, more exaggerates it. One for all
        or `(num,)`.
      smoothing: standard deviation in pixels of the Gaussian that smooths the change of colours. Less is
        closer to the truth on average, and softer. Static.

    Returns:
      Pictures of the same shape.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: their size or number of channels is not the model's, a value is NaN, they are not in [0, 1]
        (see `synthesis.fit`), intensity is no finite number or has another shape, or smoothing is negative.
    """
    return apply(model, images, intensity=intensity, smoothing=smoothing).outputs


def parts(
    model: WarpedModel, images: ArrayLike, *, intensity: ArrayLike = 1.0, smoothing: float = SMOOTHING
) -> Parts:
    """The fields and changes of `synthesize`, to be applied to larger pictures of the same faces.

    Args and errors as for `synthesize`.
    """
    return apply(model, images, intensity=intensity, smoothing=smoothing).parts


def apply(
    model: WarpedModel, images: ArrayLike, *, intensity: ArrayLike = 1.0, smoothing: float = SMOOTHING
) -> Applied:
    """The result of `synthesize` with its parts, from one program.

    Args and errors as for `synthesize`.
    """
    where = "warped_ridge.synthesize"
    images = checks.as_floating(where, "images", images, _AXES)
    check_images(model, images, intensity)
    model, intensity = checks.with_automatic_axes(where, (model, intensity))
    checks.real(where, "smoothing", smoothing)
    if not smoothing >= 0:
        raise checks.InputError(f"{where}: smoothing must be 0 or more, not {smoothing}")
    amount = jnp.broadcast_to(jnp.asarray(intensity, images.dtype), images.shape[:1])
    return _apply(model, images, amount, float(smoothing))


def check_images(model: WarpedModel, images: jax.Array | np.ndarray, intensity: ArrayLike) -> None:
    """Raises InputError unless the model can be put on `images` with that intensity."""
    where = "warped_ridge.synthesize"
    synthesis.check_images(model.change, where, images, intensity)
    if len(model.tint) != images.shape[3]:
        raise checks.InputError(
            f"{where}: the model is for {len(model.tint)} channels, not {images.shape[3]}"
        )


def fit_fields(
    neutral: ArrayLike,
    fields: ArrayLike,
    window: windows.Window,
    penalty: ArrayLike,
    *,
    mirrored: bool = True,
) -> WindowLinear:
    """Learns to predict displacement fields from small grey faces, all of the same brightness and contrast.

    Args:
      neutral: `(num, height, width, channels)` floating point.
      fields: `(num, height, width, 2)`, in pixels of the faces.
      window: of each pixel of a field.
      penalty: of the weights; the bias, the mean field, is not penalised.
      mirrored: whether each pair counts twice, as it is and mirrored left to right.

    Returns:
      For `predict_fields`; see `WarpedModel`.
    """
    inputs, targets = field_examples(neutral, fields, mirrored=mirrored)
    if len(window.offsets) > len(inputs):
        return window_dual.fit(inputs, targets, window, penalty, penalize_bias=False)
    return window_statistics.fit(inputs, targets, window, penalty, penalize_bias=False)


def field_examples(
    neutral: ArrayLike, fields: ArrayLike, *, mirrored: bool = True
) -> tuple[jax.Array, jax.Array]:
    """The examples of `fit_fields`; arguments as there.

    Returns:
      `(inputs, targets)`, small grey faces and fields in sides of the face; the mirrored ones come last.
    """
    neutral = jnp.asarray(neutral)
    inputs = small_faces(neutral)
    targets = displacement.resize(fields, (FIELD_SIZE, FIELD_SIZE)) / FIELD_SIZE
    if mirrored:
        inputs = jnp.concatenate([inputs, small_faces(neutral[:, :, ::-1])])
        targets = jnp.concatenate([targets, displacement.mirror(targets)])
    return inputs, targets


def fit_change(
    moved: ArrayLike,
    expressive: ArrayLike,
    *,
    window: int | windows.Window,
    penalty: ArrayLike,
    channels: synthesis.Channels,
) -> tuple[ExpressionModel, jax.Array]:
    """Learns the remaining change of colours in moved faces; arguments as for `synthesis.fit`.

    Returns:
      `(change, tint)`, for `predict_change`; see `WarpedModel`.
    """
    change = synthesis.fit(moved, expressive, window=window, penalty=penalty, channels=channels)
    missing = jnp.mean(expressive - synthesis.synthesize(change, moved), axis=0)
    return change, jnp.moveaxis(missing, -1, 0)


def predict_fields(field: WindowLinear, window: windows.Window, images: ArrayLike) -> displacement.Unfolded:
    """Predicts displacement fields of faces, which do not fold and vanish at the border.

    Args:
      field: see `WarpedModel`.
      window: see `WarpedModel`.
      images: `(num, height, width, channels)`.

    Returns:
      Fields in pixels of the faces, and where they folded before.
    """
    images = jnp.asarray(images)
    small = _predict_small_fields(field, window, images)
    return enlarge_fields(small, *images.shape[1:3])


def enlarge_fields(fields: ArrayLike, height: int, width: int) -> displacement.Unfolded:
    """Enlarges fields to the size of pictures, fades them at the border, and unfolds them.

    Args:
      fields: `(num, rows, columns, 2)`, in their own pixels.
      height: of the pictures.
      width: of the pictures.

    Returns:
      Fields in pixels of the pictures, and where they folded before.
    """
    return displacement.unfold(_enlarge(jnp.asarray(fields), height, width))


def _predict_small_fields(field: WindowLinear, window: windows.Window, images: jax.Array) -> jax.Array:
    return FIELD_SIZE * window_linear.predict(field, small_faces(images), window)


def _enlarge(fields: jax.Array, height: int, width: int) -> jax.Array:
    """As `enlarge_fields`, without unfolding."""
    large = displacement.resize(fields, (height, width))
    return displacement.fix_border(large, margin=border_margin(height, width))


def border_margin(height: int, width: int) -> int:
    """The number of pixels over which fields fade at the border."""
    return max(1, min(height, width) // _BORDER)


@partial(jax.jit, static_argnums=3)
def _apply(model: WarpedModel, images: jax.Array, amount: jax.Array, smoothing: float) -> Applied:
    num, height, width, _ = images.shape
    small = _predict_small_fields(model.field, model.field_window, images)
    scale = amount[:, None, None, None]

    def unfold(fields: jax.Array, scale: jax.Array) -> tuple[jax.Array, displacement.Unfolded]:
        unfolded = displacement.unfold(scale * fields)
        return unfolded.fields, unfolded

    # A field that does not fold may fold when it is exaggerated. Both go through one loop, here and below,
    # since compiling takes long.
    scales = jnp.stack([jnp.ones_like(scale), scale])
    _, ((whole, scaled), num_folded) = jax.lax.scan(unfold, _enlarge(small, height, width), scales)
    twice = jnp.concatenate([images, images])
    moved = displacement.warp(twice, jnp.concatenate([whole, scaled]))
    changes = predict_change(model.change, model.tint, moved[:num], smoothing=smoothing)
    # The change is aligned with the expressive face; at other intensities its pixels lie elsewhere.
    carried = scale * displacement.warp(changes, (scale - 1) * whole, kernel="linear")
    return Applied(moved[num:] + carried, Parts(scaled, carried, num_folded.max(axis=0)))


def predict_change(
    change: ExpressionModel, tint: jax.Array, moved: ArrayLike, *, smoothing: float = SMOOTHING
) -> jax.Array:
    """The change of colours to add to moved faces.

    Args:
      change: see `WarpedModel`.
      tint: see `WarpedModel`.
      moved: `(num, height, width, channels)`.
      smoothing: see `synthesize`.

    Returns:
      The same shape.
    """
    moved = jnp.asarray(moved)
    changed = synthesis.synthesize(change, moved) + jnp.moveaxis(tint, 0, -1)[None]
    return jax.vmap(partial(blur, sigma=smoothing))(changed - moved)


def small_faces(images: ArrayLike) -> jax.Array:
    """Grey faces of FIELD_SIZE, of equal brightness and contrast, from which fields are predicted.

    Args:
      images: `(num, height, width, channels)`.

    Returns:
      `(num, FIELD_SIZE, FIELD_SIZE, 1)`, of mean 0 and variance 1.
    """
    images = jnp.asarray(images)
    grey = images.mean(axis=-1, keepdims=True)
    small = resizing.resize(grey, (FIELD_SIZE, FIELD_SIZE), "linear")
    centred = small - small.mean(axis=(1, 2), keepdims=True)
    contrast = jnp.sqrt(jnp.mean(centred**2, axis=(1, 2), keepdims=True) + 1e-6)
    return centred / contrast
