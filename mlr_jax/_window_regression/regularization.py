"""Penalty, factors, and whether the bias is penalised, together from a fit to its solver."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from mlr_jax import checks


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Regularization:
    """The penalty of every pixel's regression.

    Attributes:
      penalty: `(height, width)`, lambda of each pixel.
      factors: `(num_offsets,)`, by which lambda is multiplied for each offset's weight; None for 1.
      penalize_bias: whether lambda is on the bias too, as published. Static.
    """

    penalty: jax.Array | np.ndarray
    factors: jax.Array | None = None
    penalize_bias: bool = field(default=True, metadata={"static": True})

    def bias_share(self, num_pairs: jax.Array | int) -> jax.Array:
        """The factor of a bias of N examples, N / (N + lambda) if it is penalised: `(height, width)`."""
        penalty = jnp.asarray(self.penalty)
        return num_pairs / (num_pairs + penalty) if self.penalize_bias else jnp.ones_like(penalty)


def checked(
    where: str,
    penalty: ArrayLike,
    size: tuple[int, ...],
    dtype: DTypeLike,
    *,
    penalize_bias: bool = True,
    factors: ArrayLike | None = None,
    num_offsets: int = 0,
) -> Regularization:
    """The regularisation of a caller, after checking it. Only public functions call this.

    Args:
      where: the function that was called, for the message.
      penalty: lambda >= 0, one for all or of shape `size`.
      size: `(height, width)` of the pictures.
      dtype: of the regression.
      penalize_bias: whether lambda is on the bias too.
      factors: `(num_offsets,)`, each 0 or more, or None.
      num_offsets: of the window.

    Raises:
      InputError: a penalty or a factor is negative or of another shape.
    """
    if np.shape(penalty) not in ((), size):
        raise checks.InputError(f"{where}: penalty must be a scalar or {size}, not {np.shape(penalty)}")
    checks.not_negative(where, "penalty", penalty)
    if factors is not None:
        factors = jnp.asarray(factors, dtype)
        if factors.shape != (num_offsets,):
            raise checks.InputError(
                f"{where}: factors must be ({num_offsets},), one for each offset, not {factors.shape}"
            )
        checks.not_negative(where, "factors", factors)
    return Regularization(checks.as_plane(penalty, size, dtype), factors, penalize_bias)
