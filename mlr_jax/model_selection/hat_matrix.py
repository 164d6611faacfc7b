"""Leave-one-out residuals, from the hat matrix of all examples."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, masks
from mlr_jax.numerics import batching, cholesky


def leave_one_out(
    inputs: ArrayLike,
    targets: ArrayLike,
    mask: masks.Mask,
    penalty: ArrayLike,
    *,
    penalize_bias: bool = True,
    batch_size: int | None = None,
) -> jax.Array:
    """The exact residual of every example under the regression fitted without it.

    It fits nothing again: with the hat matrix H, the residual of example n is (t_n - (H t)_n) / (1 - H_nn).
    If a pixel has fewer inputs than there are examples, 1 - H_nn comes from a factor of its Gram matrix.
    Otherwise the residual is a_n / (K^-1)_nn, with the kernel matrix K = X X^T + lambda I and K a = t, for
    any small penalty, as long as the examples' inputs are linearly independent. Two cases are unstable:
    penalties below the rounding of the Gram or kernel matrix (1e-7 of its diagonal in float32) if this is
    singular, as with repeated inputs or examples; and examples that alone determine a weight, whose 1 - H_nn
    is 0.

    Args:
      inputs: `(num_examples, num_inputs)` floating point.
      targets: `(num_examples, num_outputs)` floating point.
      mask: what each output sees.
      penalty: lambda > 0, one for all or `(num_outputs,)`.
      penalize_bias: whether the penalty includes the bias, as published.
      batch_size: outputs at once, as for `masked_ridge.fit`.

    Returns:
      `(num_examples, num_outputs)`, target minus prediction.

    Raises:
      TypeError: an array is not floating point.
      InputError: shapes do not agree, a value is NaN, or the penalty is negative.
    """
    where = "model_selection.leave_one_out"
    inputs = checks.as_floating(where, "inputs", inputs, ("num_examples", "num_inputs"))
    targets = checks.as_floating(where, "targets", targets, ("num_examples", "num_outputs"))
    masks.check(mask, where, num_inputs=inputs.shape[1])
    if len(inputs) != len(targets) or targets.shape[1] != len(mask.indices):
        raise checks.InputError(
            f"{where}: inputs {inputs.shape}, targets {targets.shape} and a mask of {len(mask.indices)} "
            "outputs do not go together"
        )
    for name, array in (("inputs", inputs), ("targets", targets)):
        checks.finite(where, name, array)
    if np.shape(penalty) not in ((), targets.shape[1:]):
        raise checks.InputError(f"{where}: penalty must be a scalar or {targets.shape[1:]}")
    checks.not_negative(where, "penalty", penalty)
    dtype = jnp.promote_types(inputs.dtype, targets.dtype)
    penalties = jnp.broadcast_to(jnp.asarray(penalty, dtype), targets.shape[1:])
    return _leave_one_out(
        inputs.astype(dtype),
        targets.astype(dtype),
        mask,
        penalties,
        penalize_bias=penalize_bias,
        batch_size=batch_size,
    )


@partial(jax.jit, static_argnames=("penalize_bias", "batch_size"))
def _leave_one_out(
    inputs: jax.Array,
    targets: jax.Array,
    mask: masks.Mask,
    penalties: jax.Array,
    *,
    penalize_bias: bool,
    batch_size: int | None,
) -> jax.Array:
    pixels = inputs.T
    num_examples, num_inputs = len(inputs), mask.indices.shape[1] + penalize_bias

    def of_pixel(pixel: tuple[jax.Array, ...]) -> jax.Array:
        indices, valid, target, penalty = pixel
        rows = jnp.where(valid[:, None], pixels[indices], 0)
        if penalize_bias:
            rows, valid = jnp.concatenate([rows, jnp.ones_like(rows[:1])]), jnp.append(valid, True)
        if num_inputs < num_examples:
            return _residuals_by_gram(rows, valid, target, penalty, penalize_bias)
        return _residuals_by_kernel(rows, target, penalty, penalize_bias)

    if batch_size is None:
        numbers = 3 * num_inputs * num_examples + 3 * min(num_inputs, num_examples) ** 2
        batch_size = batching.default_batch_size(targets.shape[1], numbers, inputs.dtype)
    columns = jnp.asarray(mask.indices), jnp.asarray(mask.valid), targets.T, penalties
    return jax.lax.map(of_pixel, columns, batch_size=batch_size).T


def _residuals_by_gram(
    rows: jax.Array, valid: jax.Array, target: jax.Array, penalty: jax.Array, penalize_bias: bool
) -> jax.Array:
    """`rows` is `(num_inputs, num_examples)`."""
    share = jnp.zeros((), rows.dtype)
    if not penalize_bias:
        rows, target = rows - rows.mean(axis=1, keepdims=True), target - target.mean()
        share = jnp.asarray(1 / rows.shape[1], rows.dtype)
    gram = jnp.einsum("kn,ln->kl", rows, rows, precision="highest")
    upper = cholesky.factor(gram + jnp.diag(jnp.where(valid, penalty, 1)))
    solved = jax.vmap(partial(cholesky.solve, upper), in_axes=1, out_axes=1)(rows)
    hat = share + jnp.sum(rows * solved, axis=0)
    fitted = jnp.einsum("kn,k->n", rows, jnp.einsum("kn,n->k", solved, target, precision="highest"))
    return (target - fitted) / (1 - hat)


def _residuals_by_kernel(
    rows: jax.Array, target: jax.Array, penalty: jax.Array, penalize_bias: bool
) -> jax.Array:
    num = rows.shape[1]
    kernel = jnp.einsum("kn,km->nm", rows, rows, precision="highest") + penalty * jnp.eye(
        num, dtype=rows.dtype
    )
    upper = cholesky.factor(kernel)
    inverse = jax.vmap(partial(cholesky.solve, upper), in_axes=1, out_axes=1)(jnp.eye(num, dtype=rows.dtype))
    if not penalize_bias:  # The block of the system that is bordered by ones.
        seen = inverse.sum(axis=1)
        inverse = inverse - seen[:, None] * seen[None] / seen.sum()
    return jnp.einsum("nm,m->n", inverse, target, precision="highest") / jnp.diag(inverse)
