"""Applies a model to one face. See `synthesis.synthesize` and `warped_ridge.apply`.

For a single face NumPy takes less time to compute than JAX takes to compile.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import displacement, masks, warped_ridge
from mlr_jax.numerics import blurring, resizing
from mlr_jax.photographs._numpy import sampling
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.warped_ridge import FIELD_SIZE, WarpedModel


class Applied(NamedTuple):
    """The result of a warped model for one face, see `warped_ridge.Applied`.

    Attributes:
      output: `(height, width, channels)`.
      field: `(height, width, 2)`.
      change: `(height, width, channels)`.
      num_folded: at how many pixels the field folded.
    """

    output: np.ndarray
    field: np.ndarray
    change: np.ndarray
    num_folded: int


def supports(model: ExpressionModel | WarpedModel) -> bool:
    """Whether a model can be applied here: its pixels must see windows, not masks."""
    colours = model.change if isinstance(model, WarpedModel) else model
    return isinstance(colours.window, masks.Window)


def synthesize(model: ExpressionModel, face: np.ndarray, *, intensity: float = 1.0) -> np.ndarray:
    """See `synthesis.synthesize`; of one face, `(height, width, channels)`."""
    amount = np.asarray(intensity, face.dtype)
    return (1 - amount) * face + amount * _predict_colours(model, face)


def apply(model: WarpedModel, face: np.ndarray, *, intensity: float = 1.0) -> Applied:
    """See `warped_ridge.apply`; of one face, `(height, width, channels)`."""
    amount = np.asarray(intensity, face.dtype)
    whole, num_folded = _unfold(_predict_field(model, face))
    scaled, num_more = _unfold(amount * whole)
    moved = _warp(face, whole, sampling.sample_cubic)
    tint = np.moveaxis(_as_numpy(model.tint), 0, -1)
    change = blur(_predict_colours(model.change, moved) + tint - moved, warped_ridge.SMOOTHING)
    carried = amount * (
        change if amount == 1 else _warp(change, (amount - 1) * whole, sampling.sample_linear)
    )
    output = (moved if amount == 1 else _warp(face, scaled, sampling.sample_cubic)) + carried
    return Applied(output, scaled, carried, max(num_folded, num_more))


def blur(planes: np.ndarray, sigma: float) -> np.ndarray:
    """See `numerics.blurring.blur`."""
    if sigma == 0:
        return planes
    weights = blurring.weights(sigma)
    reach = len(weights) // 2
    for axis, length in enumerate(planes.shape[:2]):
        places = np.clip(np.arange(-reach, length + reach), 0, length - 1)
        padded = planes.take(places, axis=axis)
        total = np.zeros_like(planes)
        for start, weight in enumerate(weights):
            shifted = slice(start, start + length)
            total += planes.dtype.type(weight) * (padded[shifted] if axis == 0 else padded[:, shifted])
        planes = total
    return planes


def _predict_colours(model: ExpressionModel, face: np.ndarray) -> np.ndarray:
    """A model's prediction for one face: each channel sees itself, or all channels."""
    weights, bias = _as_numpy(model.weights), _as_numpy(model.bias)
    assert isinstance(model.window, masks.Window)
    out_channels, _, in_channels, _, _ = weights.shape
    if in_channels > 1:
        return _predict(weights, bias, model.window, face)
    groups = range(out_channels) if out_channels > 1 else [0] * face.shape[-1]
    predictions = [
        _predict(weights[group : group + 1], bias[group : group + 1], model.window, face[..., channel, None])
        for channel, group in enumerate(groups)
    ]
    return np.concatenate(predictions, axis=-1)


def _predict(weights: np.ndarray, bias: np.ndarray, window: masks.Window, face: np.ndarray) -> np.ndarray:
    """See `window_linear.predict`; for one picture, whose views it makes first."""
    height, width, _ = face.shape
    distinct = window.distinct_views
    views = [blur(face[:, ::-1] if view.mirrored else face, view.blur) for view in distinct]
    planes = np.stack(views, axis=-1).reshape(height, width, -1).transpose(2, 0, 1)
    reach_y, reach_x = window.reach
    padded = np.pad(planes, ((0, 0), (reach_y, reach_y), (reach_x, reach_x)))
    total = np.array(bias, np.promote_types(bias.dtype, face.dtype))
    steps = weights.reshape(len(weights), -1, height, width).swapaxes(0, 1)
    for step, (dy, dx, channel) in zip(steps, window.lag_table(len(planes), 1).inputs, strict=True):
        top, left = reach_y + dy, reach_x + dx
        total += step * padded[channel, top : top + height, left : left + width]
    return np.moveaxis(total, 0, -1)


def _predict_field(model: WarpedModel, face: np.ndarray) -> np.ndarray:
    """See `warped_ridge.predict_fields`, but it may fold."""
    size = FIELD_SIZE, FIELD_SIZE
    small = resizing.resize_on_host(face.mean(axis=-1, keepdims=True), size, "linear")
    centred = small - small.mean()
    contrast = np.sqrt(np.mean(centred**2) + 1e-6)
    weights, bias = _as_numpy(model.field.weights), _as_numpy(model.field.bias)
    field = FIELD_SIZE * _predict(weights, bias, model.field_window, centred / contrast)
    height, width, _ = face.shape
    scale = np.array([width / FIELD_SIZE, height / FIELD_SIZE], field.dtype)
    large = resizing.resize_on_host(
        field, (height, width), displacement.resizing_method(size, (height, width))
    )
    fading = displacement.border_weights(height, width, warped_ridge.border_margin(height, width))
    return large * scale * fading.astype(field.dtype)[..., None]


def _warp(image: np.ndarray, field: np.ndarray, sample: sampling.Sample) -> np.ndarray:
    """See `displacement.warp`."""
    height, width, _ = field.shape
    x, y = np.arange(width) + field[..., 0], np.arange(height)[:, None] + field[..., 1]
    return np.moveaxis(sample(sampling.planes(image), x, y), 0, -1)


def _unfold(field: np.ndarray) -> tuple[np.ndarray, int]:
    """See `displacement.unfold`, with its default options; the field, and at how many pixels it folded."""
    folds = _folds(field)
    num_folded = int(folds.sum())
    if not num_folded:
        return field, 0
    for _ in range(displacement.NUM_ROUNDS):
        if not folds.any():
            break
        near = blur(folds[..., None].astype(field.dtype), displacement.SMOOTHING) > displacement.NEAR
        field = np.where(near, blur(field, displacement.SMOOTHING), field)
        folds = _folds(field)
    if folds.any():
        short, long = 0.0, 1.0
        for _ in range(displacement.NUM_HALVINGS):
            middle = (short + long) / 2
            is_too_long = _folds(field.dtype.type(middle) * field).any()
            short, long = (short, middle) if is_too_long else (middle, long)
        field = field.dtype.type(short) * field
    return field, num_folded


def _folds(field: np.ndarray) -> np.ndarray:
    """Where `displacement.stretch` is less than the least that is allowed."""
    right = np.diff(field, axis=1, append=field[:, -1:])
    below = np.diff(field, axis=0, append=field[-1:])
    stretch = (1 + right[..., 0]) * (1 + below[..., 1]) - right[..., 1] * below[..., 0]
    return stretch < displacement.LEAST_STRETCH


def _as_numpy(array: ArrayLike) -> np.ndarray:
    """An array as NumPy's, in single precision at least."""
    here = np.asarray(array)
    return here.astype(jnp.promote_types(here.dtype, np.float32), copy=False)
