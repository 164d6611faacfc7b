"""The lasso: all pixels of the picture, with a penalty that leaves few weights."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparing.methods import planes
from experiments.comparing.methods.method import Method, MethodEntry, Settings, geometric
from experiments.comparing.methods.planes import Plane, squared_error
from mlr_jax.baselines import l1_lasso as lasso, sparse_linear

# The relative duality gap at which the lasso stops.
_DUALITY_GAP = 1e-4


def l1_lasso(settings: Settings) -> Method:
    """Every output pixel from all input pixels, with a penalty that leaves few weights."""

    def num_parameters(params: lasso.L1Lasso) -> int:
        return planes.num_sparse_parameters(params.map)

    def shortfall(params: lasso.L1Lasso) -> str | None:
        gap = np.asarray(params.gap)
        above = gap[gap > _DUALITY_GAP]
        if not above.size:
            return None
        outputs = f"{above.size} of {gap.size} outputs"
        return f"{outputs} have a duality gap above {_DUALITY_GAP:g}, up to {above.max():.1e}"

    fit = partial(lasso.fit, standardize=True, tolerance=_DUALITY_GAP)
    errors = partial(_errors, tolerance=_DUALITY_GAP)
    method = planes.of_planes(settings, lasso, num_parameters, errors, fit=fit)
    return method._replace(shortfall=shortfall)


def _errors(plane: Plane, *, tolerance: float, alpha: Sequence[float]) -> jax.Array:
    """One pass along each output's path, from the largest penalty to the smallest."""
    rows, targets, held_out, truth = planes.centre(plane)
    scale = sparse_linear.input_scale(plane.inputs, standardize=True, weights=plane.weight)
    falling = sorted(set(alpha), reverse=True)
    levels = jnp.sum(plane.weight) * jnp.asarray(falling, rows.dtype)
    path = lasso.walk((rows / scale[None]).T, targets.T, levels, tolerance=tolerance, certified=False)
    pixels = (held_out / scale[None]).T

    def of_alpha(solution: tuple[jax.Array, jax.Array]) -> jax.Array:
        taken, weights = solution

        def add(entry: jax.Array, total: jax.Array) -> jax.Array:
            return total + weights[:, entry, None] * pixels[taken[:, entry]]

        # Most slots are empty for all outputs.
        used = jnp.max(jnp.where(weights != 0, 1 + jnp.arange(weights.shape[1]), 0))
        predicted = jax.lax.fori_loop(0, used, add, jnp.zeros_like(truth.T))
        return squared_error(plane, predicted.T - truth)

    errors = jax.lax.map(of_alpha, (path.features, path.weights))
    return errors[np.array([falling.index(each) for each in alpha])]


ENTRIES = (
    MethodEntry(
        l1_lasso,
        grid={"alpha": geometric(0.1, 5.62e-3, 6)},
        fixed={"alpha": 1.78e-2},
        test_grid={"alpha": (0.05, 0.004, 0.01)},
        duration=4,
    ),
)
