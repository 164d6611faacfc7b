"""The folds of a cross-validation as arrays: the pairs that a fold is fitted on, and those held out.

All folds have the same shapes, so that one program serves all: a fold of fewer pairs is padded with rows of
weight 0.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Rows(NamedTuple):
    """Some of the pairs, for each fold.

    Attributes:
      pairs: int32 `(num_folds, num_rows)`, indices of pairs.
      weight: `(num_folds, num_rows)`, 1, or 0 in a row of padding.
    """

    pairs: jax.Array
    weight: jax.Array


class Folds(NamedTuple):
    """Pairs of pictures, and the rows of a fold, or of several.

    Attributes:
      neutral: `(num_pairs, height, width, channels)`.
      expressive: the same shape.
      train: the rows that a fold is fitted on.
      held_out: the rows that it is measured on.
      prepared: the result of `Method.prepare`.
    """

    neutral: jax.Array
    expressive: jax.Array
    train: Rows
    held_out: Rows
    prepared: Any = None


def weighted_mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    """The mean over the first axis."""
    counts = weight.reshape(-1, *(1,) * (values.ndim - 1))
    return jnp.sum(counts * values, axis=0) / jnp.sum(weight)
