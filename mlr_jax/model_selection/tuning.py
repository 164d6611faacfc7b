"""Penalties of each pixel and each offset, by gradient descent on held-out errors."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mlr_jax import checks, window_statistics
from mlr_jax._window_regression.regularization import Regularization
from mlr_jax.model_selection.held_out import (
    SMOOTHING,
    FoldStatistics,
    as_folds,
    as_window,
    held_out_error,
)
from mlr_jax.numerics.blurring import blur
from mlr_jax.numerics.serialization import exported
from mlr_jax.window_statistics import WindowStatistics
from mlr_jax.windows import Window


@exported
class Tuned(NamedTuple):
    """The result of `tune`.

    Attributes:
      penalty: `(height, width)`.
      factors: `(num_offsets,)`, the penalty's factor for each offset; None if they were not tuned.
      errors: `(num_steps + 1,)`, mean squared errors on the folds that it descended on, before every step and
        at the end.
      stopping_errors: the same on the last fold, which decides where to stop.
      num_steps: (), the number of steps at the least of these errors, where the penalties are from. A float,
        so that `jax.grad` accepts a model that was tuned.
    """

    penalty: jax.Array
    factors: jax.Array | None
    errors: jax.Array
    stopping_errors: jax.Array
    num_steps: jax.Array


def tune(
    fold_statistics: Sequence[Any] | FoldStatistics,
    window: int | Window,
    penalty: ArrayLike,
    *,
    per_pixel: bool = True,
    per_offset: bool = True,
    penalize_bias: bool = True,
    smoothing: float = SMOOTHING,
    num_steps: int = 60,
    learning_rate: float = 0.1,
) -> Tuned:
    """Penalties that lower the error on held-out pairs, by gradient descent.

    With theta the logarithms, Adam (Kingma and Ba, 2015) minimises over theta

        sum_f sum_p error_{f, p}(lambda_p),    log lambda = log penalty + mean + blur(theta_p),

    over all folds f but the last; the error of fold f is that of the model fitted to all pairs outside it, as
    in `cross_validate`. Offset k of the window has the penalty lambda_p F_k, an anisotropic prior
    over the receptive field. The least error on the last fold decides where to stop, before the
    penalties overfit the others.

    Args:
      fold_statistics: three or more, as for `cross_validate`.
      window: side of a square window, odd, or a `windows.Window`, inside that of the statistics.
      penalty: the initial lambda > 0, one for all or `(height, width)`, such as from `choose`.
      per_pixel: whether each pixel has its own penalty, or all share one factor.
      per_offset: whether each offset has its own factor, the same for all pixels.
      penalize_bias: whether the penalty includes the bias, as published.
      smoothing: standard deviation in pixels of the Gaussian that smooths pixels' logarithms. 0 does not
        smooth.
      num_steps: of Adam.
      learning_rate: of Adam, about the change of a logarithm in one step.

    Returns:
      The penalties with the least error on the last fold, which may be the initial ones.

    Raises:
      InputError: as for `cross_validate`, or there are fewer than three folds.
    """
    where = "model_selection.tune"
    folds = as_folds(where, fold_statistics, 3)
    window = as_window(where, window)
    window_statistics.check_inside(where, window, folds.whole)
    size = folds.whole.input_centre.shape[-2:]
    checks.real(where, "penalty", penalty)
    start = jnp.asarray(penalty, folds.num_pairs.dtype)
    if start.shape not in ((), size):
        raise checks.InputError(f"{where}: penalty must be a scalar or {size}, not {start.shape}")
    checks.positive(where, "penalty", start)
    checks.not_negative(where, "smoothing", smoothing)
    checks.positive_integer(where, "num_steps", num_steps)
    return _tune(
        *folds,
        jnp.broadcast_to(start, size),
        jnp.asarray(learning_rate, start.dtype),
        window=window,
        per_pixel=per_pixel,
        per_offset=per_offset,
        penalize_bias=penalize_bias,
        smoothing=smoothing,
        num_steps=num_steps,
    )


class _Logarithms(NamedTuple):
    """The variables of `tune`: logarithms of a common factor, of pixels' factors, and of offsets' factors."""

    mean: jax.Array
    pixels: jax.Array | None
    offsets: jax.Array | None


@partial(
    jax.jit,
    static_argnames=("window", "per_pixel", "per_offset", "penalize_bias", "smoothing", "num_steps"),
)
def _tune(
    whole: WindowStatistics,
    folds: WindowStatistics,
    num_pairs: jax.Array,
    penalty: jax.Array,
    learning_rate: jax.Array,
    *,
    window: Window,
    per_pixel: bool,
    per_offset: bool,
    penalize_bias: bool,
    smoothing: float,
    num_steps: int,
) -> Tuned:
    # Imported here, since it is slow to import, and nothing else needs it.
    import optax

    def values(logarithms: _Logarithms) -> tuple[jax.Array, jax.Array | None]:
        change = logarithms.mean
        if logarithms.pixels is not None:
            change += blur(logarithms.pixels[:, :, None], smoothing)[:, :, 0]
        factors = None if logarithms.offsets is None else jnp.exp(logarithms.offsets)
        return penalty * jnp.exp(change), factors

    def fold_error(changed: tuple[jax.Array, jax.Array | None], fold: WindowStatistics) -> jax.Array:
        options = Regularization(*changed, penalize_bias=penalize_bias)
        return held_out_error(whole, fold, window, options)[0].mean()

    descended = jax.tree.map(lambda leaf: leaf[:-1], folds)
    last = jax.tree.map(lambda leaf: leaf[-1], folds)
    shares = num_pairs[:-1] / num_pairs[:-1].sum()

    def descend(logarithms: _Logarithms) -> tuple[jax.Array, jax.Array, _Logarithms]:
        """The error on all folds but the last, the error on the last, and the gradient of the former."""
        changed, pull_back = jax.vjp(values, logarithms)
        # One fold after the other with its gradient, so that intermediate values are freed.
        errors, gradients = jax.lax.map(lambda fold: jax.value_and_grad(fold_error)(changed, fold), descended)
        gradient = jax.tree.map(
            lambda leaf: jnp.tensordot(shares, leaf, axes=1, precision="highest"), gradients
        )
        return jnp.sum(shares * errors), fold_error(changed, last), pull_back(gradient)[0]

    dtype = penalty.dtype
    begin = _Logarithms(
        jnp.zeros((1, 1), dtype),
        jnp.zeros_like(penalty) if per_pixel else None,
        jnp.zeros(len(window.offsets), dtype) if per_offset else None,
    )
    optimizer = optax.adam(learning_rate)

    def step(
        state: tuple[Any, ...], number: jax.Array
    ) -> tuple[tuple[Any, ...], tuple[jax.Array, jax.Array]]:
        logarithms, moments, best, least, when, scale = state
        error, stopping, gradient = descend(logarithms)
        # Errors are small: in units of the first error, the optimiser's epsilon is negligible.
        scale = jnp.where(number == 0, 1 / error, scale)
        better = stopping < least
        best = jax.tree.map(partial(jnp.where, better), logarithms, best)
        least, when = jnp.where(better, stopping, least), jnp.where(better, number, when)
        updates, moments = optimizer.update(jax.tree.map(lambda leaf: scale * leaf, gradient), moments)
        logarithms = optax.apply_updates(logarithms, updates)
        return (logarithms, moments, best, least, when, scale), (error, stopping)

    infinite, one = jnp.asarray(jnp.inf, dtype), jnp.ones((), dtype)
    state = begin, optimizer.init(begin), begin, infinite, jnp.zeros((), jnp.int32), one
    numbers = jnp.arange(num_steps + 1, dtype=jnp.int32)
    (_, _, best, _, when, _), (errors, stopping_errors) = jax.lax.scan(step, state, numbers)
    return Tuned(*values(best), errors, stopping_errors, when.astype(dtype))
