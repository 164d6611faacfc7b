"""The solvers of a fit: which one is fastest, and the program that runs it strip by strip."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax import masked_ridge, masks
from mlr_jax._window_regression import (
    accumulation,
    channels as channel_groups,
    dual,
    linear,
    primal,
    ridge,
    strips,
)
from mlr_jax._window_regression.channels import Channels, group
from mlr_jax._window_regression.regularization import Regularization
from mlr_jax._window_regression.statistics import cut_rows
from mlr_jax.masks import Mask
from mlr_jax.synthesis._model import ExpressionModel, Solver, join_groups
from mlr_jax.window_linear import WindowLinear
from mlr_jax.windows import Window

# Pictures averaged for the centre of the statistics.
_NUM_CENTRE = 16


def choose_solver(window: Window, num_examples: int, *, in_channels: int = 1) -> Solver:
    """The fastest solver for a window, judged by its shape and the number of examples.

    Args:
      window: of offsets.
      num_examples: N; if channels are "shared", each channel of a picture is one.
      in_channels: that an output sees.

    Returns:
      "primal" if the window has at most as many inputs as there are examples (experiments/BENCHMARKS.md has
      where the two cross); otherwise "dual" if it is a rectangle, and "gather" if not.

    >>> from mlr_jax import windows
    >>> choose_solver(windows.square(3), 82), choose_solver(windows.square(15), 82)
    ('primal', 'dual')
    """
    if len(window.offsets) * in_channels <= num_examples:
        return "primal"
    return "dual" if window.is_rectangle else "gather"


@partial(jax.jit, static_argnames=("channels", "solver", "batch_size"))
def fit(
    neutral: jax.Array,
    expressive: jax.Array,
    window: Window | Mask,
    regularization: Regularization,
    *,
    channels: Channels,
    solver: Solver,
    batch_size: int | None,
    weights: jax.Array | np.ndarray | None = None,
) -> ExpressionModel:
    """The model of pairs `(num, height, width, channels)` of one dtype, with a weight for each or none."""
    _, height, width, num_channels = neutral.shape
    counts = channel_groups.weights_of_examples(weights, num_channels, channels)
    num_views = 1
    if isinstance(window, Window):
        num_views = window.num_views
        neutral = linear.view_images(neutral, window)

    def fit_rows(neutral: jax.Array, expressive: jax.Array, own: Regularization) -> WindowLinear:
        def fit_one(group: tuple[jax.Array, jax.Array]) -> WindowLinear:
            """A fit of `(num, height, width, channels)` in which every output channel sees all inputs."""
            inputs, targets = group
            if isinstance(window, Mask) or solver == "gather":
                seen = channel_groups.views_first(inputs, num_views)
                return _fit_mask(seen, targets, window, own, batch_size, counts)
            if solver == "dual":
                return dual.fit(inputs, targets, window, own)
            centres = (centre(each, weights=counts) for each in (inputs, targets))
            statistics = accumulation.of_pairs(window, inputs, targets, *centres, weights=counts)
            return primal.solve(statistics, window, own)

        # One after the other, to save memory.
        return jax.lax.map(
            fit_one, (group(neutral, channels, num_views=num_views), group(expressive, channels))
        )

    if isinstance(window, Mask) or solver != "primal":
        return join_groups(fit_rows(neutral, expressive, regularization), window)

    # The statistics of a strip stay in the cache, and those of all strips are never held together.
    def fit_strip(start: jax.Array, size: int) -> WindowLinear:
        cut = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=size)
        own = jax.tree.map(partial(cut_rows, start=start, size=size), regularization)
        return fit_rows(cut(neutral, axis=1), cut(expressive, axis=1), own)

    plan = ridge.plan(window, channel_groups.num_inputs(num_channels, channels), width)
    return join_groups(strips.map_rows(fit_strip, height, plan), window)


def centre(images: jax.Array, *, weights: jax.Array | None = None) -> jax.Array:
    """`(channels, height, width)`, the mean of the first pictures, which is near the mean of all.

    It adds one picture after the other: unlike `mean`, to the bit the same on any number of threads. With
    weights it is the mean of all, since the first may have the weight 0, and any values.
    """
    if weights is not None:
        share = weights / jnp.where(weights.sum() > 0, weights.sum(), 1)
        whole = jnp.einsum("n,nhwc->chw", share, images, precision=jax.lax.Precision.HIGHEST)
        return jax.lax.stop_gradient(whole)
    some = jax.lax.stop_gradient(images[:_NUM_CENTRE])
    return jnp.moveaxis(sum(some[1:], some[0]) / len(some), -1, 0)


def _fit_mask(
    inputs: jax.Array,
    targets: jax.Array,
    window: Window | Mask,
    regularization: Regularization,
    batch_size: int | None,
    weights: jax.Array | None,
) -> WindowLinear:
    num, _, height, width, in_channels = inputs.shape
    mask = masks.as_mask(window, height, width) if isinstance(window, Window) else window
    wide = masks.across_channels(mask, in_channels)
    fit = partial(
        masked_ridge.fit,
        penalize_bias=regularization.penalize_bias,
        batch_size=batch_size,
        weights=weights,
    )
    # The inputs are not mapped over: all output channels share one factorisation for each pixel.
    solution = jax.vmap(fit, in_axes=(None, 0, None, None))(
        inputs.reshape(num, -1),
        jnp.moveaxis(targets, -1, 0).reshape(targets.shape[-1], num, -1),
        wide,
        jnp.reshape(regularization.penalty, -1),
    )
    # (out_channels, pixels, entries * in_channels) -> as in the model.
    weights = solution.weights.reshape(len(solution.weights), height, width, -1, in_channels)
    bias, solved = jax.tree.map(
        lambda leaf: leaf.reshape(-1, height, width), (solution.bias, solution.solved)
    )
    return WindowLinear(jnp.moveaxis(weights, (3, 4), (1, 2)), bias, solved)
