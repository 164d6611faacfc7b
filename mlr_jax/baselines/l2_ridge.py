"""Ridge regression of every output pixel on all input pixels.

    min_{W, b}  1/2 || X W + 1 b^T - T ||_F^2 + lambda/2 || W ||_F^2,

with an intercept b that is not penalised. Hoerl and Kennard, Technometrics 12:55-67, 1970; "l2" in Khan
et al. (2020).
"""

import jax
import jax.numpy as jnp
import jax.scipy.linalg
from jax.typing import ArrayLike

from mlr_jax import checks
from mlr_jax.baselines import factored_linear
from mlr_jax.baselines.factored_linear import FactoredLinear, matmul


def fit(inputs: ArrayLike, targets: ArrayLike, penalty: ArrayLike) -> FactoredLinear:
    """Fits all outputs at once with one factorisation of the smaller of the two systems.

    Args:
      inputs: `(num_examples, num_inputs)` floating point.
      targets: `(num_examples, num_outputs)` floating point.
      penalty: lambda >= 0, a scalar.

    Returns:
      The regression: its one factor is W from the primal system; from the dual, the two are the centred
      examples and their coefficients. With fewer examples than inputs, no array of `num_inputs ** 2`
      numbers is formed.

    Raises:
      TypeError: inputs or targets are not floating point.
      InputError: shapes do not agree, a value is NaN, the penalty is negative, or the system is singular,
        as only a penalty of 0 or nearly 0 allows.
    """
    where = "l2_ridge.fit"
    inputs, targets = checks.regression(where, inputs, targets)
    checks.not_negative(where, "penalty", penalty)
    params = _fit(inputs, targets, jnp.asarray(penalty, inputs.dtype))
    checks.solved(where, params.factors[-1])
    return params


def predict(params: FactoredLinear, inputs: ArrayLike) -> jax.Array:
    """Returns the predictions `(num_examples, num_outputs)` for inputs `(num_examples, num_inputs)`."""
    return factored_linear.predict(params, inputs)


def leave_one_out_mse(inputs: ArrayLike, targets: ArrayLike, penalties: ArrayLike) -> jax.Array:
    """The exact mean squared leave-one-out error for many penalties, from one eigendecomposition.

    The error of example n without itself is (t_n - t^_n) / (1 - H_nn), where H maps targets to fitted
    values (Allen's PRESS, Technometrics 16:125-127, 1974).

    Args:
      inputs: `(num_examples, num_inputs)` floating point, at least two examples.
      targets: `(num_examples, num_outputs)` floating point.
      penalties: `(num_penalties,)`, each > 0.

    Returns:
      `(num_penalties,)`.

    Raises:
      TypeError: inputs or targets are not floating point.
      InputError: shapes do not agree, a value is NaN, or there is only one example.
    """
    inputs, targets = checks.regression("l2_ridge.leave_one_out_mse", inputs, targets)
    if len(inputs) < 2:
        raise checks.InputError("l2_ridge.leave_one_out_mse: two or more examples are needed, not 1")
    return _leave_one_out_mse(inputs, targets, jnp.asarray(penalties, inputs.dtype))


@jax.jit
def _fit(inputs: jax.Array, targets: jax.Array, penalty: jax.Array) -> FactoredLinear:
    input_mean, intercept = inputs.mean(axis=0), targets.mean(axis=0)
    rows, centred = inputs - input_mean[None], targets - intercept[None]
    num_examples, num_inputs = rows.shape
    dual = num_examples < num_inputs
    gram = matmul(rows, rows.T) if dual else matmul(rows.T, rows)
    factor = jax.scipy.linalg.cho_factor(gram + penalty * jnp.eye(len(gram), dtype=gram.dtype))
    if dual:
        return FactoredLinear(input_mean, (rows.T, jax.scipy.linalg.cho_solve(factor, centred)), intercept)
    weights = jax.scipy.linalg.cho_solve(factor, matmul(rows.T, centred))
    return FactoredLinear(input_mean, (weights,), intercept)


@jax.jit
def _leave_one_out_mse(inputs: jax.Array, targets: jax.Array, penalties: jax.Array) -> jax.Array:
    rows, centred = inputs - inputs.mean(axis=0)[None], targets - targets.mean(axis=0)[None]
    eigenvalues, basis = jnp.linalg.eigh(matmul(rows, rows.T))
    eigenvalues = jnp.maximum(eigenvalues, 0)  # Those of a Gram matrix are 0 or more, up to rounding.
    coordinates = matmul(basis.T, centred)

    def mse(penalty: jax.Array) -> jax.Array:
        shrinkage = penalty / (eigenvalues + penalty)
        residual = matmul(basis, shrinkage[:, None] * coordinates)
        leverage = 1 / len(rows) + matmul(basis**2, 1 - shrinkage)
        return jnp.mean((residual / (1 - leverage)[:, None]) ** 2)

    return jax.lax.map(mse, penalties)
