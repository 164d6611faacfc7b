"""Linear maps in which every output reads only a few inputs: the form of l0, l1 and LSRF."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mlr_jax import masked_ridge, masks
from mlr_jax.numerics.serialization import exported


@exported
class SparseLinear(NamedTuple):
    """A learned mask, and its masked linear map.

    Attributes:
      mask: the inputs that each output reads; unused entries are invalid.
      linear: the weights and biases, for `masked_ridge.predict(linear, inputs, mask)`.
    """

    mask: masks.Mask
    linear: masked_ridge.MaskedLinear


def predict(params: SparseLinear, inputs: ArrayLike) -> jax.Array:
    """Returns the predictions `(num_examples, num_outputs)` for inputs `(num_examples, num_inputs)`.

    Raises:
      TypeError: inputs are not floating point.
      InputError: the map has another number of inputs.
    """
    return masked_ridge.predict(params.linear, inputs, params.mask)


def input_scale(inputs: jax.Array, *, standardize: bool, weights: jax.Array | None = None) -> jax.Array:
    """The divisors of inputs before they are compared: their standard deviations, or 1.

    Args:
      inputs: `(num_examples, num_inputs)`.
      standardize: whether they are scaled. An input that is constant up to rounding is not.
      weights: as in `mean`.

    Returns:
      `(num_inputs,)`.
    """
    if not standardize:
        return jnp.ones_like(inputs[0])
    offsets = inputs - mean(inputs, weights=weights)[None]
    variance = mean(offsets**2, weights=weights)
    rounding = 10 * jnp.finfo(inputs.dtype).eps * jnp.max(jnp.abs(inputs), axis=0)
    varies = variance > rounding**2
    return jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1)), 1)


def mean(values: jax.Array, *, weights: jax.Array | None = None) -> jax.Array:
    """Returns the means `(num,)` of `(num_examples, num)` values.

    Args:
      values: of all examples.
      weights: `(num_examples,)`, 1 for an example that counts and 0 for padding, so that sets of different
        sizes share one shape. All count if None.
    """
    if weights is None:
        return values.mean(axis=0)
    return jnp.sum(weights[:, None] * values, axis=0) / jnp.sum(weights)


def centre(values: jax.Array, *, weights: jax.Array | None = None) -> jax.Array:
    """Returns `(num_examples, num)` values minus their means; 0 where they are constant up to rounding.

    Otherwise the rounding errors of a constant would be fitted like data. Examples of weight 0 become 0.
    """
    centred = values - mean(values, weights=weights)[None]
    if weights is not None:
        centred = weights[:, None] * centred
    rounding = 10 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values), axis=0)
    varies = jnp.max(jnp.abs(centred), axis=0) > rounding
    return jnp.where(varies[None], centred, 0)
