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
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, masks
from mlr_jax.numerics import batching, cholesky
from mlr_jax.numerics.serialization import exported

# More steps gain nothing at practical penalties.
_REFINEMENT_STEPS = 2

# Full float32 products everywhere: the reduced-precision default of some accelerators costs a Gram
# matrix half its digits.
_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


@exported
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
    weights: ArrayLike | None = None,
    towards: Literal["zero", "input"] = "zero",
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
      weights: of the squared errors of examples, 0 or more: `(num_examples,)`, or `(num_examples,
        num_outputs)` with a weight for each target. 0 is a missing example: the result is that of a fit
        without it, and its target and the inputs that the output sees may be NaN. An output without any
        example, or whose examples at a penalty of 0 are fewer than its inputs, is not `solved`; without any
        its bias is 0. Derivatives by a weight are right where it is above 0.
      towards: "zero" penalises the size of the weights, as published. "input" penalises their distance from
        those that copy input i to output i, so that a large penalty means no change instead of 0. For outputs
        that do not see their own input it is the same as "zero". An output that is not `solved` is then its
        input and the mean change. Static.

    Returns:
      The weights and biases, in float32, or in float64 if an argument is (and `jax_enable_x64` is on). At
      a penalty near 0, systems can be singular in that precision: `solved` marks these outputs, also under
      `jit`; outside `jit` there is a `checks.UnsolvedWarning`.

    Raises:
      TypeError: inputs or targets are not floating point.
      InputError: shapes do not agree, a value is NaN, the penalty or a weight is negative, the mask is for
        another size, or it shows no output its own input with `towards="input"`. Values are checked only
        where they are concrete, that is outside `jit`, `vmap` and `grad`.

    >>> from mlr_jax import masks
    >>> mask = masks.square_mask(8, 8, 3)
    >>> faces = jax.random.uniform(jax.random.key(0), (20, 64))
    >>> params = fit(faces, 1 - faces, mask, 1e-4)
    >>> params.weights.shape, bool(abs(predict(params, faces, mask) + faces - 1).max() < 1e-3)
    ((64, 9), True)
    """
    where = "masked_ridge.fit"
    inputs, targets = checks.regression(where, inputs, targets, is_complete=weights is None)
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
    if weights is not None:
        shapes = (targets.shape[:1], targets.shape)
        weights = checks.weights(where, weights, shapes, inputs.dtype)
        _check_complete(where, inputs, targets, mask, weights)
    if towards not in ("zero", "input"):
        raise checks.InputError(f"{where}: towards must be 'zero' or 'input', not {towards!r}")
    if towards == "input":
        if inputs.shape[1] != num_outputs:
            raise checks.InputError(
                f"{where}: towards='input' needs as many inputs as outputs, not {inputs.shape[1]} and "
                f"{num_outputs}"
            )
        masks.check_own(mask, where)

    params = _fit(
        inputs,
        targets,
        mask,
        checks.as_plane(penalty, (num_outputs,), inputs.dtype),
        weights,
        penalize_bias=penalize_bias,
        batch_size=batch_size,
        towards=towards,
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


@partial(jax.jit, static_argnames=("penalize_bias", "batch_size", "towards"))
def _fit(
    inputs: jax.Array,
    targets: jax.Array,
    mask: masks.Mask,
    penalties: jax.Array,
    weights: jax.Array | np.ndarray | None,
    *,
    penalize_bias: bool,
    batch_size: int | None,
    towards: Literal["zero", "input"],
) -> MaskedLinear:
    """Solves all pixels' problems, `batch_size` at a time."""
    if towards == "input":
        own = masks.own_entries(mask)
        changes = targets - jnp.where(own.any(axis=1)[None], inputs, 0)
        options: dict[str, Any] = {"penalize_bias": penalize_bias, "batch_size": batch_size}
        params = _fit(inputs, changes, mask, penalties, weights, **options, towards="zero")
        return params._replace(weights=params.weights + own)
    # Examples last, so that gathering a receptive field copies whole rows.
    pixels = inputs.T
    shared = None if weights is None else jnp.asarray(weights)
    own_weights = () if shared is None or shared.ndim == 1 else (shared.T,)

    # Rematerialised, so that a gradient too needs the memory of one chunk only.
    @partial(jax.checkpoint, prevent_cse=False)
    def solve(pixel: tuple[jax.Array, ...]) -> MaskedLinear:
        indices, valid, target, penalty, *own = pixel
        field = jnp.where(valid[:, None], pixels[indices], 0)
        if shared is None:
            return _solve_pixel(field, valid, target, penalty, penalize_bias)
        return _solve_weighted(field, valid, target, penalty, penalize_bias, *(own or [shared]))

    if batch_size is None:
        num_entries, num_examples = mask.indices.shape[1] + 1, len(inputs)
        # The receptive field, gathered and with its bias; the Gram matrix, its factor and a loop's copy.
        numbers = 2 * num_entries * num_examples + 3 * min(num_entries, num_examples) ** 2
        batch_size = batching.default_batch_size(targets.shape[1], numbers, inputs.dtype)
    return jax.lax.map(
        solve,
        (jnp.asarray(mask.indices), jnp.asarray(mask.valid), targets.T, penalties, *own_weights),
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


def _solve_weighted(
    field: jax.Array,
    valid: jax.Array,
    target: jax.Array,
    penalty: jax.Array,
    penalize_bias: bool,
    weights: jax.Array,
) -> MaskedLinear:
    """One pixel's ridge problem with weights `(num_examples,)`: examples are scaled by their square roots."""
    counts = weights > 0
    target = jnp.where(counts | jnp.isfinite(target), target, 0)
    field = jnp.where(counts[None] | jnp.isfinite(field), field, 0)
    roots = jnp.where(counts, jnp.sqrt(jnp.where(counts, weights, 1)), 0)
    total = weights.sum()
    share = weights / jnp.where(total > 0, total, 1)
    mean = _einsum("n,n->", share, target)
    if penalize_bias:
        rows = jnp.concatenate([field, jnp.ones_like(field[:1])])
        solution, solved = _solve_ridge(rows * roots[None], jnp.append(valid, True), target * roots, penalty)
        entries, bias = solution[:-1], solution[-1]
        mean *= total / jnp.where(total > 0, total + penalty, 1)
    else:
        mean_field = _einsum("kn,n->k", field, share)
        entries, solved = _solve_ridge(
            (field - mean_field[:, None]) * roots[None], valid, (target - mean) * roots, penalty
        )
        bias = mean - _einsum("k,k->", jnp.where(valid, entries, 0), jnp.where(solved, mean_field, 0))
    solved &= jnp.isfinite(bias) & (total > 0)
    entries = jnp.where(valid & solved, entries, 0)
    return MaskedLinear(entries, jnp.where(solved, bias, mean), solved.astype(mean.dtype))


def _check_complete(
    where: str, inputs: jax.Array, targets: jax.Array, mask: masks.Mask, weights: jax.Array | np.ndarray
) -> None:
    """Raises InputError if a value that is not finite has a weight above 0, and says where the first is."""
    if not checks.is_concrete(inputs, targets, mask, weights):
        return
    counts = np.asarray(weights) > 0
    counts = np.broadcast_to(counts.reshape(len(counts), -1), targets.shape)
    missing_inputs, missing_targets = (~np.isfinite(np.asarray(each)) for each in (inputs, targets))
    bad = missing_targets & counts
    indices, valid = np.asarray(mask.indices), np.asarray(mask.valid)
    for example in np.nonzero(missing_inputs.any(axis=1))[0]:
        bad[example] |= (missing_inputs[example][indices] & valid).any(axis=1) & counts[example]
    if bad.any():
        example, output = np.argwhere(bad)[0].tolist()
        raise checks.InputError(
            f"{where}: {int(bad.sum())} targets of weight above 0 are NaN or infinite or see such an input, "
            f"the first being example {example}, output {output}; give them the weight 0"
        )


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
    # Not `len`: an exported function may serve any number of examples.
    start = jnp.broadcast_to(params.bias.astype(dtype)[:, None], (len(params.bias), inputs.shape[0]))
    total, _ = jax.lax.scan(add, start, (jnp.asarray(mask.indices).T, params.weights.T))
    return total.T
