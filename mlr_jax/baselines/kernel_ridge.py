"""Kernel ridge regression of all output pixels at once.

With a kernel k, the function f of least || f ||_k and an intercept b,

    min_{f, b}  1/2 sum_n || f(x_n) + b - t_n ||^2 + lambda/2 || f ||_k^2,    f(x) = sum_n k(x, x_n) a_n.

One factorisation of the kernel matrix of the examples serves every output. Saunders, Gammerman and Vovk,
ICML 1998; "kernel regression" in Khan et al. (2020).
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg
from jax.tree_util import Partial
from jax.typing import ArrayLike

from mlr_jax import checks
from mlr_jax.baselines.factored_linear import matmul

Kernel = Callable[[jax.Array, jax.Array], jax.Array]
"""From `(m, num_inputs)` and `(n, num_inputs)` to the `(m, n)` products in feature space."""


class KernelRidge(NamedTuple):
    """A fitted kernel ridge regression.

    Attributes:
      kernel: as a `jax.tree_util.Partial`, so that its numbers are leaves.
      examples: `(num_examples, num_inputs)`, the inputs that it was fitted on.
      coefficients: `(num_examples, num_outputs)`, a.
      intercept: `(num_outputs,)`.
    """

    kernel: Partial
    examples: jax.Array
    coefficients: jax.Array
    intercept: jax.Array


def linear() -> Partial:
    """k(x, z) = x . z: ridge regression by its dual."""
    return Partial(_linear)


def rbf(gamma: ArrayLike) -> Partial:
    """k(x, z) = exp(-gamma ||x - z||^2), the Gaussian kernel.

    Args:
      gamma: 0 or more, a scalar; 1 / (2 width^2).

    Raises:
      InputError: gamma is negative.
    """
    checks.not_negative("kernel_ridge.rbf", "gamma", gamma)
    return Partial(_rbf, gamma=gamma)


def polynomial(degree: int, gamma: ArrayLike, *, offset: ArrayLike = 1.0) -> Partial:
    """k(x, z) = (gamma x . z + offset)^degree.

    Args:
      degree: 1 or more, static.
      gamma: 0 or more, a scalar.
      offset: 0 or more, a scalar.

    Raises:
      TypeError: the degree is not a whole number.
      InputError: a parameter is out of range.
    """
    checks.positive_integer("kernel_ridge.polynomial", "degree", degree)
    checks.not_negative("kernel_ridge.polynomial", "gamma", gamma)
    checks.not_negative("kernel_ridge.polynomial", "offset", offset)
    return Partial(_polynomial(degree), gamma=gamma, offset=offset)


def fit(
    inputs: ArrayLike,
    targets: ArrayLike,
    kernel: Kernel,
    penalty: ArrayLike,
    *,
    fit_intercept: bool = True,
) -> KernelRidge:
    """Fits all outputs with one factorisation of the kernel matrix.

    Args:
      inputs: `(num_examples, num_inputs)` floating point.
      targets: `(num_examples, num_outputs)` floating point.
      kernel: from `linear`, `rbf` or `polynomial`, or any function as `Kernel` describes; as a
        `jax.tree_util.Partial` its numbers can change without a recompilation, and have derivatives.
      penalty: lambda >= 0, a scalar.
      fit_intercept: whether there is an intercept, which is not penalised: kernel and targets are centred.
        Without it, this is scikit-learn's `KernelRidge`.

    Returns:
      The regression.

    Raises:
      TypeError: inputs or targets are not floating point.
      InputError: shapes do not agree, a value is NaN, the penalty is negative, or the system is singular,
        as only a penalty of 0 or nearly 0 allows.
    """
    where = "kernel_ridge.fit"
    inputs, targets = checks.regression(where, inputs, targets)
    checks.not_negative(where, "penalty", penalty)
    if not isinstance(kernel, Partial):
        kernel = Partial(kernel)
    params = _fit(inputs, targets, kernel, jnp.asarray(penalty, inputs.dtype), fit_intercept=fit_intercept)
    # For huge inputs that hardly differ, the coefficients may be finite and the intercept not.
    checks.solved(where, params.coefficients)
    checks.solved(where, params.intercept)
    return params


def predict(params: KernelRidge, inputs: ArrayLike) -> jax.Array:
    """Returns the predictions `(num_examples, num_outputs)` for inputs `(num_examples, num_inputs)`.

    Raises:
      TypeError: inputs are not floating point.
      InputError: the regression was fitted on another number of inputs.
    """
    where = "kernel_ridge.predict"
    inputs = checks.as_floating(where, "inputs", inputs, ("num_examples", "num_inputs"))
    if inputs.shape[1] != params.examples.shape[1]:
        raise checks.InputError(
            f"{where}: the regression is for {params.examples.shape[1]} inputs, not {inputs.shape[1]}"
        )
    return _predict(params, inputs)


@jax.jit
def _predict(params: KernelRidge, inputs: jax.Array) -> jax.Array:
    products = params.kernel(inputs, params.examples)
    return matmul(products, params.coefficients) + params.intercept[None]


@partial(jax.jit, static_argnames=("fit_intercept",))
def _fit(
    inputs: jax.Array, targets: jax.Array, kernel: Partial, penalty: jax.Array, *, fit_intercept: bool
) -> KernelRidge:
    gram = kernel(inputs, inputs)
    identity = jnp.eye(len(gram), dtype=gram.dtype)
    if not fit_intercept:
        factor = jax.scipy.linalg.cho_factor(gram + penalty * identity)
        coefficients = jax.scipy.linalg.cho_solve(factor, targets)
        return KernelRidge(kernel, inputs, coefficients, jnp.zeros_like(targets[0]))
    # Centred in feature space, where the coefficients add up to 0 and the mean of f is the intercept's.
    rows = gram.mean(axis=0)
    centred_gram = gram - rows[:, None] - rows[None] + rows.mean()
    target_mean = targets.mean(axis=0)
    factor = jax.scipy.linalg.cho_factor(centred_gram + penalty * identity)
    coefficients = jax.scipy.linalg.cho_solve(factor, targets - target_mean[None])
    coefficients -= coefficients.mean(axis=0)[None]
    return KernelRidge(kernel, inputs, coefficients, target_mean - matmul(rows, coefficients))


def _linear(x: jax.Array, z: jax.Array) -> jax.Array:
    return matmul(x, z.T)


def _rbf(x: jax.Array, z: jax.Array, *, gamma: jax.Array) -> jax.Array:
    # Around a common middle, since large squares would cancel.
    middle = z.mean(axis=0)
    x, z = x - middle[None], z - middle[None]
    squares = jnp.sum(x**2, axis=1)[:, None] + jnp.sum(z**2, axis=1)[None] - 2 * matmul(x, z.T)
    return jnp.exp(-gamma * jnp.maximum(squares, 0))


@cache
def _polynomial(degree: int) -> Callable[..., jax.Array]:
    """The same function each time for a degree: `jit` identifies a kernel by its function."""

    def power(x: jax.Array, z: jax.Array, *, gamma: jax.Array, offset: jax.Array) -> jax.Array:
        return (gamma * matmul(x, z.T) + offset) ** degree

    return power
