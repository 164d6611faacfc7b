"""One output's walk along the path of the lasso, from kink to kink."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax.baselines import _argmax
from mlr_jax.baselines.factored_linear import matmul

FREE, TAKEN, DEPENDENT = 0, 1, 2
"""The status of an input: outside the support, in it, or linearly dependent on it."""

# An input counts as dependent if its projection on the support leaves less than this many eps of its squared
# norm. It waits until one of the support leaves: otherwise rounding makes inputs enter and leave in circles.
_DEPENDENCE = 1024


class Walk(NamedTuple):
    """The state of one output's walk. The support has as many slots as the inputs can have rank.

    Attributes:
      level: (), lambda = N alpha for which the weights are optimal; the largest product is as large.
      products: `(num_inputs,)`, X^T residual.
      residual: `(num_examples,)`.
      status: int8 `(num_inputs,)`: FREE, TAKEN, or DEPENDENT on those that are taken.
      weights: `(slots,)`, 0 in empty slots.
      signs: `(slots,)`, of the products of those in the support; 0 in empty slots.
      features: int32 `(slots,)`, which input is in a slot.
      atoms: `(slots, num_examples)`, their centred values; 0 in empty slots.
      inverse: `(slots, slots)`, of the Gram matrix of the atoms; 0 in empty slots.
      left: int32 (), the input that left in the last step, or -1.
      iterations: int32 ().
    """

    level: jax.Array
    products: jax.Array
    residual: jax.Array
    status: jax.Array
    weights: jax.Array
    signs: jax.Array
    features: jax.Array
    atoms: jax.Array
    inverse: jax.Array
    left: jax.Array
    iterations: jax.Array


def start(target: jax.Array, num_inputs: int) -> Walk:
    """A walk before its first step; level and products follow from the residual.

    Args:
      target: `(num_examples,)`, centred.
      num_inputs: static.
    """
    dtype, slots = target.dtype, min(num_inputs, len(target))
    return Walk(
        level=jnp.zeros((), dtype),
        products=jnp.zeros(num_inputs, dtype),
        residual=target,
        status=jnp.full(num_inputs, FREE, jnp.int8),
        weights=jnp.zeros(slots, dtype),
        signs=jnp.zeros(slots, dtype),
        features=jnp.zeros(slots, jnp.int32),
        atoms=jnp.zeros((slots, len(target)), dtype),
        inverse=jnp.zeros((slots, slots), dtype),
        left=jnp.int32(-1),
        iterations=jnp.int32(0),
    )


def product_bounds(features: jax.Array) -> jax.Array:
    """The bound of each product, over the level: 1, and so little more that it only breaks ties.

    If inputs with few distinct values reach their bounds together, they enter and leave in circles. With
    bounds that differ they come one after the other, except the few that share one.
    """
    golden = (5**0.5 - 1) / 2
    fractions = np.arange(len(features)) * golden % 1
    return jnp.asarray(1 + float(jnp.finfo(features.dtype).eps) ** 0.75 * fractions, features.dtype)


def step(features: jax.Array, bounds: jax.Array, end: jax.Array, state: Walk, active: jax.Array) -> Walk:
    """Lowers the level to the next kink, where an input enters or leaves the support, or to `end`.

    Nothing changes unless `active`.
    """
    eps = jnp.finfo(features.dtype).eps
    places, slots = jnp.arange(len(features)), jnp.arange(len(state.weights))
    filled = state.signs != 0

    # Per unit by which the level falls: the change of weights, of minus the residual, of minus the products.
    direction = _solve_gram(state, state.signs * bounds[state.features])
    direction = jnp.where(filled, direction, 0)
    fitted = matmul(direction, state.atoms)
    # The long axis last: as a product of the inputs with all lanes, it would be transposed afterwards.
    rates = matmul(fitted, features.T)

    # How far until the product of a free input is at its bound,
    upper, lower, bound = bounds - rates, bounds + rates, state.level * bounds
    until_upper = jnp.where(upper > eps, (bound - state.products) / jnp.maximum(upper, eps), jnp.inf)
    until_lower = jnp.where(lower > eps, (bound + state.products) / jnp.maximum(lower, eps), jnp.inf)
    # The input that has just left is still at its bound; within this step it can only reach the other.
    has_left = places == state.left
    until_upper = jnp.where(has_left & (state.products > 0), jnp.inf, until_upper)
    until_lower = jnp.where(has_left & (state.products < 0), jnp.inf, until_lower)
    until = jnp.maximum(jnp.minimum(until_upper, until_lower), 0)
    # Written out once, instead of anew for each of its readers.
    until = jax.lax.optimization_barrier(jnp.where(state.status == FREE, until, jnp.inf))
    entering = _argmax.argmin(until)
    # or a weight is 0 on its way to the other sign; at once, if several inputs came at the same level.
    turns = state.signs * direction < 0
    until_zero = jnp.where(turns, jnp.abs(state.weights / jnp.where(turns, direction, 1)), jnp.inf)
    leaving = _argmax.argmin(until_zero)
    # or the end is reached.
    until_end = state.level - jnp.minimum(end, state.level)
    length = jnp.minimum(jnp.minimum(until[entering], until_zero[leaving]), until_end)
    ends = until_end <= length
    leaves = active & ~ends & (until_zero[leaving] <= length)
    enters = active & ~ends & ~leaves

    def moved(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(active, new, old)

    products = moved(state.products - length * rates, state.products)
    weights = moved(state.weights + length * direction, state.weights)

    # The inverse loses a row and column, or gains one by its Schur complement.
    out = leaves & (slots == leaving)
    row = state.inverse[leaving]
    inverse = state.inverse - jnp.where(leaves, 1 / row[leaving], 0) * row[:, None] * row[None]
    atom = features[entering]
    column = _solve_gram(state, matmul(state.atoms, atom))
    remainder = jnp.sum((atom - matmul(column, state.atoms)) ** 2)
    slot = _argmax.argmax(jnp.where(filled, 0, 1))
    independent = (remainder > _DEPENDENCE * eps * jnp.sum(atom**2)) & ~filled[slot]
    takes = enters & independent
    into = takes & (slots == slot)
    column = jnp.where(slots == slot, -1, column)
    inverse += jnp.where(takes, 1 / remainder, 0) * column[:, None] * column[None]

    kept = ~out
    left = state.features[leaving]
    status = jnp.where(leaves & (state.status == DEPENDENT), jnp.int8(FREE), state.status)
    status = jnp.where(leaves & (places == left), jnp.int8(FREE), status)
    entered = jnp.where(independent, jnp.int8(TAKEN), jnp.int8(DEPENDENT))
    status = jnp.where(enters & (places == entering), entered, status)
    return Walk(
        level=moved(jnp.where(ends, jnp.minimum(end, state.level), state.level - length), state.level),
        products=products,
        residual=moved(state.residual - length * fitted, state.residual),
        status=status,
        weights=jnp.where(kept, weights, 0),
        signs=jnp.where(into, jnp.sign(products[entering]), jnp.where(kept, state.signs, 0)),
        features=jnp.where(into, entering, state.features),
        atoms=jnp.where(into[:, None], atom[None], jnp.where(kept[:, None], state.atoms, 0)),
        inverse=jnp.where(kept[:, None] & kept[None], inverse, 0),
        left=moved(jnp.where(leaves, left, -1), state.left),
        iterations=state.iterations + active,
    )


def correct(state: Walk, target: jax.Array, bounds: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The weights and residual for which the products of the support are exactly its bounds.

    The weights stay as they are where one would change its sign, as one that is about 0 may.
    """
    residual = target - matmul(state.weights, state.atoms)
    missing = matmul(state.atoms, residual) - state.level * bounds
    weights = state.weights + jnp.where(state.signs != 0, _solve_gram(state, missing), 0)
    weights = jnp.where((weights * state.signs >= 0).all(), weights, state.weights)
    return weights, target - matmul(weights, state.atoms)


def duality_gap(state: Walk, target: jax.Array, level: jax.Array, largest: jax.Array) -> jax.Array:
    """Primal minus dual objective, the dual point being the residual scaled until it is feasible.

    Args:
      state: with the weights and their residual.
      target: `(num_examples,)`.
      level: the penalty on the weights.
      largest: of the products with the residual.
    """
    scale = jnp.minimum(1, level / jnp.maximum(largest, jnp.finfo(target.dtype).tiny))
    squares = jnp.sum(state.residual**2)
    primal = squares / 2 + level * jnp.sum(jnp.abs(state.weights))
    return primal - scale * jnp.sum(target * state.residual) + scale**2 * squares / 2


def _solve_gram(state: Walk, right: jax.Array) -> jax.Array:
    """Solves with the Gram matrix of the support: its inverse, and one step of refinement."""
    solution = matmul(state.inverse, right)
    residual = right - matmul(state.atoms, matmul(solution, state.atoms))
    return solution + matmul(state.inverse, residual)
