"""Sparse receptive fields: a few pixels of a window for each output pixel."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparing.folds import Folds
from experiments.comparing.methods import planes
from experiments.comparing.methods.masked_ridge import window_inputs
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
from mlr_jax import masks
from mlr_jax.baselines import l0_omp as omp, masked_lsrf as lsrf, sparse_linear
from mlr_jax.baselines.factored_linear import matmul
from mlr_jax.numerics import batching


def masked_lsrf(settings: Settings) -> Method:
    """Each output pixel sees a few pixels of its window, which are learned."""

    def fit(neutral: jax.Array, expressive: jax.Array, *, window: int, **choice: Any) -> Params:
        height, width = neutral.shape[1:3]
        neighbourhood = masks.square_mask(height, width, window)

        def fit_plane(inputs: jax.Array, targets: jax.Array) -> Params:
            return lsrf.fit(inputs, targets, neighbourhood, **choice)

        return planes.each_channel(fit_plane, neutral, expressive)

    def errors(folds: Folds, **values: Any) -> jax.Array:
        height, width = folds.neutral.shape[1:3]
        of_plane = partial(_errors, height=height, width=width)
        return planes.errors_of_planes(of_plane, folds, **values)

    predict = partial(planes.predict_each_channel, lsrf.predict)
    method = Method(fit, predict, planes.num_sparse_parameters, errors)
    return learning(settings.learn, method)


def _errors(
    plane: Plane,
    *,
    height: int,
    width: int,
    window: Sequence[int],
    num_nonzeros: Sequence[int],
    penalty: Sequence[float],
) -> jax.Array:
    """One pursuit for each window and one elimination for each penalty, which pass all smaller numbers."""
    rows, targets, held_out, truth = planes.centre(plane)
    scale = sparse_linear.input_scale(plane.inputs, standardize=True, weights=plane.weight)
    atoms = (sparse_linear.centre(plane.inputs, weights=plane.weight) / scale[None]).T
    wanted = sparse_linear.centre(plane.targets, weights=plane.weight).T
    penalties = jnp.asarray(penalty, rows.dtype)
    pixels, unseen = rows.T, held_out.T

    def of_window(side: int) -> jax.Array:
        neighbourhood = masks.square_mask(height, width, side)
        num_inputs = neighbourhood.indices.shape[1]
        longest = min(max(num_nonzeros), num_inputs)

        def of_output(output: tuple[jax.Array, ...]) -> jax.Array:
            indices, allowed, wanted, target, truth = output
            pursuit = omp.pursue(atoms[indices], allowed, wanted, longest)
            taken = indices[pursuit.taken]
            field = jnp.where(pursuit.valid[:, None], pixels[taken], 0)
            gram, right = matmul(field, field.T), matmul(field, target)
            seen = unseen[taken]

            def of_penalty(penalty: jax.Array) -> jax.Array:
                # An entry that stayed empty gets a unit diagonal, and so a weight of 0.
                diagonal = jnp.where(pursuit.valid, penalty, 1)
                weights = _solve_nested(gram + jnp.diag(diagonal), right)
                # There is no candidate of more inputs than a window has.
                chosen = weights[np.minimum(num_nonzeros, longest) - 1]
                return matmul((matmul(chosen, seen) - truth[None]) ** 2, plane.held_out_weight)

            return jax.lax.map(of_penalty, penalties).T

        numbers = (2 * num_inputs + 3 * longest) * len(rows)
        batch_size = batching.default_batch_size(len(wanted), numbers, rows.dtype)
        outputs = (
            jnp.asarray(neighbourhood.indices),
            jnp.asarray(neighbourhood.valid),
            wanted,
            targets.T,
            truth.T,
        )
        return jax.lax.map(of_output, outputs, batch_size=batch_size).sum(axis=0)

    return jnp.stack([of_window(side) for side in window])


def _solve_nested(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solves all leading subsystems: row k is the solution of the first k + 1 equations and unknowns.

    By Gauss-Jordan elimination, which has solved the first k equations after k steps.

    Args:
      matrix: `(n, n)`, positive definite.
      right: `(n,)`.

    Returns:
      `(n, n)`, 0 above the diagonal.
    """
    places = jnp.arange(len(right))

    def eliminate(system: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        pivot = system[step] / system[step, step]
        factors = jnp.where(places == step, 0, system[:, step])
        system = system - factors[:, None] * pivot[None]
        system = jnp.where((places == step)[:, None], pivot[None], system)
        return system, jnp.where(places <= step, system[:, -1], 0)

    system = jnp.concatenate([matrix, right[:, None]], axis=1)
    return jax.lax.scan(eliminate, system, places)[1]


def _num_parameters(sizes: Sizes, window: int, num_nonzeros: int, penalty: float) -> int:
    del penalty
    weights = np.minimum(window_inputs(sizes.height, sizes.width, window), num_nonzeros)
    return sizes.channels * (int(weights.sum()) + sizes.pixels)


ENTRIES = (
    MethodEntry(
        masked_lsrf,
        grid={"window": (3, 5, 9), "num_nonzeros": (4, 9, 16), "penalty": geometric(12.8, 0.1, 8)},
        fixed={"window": 3, "num_nonzeros": 9, "penalty": 0.4},
        num_parameters=_num_parameters,
        # No window of 3 has 10 inputs: this candidate is left out.
        test_grid={"window": (3, 5), "num_nonzeros": (2, 10), "penalty": (10.0, 0.3)},
        duration=2,
    ),
)
