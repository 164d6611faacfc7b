"""The lasso: every output pixel from all input pixels, with a penalty that makes most weights 0.

For each output i, with N examples and an intercept b that is not penalised,

    min_{w, b}  1/(2N) || t_i - X w - b ||^2 + alpha || w ||_1,

which is scikit-learn's objective. Tibshirani, JRSS B 58:267-288, 1996; "l1" in Khan et al. (2020).

As alpha falls from where all weights are 0, the solution is a piecewise linear path: at each kink one input
enters or leaves the support. The solver walks along it (Osborne, Presnell and Turlach, IMA J. Numer. Anal.
20:389-403, 2000; Efron et al., Annals of Statistics 32:407-499, 2004), so that a list of alphas costs no
more than its smallest, and stops as soon as the duality gap at the current alpha is small enough. For
strongly correlated inputs, such as neighbouring pixels, a path has tens of kinks where coordinate descent
takes hundreds of passes. No input is screened out: the products of all inputs with the residuals of a batch
of outputs are one matrix product, which takes less time than screening.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, masked_ridge, masks
from mlr_jax.baselines import sparse_linear
from mlr_jax.baselines._lasso import lanes
from mlr_jax.baselines._lasso.derivative import attach_derivative
from mlr_jax.baselines._lasso.lanes import Solutions
from mlr_jax.baselines.sparse_linear import SparseLinear
from mlr_jax.numerics import batching
from mlr_jax.numerics.serialization import exported


@exported
class L1Lasso(NamedTuple):
    """A fitted lasso.

    Attributes:
      map: its non-zero weights and the intercepts.
      gap: `(num_outputs,)`, the duality gap over the objective of w = 0, `||t_i - mean||^2 / (2N)`. It bounds
        the distance of the objective from its minimum; computed from the weights themselves.
      iterations: int32 `(num_outputs,)`, kinks of the path that were passed.
    """

    map: SparseLinear
    gap: jax.Array
    iterations: jax.Array


def fit(
    inputs: ArrayLike,
    targets: ArrayLike,
    alpha: ArrayLike,
    *,
    standardize: bool = False,
    tolerance: float = 1e-4,
    max_iterations: int | None = None,
    batch_size: int | None = None,
) -> L1Lasso:
    """Solves every output's problem to a given duality gap.

    Works under `jit`, `vmap` and `grad`; neither new values nor a new alpha recompile. Derivatives are first
    ones only, and those of the exact solution on the support that was found.

    Args:
      inputs: `(num_examples, num_inputs)` floating point.
      targets: `(num_examples, num_outputs)` floating point.
      alpha: the penalty, 0 or more, a scalar.
      standardize: whether the penalty is on the weights of inputs that are scaled to unit variance. Otherwise
        those that vary more are penalised less.
      tolerance: stop where the duality gap is this part of the objective of w = 0; scikit-learn's `tol` is
        half of it. float32 reaches about 1e-5 unless alpha is very small, or many inputs are nearly linear
        combinations of a few others; float64 solves these too. With more examples than inputs, the gap
        is meaningless as alpha approaches 0.
      max_iterations: the most iterations; 20 times the rank that the inputs can have, if None.
      batch_size: outputs that are solved at once, which bounds the memory; chosen if None.

    Returns:
      The map for the unscaled inputs, with the gap and the number of iterations of every output. An output
      whose gap is above `tolerance` is not solved to it.

    Raises:
      TypeError: inputs or targets are not floating point.
      InputError: shapes do not agree, a value is NaN, or an option is out of range.

    >>> faces = jax.random.uniform(jax.random.key(0), (20, 64))
    >>> params = fit(faces, faces[:, ::-1], 1e-3)
    >>> bool((params.gap <= 1e-4).all()), params.map.mask.indices.shape
    (True, (64, 20))
    """
    if np.shape(alpha) != ():
        raise checks.InputError(f"l1_lasso.fit: alpha must be a scalar, not {np.shape(alpha)}; see fit_path")
    alphas = jnp.asarray(alpha)[None] if not checks.is_concrete(alpha) else np.asarray(alpha)[None]
    path = fit_path(
        inputs,
        targets,
        alphas,
        standardize=standardize,
        tolerance=tolerance,
        max_iterations=max_iterations,
        batch_size=batch_size,
    )
    return jax.tree.map(lambda leaf: leaf[0], path)


def fit_path(
    inputs: ArrayLike,
    targets: ArrayLike,
    alphas: ArrayLike,
    *,
    standardize: bool = False,
    tolerance: float = 1e-4,
    max_iterations: int | None = None,
    batch_size: int | None = None,
) -> L1Lasso:
    """Fits with several penalties in one walk, each from where the one before it stopped.

    Args:
      inputs: `(num_examples, num_inputs)` floating point.
      targets: `(num_examples, num_outputs)` floating point.
      alphas: `(num_alphas,)`, each 0 or more, from the largest to the smallest.
      standardize: as in `fit`.
      tolerance: as in `fit`.
      max_iterations: as in `fit`.
      batch_size: as in `fit`.

    Returns:
      The fits, stacked along a new first axis of every array. Iterations are counted from the start.

    Raises:
      TypeError, InputError: as `fit`; also if the alphas do not fall.
    """
    where = "l1_lasso.fit"
    inputs, targets = checks.regression(where, inputs, targets)
    checks.not_negative(where, "alpha", alphas)
    checks.not_negative(where, "tolerance", tolerance)
    if np.ndim(alphas) != 1 or np.size(alphas) == 0:
        raise checks.InputError(f"{where}: alphas must be (num_alphas,), not {np.shape(alphas)}")
    if checks.is_concrete(alphas) and (np.diff(np.asarray(alphas)) > 0).any():
        raise checks.InputError(f"{where}: alphas must go from the largest to the smallest")
    for name, value in (("max_iterations", max_iterations), ("batch_size", batch_size)):
        if value is not None:
            checks.positive_integer(where, name, value)
    num_examples, num_inputs = inputs.shape
    return _fit_path(
        inputs,
        targets,
        jnp.asarray(alphas, inputs.dtype),
        jnp.asarray(tolerance, inputs.dtype),
        jnp.asarray(max_iterations or 20 * min(num_examples, num_inputs), jnp.int32),
        standardize=standardize,
        batch_size=batch_size,
    )


def predict(params: L1Lasso, inputs: ArrayLike) -> jax.Array:
    """Returns the predictions `(num_examples, num_outputs)` for inputs `(num_examples, num_inputs)`."""
    return sparse_linear.predict(params.map, inputs)


@partial(jax.jit, static_argnames=("standardize", "batch_size"))
def _fit_path(
    inputs: jax.Array,
    targets: jax.Array,
    alphas: jax.Array,
    tolerance: jax.Array,
    max_iterations: jax.Array,
    *,
    standardize: bool,
    batch_size: int | None,
) -> L1Lasso:
    num_examples, num_outputs = targets.shape
    input_mean, target_mean = inputs.mean(axis=0), targets.mean(axis=0)
    scale = sparse_linear.input_scale(inputs, standardize=standardize)
    features = ((inputs - input_mean[None]) / scale[None]).T
    centred = (targets - target_mean[None]).T
    levels = num_examples * alphas
    batch_size = min(batch_size or default_batch_size(features, num_outputs), num_outputs)

    # The walk finds the support, which has no derivative; the solution on the support has one.
    taken, signs, weights, gap, iterations = walk(
        *jax.lax.stop_gradient((features, centred, levels)),
        tolerance=tolerance,
        max_iterations=max_iterations,
        batch_size=batch_size,
    )

    def at_level(solutions: tuple[jax.Array, ...]) -> jax.Array:
        level, *outputs = solutions

        # Rematerialised, so that a gradient too needs the memory of one batch only.
        @partial(jax.checkpoint, prevent_cse=False)
        def attach(output: tuple[jax.Array, ...]) -> jax.Array:
            return attach_derivative(features, level, *output)

        return jax.lax.map(attach, (centred, *outputs), batch_size=batch_size)

    weights = jax.lax.map(at_level, (levels, taken, signs, weights))
    weights = weights / scale[taken]
    bias = target_mean[None] - jnp.sum(weights * input_mean[taken], axis=2)
    linear = SparseLinear(masks.Mask(taken, weights != 0), masked_ridge.MaskedLinear(weights, bias))
    return L1Lasso(linear, gap, iterations)


def walk(
    features: jax.Array,
    targets: jax.Array,
    levels: jax.Array,
    *,
    tolerance: ArrayLike,
    max_iterations: ArrayLike | None = None,
    batch_size: int | None = None,
    certified: bool = True,
) -> Solutions:
    """Walks along the paths of all outputs.

    Args:
      features: `(num_inputs, num_examples)`, centred and scaled. Padding examples are 0.
      targets: `(num_outputs, num_examples)`, centred.
      levels: `(num_levels,)`, alpha times the number of examples, from the largest to the smallest.
      tolerance: as in `fit`.
      max_iterations: as in `fit`.
      batch_size: as in `fit`.
      certified: whether the rounding of the walk is removed from the solutions, and their gaps are computed.
        Without, which is enough to compare penalties, the walk takes two thirds of the time.

    Returns:
      The solutions.
    """
    slots, num_outputs = min(features.shape), len(targets)
    if batch_size is None:
        batch_size = default_batch_size(features, num_outputs)
    if max_iterations is None:
        max_iterations = 20 * slots
    found = lanes.walk_all(
        features, targets, levels, tolerance, max_iterations, min(batch_size, num_outputs), certified
    )
    # (num_outputs, num_levels, ...) -> (num_levels, num_outputs, ...)
    return Solutions(*(jnp.swapaxes(leaf, 0, 1) for leaf in found))


def default_batch_size(features: jax.Array, num_outputs: int) -> int:
    """Returns how many outputs to walk with at once, all on the same features."""
    slots = min(features.shape)
    numbers = 4 * features.shape[0] + 2 * slots * (slots + features.shape[1])
    # The inputs themselves are read for every batch and step.
    return batching.default_batch_size(num_outputs, numbers, features.dtype, at_least=64)
