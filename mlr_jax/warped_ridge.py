"""Warped ridge: pixels move before they mix.

Masked regression blurs what moves by a different amount in each person. This model first moves the pixels of
a face, along a displacement field that is itself a masked regression (of the field, on a small picture of
the face), and then changes their colours by a masked regression on the moved face:

    moved(p)  = face(p + u(p))
    result(p) = moved(p) + change(p),   change = masked ridge(moved) + tint - moved, smoothed.

Both parts are scaled by the intensity, so that a face moves from one expression to the other.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mlr_jax import (
    checks,
    displacement,
    masks,
    synthesis,
    window_dual,
    window_linear,
    window_statistics,
)
from mlr_jax.numerics.blurring import blur
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.window_linear import WindowLinear

FIELD_SIZE = 32
"""Side in pixels of the small faces from which fields are predicted, and of the fields."""

SMOOTHING = 1.0
"""Standard deviation in pixels by which the change of colours is smoothed: what is finer in it is blur."""

_AXES = ("num", "height", "width", "channels")
_BORDER = 12  # parts of the side over which fields fade away


class WarpedModel(NamedTuple):
    """A learned expression that moves pixels and changes them.

    Attributes:
      field: predicts the displacement, in parts of the side of the face, from a small grey face: weights
        `(2, num_offsets, 1, FIELD_SIZE, FIELD_SIZE)`, bias `(2, FIELD_SIZE, FIELD_SIZE)`.
      field_window: what each place of a field sees. Static.
      change: predicts the expressive face from the moved one.
      tint: `(channels, height, width)`, what that prediction lacks on average in the training pairs. With
        weights and a bias that channels share, colours would fade; and a penalised bias falls short.
    """

    field: WindowLinear
    field_window: masks.Window
    change: ExpressionModel
    tint: jax.Array


class Parts(NamedTuple):
    """What a model does to faces: result = warp(face, fields) + changes.

    Attributes:
      fields: `(num, height, width, 2)`, in pixels of the face.
      changes: `(num, height, width, channels)`.
    """

    fields: jax.Array
    changes: jax.Array


def fit(
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    fields: ArrayLike | None = None,
    window: int | masks.Window = 5,
    penalty: ArrayLike = 6.4,
    channels: synthesis.Channels = "shared",
    field_window: int = 9,
    field_penalty: ArrayLike = 300.0,
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
      field_window: side of the window, in places of the field, from which it is predicted, odd.
      field_penalty: of the weights that predict it; its bias, the mean field, is not penalised. A very
        large one leaves the mean field alone.
      mirrored: whether each pair counts twice for the field, as it is and mirrored left to right, as is right
        for faces.

    Returns:
      The model.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, a value is NaN, or an option does not suit the pictures.
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
    square = masks.square(int(field_window))
    field = _fit_field(neutral, fields, square, field_penalty, mirrored)
    moved = displacement.warp(neutral, predict_fields(field, square, neutral))
    change = synthesis.fit(moved, expressive, window=window, penalty=penalty, channels=channels)
    missing = jnp.mean(expressive - synthesis.synthesize(change, moved), axis=0)
    return WarpedModel(field, square, change, jnp.moveaxis(missing, -1, 0))


def synthesize(
    model: WarpedModel, images: ArrayLike, *, intensity: ArrayLike = 1.0, smoothing: float = SMOOTHING
) -> jax.Array:
    """Puts the learned expression on faces.

    The result is not clipped, so that gradients pass; a picture is shown after clipping it to [0, 1].

    Args:
      model: from `fit`.
      images: `(num, height, width, channels)` floating point in [0, 1], of the model's height and width.
      intensity: 0 returns the images themselves, 1 the learned expression, more exaggerates it. One for all
        or `(num,)`.
      smoothing: standard deviation in pixels by which the change of colours is smoothed. The less, the closer
        to the truth on average, and the softer. Static.

    Returns:
      Pictures of the same shape.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: their size or number of channels is not the model's, a value is NaN, intensity has another
        shape, or smoothing is negative.
    """
    images = checks.as_floating("warped_ridge.synthesize", "images", images, _AXES)
    fields, changes = parts(model, images, intensity=intensity, smoothing=smoothing)
    return displacement.warp(images, fields) + changes


def parts(
    model: WarpedModel, images: ArrayLike, *, intensity: ArrayLike = 1.0, smoothing: float = SMOOTHING
) -> Parts:
    """What `synthesize` does to faces, for whoever does the same to larger pictures of them.

    Args and errors as for `synthesize`.
    """
    where = "warped_ridge.synthesize"
    images = checks.as_floating(where, "images", images, _AXES)
    synthesis.check_images(model.change, where, images, intensity)
    if len(model.tint) != images.shape[3]:
        raise checks.InputError(
            f"{where}: the model is for {len(model.tint)} channels, not {images.shape[3]}"
        )
    if not smoothing >= 0:
        raise checks.InputError(f"{where}: smoothing must be 0 or more, not {smoothing}")
    amount = jnp.broadcast_to(jnp.asarray(intensity, images.dtype), (len(images),))
    return _parts(model, images, amount, float(smoothing))


def predict_fields(field: WindowLinear, window: masks.Window, images: ArrayLike) -> jax.Array:
    """The displacement fields of faces, which do not fold and vanish at the border.

    Args:
      field: see `WarpedModel`.
      window: see `WarpedModel`.
      images: `(num, height, width, channels)`.

    Returns:
      `(num, height, width, 2)`, in pixels of the faces.
    """
    images = jnp.asarray(images)
    height, width = images.shape[1:3]
    small = window_linear.predict(field, _small(images), window)
    sides = jnp.array([width, height], small.dtype)
    large = jax.image.resize(small, (len(images), height, width, 2), "cubic") * sides[None, None, None]
    faded = displacement.fix_border(large, margin=max(1, min(height, width) // _BORDER))
    return displacement.unfold(faded).fields


@partial(jax.jit, static_argnums=3)
def _parts(model: WarpedModel, images: jax.Array, amount: jax.Array, smoothing: float) -> Parts:
    whole = predict_fields(model.field, model.field_window, images)
    moved = displacement.warp(images, whole)
    changed = synthesis.synthesize(model.change, moved) + jnp.moveaxis(model.tint, 0, -1)[None]
    changes = jax.vmap(partial(blur, sigma=smoothing))(changed - moved)
    scale = amount[:, None, None, None]
    # The change belongs to places of the expressive face; on the way there, these lie elsewhere.
    carried = displacement.warp(changes, (scale - 1) * whole, kernel="linear")
    return Parts(scale * whole, scale * carried)


def _fit_field(
    neutral: jax.Array, fields: jax.Array, window: masks.Window, penalty: ArrayLike, mirrored: bool
) -> WindowLinear:
    """The regression of fields on small faces."""
    num, height, width, _ = neutral.shape
    sides = jnp.array([width, height], fields.dtype)
    shape = (num, FIELD_SIZE, FIELD_SIZE, 2)
    targets = jax.image.resize(fields / sides[None, None, None], shape, "linear", antialias=True)
    inputs = _small(neutral)
    if mirrored:
        turned = targets[:, :, ::-1] * jnp.array([-1.0, 1.0], targets.dtype)[None, None, None]
        inputs = jnp.concatenate([inputs, _small(neutral[:, :, ::-1])])
        targets = jnp.concatenate([targets, turned])
    if len(window.offsets) > len(inputs):
        return window_dual.fit(inputs, targets, window, penalty, penalize_bias=False)
    statistics = window_statistics.init(
        window,
        FIELD_SIZE,
        FIELD_SIZE,
        out_channels=2,
        input_centre=inputs.mean(axis=0),
        target_centre=targets.mean(axis=0),
        dtype=inputs.dtype,
    )
    statistics = window_statistics.update(statistics, inputs, targets)
    return window_statistics.solve(statistics, window, penalty, penalize_bias=False)


def _small(images: jax.Array) -> jax.Array:
    """Small grey faces, all of the same mean brightness and contrast."""
    grey = images.mean(axis=-1, keepdims=True)
    small = jax.image.resize(grey, (len(images), FIELD_SIZE, FIELD_SIZE, 1), "linear", antialias=True)
    centred = small - small.mean(axis=(1, 2), keepdims=True)
    contrast = jnp.sqrt(jnp.mean(centred**2, axis=(1, 2), keepdims=True) + 1e-6)
    return centred / contrast
