"""Regressions of flattened pictures, one for each colour channel.

`of_planes` makes a method of such a regression. Its held-out errors come from a function of a `Plane`, one
channel of one fold, and of the values of each hyper-parameter; it returns the errors of all combinations,
with an axis for each hyper-parameter, in this order.
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparing.folds import Folds, Rows, weighted_mean
from experiments.comparing.methods.method import Method, Params, Settings, learning
from mlr_jax.baselines.factored_linear import FactoredLinear, matmul
from mlr_jax.baselines.sparse_linear import SparseLinear


class Plane(NamedTuple):
    """One channel of one fold, for a regression of flattened pictures.

    Attributes:
      inputs: `(num_train, num_pixels)`.
      targets: `(num_train, num_pixels)`.
      weight: `(num_train,)`, 1, or 0 in rows of padding.
      held_out: `(num_held_out, num_pixels)`, the inputs to predict from.
      truth: `(num_held_out, num_pixels)`.
      held_out_weight: `(num_held_out,)`.
    """

    inputs: jax.Array
    targets: jax.Array
    weight: jax.Array
    held_out: jax.Array
    truth: jax.Array
    held_out_weight: jax.Array


class Centred(NamedTuple):
    """A plane less the means of its training rows; rows of padding are 0."""

    rows: jax.Array
    targets: jax.Array
    held_out: jax.Array
    truth: jax.Array


def of_planes(
    settings: Settings,
    module: ModuleType,
    num_parameters: Callable[[Params], int],
    plane_errors: Callable[..., jax.Array],
    *,
    fit: Callable[..., Params] | None = None,
) -> Method:
    """Makes a method of a regression of flattened pictures.

    Args:
      settings: of the run.
      module: has `fit` (inputs, targets, **hyper-parameters) and `predict` (params, inputs).
      num_parameters: params of all channels -> how many numbers were learned.
      plane_errors: (plane, **values) -> the sums of squared errors of all combinations of values.
      fit: in place of `module.fit`.
    """

    def fit_pictures(neutral: jax.Array, expressive: jax.Array, **choice: Any) -> Params:
        return each_channel(partial(fit or module.fit, **choice), neutral, expressive)

    errors = partial(errors_of_planes, plane_errors)
    method = Method(fit_pictures, partial(predict_each_channel, module.predict), num_parameters, errors)
    return learning(settings.learn, method)


def errors_of_planes(errors: Callable[..., jax.Array], folds: Folds, **values: Sequence) -> jax.Array:
    """The errors of a regression of flattened pictures, over all colour channels.

    Args:
      errors: (plane, **values) -> for all combinations of values, the sum of squared errors of the plane.
      folds: with pictures of any number of channels.
      **values: hyper-parameter -> the values that are tried.

    Returns:
      `(num_folds, *numbers of values)`, the sum over held-out pictures of their mean squared errors.
    """
    channels = folds.neutral.shape[-1]
    neutral, expressive = (planes(each) for each in (folds.neutral, folds.expressive))

    def of_fold(rows: tuple[Rows, Rows]) -> jax.Array:
        train, held_out = rows

        def of_channel(both: tuple[jax.Array, jax.Array]) -> jax.Array:
            inputs, targets = both
            plane = Plane(
                inputs[train.pairs],
                targets[train.pairs],
                train.weight,
                inputs[held_out.pairs],
                targets[held_out.pairs],
                held_out.weight,
            )
            return errors(plane, **values) / (channels * inputs.shape[1])

        # One channel after the other: the data of a single one may be all that memory holds.
        return jax.lax.map(of_channel, (neutral, expressive)).sum(axis=0)

    return jax.lax.map(of_fold, (folds.train, folds.held_out))


def planes(pictures: jax.Array) -> jax.Array:
    """(num, height, width, channels) -> (channels, num, height * width)."""
    return jnp.moveaxis(pictures, -1, 0).reshape(pictures.shape[-1], len(pictures), -1)


def each_channel(fit: Callable[..., Params], neutral: jax.Array, expressive: jax.Array) -> Params:
    """Fits one channel after the other: the data of a single one may be all that memory holds."""
    return jax.lax.map(lambda both: fit(*both), (planes(neutral), planes(expressive)))


def predict_each_channel(
    predict: Callable[[Params, jax.Array], jax.Array], params: Params, neutral: jax.Array
) -> jax.Array:
    """Predicts one channel after the other."""
    outputs = jax.lax.map(lambda each: predict(*each), (params, planes(neutral)))
    return jnp.moveaxis(outputs, 0, -1).reshape(neutral.shape)


def centre(plane: Plane) -> Centred:
    """Everything less the means over the training rows."""
    inputs, targets = (weighted_mean(each, plane.weight) for each in plane[:2])
    counts = plane.weight[:, None]
    return Centred(
        counts * (plane.inputs - inputs[None]),
        counts * (plane.targets - targets[None]),
        plane.held_out - inputs[None],
        plane.truth - targets[None],
    )


def squared_error(plane: Plane, residual: jax.Array) -> jax.Array:
    """The sum of squares over the held-out rows, without padding."""
    return jnp.sum(plane.held_out_weight * jnp.sum(residual**2, axis=1))


def errors_of_penalties(
    plane: Plane,
    gram: jax.Array,
    products: jax.Array,
    right: jax.Array,
    truth: jax.Array,
    penalty: Sequence[float],
) -> jax.Array:
    """The errors of products (gram + penalty)^-1 right, for all penalties."""
    eigenvalues, basis = jnp.linalg.eigh(gram)
    eigenvalues = jnp.maximum(eigenvalues, 0)  # A Gram matrix has none below 0 but for rounding.
    scores, coordinates = matmul(products, basis), matmul(basis.T, right)

    def of_penalty(penalty: jax.Array) -> jax.Array:
        return squared_error(plane, matmul(scores / (eigenvalues + penalty)[None], coordinates) - truth)

    return jax.lax.map(of_penalty, jnp.asarray(penalty, gram.dtype))


def num_sparse_parameters(params: SparseLinear) -> int:
    """How many weights are not 0, and the biases."""
    return int(np.sum(params.mask.valid)) + params.linear.bias.size


def num_factored_parameters(params: FactoredLinear) -> int:
    """How many numbers are in the factors, the mean and the intercept."""
    return params.input_mean.size + params.intercept.size + sum(factor.size for factor in params.factors)
