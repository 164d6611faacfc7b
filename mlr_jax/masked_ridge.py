"""Masked linear regression: one small ridge problem for each output pixel.

With inputs X (num_examples, num_inputs), targets T (num_examples, num_outputs) and a mask M,

    min_W  1/2 || [X, 1] (M o W)^T - T ||_F^2 + lambda/2 || M o W ||_F^2

falls apart into one problem per output i, which sees only its receptive field Omega_i:

    w_i = (A_i^T A_i + lambda I)^-1 A_i^T t_i,    A_i = [X[:, Omega_i], 1].

This module serves any mask. `window_statistics` and `window_dual` solve windows, which `synthesis.fit` takes
by default, with the same weights.

Khan, Akram, Mahmood, Ashraf and Murtaza, "Masked Linear Regression for Learning Local Receptive Fields
for Facial Expression Synthesis", IJCV 128:1433-1454, 2020 (arXiv 2011.09104).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, masks
from mlr_jax.numerics import batching, cholesky

# More steps gain nothing at practical penalties.
_REFINEMENT_STEPS = 2

# Full float32 products everywhere: the reduced-precision default of some accelerators costs a Gram
# matrix half its digits.
_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


class MaskedLinear(NamedTuple):
    """A linear map in which output i sees only the inputs of row i of a mask.

    Attributes:
      weights: `(num_outputs, max_inputs)`, entry (i, k) for input `mask.indices[i, k]`; exactly 0 where
        the mask is invalid.
      bias: `(num_outputs,)`.
      solved: `(num_outputs,)`, 1 where an output's system could be solved in its precision, 0 where not:
        there the weights are 0, and the bias is the mean of the targets, shrunk if the penalty includes it.
        Floats, so that `grad` accepts a map as its argument; None for a map that solves no system.
    """

    weights: jax.Array
    bias: jax.Array
    solved: jax.Array | None = None

    def __repr__(self) -> str:
        return checks.shown(self)


def fit(
    inputs: ArrayLike,
    targets: ArrayLike,
    mask: masks.Mask,
    penalty: ArrayLike,
    *,
    penalize_bias: bool = True,
    batch_size: int | None = None,
) -> MaskedLinear:
    """Solves every output's ridge problem exactly.

    Minimises, for each output i, with A_i = [inputs[:, Omega_i], 1],

        1/2 || A_i w_i - targets[:, i] ||^2 + penalty_i / 2 || w_i ||^2.

    The smaller of the two equivalent systems is solved by Cholesky factorisation: over the receptive
    field (primal) or over the examples (dual), with iterative refinement. Works under `jit`, `vmap` and
    `grad`; neither new values nor a new penalty recompile.

    In float32, weights learned from faces have a relative error (norm of the error of an output's weights
    over their norm) of about 1e-6 at the paper's penalty, and of 1e-4 at a penalty of 1e-3 and windows up to
    5; smaller penalties or larger windows need float64.

    Args:
      inputs: `(num_examples, num_inputs)` floating point, usually pixels in [0, 1].
      targets: `(num_examples, num_outputs)` floating point.
      mask: of `num_outputs` rows over `num_inputs` inputs.
      penalty: lambda >= 0, one for all or `(num_outputs,)`; 0.4 in the paper. It is added to sums over
        examples, not to means.
      penalize_bias: whether the penalty includes the bias, as published. Otherwise inputs and targets
        are centred per output.
      batch_size: outputs solved at once, which bounds the memory; by default as many as take
        about 2 MiB on a CPU, 256 MiB elsewhere. `vmap` multiplies this.

    Returns:
      The weights and biases, in float32, or in float64 if an argument is (and `jax_enable_x64` is on). At
      a penalty near 0, systems can be singular in that precision: `solved` marks these outputs, also under
      `jit`; outside `jit` there is a `checks.UnsolvedWarning`.

    Raises:
      TypeError: inputs or targets are not floating point.
      InputError: shapes do not agree, a value is NaN, the penalty is negative, or the mask is for another
        size. Values are checked only where they are concrete, that is outside `jit`, `vmap` and `grad`.

    >>> from mlr_jax import masks
    >>> mask = masks.square_mask(8, 8, 3)
    >>> faces = jax.random.uniform(jax.random.key(0), (20, 64))
    >>> params = fit(faces, 1 - faces, mask, 1e-4)
    >>> params.weights.shape, bool(abs(predict(params, faces, mask) + faces - 1).max() < 1e-3)
    ((64, 9), True)
    """
    where = "masked_ridge.fit"
    inputs, targets = checks.regression(where, inputs, targets)
    num_outputs = targets.shape[1]
    if isinstance(mask, masks.Mask) and num_outputs != np.shape(mask.indices)[0] == len(targets):
        raise checks.InputError(
            f"{where}: the mask has as many outputs as there are examples, {len(targets)}; transpose inputs "
            "and targets, whose rows must be examples"
        )
    masks.check(mask, where, num_inputs=inputs.shape[1])
    if len(mask.indices) != num_outputs:
        raise checks.InputError(
            f"{where}: the mask has {len(mask.indices)} outputs, but targets have {num_outputs}; it "
            "was made for another size"
        )
    if np.shape(penalty) not in ((), (num_outputs,)):
        raise checks.InputError(
            f"{where}: penalty must be a scalar or ({num_outputs},), not {np.shape(penalty)}"
        )
    if batch_size is not None and batch_size < 1:
        raise checks.InputError(f"{where}: batch_size must be 1 or more, not {batch_size}")
    checks.not_negative(where, "penalty", penalty)

    params = _fit(
        inputs,
        targets,
        mask,
        checks.as_plane(penalty, (num_outputs,), inputs.dtype),
        penalize_bias=penalize_bias,
        batch_size=batch_size,
    )
    assert params.solved is not None
    checks.warn_unsolved(where, params.solved, is_image=False)
    return params


def predict(params: MaskedLinear, inputs: ArrayLike, mask: masks.Mask) -> jax.Array:
    """Applies a masked linear map.

        outputs[n, i] = bias[i] + sum_k weights[i, k] * inputs[n, mask.indices[i, k]]

    Memory is that of the result, whatever the size of the receptive fields.

    Args:
      params: the map.
      inputs: `(num_examples, num_inputs)` floating point.
      mask: the one that `params` was fitted with.

    Returns:
      `(num_examples, num_outputs)`.

    Raises:
      TypeError: inputs are not floating point.
      InputError: the mask does not fit the inputs or the weights.
    """
    where = "masked_ridge.predict"
    inputs = checks.as_floating(where, "inputs", inputs, ("num_examples", "num_inputs"))
    masks.check(mask, where, num_inputs=inputs.shape[1])
    if np.shape(params.weights) != np.shape(mask.indices):
        raise checks.InputError(
            f"{where}: weights are {np.shape(params.weights)}, but the mask is "
            f"{np.shape(mask.indices)}; use the mask that they were fitted with"
        )
    return _predict(checks.with_automatic_axes(where, params), inputs, mask)


@partial(jax.jit, static_argnames=("penalize_bias", "batch_size"))
def _fit(
    inputs: jax.Array,
    targets: jax.Array,
    mask: masks.Mask,
    penalties: jax.Array,
    *,
    penalize_bias: bool,
    batch_size: int | None,
) -> MaskedLinear:
    """Solves all pixels' problems, `batch_size` at a time."""
    # Examples last, so that gathering a receptive field copies whole rows.
    pixels = inputs.T

    # Rematerialised, so that a gradient too needs the memory of one chunk only.
    @partial(jax.checkpoint, prevent_cse=False)
    def solve(pixel: tuple[jax.Array, ...]) -> MaskedLinear:
        indices, valid, target, penalty = pixel
        field = jnp.where(valid[:, None], pixels[indices], 0)
        return _solve_pixel(field, valid, target, penalty, penalize_bias)

    if batch_size is None:
        num_entries, num_examples = mask.indices.shape[1] + 1, len(inputs)
        # The receptive field, gathered and with its bias; the Gram matrix, its factor and a loop's copy.
        numbers = 2 * num_entries * num_examples + 3 * min(num_entries, num_examples) ** 2
        batch_size = batching.default_batch_size(targets.shape[1], numbers, inputs.dtype)
    return jax.lax.map(
        solve,
        (jnp.asarray(mask.indices), jnp.asarray(mask.valid), targets.T, penalties),
        batch_size=batch_size,
    )


def _solve_pixel(
    field: jax.Array, valid: jax.Array, target: jax.Array, penalty: jax.Array, penalize_bias: bool
) -> MaskedLinear:
    """One pixel's ridge problem: `field` (max_inputs, num_examples), 0 where not `valid`."""
    num_examples = field.shape[1]
    mean = target.mean()
    if penalize_bias:
        rows = jnp.concatenate([field, jnp.ones_like(field[:1])])
        solution, solved = _solve_ridge(rows, jnp.append(valid, True), target, penalty)
        weights, bias = solution[:-1], solution[-1]
        mean *= num_examples / (num_examples + penalty)
    else:
        mean_field = field.mean(axis=1)
        weights, solved = _solve_ridge(field - mean_field[:, None], valid, target - mean, penalty)
        bias = mean - _einsum("k,k->", jnp.where(valid, weights, 0), jnp.where(solved, mean_field, 0))
    solved &= jnp.isfinite(bias)
    weights = jnp.where(valid & solved, weights, 0)
    return MaskedLinear(weights, jnp.where(solved, bias, mean), solved.astype(mean.dtype))


def _solve_ridge(
    rows: jax.Array, valid: jax.Array, target: jax.Array, penalty: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """argmin_w 1/2 ||rows^T w - target||^2 + penalty/2 ||w||^2 by the smaller of the two systems.

    Returns:
      `(w, solved)`: 0 and false where the system is not positive definite in its precision.
    """
    num_entries, num_examples = rows.shape
    most = cholesky.MAX_EXCESS * _einsum("n,n->", target, target)
    if num_entries <= num_examples:
        # Padding gets a unit diagonal: no coupling, a zero right-hand side, and so a weight of 0.
        diagonal = jnp.where(valid, penalty, 1)
        return _solve_refined(
            _einsum("kn,ln->kl", rows, rows) + jnp.diag(diagonal),
            lambda w: _einsum("kn,n->k", rows, _einsum("kn,k->n", rows, w)) + diagonal * w,
            lambda w: _einsum("kn,n->k", rows, target - _einsum("kn,k->n", rows, w)) - diagonal * w,
            # The excess of twice the objective: r^T G^-1 r.
            lambda left, correction: _einsum("k,k->", left, correction) <= most,
        )
    dual, solved = _solve_refined(
        _einsum("kn,km->nm", rows, rows) + penalty * jnp.eye(num_examples, dtype=rows.dtype),
        lambda a: _einsum("kn,k->n", rows, _einsum("kn,n->k", rows, a)) + penalty * a,
        lambda a: target - _einsum("kn,k->n", rows, _einsum("kn,n->k", rows, a)) - penalty * a,
        # The same is r^T (K + penalty)^-1 K r here, for the Gram matrix K: less than r^T r.
        lambda left, correction: _einsum("n,n->", left, left) <= most,
    )
    return _einsum("kn,n->k", rows, dual), solved


def _solve_refined(
    gram: jax.Array,
    multiply: Callable[[jax.Array], jax.Array],
    residual: Callable[[jax.Array], jax.Array],
    is_close: Callable[[jax.Array, jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Solves a system by Cholesky factorisation and iterative refinement.

    Forming a Gram matrix squares the condition number. The refinement's residual is computed from the
    receptive field itself, and wins back most of the digits that this costs in float32. Its last step
    carries the derivatives, by the implicit function theorem: x0 + G^-1 (b - G x0) is G^-1 b for any
    constant x0.

    Args:
      gram: `(n, n)`, the matrix G.
      multiply: x -> G x, from which the derivatives follow.
      residual: x -> b - G x, computed so that it is accurate.
      is_close: (b - G x, the next correction) -> whether x is good enough.

    Returns:
      `(G^-1 b, solved)`: 0 and false where G is not positive definite in its precision.
    """
    upper = cholesky.factor(jax.lax.stop_gradient(gram))
    is_definite = jnp.isfinite(upper).all()

    def solve(_: object, right: jax.Array) -> jax.Array:
        # Where there is no factor, divide by 1, here and in derivatives, so that no NaN appears.
        solution = cholesky.solve(jnp.where(is_definite, upper, 1), right)
        return jnp.where(is_definite & jnp.isfinite(solution), solution, 0)

    solution = jnp.zeros_like(gram[0])
    for _ in range(_REFINEMENT_STEPS):
        solution = jax.lax.stop_gradient(solution + solve(None, residual(solution)))
    left = residual(solution)
    last = jax.lax.custom_linear_solve(multiply, left, solve, symmetric=True)
    solved = is_definite & jnp.isfinite(last).all() & is_close(left, last)
    return solution + last, solved


@jax.jit
def _predict(params: MaskedLinear, inputs: jax.Array, mask: masks.Mask) -> jax.Array:
    """Adds up one entry of every receptive field after the other."""
    pixels = inputs.T

    @partial(jax.checkpoint, prevent_cse=False)
    def add(total: jax.Array, entry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        indices, weights = entry
        return total + weights[:, None] * pixels[indices], None

    dtype = jnp.promote_types(params.weights.dtype, inputs.dtype)
    start = jnp.broadcast_to(params.bias.astype(dtype)[:, None], (len(params.bias), len(inputs)))
    total, _ = jax.lax.scan(add, start, (jnp.asarray(mask.indices).T, params.weights.T))
    return total.T
