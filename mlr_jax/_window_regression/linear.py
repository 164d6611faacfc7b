"""The linear map in which every pixel has its own weights on its window, and predictions by it."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from mlr_jax import checks
from mlr_jax._window_regression import lines
from mlr_jax._window_regression.window import View, Window
from mlr_jax.numerics.blurring import blur
from mlr_jax.numerics.serialization import exported

# Inputs of a pixel up to which a prediction is written out for one picture at a time.
_UNROLLED = 64
# Of larger windows: inputs that are added up in one loop over the pixels, and pictures that share them.
_GROUP = 8
_BLOCK = 16


@exported
class WindowLinear(NamedTuple):
    """The map.

    Attributes:
      weights: `(out_channels, num_offsets, in_channels, height, width)`; 0 where an offset leaves the
        picture.
      bias: `(out_channels, height, width)`.
      solved: the same shape, 1 where a pixel's system could be solved, 0 where not: there the weights are 0,
        and the bias is the mean of the targets, shrunk if the penalty includes it. Floats, so that `grad`
        accepts a map as its argument; None for a map that solves no system.
    """

    weights: jax.Array
    bias: jax.Array
    solved: jax.Array | None = None


def where_solved(weights: jax.Array, bias: jax.Array, solved: jax.Array, mean: jax.Array) -> WindowLinear:
    """A map that falls back where its systems could not be solved, or have overflowed.

    Args:
      weights: `(out_channels, num_offsets, in_channels, height, width)`.
      bias: `(out_channels, height, width)`.
      solved: booleans, which broadcast with `bias`.
      mean: the shape of `bias`, the bias of the pixels that fall back. NaN in it comes from NaN in the
        pairs, and stays, so that predictions show it.

    Returns:
      The map.
    """
    solved &= jnp.isfinite(bias)
    weights = jnp.where(solved[:, None, None], weights, 0)
    return WindowLinear(weights, jnp.where(solved, bias, mean), solved.astype(bias.dtype))


def view_images(images: jax.Array, window: Window) -> jax.Array:
    """The copies of pictures that a window reads, `(num, height, width, channels * num_views)`.

    See `window_linear.look`.
    """

    def copy(view: View) -> jax.Array:
        seen = jnp.flip(images, axis=2) if view.mirrored else images
        return jax.vmap(partial(blur, sigma=view.blur))(seen)

    copies = [copy(view) for view in window.distinct_views]
    return jnp.stack(copies, axis=-1).reshape(*images.shape[:3], -1)


@partial(jax.jit, static_argnames="window")
def predict(params: WindowLinear, images: jax.Array, window: Window) -> jax.Array:
    """Predicts pictures `(num, height, width, out_channels)` from views of pictures."""
    num_inputs = len(window.offsets) * params.weights.shape[2]
    dtype = jnp.promote_types(params.weights.dtype, images.dtype)
    predict = _predict_by_pictures if num_inputs <= _UNROLLED else _predict_by_offsets
    return predict(params, images, window, dtype)


def _predict_by_pictures(
    params: WindowLinear, images: jax.Array, window: Window, dtype: DTypeLike
) -> jax.Array:
    """Small windows: one picture after the other; the weights and the sum stay in the cache."""
    _, height, width, _ = images.shape
    reach_y, reach_x = window.reach
    weights = jnp.moveaxis(params.weights, 0, 2).reshape(-1, *params.bias.shape)
    inputs = window.lag_table(images.shape[-1], len(params.bias)).inputs

    @partial(jax.checkpoint, prevent_cse=False)
    def predict_one(image: jax.Array) -> jax.Array:
        padded = jnp.pad(jnp.moveaxis(image, -1, 0), ((0, 0), (reach_y, reach_y), (reach_x, reach_x)))
        total = params.bias.astype(dtype)
        for k, (dy, dx, channel) in enumerate(inputs):
            top, left = reach_y + dy, reach_x + dx
            plane = padded[channel, top : top + height, left : left + width]
            total += weights[k] * plane[None]
        return jnp.moveaxis(total, 0, -1)

    return jax.lax.map(predict_one, images)


def _predict_by_offsets(
    params: WindowLinear, images: jax.Array, window: Window, dtype: DTypeLike
) -> jax.Array:
    """Large windows: a few offsets after the other, for some pictures at a time, which read them together."""
    num, height, width, in_channels = images.shape
    out_channels = len(params.bias)
    seen = window.lag_table(in_channels, out_channels).inputs
    layout = lines.Layout(height, width, *window.reach)
    table = np.array([(channel, layout.shift(dy, dx)) for dy, dx, channel in seen])
    num_groups = -(-len(table) // _GROUP)
    missing = num_groups * _GROUP - len(table)
    inputs = jnp.asarray(np.pad(table, ((0, missing), (0, 0))).reshape(num_groups, _GROUP, 2))

    def without_margins(planes: jax.Array) -> jax.Array:
        return lines.flatten(planes, layout)[..., layout.margin : layout.margin + layout.length]

    weights = jnp.moveaxis(params.weights, 0, 2).reshape(-1, out_channels, height, width)
    weights = without_margins(jnp.pad(weights, ((0, missing), (0, 0), (0, 0), (0, 0))))
    weights = weights.reshape(num_groups, _GROUP, out_channels, layout.length)
    start = without_margins(params.bias.astype(dtype))

    # A function that is exported for any number of pictures takes them one by one.
    block = min(num, _BLOCK) if checks.is_known(num) else 1
    num_blocks = -(-num // block)
    pictures = jnp.pad(images, ((0, num_blocks * block - num), (0, 0), (0, 0), (0, 0)))
    blocks = lines.flatten(jnp.moveaxis(pictures, -1, 1), layout)

    def predict_block(pictures: jax.Array) -> jax.Array:
        @partial(jax.checkpoint, prevent_cse=False)
        def add(total: jax.Array, group: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            for weight, (channel, shift) in zip(*group, strict=True):
                sizes = (block, 1, layout.length)
                around = jax.lax.dynamic_slice(pictures, (0, channel, layout.margin + shift), sizes)
                total += weight[None] * around
            return total, None

        total = jnp.broadcast_to(start, (block, *start.shape))
        return jax.lax.scan(add, total, (weights, inputs))[0]

    result = jax.lax.map(predict_block, blocks.reshape(num_blocks, block, *blocks.shape[1:]))
    result = lines.unflatten(result.reshape(-1, out_channels, layout.length)[:num], layout)
    return jnp.moveaxis(result, 1, -1)
