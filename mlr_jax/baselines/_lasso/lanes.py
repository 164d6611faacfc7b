"""The walks of many outputs, side by side."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mlr_jax.baselines._lasso import homotopy
from mlr_jax.baselines._lasso.homotopy import Walk, duality_gap
from mlr_jax.baselines.factored_linear import matmul

# Finding the lanes that are done takes as long as a step.
_STEPS_BETWEEN_CHECKS = 4


class Solutions(NamedTuple):
    """The solutions of all outputs at all levels, each `(num_levels, num_outputs, ...)`.

    Attributes:
      features: int32 `(..., slots)`, the inputs of the support.
      signs: `(..., slots)`, of their weights, 0 in empty slots.
      weights: `(..., slots)`, of inputs that are scaled, 0 in empty slots.
      gap: as in `L1Lasso`; 0 without a certificate.
      iterations: int32, kinks that were passed.
    """

    features: jax.Array
    signs: jax.Array
    weights: jax.Array
    gap: jax.Array
    iterations: jax.Array


class _Lane(NamedTuple):
    """One of the outputs that are walked side by side.

    Attributes:
      output: int32 (), which one; `num_outputs` or more in an idle lane.
      target: `(num_examples,)`.
      goal: int32 (), the index of the level that it walks to.
      goes_on: bool (), whether it has not come there yet. Stored: computed anew in several places, rounding
        may give several answers, and a lane that is neither there nor goes on would never end.
      walk: its state.
    """

    output: jax.Array
    target: jax.Array
    goal: jax.Array
    goes_on: jax.Array
    walk: Walk


def walk_all(
    features: jax.Array,
    targets: jax.Array,
    levels: jax.Array,
    tolerance: ArrayLike,
    max_iterations: ArrayLike,
    num_lanes: int,
    certified: bool,
) -> Solutions:
    """Walks along the paths of all outputs; arguments as those of `l1_lasso.walk`.

    Their lengths differ widely, so a lane that is done takes the next output.

    Returns:
      The solutions, with the axis of outputs before that of levels.
    """
    num_outputs, num_levels, slots = len(targets), len(levels), min(features.shape)
    dtype = features.dtype
    tiny = jnp.finfo(dtype).tiny
    bounds = homotopy.product_bounds(features)

    def start(output: jax.Array) -> _Lane:
        """A lane with the next output."""
        target = targets[jnp.minimum(output, num_outputs - 1)]
        walk = homotopy.start(target, len(features))
        return _Lane(output, target, jnp.int32(0), jnp.bool_(True), walk)

    def begin(lane: _Lane, is_new: jax.Array) -> _Lane:
        """The lane with the products of its residual and, if it is new, with its first level."""
        products = matmul(lane.walk.residual, features.T)
        level = jnp.where(is_new, jnp.max(jnp.abs(products) / bounds), lane.walk.level)
        lane = lane._replace(walk=lane.walk._replace(products=products, level=level))
        return lane._replace(goes_on=goes_on(lane))

    def goal_of(lane: _Lane) -> jax.Array:
        return levels[jnp.minimum(lane.goal, num_levels - 1)]

    def goes_on(lane: _Lane) -> jax.Array:
        # A little less than the tolerance: this gap has the rounding of the walk.
        enough = 0.9 * tolerance * jnp.sum(lane.target**2) / 2
        return (
            (lane.walk.level > goal_of(lane))
            & (duality_gap(lane.walk, lane.target, goal_of(lane), lane.walk.level) > enough)
            & (lane.walk.iterations < max_iterations)
            & (lane.output < num_outputs)
            & (lane.goal < num_levels)
        )

    def advance(lane: _Lane, active: jax.Array) -> _Lane:
        lane = lane._replace(walk=homotopy.step(features, bounds, goal_of(lane), lane.walk, active))
        return lane._replace(goes_on=goes_on(lane))

    def keep(solutions: Solutions, lanes: _Lane, there: jax.Array, found: Solutions) -> Solutions:
        place = jnp.where(there, lanes.output, num_outputs), lanes.goal
        return jax.tree.map(lambda whole, part: whole.at[place].set(part, mode="drop"), solutions, found)

    def pass_goals(_: int, state: tuple[_Lane, Solutions]) -> tuple[_Lane, Solutions]:
        """Stores the solutions of lanes at their goals, gives these the next goal, and does a step."""
        lanes, solutions = state
        there = ~lanes.goes_on
        walks = lanes.walk
        gap = jnp.zeros(num_lanes, dtype)
        found = Solutions(walks.features, walks.signs, walks.weights, gap, walks.iterations)
        solutions = keep(solutions, lanes, there & (lanes.goal < num_levels), found)
        lanes = lanes._replace(goal=jnp.minimum(lanes.goal + there, num_levels))
        return jax.vmap(lambda lane: advance(lane, lane.goal < num_levels))(lanes), solutions

    def stop_at_goals(_: int, lanes: _Lane) -> _Lane:
        return jax.vmap(lambda lane: advance(lane, lane.goes_on))(lanes)

    def certify(lane: _Lane) -> tuple[jax.Array, jax.Array]:
        """The weights to return, and their gap."""
        weights, residual = homotopy.correct(lane.walk, lane.target, lane.walk.signs)
        exact = lane.walk._replace(weights=weights, residual=residual)
        largest = jnp.max(jnp.abs(matmul(residual, features.T)))
        gap = jnp.maximum(duality_gap(exact, lane.target, goal_of(lane), largest), 0)
        return weights, gap / jnp.maximum(jnp.sum(lane.target**2) / 2, tiny)

    def correct(lane: _Lane) -> _Lane:
        """The lane without the rounding of its walk, except in its products."""
        walk = lane.walk
        weights, residual = homotopy.correct(walk, lane.target, walk.signs * bounds[walk.features])
        return lane._replace(walk=walk._replace(weights=weights, residual=residual))

    def run(state: tuple[_Lane, jax.Array, Solutions]) -> tuple[_Lane, jax.Array, Solutions]:
        lanes, upcoming, solutions = state
        if certified:
            lanes = jax.lax.fori_loop(0, _STEPS_BETWEEN_CHECKS, stop_at_goals, lanes)
            done = ~lanes.goes_on
            lanes = jax.vmap(correct)(lanes)
            weights, gap = jax.vmap(certify)(lanes)
            walks = lanes.walk
            found = Solutions(walks.features, walks.signs, weights, gap, walks.iterations)
            solutions = keep(solutions, lanes, done, found)
            lanes = lanes._replace(goal=lanes.goal + done)
        else:
            lanes, solutions = jax.lax.fori_loop(0, _STEPS_BETWEEN_CHECKS, pass_goals, (lanes, solutions))
            lanes = jax.vmap(correct)(lanes)
        finished = lanes.goal >= num_levels
        outputs = upcoming + jnp.cumsum(finished, dtype=jnp.int32) - 1
        others = jax.vmap(start)(jnp.minimum(outputs, num_outputs))

        def renew(lane: _Lane, other: _Lane, is_new: jax.Array) -> _Lane:
            return begin(jax.tree.map(lambda new, old: jnp.where(is_new, new, old), other, lane), is_new)

        lanes = jax.vmap(renew)(lanes, others, finished)
        return lanes, upcoming + jnp.sum(finished, dtype=jnp.int32), solutions

    first = jnp.arange(num_lanes, dtype=jnp.int32)
    lanes = jax.vmap(lambda output: begin(start(output), jnp.bool_(True)))(first)
    shape = (num_outputs, num_levels)
    solutions = Solutions(
        jnp.zeros((*shape, slots), jnp.int32),
        jnp.zeros((*shape, slots), dtype),
        jnp.zeros((*shape, slots), dtype),
        jnp.zeros(shape, dtype),
        jnp.zeros(shape, jnp.int32),
    )
    state = (lanes, jnp.int32(num_lanes), solutions)
    return jax.lax.while_loop(lambda state: (state[0].output < num_outputs).any(), run, state)[2]
