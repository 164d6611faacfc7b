"""Masked ridge regression on windows with more inputs than there are examples, by its dual.

The weights of pixel p are combinations of the examples' windows, w = sum_n a_n x_n[p + O], and the a solve
a system over the examples whose matrix holds the inner products of these windows,

    K_p[n, m] = sum_{e in O} x_n[p + e] x_m[p + e].

Those of neighbouring pixels share almost all terms. Going along a row, K_p gains one column of the window
and loses one, whatever the window's size. Each pixel still factors one matrix over the examples. The
running sum is compensated (Knuth's two-sum), so that it does not drift.

Examples are centred. A penalised bias, as in Khan et al. (IJCV 2020), is one more example: the mean picture,
with 1 + lambda / N as its diagonal entry.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike

from mlr_jax import checks, windows
from mlr_jax._window_regression import dual, regularization
from mlr_jax.window_linear import WindowLinear

__all__ = ["fit", "is_slidable"]


def is_slidable(window: windows.Window) -> bool:
    """Earlier name of `windows.Window.is_rectangle`."""
    return window.is_rectangle


def fit(
    inputs: ArrayLike,
    targets: ArrayLike,
    window: windows.Window,
    penalty: ArrayLike,
    *,
    penalize_bias: bool = True,
) -> WindowLinear:
    """Solves every pixel's ridge problem: the same weights as `masked_ridge.fit`.

    Args:
      inputs: `(num, height, width, in_channels)` floating point.
      targets: `(num, height, width, out_channels)` floating point.
      window: a rectangle, see `windows.Window.is_rectangle`.
      penalty: lambda >= 0, one for all or `(height, width)`.
      penalize_bias: whether the penalty includes the bias, as published.

    Returns:
      The map.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, a value is NaN, the window is no rectangle or larger than the
        picture, or the penalty is negative.
    """
    where = "window_dual.fit"
    axes = ("num", "height", "width", "channels")
    inputs = checks.as_floating(where, "inputs", inputs, axes)
    targets = checks.as_floating(where, "targets", targets, axes)
    if inputs.shape[:3] != targets.shape[:3]:
        raise checks.InputError(f"{where}: inputs are {inputs.shape}, but targets are {targets.shape}")
    size = inputs.shape[1:3]
    windows.check(window, where, *size)
    if not window.is_rectangle:
        raise checks.InputError(f"{where}: the window is no rectangle; use masked_ridge.fit")
    dtype = jnp.promote_types(inputs.dtype, targets.dtype)
    options = regularization.checked(where, penalty, size, dtype, penalize_bias=penalize_bias)
    checks.finite(where, "inputs", inputs)
    checks.finite(where, "targets", targets)
    params = dual.fit(inputs.astype(dtype), targets.astype(dtype), window, options)
    assert params.solved is not None
    checks.warn_unsolved(where, params.solved)
    return params
