"""Receptive fields that are learned: a sparse choice within a neighbourhood of each output pixel.

Masked regression fixes the inputs of a pixel. Here a pixel sees a few inputs of its neighbourhood: orthogonal
matching pursuit (`l0_omp`) chooses them, and masked ridge fits their weights:

    min_{S_i, w, b}  1/2 || X[:, S_i] w + b - t_i ||^2 + lambda/2 || w ||^2,   S_i in Omega_i, |S_i| <= k.

After Akram and Khan, "LSRF: localized and sparse receptive fields for linear facial expression synthesis
based on global face context", Multimedia Tools and Applications, 2023, who extend matching pursuit so that
each output observes a localised region and neighbouring outputs attend to neighbouring regions. Here both
follow from the mask of neighbourhoods Omega_i; the ridge penalty on the chosen weights is ours.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mlr_jax import checks, masked_ridge, masks
from mlr_jax.baselines import l0_omp, sparse_linear
from mlr_jax.baselines.sparse_linear import SparseLinear
from mlr_jax.numerics import batching


def fit(
    inputs: ArrayLike,
    targets: ArrayLike,
    neighbourhood: masks.Mask,
    penalty: ArrayLike,
    *,
    num_nonzeros: int,
    batch_size: int | None = None,
) -> SparseLinear:
    """Chooses every output's inputs by their correlations, and fits a ridge regression on them.

    Args:
      inputs: `(num_examples, num_inputs)` floating point.
      targets: `(num_examples, num_outputs)` floating point.
      neighbourhood: for each output, the inputs that may be chosen, such as `masks.square_mask(h, w, 7)`.
      penalty: lambda >= 0 on the weights that are fitted in the end, a scalar or `(num_outputs,)`. The bias
        is not penalised.
      num_nonzeros: inputs that each output may read, 1 or more, less than `num_examples` and at most the
        width of the neighbourhood, static.
      batch_size: outputs that are computed at once, which bounds the memory; chosen if None.

    Returns:
      `(mask, linear)`: the chosen inputs in the order of their choice, and the map that
      `masked_ridge.predict(linear, inputs, mask)` runs.

    Raises:
      TypeError: inputs or targets are not floating point, or `num_nonzeros` is not a whole number.
      InputError: shapes do not agree, a value is NaN, or an option is out of range.

    >>> faces = jax.random.uniform(jax.random.key(0), (20, 64))
    >>> params = fit(faces, jnp.roll(faces, -1, axis=1), masks.square_mask(8, 8, 3), 0.1, num_nonzeros=2)
    >>> params.mask.indices[:3, 0].tolist()
    [1, 2, 3]
    """
    where = "masked_lsrf.fit"
    inputs, targets = checks.regression(where, inputs, targets)
    masks.check(neighbourhood, where, num_inputs=inputs.shape[1])
    if len(neighbourhood.indices) != targets.shape[1]:
        raise checks.InputError(
            f"{where}: the neighbourhood has {len(neighbourhood.indices)} outputs, but targets have "
            f"{targets.shape[1]}; it was made for another size"
        )
    l0_omp.check_num_nonzeros(where, (num_nonzeros,), len(inputs), neighbourhood.indices.shape[1])
    if batch_size is not None:
        checks.positive_integer(where, "batch_size", batch_size)
    mask = _choose(inputs, targets, neighbourhood, num_nonzeros=num_nonzeros, batch_size=batch_size)
    linear = masked_ridge.fit(inputs, targets, mask, penalty, penalize_bias=False, batch_size=batch_size)
    return SparseLinear(mask, linear)


def predict(params: SparseLinear, inputs: ArrayLike) -> jax.Array:
    """Returns the predictions `(num_examples, num_outputs)` for inputs `(num_examples, num_inputs)`."""
    return sparse_linear.predict(params, inputs)


@partial(jax.jit, static_argnames=("num_nonzeros", "batch_size"))
def _choose(
    inputs: jax.Array,
    targets: jax.Array,
    neighbourhood: masks.Mask,
    *,
    num_nonzeros: int,
    batch_size: int | None,
) -> masks.Mask:
    """The inputs that each output's pursuit takes."""
    # A choice has no derivative.
    inputs, targets = jax.lax.stop_gradient((inputs, targets))
    scale = sparse_linear.input_scale(inputs, standardize=True)
    pixels = (sparse_linear.centre(inputs) / scale[None]).T
    centred = sparse_linear.centre(targets).T

    def choose(output: tuple[jax.Array, ...]) -> masks.Mask:
        indices, allowed, target = output
        pursuit = l0_omp.pursue(pixels[indices], allowed, target, num_nonzeros)
        return masks.Mask(indices[pursuit.taken], pursuit.valid)

    if batch_size is None:
        numbers = (2 * neighbourhood.indices.shape[1] + 3 * num_nonzeros) * len(inputs)
        batch_size = batching.default_batch_size(len(centred), numbers, inputs.dtype)
    outputs = (jnp.asarray(neighbourhood.indices), jnp.asarray(neighbourhood.valid), centred)
    return jax.lax.map(choose, outputs, batch_size=batch_size)
