"""The errors of many candidates on people who are left out, from work that the candidates share.

Fitting every candidate on every fold does most things again and again: the same sums for every penalty, the
same pursuit for every number of non-zeros. Here each method has a function that does them once for a fold,
and reads off the errors of all its candidates. They are those of fitting one by one, up to rounding; the
tests say so for every method.

All folds go through one program. Those of fewer pairs are filled up with pairs of weight 0, so that they need
no program of their own.

A function takes folds, or one channel of one of them, and for every hyper-parameter the values that are
tried. It returns the errors of all combinations, with an axis for each hyper-parameter, in this order.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax import displacement, masks, synthesis, warped_ridge as warped, window_statistics
from mlr_jax.baselines import l0_omp as omp, l1_lasso as lasso, reduced_rank as low_rank, sparse_linear
from mlr_jax.baselines.factored_linear import matmul
from mlr_jax.numerics import batching


class Rows(NamedTuple):
    """Some of the pairs, for each fold.

    Attributes:
      pairs: int32 `(num_folds, num_rows)`, which pairs.
      weight: `(num_folds, num_rows)`, 1, or 0 where a row only fills up.
    """

    pairs: jax.Array
    weight: jax.Array


class Folds(NamedTuple):
    """Pairs of pictures, and what the folds of a cross-validation do with them.

    Attributes:
      neutral: `(num_pairs, height, width, channels)`.
      expressive: the same shape.
      train: the rows that a fold is fitted on.
      held_out: the rows that it is measured on.
      prepared: what a method has made of all pairs beforehand.
    """

    neutral: jax.Array
    expressive: jax.Array
    train: Rows
    held_out: Rows
    prepared: Any = None


class Plane(NamedTuple):
    """One channel of one fold, for a regression of flattened pictures.

    Attributes:
      inputs: `(num_train, num_pixels)`.
      targets: `(num_train, num_pixels)`.
      weight: `(num_train,)`, 1, or 0 in rows that only fill up.
      held_out: `(num_held_out, num_pixels)`, the inputs to predict from.
      truth: `(num_held_out, num_pixels)`.
      held_out_weight: `(num_held_out,)`.
    """

    inputs: jax.Array
    targets: jax.Array
    weight: jax.Array
    held_out: jax.Array
    truth: jax.Array
    held_out_weight: jax.Array


class _Centred(NamedTuple):
    """A plane less the means of its training rows; rows that only fill up are 0."""

    rows: jax.Array
    targets: jax.Array
    held_out: jax.Array
    truth: jax.Array


def of_planes(errors: Callable[..., jax.Array], folds: Folds, **values: Sequence) -> jax.Array:
    """The errors of a regression of flattened pictures, used on each colour channel on its own.

    Args:
      errors: (plane, **values) -> for all combinations of values, the sum of squared errors of the plane.
      folds: with pictures of any number of channels.
      **values: hyper-parameter -> the values that are tried.

    Returns:
      `(num_folds, *numbers of values)`, the sum over held-out pictures of their mean squared errors.
    """
    channels = folds.neutral.shape[-1]
    neutral, expressive = (planes(each) for each in (folds.neutral, folds.expressive))

    def of_fold(rows: tuple[Rows, Rows]) -> jax.Array:
        train, held_out = rows

        def of_channel(both: tuple[jax.Array, jax.Array]) -> jax.Array:
            inputs, targets = both
            plane = Plane(
                inputs[train.pairs],
                targets[train.pairs],
                train.weight,
                inputs[held_out.pairs],
                targets[held_out.pairs],
                held_out.weight,
            )
            return errors(plane, **values) / (channels * inputs.shape[1])

        # One channel after the other: the data of a single one may be all that memory holds.
        return jax.lax.map(of_channel, (neutral, expressive)).sum(axis=0)

    return jax.lax.map(of_fold, (folds.train, folds.held_out))


def planes(pictures: jax.Array) -> jax.Array:
    """(num, height, width, channels) -> (channels, num, height * width)."""
    return jnp.moveaxis(pictures, -1, 0).reshape(pictures.shape[-1], len(pictures), -1)


def masked_ridge(
    folds: Folds, *, channels: synthesis.Channels, window: Sequence[int], penalty: Sequence[float]
) -> jax.Array:
    """All windows and penalties are solved from one pass over the pairs, and measured without another."""
    shape = folds.neutral.shape[1:]
    windows = [masks.square(side) for side in window]
    largest = max(windows, key=lambda each: len(each.offsets))
    begin = synthesis.init_statistics(folds.neutral, folds.expressive, window=largest, channels=channels)
    penalties = jnp.asarray(penalty, folds.neutral.dtype)

    def of_fold(rows: tuple[Rows, Rows]) -> jax.Array:
        seen, unseen = (
            _statistics(begin, folds.neutral[index], folds.expressive[index], weight).groups
            for index, weight in rows
        )

        def of_penalty(window: masks.Window, penalty: jax.Array) -> jax.Array:
            def of_group(both: tuple[window_statistics.WindowStatistics, ...]) -> jax.Array:
                params = window_statistics.solve(both[0], window, penalty)
                return window_statistics.squared_error(both[1], params, window).sum()

            return jax.lax.map(of_group, (seen, unseen)).sum()

        errors = [jax.lax.map(partial(of_penalty, each), penalties) for each in windows]
        return jnp.stack(errors) / np.prod(shape)

    return jax.lax.map(of_fold, (folds.train, folds.held_out))


def warped_ridge(
    folds: Folds,
    *,
    channels: synthesis.Channels,
    window: int,
    field_window: int,
    field_penalty: float,
    penalty: Sequence[float],
) -> jax.Array:
    """Pairs are registered beforehand, and a fold's faces are moved once for all penalties."""
    neutral, expressive, fields = folds.neutral, folds.expressive, folds.prepared
    penalties = jnp.asarray(penalty, neutral.dtype)
    square = masks.square(field_window)

    def of_fold(rows: tuple[Rows, Rows]) -> jax.Array:
        train, held_out = rows
        field = _fit_fields(neutral[train.pairs], fields[train.pairs], train.weight, square, field_penalty)
        moved = displacement.warp(neutral, warped.predict_fields(field, square, neutral).fields)
        seen, wanted = moved[train.pairs], expressive[train.pairs]
        begin = synthesis.init_statistics(seen, wanted, window=window, channels=channels)
        statistics = _statistics(begin, seen, wanted, train.weight)
        unseen, truth = moved[held_out.pairs], expressive[held_out.pairs]

        def of_penalty(penalty: jax.Array) -> jax.Array:
            change = synthesis.solve(statistics, penalty=penalty)
            missing = _weighted_mean(wanted - synthesis.synthesize(change, seen), train.weight)
            changes = warped.predict_change(change, jnp.moveaxis(missing, -1, 0), unseen)
            errors = jnp.mean((unseen + changes - truth) ** 2, axis=(1, 2, 3))
            return jnp.sum(held_out.weight * errors)

        return jax.lax.map(of_penalty, penalties)

    return jax.lax.map(of_fold, (folds.train, folds.held_out))


def masked_lsrf(
    plane: Plane,
    *,
    height: int,
    width: int,
    window: Sequence[int],
    num_nonzeros: Sequence[int],
    penalty: Sequence[float],
) -> jax.Array:
    """One pursuit for each window, and one elimination for each penalty: smaller numbers are on their way."""
    rows, targets, held_out, truth = _centre(plane)
    scale = sparse_linear.input_scale(plane.inputs, standardize=True, weights=plane.weight)
    atoms = (sparse_linear.centre(plane.inputs, weights=plane.weight) / scale[None]).T
    wanted = sparse_linear.centre(plane.targets, weights=plane.weight).T
    penalties = jnp.asarray(penalty, rows.dtype)
    pixels, unseen = rows.T, held_out.T

    def of_window(side: int) -> jax.Array:
        neighbourhood = masks.square_window(height, width, side)
        num_inputs = neighbourhood.indices.shape[1]
        longest = min(max(num_nonzeros), num_inputs)

        def of_output(output: tuple[jax.Array, ...]) -> jax.Array:
            indices, allowed, wanted, target, truth = output
            pursuit = omp.pursue(atoms[indices], allowed, wanted, longest)
            taken = indices[pursuit.taken]
            field = jnp.where(pursuit.valid[:, None], pixels[taken], 0)
            gram, right = matmul(field, field.T), matmul(field, target)
            seen = unseen[taken]

            def of_penalty(penalty: jax.Array) -> jax.Array:
                # An entry that stayed empty gets a unit diagonal, and so a weight of 0.
                diagonal = jnp.where(pursuit.valid, penalty, 1)
                weights = _solve_nested(gram + jnp.diag(diagonal), right)
                # Where a window has fewer inputs than asked for, there is no such candidate.
                chosen = weights[np.minimum(num_nonzeros, longest) - 1]
                return matmul((matmul(chosen, seen) - truth[None]) ** 2, plane.held_out_weight)

            return jax.lax.map(of_penalty, penalties).T

        numbers = (2 * num_inputs + 3 * longest) * len(rows)
        batch_size = batching.default_batch_size(len(wanted), numbers, rows.dtype)
        outputs = (
            jnp.asarray(neighbourhood.indices),
            jnp.asarray(neighbourhood.valid),
            wanted,
            targets.T,
            truth.T,
        )
        return jax.lax.map(of_output, outputs, batch_size=batch_size).sum(axis=0)

    return jnp.stack([of_window(side) for side in window])


def l0_omp(plane: Plane, *, num_nonzeros: Sequence[int]) -> jax.Array:
    """One pursuit to the largest number: the supports of all smaller ones are parts of its own."""
    scale = sparse_linear.input_scale(plane.inputs, standardize=True, weights=plane.weight)
    atoms = (sparse_linear.centre(plane.inputs, weights=plane.weight) / scale[None]).T
    targets = sparse_linear.centre(plane.targets, weights=plane.weight).T
    _, _, held_out, truth = _centre(plane)
    unseen = (held_out / scale[None]).T
    allowed, longest = jnp.ones(len(atoms), bool), max(num_nonzeros)
    numbers = jnp.asarray(num_nonzeros)

    def of_output(output: tuple[jax.Array, jax.Array]) -> jax.Array:
        target, truth = output
        pursuit = omp.pursue(atoms, allowed, target, longest)
        weights = jax.vmap(omp.solve, in_axes=(None, 0))(pursuit, numbers)
        return matmul((matmul(weights, unseen[pursuit.taken]) - truth[None]) ** 2, plane.held_out_weight)

    size = omp.default_batch_size(atoms, len(targets), longest)
    return jax.lax.map(of_output, (targets, truth.T), batch_size=size).sum(axis=0)


def l1_lasso(plane: Plane, *, tolerance: float, alpha: Sequence[float]) -> jax.Array:
    """One walk along each output's path, from the largest penalty to the smallest."""
    rows, targets, held_out, truth = _centre(plane)
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
        return _squares(plane, predicted.T - truth)

    errors = jax.lax.map(of_alpha, (path.features, path.weights))
    return errors[np.array([falling.index(each) for each in alpha])]


def l2_ridge(plane: Plane, *, penalty: Sequence[float]) -> jax.Array:
    """One eigendecomposition of the smaller Gram matrix serves all penalties."""
    rows, targets, held_out, truth = _centre(plane)
    num_examples, num_inputs = rows.shape
    if num_examples < num_inputs:
        gram, products, right = matmul(rows, rows.T), matmul(held_out, rows.T), targets
    else:
        gram, products, right = matmul(rows.T, rows), held_out, matmul(rows.T, targets)
    return _of_penalties(plane, gram, products, right, truth, penalty)


def kernel_ridge(
    plane: Plane,
    *,
    make: Callable[[str, jax.Array, jax.Array], Callable[[jax.Array, jax.Array], jax.Array]],
    shape: Sequence[str],
    width: Sequence[float],
    penalty: Sequence[float],
) -> jax.Array:
    """One eigendecomposition for each kernel serves all penalties.

    Args:
      plane: see `Plane`.
      make: (shape, width, variance of the inputs) -> kernel.
      shape: the values that are tried, as the others.
      width: in units of the data.
      penalty: of the regression.
    """
    rows, targets, held_out, truth = _centre(plane)
    share = plane.weight / jnp.sum(plane.weight)
    variance = jnp.sum(share * jnp.sum(rows**2, axis=1))

    def of_width(shape: str, width: jax.Array) -> jax.Array:
        kernel = make(shape, width, variance)
        gram, products = kernel(rows, rows), kernel(held_out, rows)
        # Centred in feature space, see `kernel_ridge`; rows that only fill up have no part in it.
        means = matmul(gram, share)
        gram = gram - means[:, None] - means[None] + matmul(share, means)
        products -= means[None]
        products -= matmul(products, share)[:, None]
        counts = plane.weight[:, None] * plane.weight[None]
        return _of_penalties(plane, counts * gram, plane.weight[None] * products, targets, truth, penalty)

    widths = jnp.asarray(width, rows.dtype)
    return jnp.stack([jax.lax.map(partial(of_width, each), widths) for each in shape])


def reduced_rank(plane: Plane, *, rank: Sequence[int], penalty: Sequence[float]) -> jax.Array:
    """One decomposition of the inputs serves all penalties, and one for each penalty serves all ranks."""
    rows, targets, held_out, truth = _centre(plane)
    left, values, right = low_rank.thin_svd(rows)
    coordinates, scores = matmul(left.T, targets), matmul(held_out, right.T)

    def of_penalty(penalty: jax.Array) -> jax.Array:
        squares = values**2 + penalty
        basis = low_rank.thin_svd((values / jnp.sqrt(squares))[:, None] * coordinates)[2]
        encoded = matmul(scores, (values / squares)[:, None] * matmul(coordinates, basis.T))

        def of_rank(rank: jax.Array) -> jax.Array:
            within = jnp.arange(len(basis)) < rank
            return _squares(plane, matmul(jnp.where(within[None], encoded, 0), basis) - truth)

        return jax.lax.map(of_rank, jnp.asarray(rank))

    return jax.lax.map(of_penalty, jnp.asarray(penalty, rows.dtype)).T


def pca_ridge(
    plane: Plane, *, input_rank: Sequence[int], output_rank: Sequence[int], penalty: Sequence[float]
) -> jax.Array:
    """One decomposition of the inputs and one of the targets serve all ranks and penalties."""
    rows, targets, held_out, truth = _centre(plane)
    left, values, right = low_rank.thin_svd(rows)
    basis = low_rank.thin_svd(targets)[2]
    between, scores = matmul(left.T, matmul(targets, basis.T)), matmul(held_out, right.T)

    def error(choice: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        input_rank, output_rank, penalty = choice
        shrunk = jnp.where(jnp.arange(len(values)) < input_rank, values / (values**2 + penalty), 0)
        encoded = matmul(scores, shrunk[:, None] * between)
        within = jnp.arange(len(basis)) < output_rank
        return _squares(plane, matmul(jnp.where(within[None], encoded, 0), basis) - truth)

    grid = np.meshgrid(input_rank, output_rank, penalty, indexing="ij")
    dtypes = jnp.int32, jnp.int32, rows.dtype
    choices = tuple(jnp.asarray(each.ravel(), dtype) for each, dtype in zip(grid, dtypes, strict=True))
    return jax.lax.map(error, choices).reshape(grid[0].shape)


def _centre(plane: Plane) -> _Centred:
    """Everything less the means over the training rows."""
    inputs, targets = (_weighted_mean(each, plane.weight) for each in plane[:2])
    counts = plane.weight[:, None]
    return _Centred(
        counts * (plane.inputs - inputs[None]),
        counts * (plane.targets - targets[None]),
        plane.held_out - inputs[None],
        plane.truth - targets[None],
    )


def _weighted_mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    """Over the first axis."""
    counts = weight.reshape(-1, *(1,) * (values.ndim - 1))
    return jnp.sum(counts * values, axis=0) / jnp.sum(weight)


def _squares(plane: Plane, missed: jax.Array) -> jax.Array:
    """The sum of squares over the held-out rows that count."""
    return jnp.sum(plane.held_out_weight * jnp.sum(missed**2, axis=1))


def _of_penalties(
    plane: Plane,
    gram: jax.Array,
    products: jax.Array,
    right: jax.Array,
    truth: jax.Array,
    penalty: Sequence[float],
) -> jax.Array:
    """The errors of products (gram + penalty)^-1 right, for all penalties."""
    eigenvalues, basis = jnp.linalg.eigh(gram)
    eigenvalues = jnp.maximum(eigenvalues, 0)  # A Gram matrix has none below 0 but for rounding.
    scores, coordinates = matmul(products, basis), matmul(basis.T, right)

    def of_penalty(penalty: jax.Array) -> jax.Array:
        return _squares(plane, matmul(scores / (eigenvalues + penalty)[None], coordinates) - truth)

    return jax.lax.map(of_penalty, jnp.asarray(penalty, gram.dtype))


def _solve_nested(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """The solutions of all leading systems of one: row k is that of the first k + 1 equations and unknowns.

    By Gauss-Jordan elimination, which has solved the first k equations after k steps.

    Args:
      matrix: `(n, n)`, positive definite.
      right: `(n,)`.

    Returns:
      `(n, n)`, 0 above the diagonal.
    """
    places = jnp.arange(len(right))

    def eliminate(system: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        pivot = system[step] / system[step, step]
        factors = jnp.where(places == step, 0, system[:, step])
        system = system - factors[:, None] * pivot[None]
        system = jnp.where((places == step)[:, None], pivot[None], system)
        return system, jnp.where(places <= step, system[:, -1], 0)

    system = jnp.concatenate([matrix, right[:, None]], axis=1)
    return jax.lax.scan(eliminate, system, places)[1]


def _statistics(
    begin: synthesis.ExpressionStatistics, neutral: jax.Array, expressive: jax.Array, weight: jax.Array
) -> synthesis.ExpressionStatistics:
    """The statistics of the pairs that count.

    The others are replaced by what the statistics subtract from every picture, so that they add nothing.
    """
    groups = begin.groups

    def fill(pictures: jax.Array, centre: jax.Array) -> jax.Array:
        # Groups or channels of a group: one of the two is single, and both where channels share one centre.
        middle = jnp.moveaxis(centre.reshape(-1, *centre.shape[-2:]), 0, -1)
        return jnp.where((weight > 0)[:, None, None, None], pictures, middle[None])

    pairs = fill(neutral, groups.input_centre), fill(expressive, groups.target_centre)
    found = synthesis.update(begin, *pairs)
    num_pairs = jnp.round(found.groups.num_pairs * (jnp.sum(weight) / len(weight)))
    return found._replace(groups=found.groups._replace(num_pairs=num_pairs))


def _fit_fields(
    neutral: jax.Array, fields: jax.Array, weight: jax.Array, window: masks.Window, penalty: float
) -> window_statistics.WindowLinear:
    """`warped_ridge.fit_fields` with weights."""
    inputs, targets = warped.field_examples(neutral, fields)
    weight = jnp.tile(weight, len(inputs) // len(weight))
    middles = _weighted_mean(inputs, weight), _weighted_mean(targets, weight)
    counts = (weight > 0)[:, None, None, None]
    statistics = window_statistics.init(
        window,
        warped.FIELD_SIZE,
        warped.FIELD_SIZE,
        out_channels=2,
        input_centre=middles[0],
        target_centre=middles[1],
        dtype=inputs.dtype,
    )
    # Rows that only fill up are what is subtracted from every picture: they add nothing to the sums.
    pairs = (
        jnp.where(counts, each, middle[None]) for each, middle in zip((inputs, targets), middles, strict=True)
    )
    statistics = window_statistics.update(statistics, *pairs)
    statistics = statistics._replace(num_pairs=jnp.sum(weight))
    return window_statistics.solve(statistics, window, penalty, penalize_bias=False)
