"""Ridge regression of all pixels on all pixels by matrices of low rank."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparing.methods import planes
from experiments.comparing.methods.method import Method, MethodEntry, Settings, Sizes, geometric
from experiments.comparing.methods.planes import Plane, squared_error
from mlr_jax.baselines import reduced_rank as low_rank
from mlr_jax.baselines.factored_linear import matmul


def reduced_rank(settings: Settings) -> Method:
    """Ridge regression of all pixels on all pixels by a matrix of low rank."""
    return planes.of_planes(settings, low_rank, planes.num_factored_parameters, _reduced_rank_errors)


def pca_ridge(settings: Settings) -> Method:
    """Ridge regression between principal components of the inputs and of the outputs."""
    errors = _pca_ridge_errors
    return planes.of_planes(settings, low_rank, planes.num_factored_parameters, errors, fit=low_rank.fit_pca)


def _reduced_rank_errors(plane: Plane, *, rank: Sequence[int], penalty: Sequence[float]) -> jax.Array:
    """One decomposition of the inputs serves all penalties, and one for each penalty serves all ranks."""
    rows, targets, held_out, truth = planes.centre(plane)
    left, values, right = low_rank.thin_svd(rows)
    coordinates, scores = matmul(left.T, targets), matmul(held_out, right.T)

    def of_penalty(penalty: jax.Array) -> jax.Array:
        squares = values**2 + penalty
        basis = low_rank.thin_svd((values / jnp.sqrt(squares))[:, None] * coordinates)[2]
        encoded = matmul(scores, (values / squares)[:, None] * matmul(coordinates, basis.T))

        def of_rank(rank: jax.Array) -> jax.Array:
            within = jnp.arange(len(basis)) < rank
            return squared_error(plane, matmul(jnp.where(within[None], encoded, 0), basis) - truth)

        return jax.lax.map(of_rank, jnp.asarray(rank))

    return jax.lax.map(of_penalty, jnp.asarray(penalty, rows.dtype)).T


def _pca_ridge_errors(
    plane: Plane, *, input_rank: Sequence[int], output_rank: Sequence[int], penalty: Sequence[float]
) -> jax.Array:
    """One decomposition of the inputs and one of the targets serve all ranks and penalties."""
    rows, targets, held_out, truth = planes.centre(plane)
    left, values, right = low_rank.thin_svd(rows)
    basis = low_rank.thin_svd(targets)[2]
    between, scores = matmul(left.T, matmul(targets, basis.T)), matmul(held_out, right.T)

    def error(choice: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        input_rank, output_rank, penalty = choice
        shrunk = jnp.where(jnp.arange(len(values)) < input_rank, values / (values**2 + penalty), 0)
        encoded = matmul(scores, shrunk[:, None] * between)
        within = jnp.arange(len(basis)) < output_rank
        return squared_error(plane, matmul(jnp.where(within[None], encoded, 0), basis) - truth)

    grid = np.meshgrid(input_rank, output_rank, penalty, indexing="ij")
    dtypes = jnp.int32, jnp.int32, rows.dtype
    choices = tuple(jnp.asarray(each.ravel(), dtype) for each, dtype in zip(grid, dtypes, strict=True))
    return jax.lax.map(error, choices).reshape(grid[0].shape)


def _num_reduced_rank(sizes: Sizes, rank: int, penalty: float) -> int:
    del penalty
    return sizes.channels * sizes.pixels * (2 * rank + 2)


def _num_pca_ridge(sizes: Sizes, input_rank: int, output_rank: int, penalty: float) -> int:
    del penalty
    return sizes.channels * (sizes.pixels * (input_rank + output_rank + 2) + input_rank * output_rank)


ENTRIES = (
    MethodEntry(
        reduced_rank,
        grid={"rank": (4, 8, 16, 32, 56), "penalty": geometric(1e4, 1, 9)},
        fixed={"rank": 32, "penalty": 31.6},
        num_parameters=_num_reduced_rank,
        test_values={"rank": 5, "penalty": 1.0},
        test_grid={"rank": (2, 5), "penalty": (10.0, 0.5)},
    ),
    MethodEntry(
        pca_ridge,
        grid={
            "input_rank": (3, 10, 20, 40, 56),
            "output_rank": (3, 10, 20, 40, 56),
            "penalty": geometric(1e3, 0.1, 5),
        },
        fixed={"input_rank": 40, "output_rank": 40, "penalty": 10.0},
        num_parameters=_num_pca_ridge,
        test_values={"input_rank": 6, "output_rank": 5, "penalty": 1.0},
        test_grid={"input_rank": (3, 6), "output_rank": (2, 5), "penalty": (10.0, 0.5)},
    ),
)
