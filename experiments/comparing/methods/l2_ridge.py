"""Ridge regression of all pixels on all pixels."""

from collections.abc import Sequence

import jax

from experiments.comparing.methods import planes
from experiments.comparing.methods.method import Method, MethodEntry, Settings, Sizes, geometric
from experiments.comparing.methods.planes import Plane
from mlr_jax.baselines import l2_ridge as ridge
from mlr_jax.baselines.factored_linear import FactoredLinear, matmul


def l2_ridge(settings: Settings) -> Method:
    """Every output pixel is regressed on all input pixels."""

    def num_parameters(params: FactoredLinear) -> int:
        # Of the full matrix and the intercept, not of the stored factors.
        channels, num_outputs = params.intercept.shape
        return channels * num_outputs * (params.input_mean.shape[1] + 1)

    return planes.of_planes(settings, ridge, num_parameters, _errors)


def _errors(plane: Plane, *, penalty: Sequence[float]) -> jax.Array:
    """One eigendecomposition of the smaller Gram matrix serves all penalties."""
    rows, targets, held_out, truth = planes.centre(plane)
    num_examples, num_inputs = rows.shape
    if num_examples < num_inputs:
        gram, products, right = matmul(rows, rows.T), matmul(held_out, rows.T), targets
    else:
        gram, products, right = matmul(rows.T, rows), held_out, matmul(rows.T, targets)
    return planes.errors_of_penalties(plane, gram, products, right, truth, penalty)


def _num_parameters(sizes: Sizes, penalty: float) -> int:
    del penalty
    return sizes.channels * sizes.pixels * (sizes.pixels + 1)


ENTRIES = (
    MethodEntry(
        l2_ridge,
        grid={"penalty": geometric(1e4, 1e-2, 13)},
        fixed={"penalty": 10.0},
        num_parameters=_num_parameters,
        test_grid={"penalty": (10.0, 0.1)},
    ),
)
