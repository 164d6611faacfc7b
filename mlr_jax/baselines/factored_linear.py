"""Linear maps as products of matrices: the form of ridge and reduced-rank regression."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mlr_jax import checks
from mlr_jax.numerics.serialization import exported

matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
"""Matrix products in full float32: the default of some accelerators loses half the digits."""


@exported
class FactoredLinear(NamedTuple):
    """outputs = (inputs - input_mean) W + intercept, where W is the product of the factors.

    Attributes:
      input_mean: `(num_inputs,)`.
      factors: matrices whose product is W `(num_inputs, num_outputs)`, one or more.
      intercept: `(num_outputs,)`, the output at the mean input.
    """

    input_mean: jax.Array
    factors: tuple[jax.Array, ...]
    intercept: jax.Array


def predict(params: FactoredLinear, inputs: ArrayLike) -> jax.Array:
    """Returns the predictions `(num_examples, num_outputs)` for inputs `(num_examples, num_inputs)`.

    Raises:
      TypeError: inputs are not floating point.
      InputError: the map has another number of inputs.
    """
    where = "factored_linear.predict"
    inputs = checks.as_floating(where, "inputs", inputs, ("num_examples", "num_inputs"))
    if inputs.shape[1:] != params.input_mean.shape:
        raise checks.InputError(
            f"{where}: the map is for {len(params.input_mean)} inputs, not {inputs.shape[1]}"
        )
    outputs = inputs - params.input_mean[None]
    for matrix in params.factors:
        outputs = matmul(outputs, matrix)
    return outputs + params.intercept[None]
