"""Orthogonal matching pursuit: every output pixel from a few input pixels, chosen greedily.

An approximate answer, for each output i, to

    min_{w, b}  || X w + b - t_i ||^2    with at most `num_nonzeros` weights that are not 0,

with an intercept b that is free. Each step takes the input whose product with the residual is largest, and
solves the least squares problem on all inputs taken so far. Pati, Rezaiifar and Krishnaprasad, Asilomar
1993; "l0" in Khan et al. (2020).
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mlr_jax import checks, masked_ridge, masks
from mlr_jax.baselines import _argmax, sparse_linear
from mlr_jax.baselines.factored_linear import matmul
from mlr_jax.baselines.sparse_linear import SparseLinear
from mlr_jax.numerics import batching


def fit(
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    num_nonzeros: int,
    standardize: bool = False,
    batch_size: int | None = None,
) -> SparseLinear:
    """Runs one pursuit for every output, a batch of outputs at a time.

    The supports are those of scikit-learn's `orthogonal_mp` on centred data. The least squares problem is
    updated by QR, with each new input orthogonalised twice. A pursuit ends early if the residual is 0, or if
    its next input depends linearly on those already taken; its other entries are then invalid. Works under
    `jit`, `vmap` and `grad` (with the support held fixed).

    Args:
      inputs: `(num_examples, num_inputs)` floating point.
      targets: `(num_examples, num_outputs)` floating point.
      num_nonzeros: inputs that each output may read, 1 or more, less than `num_examples`, static.
      standardize: whether inputs are scaled to unit variance before they are compared. Otherwise those that
        vary more are preferred; scikit-learn leaves the scaling to its user.
      batch_size: outputs that are pursued at once, which bounds the memory; chosen if None.

    Returns:
      The map, for the inputs as they were given; entry k of the mask is the k-th input that was taken.

    Raises:
      TypeError: inputs or targets are not floating point, or `num_nonzeros` is not a whole number.
      InputError: shapes do not agree, a value is NaN, or `num_nonzeros` is out of range.

    >>> faces = jax.random.uniform(jax.random.key(0), (20, 64))
    >>> params = fit(faces, faces[:, ::-1], num_nonzeros=1)
    >>> params.mask.indices[:3, 0].tolist()
    [63, 62, 61]
    """
    path = fit_path(
        inputs, targets, num_nonzeros=(num_nonzeros,), standardize=standardize, batch_size=batch_size
    )
    return jax.tree.map(lambda leaf: leaf[0], path)


def fit_path(
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    num_nonzeros: Sequence[int],
    standardize: bool = False,
    batch_size: int | None = None,
) -> SparseLinear:
    """Fits with several numbers of non-zeros by one pursuit: each support is part of the next.

    Args:
      inputs: `(num_examples, num_inputs)` floating point.
      targets: `(num_examples, num_outputs)` floating point.
      num_nonzeros: each as in `fit`, static.
      standardize: as in `fit`.
      batch_size: as in `fit`.

    Returns:
      The maps, stacked along a new first axis of every array; all as wide as the largest.

    Raises:
      TypeError, InputError: as `fit`.
    """
    where = "l0_omp.fit"
    inputs, targets = checks.regression(where, inputs, targets)
    check_num_nonzeros(where, num_nonzeros, len(inputs), inputs.shape[1])
    if batch_size is not None:
        checks.positive_integer(where, "batch_size", batch_size)
    return _fit_path(
        inputs, targets, num_nonzeros=tuple(num_nonzeros), standardize=standardize, batch_size=batch_size
    )


def predict(params: SparseLinear, inputs: ArrayLike) -> jax.Array:
    """Returns the predictions `(num_examples, num_outputs)` for inputs `(num_examples, num_inputs)`."""
    return sparse_linear.predict(params, inputs)


def check_num_nonzeros(where: str, num_nonzeros: Sequence[int], num_examples: int, num_inputs: int) -> None:
    """Raises TypeError or InputError unless a pursuit can take that many inputs."""
    limit = min(num_examples - 1, num_inputs)
    if len(num_nonzeros) == 0:
        raise checks.InputError(f"{where}: num_nonzeros is empty")
    for number in num_nonzeros:
        checks.positive_integer(where, "num_nonzeros", number)
        if number > limit:
            raise checks.InputError(
                f"{where}: num_nonzeros must be at most {limit}, less than the {num_examples} examples "
                f"and no more than the {num_inputs} inputs, not {number}"
            )


class Pursuit(NamedTuple):
    """One output's pursuit, by steps: the atoms that were taken, and their QR decomposition.

    Attributes:
      taken: int32 `(num_nonzeros,)`, the atom that each step took.
      valid: bool `(num_nonzeros,)`, whether it took one.
      triangle: `(num_nonzeros, num_nonzeros)`, R: the atoms taken are Q R, a unit column where invalid.
      products: `(num_nonzeros,)`, Q^T t.
    """

    taken: jax.Array
    valid: jax.Array
    triangle: jax.Array
    products: jax.Array


_Carry = tuple[jax.Array, jax.Array, jax.Array]


def pursue(atoms: jax.Array, allowed: jax.Array, target: jax.Array, num_nonzeros: int) -> Pursuit:
    """Runs the pursuit of one output; to be vmapped.

    Args:
      atoms: `(num_atoms, num_examples)`, centred.
      allowed: bool `(num_atoms,)`, the atoms that may be taken.
      target: `(num_examples,)`, centred.
      num_nonzeros: number of steps, static.

    Returns:
      The steps.
    """
    tiny = 100 * jnp.finfo(atoms.dtype).eps
    steps = jnp.arange(num_nonzeros)
    scale = jnp.sum(target**2)

    def step(carry: _Carry, k: jax.Array) -> tuple[_Carry, Pursuit]:
        basis, residual, allowed = carry
        scores = jnp.where(allowed, jnp.abs(matmul(atoms, residual)), -1)
        taken = _argmax.argmax(jax.lax.stop_gradient(scores))
        atom = atoms[taken]
        # Twice is enough: the second projection removes the rounding errors of the first.
        column = matmul(basis, atom)
        column += matmul(basis, atom - matmul(column, basis))
        rest = atom - matmul(column, basis)
        length = jnp.sum(rest**2)
        goes_on = (scores[taken] > 0) & (jnp.sum(residual**2) > tiny**2 * scale)
        valid = goes_on & (length > tiny * jnp.sum(atom**2))
        length = jnp.sqrt(jnp.where(valid, length, 1))
        direction = jnp.where(valid, rest / length, 0)
        product = jnp.sum(direction * residual)
        carry = (
            jnp.where((steps == k)[:, None], direction[None], basis),
            residual - product * direction,
            # If one step finds nothing, no later one does.
            allowed & (jnp.arange(len(atoms)) != taken) & valid,
        )
        column = jnp.where(steps == k, length, jnp.where(valid, column, 0))
        return carry, Pursuit(taken, valid, column, product)

    basis = jnp.zeros((num_nonzeros, len(target)), atoms.dtype)
    _, pursuit = jax.lax.scan(step, (basis, target, allowed), steps)
    return pursuit._replace(triangle=pursuit.triangle.T)


def solve(pursuit: Pursuit, num_nonzeros: int | jax.Array) -> jax.Array:
    """Returns the weights `(steps,)` of the least squares problem on the first `num_nonzeros` steps."""
    steps = jnp.arange(len(pursuit.products))

    def substitute(weights: jax.Array, k: jax.Array) -> tuple[jax.Array, None]:
        rest = pursuit.products[k] - jnp.sum(pursuit.triangle[k] * weights)
        weight = jnp.where(k < num_nonzeros, rest / pursuit.triangle[k, k], 0)
        return jnp.where(steps == k, weight, weights), None

    return jax.lax.scan(substitute, jnp.zeros_like(pursuit.products), steps, reverse=True)[0]


def default_batch_size(atoms: jax.Array, num_outputs: int, num_nonzeros: int) -> int:
    """Returns how many outputs to pursue at once, all from the same atoms `(num_atoms, num_examples)`."""
    numbers = 3 * atoms.shape[0] + 3 * num_nonzeros * atoms.shape[1]
    return batching.default_batch_size(num_outputs, numbers, atoms.dtype, at_least=32)


@partial(jax.jit, static_argnames=("num_nonzeros", "standardize", "batch_size"))
def _fit_path(
    inputs: jax.Array,
    targets: jax.Array,
    *,
    num_nonzeros: tuple[int, ...],
    standardize: bool,
    batch_size: int | None,
) -> SparseLinear:
    input_mean, target_mean = inputs.mean(axis=0), targets.mean(axis=0)
    scale = sparse_linear.input_scale(inputs, standardize=standardize)
    atoms = (sparse_linear.centre(inputs) / scale[None]).T
    longest = max(num_nonzeros)

    # Rematerialised, so that a gradient too needs the memory of one batch only.
    @partial(jax.checkpoint, prevent_cse=False)
    def fit_output(target: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        pursuit = pursue(atoms, jnp.ones(len(atoms), bool), target, longest)
        weights = jnp.stack([solve(pursuit, number) for number in num_nonzeros])
        return pursuit.taken, pursuit.valid, weights

    if batch_size is None:
        batch_size = default_batch_size(atoms, targets.shape[1], longest)
    centred = sparse_linear.centre(targets).T
    indices, valid, weights = jax.lax.map(fit_output, centred, batch_size=batch_size)

    def at(number: int, weights: jax.Array) -> SparseLinear:
        within = valid & (jnp.arange(longest) < number)[None]
        weights = weights / scale[indices]
        bias = target_mean - jnp.sum(weights * input_mean[indices], axis=1)
        return SparseLinear(masks.Mask(indices, within), masked_ridge.MaskedLinear(weights, bias))

    maps = [at(number, weights[:, i]) for i, number in enumerate(num_nonzeros)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *maps)
