"""The lasso: every output pixel from all input pixels, with a penalty that makes most weights 0.

For each output i, with N examples and an intercept b that is not penalised,

    min_{w, b}  1/(2N) || t_i - X w - b ||^2 + alpha || w ||_1,

which is scikit-learn's objective. Tibshirani, JRSS B 58:267-288, 1996; "l1" in Khan et al. (2020).

As alpha falls from where all weights are 0, the solution is a piecewise linear path: at each kink one input
enters or leaves the support. The solver walks along it (Osborne, Presnell and Turlach, IMA J. Numer. Anal.
20:389-403, 2000; Efron et al., Annals of Statistics 32:407-499, 2004), so that a list of alphas costs no
more than its smallest, and stops as soon as the duality gap at the alpha in question is small enough. For
strongly correlated inputs, as neighbouring pixels are, a path has tens of kinks where coordinate descent
takes hundreds of passes. All inputs stay in play: their products with the residual, for a batch of outputs
at a time, are one matrix product, and screening them takes longer than computing them.
"""

from functools import partial
from typing import NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, masked_ridge, masks
from mlr_jax.baselines import search, sparse_linear
from mlr_jax.baselines.factored_linear import matmul
from mlr_jax.baselines.sparse_linear import SparseLinear
from mlr_jax.numerics import batching, cholesky


class L1Lasso(NamedTuple):
    """A fitted lasso.

    Attributes:
      map: its non-zero weights and the intercepts.
      gap: `(num_outputs,)`, the duality gap over the objective of w = 0, `||t_i - mean||^2 / (2N)`. It bounds
        how far the objective is above its minimum; computed from the weights themselves.
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
        half of it. In float32 some 1e-5 can be reached unless alpha is very small, or many inputs are
        all but linear combinations of a few others: float64 solves these too. Where there are more
        examples than inputs, no gap says anything as alpha comes near 0.
      max_iterations: stop there in any case; 20 times the rank that the inputs can have, if None.
      batch_size: outputs that are solved at once, which bounds the memory; chosen if None.

    Returns:
      The map for the inputs as they were given, with the gap and the number of iterations of every output. A
      gap above `tolerance` says that its output is not solved as asked.

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


class _Walk(NamedTuple):
    """Where one output's walk is. The support has as many slots as the inputs can have rank.

    Attributes:
      level: (), lambda = N alpha for which the weights are optimal; the largest product is as large.
      products: `(num_inputs,)`, X^T residual.
      residual: `(num_examples,)`.
      status: int8 `(num_inputs,)`: _FREE, _TAKEN, or _DEPENDENT on those that are taken.
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


_FREE, _TAKEN, _DEPENDENT = 0, 1, 2

# An input of which less than this many eps are left beside the support, as a part of its squared norm, waits
# until one of the support leaves: with it, rounding would make inputs enter and leave in circles.
_DEPENDENCE = 1024

# Looking which lanes are done takes as long as a step.
_STEPS_BETWEEN_CHECKS = 4


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

    # The walk finds the support, which has no derivative; what has one is the solution on it.
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
            return _attach_derivative(features, level, *output)

        return jax.lax.map(attach, (centred, *outputs), batch_size=batch_size)

    weights = jax.lax.map(at_level, (levels, taken, signs, weights))
    weights = weights / scale[taken]
    bias = target_mean[None] - jnp.sum(weights * input_mean[taken], axis=2)
    linear = SparseLinear(masks.Mask(taken, weights != 0), masked_ridge.MaskedLinear(weights, bias))
    return L1Lasso(linear, gap, iterations)


class Solutions(NamedTuple):
    """Of all outputs at all levels, each `(num_levels, num_outputs, ...)`.

    Attributes:
      features: int32 `(..., slots)`, the inputs of the support.
      signs: `(..., slots)`, of their weights, 0 in empty slots.
      weights: `(..., slots)`, of inputs that are scaled, 0 in empty slots.
      gap: as in `L1Lasso`; 0 where none was asked for.
      iterations: int32, kinks that were passed.
    """

    features: jax.Array
    signs: jax.Array
    weights: jax.Array
    gap: jax.Array
    iterations: jax.Array


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
      features: `(num_inputs, num_examples)`, centred and scaled. Examples that are not to count are 0.
      targets: `(num_outputs, num_examples)`, centred.
      levels: `(num_levels,)`, alpha times the number of examples, from the largest to the smallest.
      tolerance: as in `fit`.
      max_iterations: as in `fit`.
      batch_size: as in `fit`.
      certified: whether solutions are freed of the rounding on their way, and their gaps are computed.
        Without, which is what a comparison of penalties needs, the walk takes two thirds of the time.

    Returns:
      The solutions.
    """
    slots, num_outputs = min(features.shape), len(targets)
    if batch_size is None:
        batch_size = default_batch_size(features, num_outputs)
    if max_iterations is None:
        max_iterations = 20 * slots
    found = _walk_all(
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


class _Lane(NamedTuple):
    """One of the outputs that are walked side by side.

    Attributes:
      output: int32 (), which one; `num_outputs` or more in a lane that is out of work.
      target: `(num_examples,)`.
      goal: int32 (), which of the levels it is on its way to.
      goes_on: bool (), whether it has not come there yet. Kept, since what is computed where it is used, in
        several places, may be rounded to several answers, and a lane that is neither there nor goes on stays
        for ever.
      walk: where it is.
    """

    output: jax.Array
    target: jax.Array
    goal: jax.Array
    goes_on: jax.Array
    walk: _Walk


def _walk_all(
    features: jax.Array,
    targets: jax.Array,
    levels: jax.Array,
    tolerance: ArrayLike,
    max_iterations: ArrayLike,
    num_lanes: int,
    certified: bool,
) -> Solutions:
    """All outputs' paths. Their lengths differ widely, so a lane that is done takes the next output."""
    (num_outputs, num_examples), num_levels, slots = targets.shape, len(levels), min(features.shape)
    dtype = features.dtype
    tiny = jnp.finfo(dtype).tiny
    bounds = _bounds(features)

    def start(output: jax.Array) -> _Lane:
        """A lane before its first step; level and products follow from the residual."""
        target = targets[jnp.minimum(output, num_outputs - 1)]
        state = _Walk(
            level=jnp.zeros((), dtype),
            products=jnp.zeros(len(features), dtype),
            residual=target,
            status=jnp.full(len(features), _FREE, jnp.int8),
            weights=jnp.zeros(slots, dtype),
            signs=jnp.zeros(slots, dtype),
            features=jnp.zeros(slots, jnp.int32),
            atoms=jnp.zeros((slots, num_examples), dtype),
            inverse=jnp.zeros((slots, slots), dtype),
            left=jnp.int32(-1),
            iterations=jnp.int32(0),
        )
        return _Lane(output, target, jnp.int32(0), jnp.bool_(True), state)

    def begin(lane: _Lane, is_new: jax.Array) -> _Lane:
        """The lane with the products of its residual, and where they begin, its level."""
        products = matmul(lane.walk.residual, features.T)
        level = jnp.where(is_new, jnp.max(jnp.abs(products) / bounds), lane.walk.level)
        lane = lane._replace(walk=lane.walk._replace(products=products, level=level))
        return lane._replace(goes_on=goes_on(lane))

    def goal_of(lane: _Lane) -> jax.Array:
        return levels[jnp.minimum(lane.goal, num_levels - 1)]

    def gap_of(lane: _Lane, largest: jax.Array) -> jax.Array:
        """Primal minus dual objective, the dual point being the residual scaled until it is feasible."""
        level, residual = goal_of(lane), lane.walk.residual
        scale = jnp.minimum(1, level / jnp.maximum(largest, tiny))
        primal = jnp.sum(residual**2) / 2 + level * jnp.sum(jnp.abs(lane.walk.weights))
        return primal - scale * jnp.sum(lane.target * residual) + scale**2 * jnp.sum(residual**2) / 2

    def goes_on(lane: _Lane) -> jax.Array:
        # A little less than asked for, since this is the gap up to the rounding on the way.
        enough = 0.9 * tolerance * jnp.sum(lane.target**2) / 2
        return (
            (lane.walk.level > goal_of(lane))
            & (gap_of(lane, lane.walk.level) > enough)
            & (lane.walk.iterations < max_iterations)
            & (lane.output < num_outputs)
            & (lane.goal < num_levels)
        )

    def advance(lane: _Lane, active: jax.Array) -> _Lane:
        lane = lane._replace(walk=_step(features, bounds, goal_of(lane), lane.walk, active))
        return lane._replace(goes_on=goes_on(lane))

    def keep(solutions: Solutions, lanes: _Lane, there: jax.Array, found: Solutions) -> Solutions:
        place = jnp.where(there, lanes.output, num_outputs), lanes.goal
        return jax.tree.map(lambda whole, part: whole.at[place].set(part, mode="drop"), solutions, found)

    def pass_goals(_: int, state: tuple[_Lane, Solutions]) -> tuple[_Lane, Solutions]:
        """A step, after what is at its goal is kept as it is, and goes on to the next one."""
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
        weights, residual = _correct(lane.walk, lane.target, lane.walk.signs)
        exact = lane._replace(walk=lane.walk._replace(weights=weights, residual=residual))
        largest = jnp.max(jnp.abs(matmul(residual, features.T)))
        gap = jnp.maximum(gap_of(exact, largest), 0)
        return weights, gap / jnp.maximum(jnp.sum(lane.target**2) / 2, tiny)

    def correct(lane: _Lane) -> _Lane:
        """The lane without the rounding on its way, but for its products."""
        walk = lane.walk
        weights, residual = _correct(walk, lane.target, walk.signs * bounds[walk.features])
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


def _bounds(features: jax.Array) -> jax.Array:
    """How large a product may become, over the level: 1, and so little more that only ties feel it.

    Where inputs of few different values come to their bounds together, one enters and the others leave in
    circles. With bounds that differ they come one after the other, but for the few that share one.
    """
    golden = (5**0.5 - 1) / 2
    fractions = np.arange(len(features)) * golden % 1
    return jnp.asarray(1 + float(jnp.finfo(features.dtype).eps) ** 0.75 * fractions, features.dtype)


def _correct(state: _Walk, target: jax.Array, bounds: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The weights and residual for which the products of the support are exactly its bounds.

    The weights stay as they are where one would change its sign, as one that is about 0 may.
    """
    residual = target - matmul(state.weights, state.atoms)
    missing = matmul(state.atoms, residual) - state.level * bounds
    weights = state.weights + jnp.where(state.signs != 0, _solve_gram(state, missing), 0)
    weights = jnp.where((weights * state.signs >= 0).all(), weights, state.weights)
    return weights, target - matmul(weights, state.atoms)


def _step(features: jax.Array, bounds: jax.Array, end: jax.Array, state: _Walk, active: jax.Array) -> _Walk:
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
    until = jax.lax.optimization_barrier(jnp.where(state.status == _FREE, until, jnp.inf))
    entering = search.argmin(until)
    # or a weight is 0 on its way to the other sign; at once, if several inputs came at the same level.
    turns = state.signs * direction < 0
    until_zero = jnp.where(turns, jnp.abs(state.weights / jnp.where(turns, direction, 1)), jnp.inf)
    leaving = search.argmin(until_zero)
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
    slot = search.argmax(jnp.where(filled, 0, 1))
    independent = (remainder > _DEPENDENCE * eps * jnp.sum(atom**2)) & ~filled[slot]
    takes = enters & independent
    into = takes & (slots == slot)
    column = jnp.where(slots == slot, -1, column)
    inverse += jnp.where(takes, 1 / remainder, 0) * column[:, None] * column[None]

    kept = ~out
    left = state.features[leaving]
    status = jnp.where(leaves & (state.status == _DEPENDENT), jnp.int8(_FREE), state.status)
    status = jnp.where(leaves & (places == left), jnp.int8(_FREE), status)
    entered = jnp.where(independent, jnp.int8(_TAKEN), jnp.int8(_DEPENDENT))
    status = jnp.where(enters & (places == entering), entered, status)
    return _Walk(
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


def _solve_gram(state: _Walk, right: jax.Array) -> jax.Array:
    """Solves with the Gram matrix of the support: its inverse, and one step of refinement."""
    solution = matmul(state.inverse, right)
    residual = right - matmul(state.atoms, matmul(solution, state.atoms))
    return solution + matmul(state.inverse, residual)


@jax.custom_jvp
def _attach_derivative(
    features: jax.Array,
    level: jax.Array,
    target: jax.Array,
    taken: jax.Array,
    signs: jax.Array,
    weights: jax.Array,
) -> jax.Array:
    """Returns `weights` `(slots,)`, with the derivative of the solution on their support."""
    del features, level, target, taken, signs
    return weights


@_attach_derivative.defjvp
def _attach_derivative_jvp(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    """By the implicit function theorem on A (t - A^T w) = level * signs, where A are the atoms."""
    features, level, target, taken, signs, weights = primals
    features, _, target = _differentiate_once(features, level, target)
    d_features, d_level, d_target, *_ = tangents
    filled = (signs != 0)[:, None]
    atoms = jnp.where(filled, features[taken], 0)
    d_atoms = jnp.where(filled, d_features[taken], 0)
    residual = target - matmul(weights, atoms)
    d_residual = d_target - matmul(weights, d_atoms)
    right = matmul(d_atoms, residual) + matmul(atoms, d_residual) - d_level * signs
    # Empty slots get a unit diagonal: no coupling, a zero right-hand side, and so a derivative of 0.
    gram = matmul(atoms, atoms.T) + jnp.diag(jnp.where(filled[:, 0], 0, 1).astype(atoms.dtype))
    factor = cholesky.factor(gram)
    d_weights = jax.lax.custom_linear_solve(
        partial(matmul, gram), right, lambda _, b: cholesky.solve(factor, b), symmetric=True
    )
    return weights, d_weights


@jax.custom_jvp
def _differentiate_once(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Returns its arguments, and refuses a second derivative, for which the weights would be constants."""
    return arrays


@_differentiate_once.defjvp
def _differentiate_once_jvp(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> NoReturn:
    del primals, tangents
    raise NotImplementedError("l1_lasso: only first derivatives are there; differentiate once")
