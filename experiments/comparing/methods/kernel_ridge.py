"""Kernel ridge regression of all pixels."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from experiments.comparing.methods import planes
from experiments.comparing.methods.method import (
    Method,
    MethodEntry,
    Params,
    Settings,
    Sizes,
    geometric,
    learning,
)
from experiments.comparing.methods.planes import Plane
from mlr_jax.baselines import kernel_ridge as kernel
from mlr_jax.baselines.factored_linear import matmul


def kernel_ridge(settings: Settings) -> Method:
    """Every output pixel as a smooth function of the whole picture.

    Widths are in units of the data: for the Gaussian kernel, the root mean square distance of two training
    faces; for the quadratic one, (1 + x . z / width^2)^2, the root mean square of a face's norm. Its
    faces are centred first.
    """

    def make(shape: str, width: float | jax.Array, variance: jax.Array) -> kernel.Kernel:
        scale = jnp.maximum(width**2 * variance, jnp.finfo(variance.dtype).tiny)
        return kernel.rbf(1 / (4 * scale)) if shape == "rbf" else kernel.polynomial(2, 1 / scale)

    def fit(neutral: jax.Array, expressive: jax.Array, *, shape: str, width: float, penalty: float) -> Params:
        def fit_plane(inputs: jax.Array, targets: jax.Array) -> Params:
            mean = inputs.mean(axis=0)
            centred = inputs - mean[None]
            # Two faces differ by twice the variance of one.
            variance = jnp.mean(jnp.sum(centred**2, axis=1))
            return mean, kernel.fit(centred, targets, make(shape, width, variance), penalty)

        return planes.each_channel(fit_plane, neutral, expressive)

    def predict(params: Params, neutral: jax.Array) -> jax.Array:
        def predict_plane(params: Params, inputs: jax.Array) -> jax.Array:
            mean, regression = params
            return kernel.predict(regression, inputs - mean[None])

        return planes.predict_each_channel(predict_plane, params, neutral)

    def num_parameters(params: Params) -> int:
        mean, regression = params
        arrays = (mean, regression.examples, regression.coefficients, regression.intercept)
        return sum(array.size for array in arrays)

    errors = partial(planes.errors_of_planes, partial(_errors, make=make))
    return learning(settings.learn, Method(fit, predict, num_parameters, errors))


def _errors(
    plane: Plane,
    *,
    make: Callable[[str, jax.Array, jax.Array], Callable[[jax.Array, jax.Array], jax.Array]],
    shape: Sequence[str],
    width: Sequence[float],
    penalty: Sequence[float],
) -> jax.Array:
    """One eigendecomposition for each kernel serves all penalties.

    Args:
      plane: see `Plane`.
      make: (shape, width, variance of the inputs) -> kernel.
      shape: the values that are tried, as the others.
      width: in units of the data.
      penalty: of the regression.
    """
    rows, targets, held_out, truth = planes.centre(plane)
    share = plane.weight / jnp.sum(plane.weight)
    variance = jnp.sum(share * jnp.sum(rows**2, axis=1))

    def of_width(shape: str, width: jax.Array) -> jax.Array:
        kernel = make(shape, width, variance)
        gram, products = kernel(rows, rows), kernel(held_out, rows)
        # Centred in feature space, see `kernel_ridge`; rows of padding have no part in it.
        means = matmul(gram, share)
        gram = gram - means[:, None] - means[None] + matmul(share, means)
        products -= means[None]
        products -= matmul(products, share)[:, None]
        counts = plane.weight[:, None] * plane.weight[None]
        return planes.errors_of_penalties(
            plane, counts * gram, plane.weight[None] * products, targets, truth, penalty
        )

    widths = jnp.asarray(width, rows.dtype)
    return jnp.stack([jax.lax.map(partial(of_width, each), widths) for each in shape])


def _num_parameters(sizes: Sizes, shape: str, width: float, penalty: float) -> int:
    """The faces and their mean; for every pixel, a coefficient of each face, and the intercept."""
    del shape, width, penalty
    return sizes.channels * sizes.pixels * (2 * sizes.num_pairs + 2)


ENTRIES = (
    MethodEntry(
        kernel_ridge,
        grid={
            "shape": ("rbf", "polynomial"),
            "width": (16.0, 8.0, 4.0, 2.0, 1.0),
            "penalty": geometric(10, 1e-4, 6),
        },
        fixed={"shape": "rbf", "width": 4.0, "penalty": 0.01},
        num_parameters=_num_parameters,
        test_grid={"shape": ("rbf", "polynomial"), "width": (4.0, 1.0), "penalty": (1.0, 0.01)},
    ),
)
