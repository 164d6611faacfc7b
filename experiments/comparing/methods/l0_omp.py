"""Orthogonal matching pursuit: a few pixels of the whole picture for each output pixel."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

from experiments.comparing.methods import planes
from experiments.comparing.methods.method import Method, MethodEntry, Settings, Sizes
from experiments.comparing.methods.planes import Plane
from mlr_jax.baselines import l0_omp as omp, sparse_linear
from mlr_jax.baselines.factored_linear import matmul


def l0_omp(settings: Settings) -> Method:
    """Every output pixel from a few input pixels anywhere in the picture, chosen greedily.

    Inputs are standardised, as for the lasso, which lowers the error of both.
    """
    fit = partial(omp.fit, standardize=True)
    return planes.of_planes(settings, omp, planes.num_sparse_parameters, _errors, fit=fit)


def _errors(plane: Plane, *, num_nonzeros: Sequence[int]) -> jax.Array:
    """One pursuit to the largest number, whose first pixels are the supports of all smaller ones."""
    scale = sparse_linear.input_scale(plane.inputs, standardize=True, weights=plane.weight)
    atoms = (sparse_linear.centre(plane.inputs, weights=plane.weight) / scale[None]).T
    targets = sparse_linear.centre(plane.targets, weights=plane.weight).T
    _, _, held_out, truth = planes.centre(plane)
    unseen = (held_out / scale[None]).T
    allowed, longest = jnp.ones(len(atoms), bool), max(num_nonzeros)
    numbers = jnp.asarray(num_nonzeros)

    def of_output(output: tuple[jax.Array, jax.Array]) -> jax.Array:
        target, truth = output
        pursuit = omp.pursue(atoms, allowed, target, longest)
        weights = jax.vmap(omp.solve, in_axes=(None, 0))(pursuit, numbers)
        return matmul((matmul(weights, unseen[pursuit.taken]) - truth[None]) ** 2, plane.held_out_weight)

    size = omp.default_batch_size(atoms, len(targets), longest)
    return jax.lax.map(of_output, (targets, truth.T), batch_size=size).sum(axis=0)


def _num_parameters(sizes: Sizes, num_nonzeros: int) -> int:
    return sizes.channels * sizes.pixels * (num_nonzeros + 1)


ENTRIES = (
    MethodEntry(
        l0_omp,
        grid={"num_nonzeros": (1, 2, 3, 4, 6, 9, 12, 16)},
        fixed={"num_nonzeros": 1},
        num_parameters=_num_parameters,
        test_values={"num_nonzeros": 2},
        test_grid={"num_nonzeros": (4, 1, 2)},
        duration=1,
    ),
)
