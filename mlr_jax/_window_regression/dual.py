"""From pairs of pictures to weights, by one system over the examples for each pixel; see `window_dual`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax._window_regression import elimination, lines
from mlr_jax._window_regression.linear import WindowLinear, predict, where_solved
from mlr_jax._window_regression.regularization import Regularization
from mlr_jax._window_regression.window import Window
from mlr_jax.numerics import cholesky, compensated
from mlr_jax.numerics.compensated import Sum

_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)

# Numbers of the kernels that slide side by side, one in each row, which stay in the cache.
_KERNELS_NUMBERS = 2**18
_FEWEST_ROWS = 16
# Examples up to which the systems are solved with the pixel axis last.
_SMALL = 128
# Examples that are summed in one loop over the pixels.
_BLOCK = 20


@jax.jit
def fit(
    inputs: jax.Array, targets: jax.Array, window: Window, regularization: Regularization
) -> WindowLinear:
    """The solutions for pairs `(num, height, width, channels)` of one dtype, and a rectangle."""
    num, height, width, in_channels = inputs.shape
    penalty = jnp.asarray(regularization.penalty)
    input_mean, target_mean = inputs.mean(axis=0), targets.mean(axis=0)
    examples, outputs = inputs - input_mean[None], targets - target_mean[None]
    if regularization.penalize_bias:
        examples = jnp.concatenate([examples, input_mean[None]])
        outputs = jnp.concatenate([outputs, target_mean[None]])
    coefficients, solved = _solve_kernels(examples, outputs, window, penalty, num)

    weights = _combine(jnp.moveaxis(examples, -1, 1), coefficients, window)
    solved &= _is_close(weights, coefficients, examples, outputs, window, penalty, num)
    reach_y, reach_x = window.reach
    seen = jnp.zeros_like(target_mean)
    mean = jnp.pad(input_mean, ((reach_y, reach_y), (reach_x, reach_x), (0, 0)))

    def add_seen(seen: jax.Array, entry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        (dy, dx), weight = entry
        start = (reach_y + dy, reach_x + dx, 0)
        around = jnp.moveaxis(jax.lax.dynamic_slice(mean, start, (height, width, in_channels)), -1, 0)
        return seen + jnp.moveaxis(jnp.sum(weight * around[None], axis=1), 0, -1), None

    offsets = jnp.asarray(window.offsets)
    seen, _ = jax.lax.scan(add_seen, seen, (offsets, jnp.moveaxis(weights, 1, 0)))
    share = regularization.bias_share(num)[None]
    bias, fallback = (share * jnp.moveaxis(each, -1, 0) for each in (target_mean - seen, target_mean))
    return where_solved(weights, bias, solved[None], fallback)


def _solve_kernels(
    examples: jax.Array, outputs: jax.Array, window: Window, penalty: jax.Array, num: int
) -> tuple[jax.Array, jax.Array]:
    """Solves the kernel systems of all pixels; the first `num` examples are centred.

    Returns:
      `(coefficients, solved)`: `(examples, out_channels, height, width)`; and `(height, width)`, false where
      the kernel is not positive definite, and the coefficients therefore 0.
    """
    size, height, width, in_channels = examples.shape
    out_channels = outputs.shape[-1]
    steps = np.asarray(window.offsets)
    (top, left), (bottom, right) = steps.min(axis=0), steps.max(axis=0)
    num_bands = -(-height // max(_FEWEST_ROWS, _KERNELS_NUMBERS // size**2))
    rows = -(-height // num_bands)
    # Column by column, the examples last: (width, height, channels, examples), with zeros around.
    columns = jnp.transpose(examples, (2, 1, 3, 0))
    span_y, span_x = int(bottom - top), int(right - left)
    # One column more on the left, which the first pixel's window loses.
    margins = ((max(-left, 0) + 1, max(right, 0)), (max(-top, 0), max(bottom, 0)), (0, 0), (0, 0))
    columns = jnp.pad(columns, margins)
    first_x, first_y = margins[0][0] + int(left), margins[1][0] + int(top)
    values = jnp.transpose(outputs, (2, 1, 0, 3))
    identity = jnp.eye(size, dtype=examples.dtype)
    centred = jnp.arange(size) < num
    both = (centred[:, None] & centred[None]).astype(examples.dtype)
    # Indices into the rows of a band and its halo: those that each row's window sees.
    window_rows = np.arange(rows)[:, None] + np.arange(span_y + 1)

    def solve_band(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        def column(x: jax.Array) -> jax.Array:
            """Of the windows of all rows of the band: (rows, window's height * channels, examples)."""
            block = (1, rows + span_y, in_channels, size)
            column = jax.lax.dynamic_slice(columns, (x, start + first_y, 0, 0), block)[0]
            return column[window_rows].reshape(rows, -1, size)

        def gram(left: jax.Array, right: jax.Array) -> jax.Array:
            return _einsum("rkn,rkm->rnm", left, right)

        @partial(jax.checkpoint, prevent_cse=False)
        def step(total: Sum, x: jax.Array) -> tuple[Sum, tuple[jax.Array, jax.Array]]:
            gained, lost = column(x + first_x + span_x), column(x + first_x - 1)
            both_columns = jnp.concatenate([gained, lost], axis=1)
            change = gram(jnp.concatenate([gained, -lost], axis=1), both_columns)
            total = compensated.add(total, change)
            ridge = jax.lax.dynamic_slice(penalty, (start, x), (rows, 1))
            # The centred examples' kernel is singular along their sum, to which the solution is
            # orthogonal: anything may be added there.
            kernel = total.high + total.low
            scale = jnp.trace(kernel * both[None], axis1=1, axis2=2)[:, None] / num + ridge
            diagonal = jnp.where(centred[None], ridge, 1 + ridge / num)
            kernel += diagonal[:, :, None] * identity[None] + (scale / num)[:, :, None] * both[None]
            value = jax.lax.dynamic_slice(values, (x, start, 0, 0), (1, rows, size, out_channels))[0]
            return total, _solve(kernel, value)

        def add(x: jax.Array, total: Sum) -> Sum:
            return compensated.add(total, gram(column(x), column(x)))

        zero = jnp.zeros((rows, size, size), examples.dtype)
        # The window of the pixel before the first.
        total = jax.lax.fori_loop(first_x - 1, first_x + span_x, add, Sum(zero, zero))
        _, solutions = jax.lax.scan(step, total, jnp.arange(width))
        return solutions

    starts = jnp.minimum(jnp.arange(num_bands) * rows, height - rows)

    def join(bands: jax.Array) -> jax.Array:
        """From `(bands, width, ..., rows)`."""
        first = jnp.moveaxis(bands[:-1], 0, -2)
        first = first.reshape(*first.shape[:-2], -1)
        whole = jnp.concatenate([first, bands[-1][..., num_bands * rows - height :]], axis=-1)
        return jnp.moveaxis(whole, 0, -1)

    coefficients, solved = jax.lax.map(solve_band, starts)
    return join(coefficients), join(solved)


def _solve(kernels: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Coefficients `(size, out_channels, num)` from kernels `(num, size, size)` and values; and if solved."""
    if kernels.shape[1] <= _SMALL:
        last = jax.lax.optimization_barrier(jnp.moveaxis(kernels, 0, -1))
        return elimination.solve(last, jnp.moveaxis(values, 0, -1))

    def solve_one(kernel: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        upper = cholesky.factor(jax.lax.stop_gradient(kernel))

        def solve(_: object, right: jax.Array) -> tuple[jax.Array, jax.Array]:
            solution = jax.vmap(partial(cholesky.solve, upper), in_axes=1, out_axes=1)(right)
            finite = jnp.isfinite(solution).all()
            return jnp.where(finite, solution, 0), finite

        multiply = partial(_einsum, "ij,jo->io", kernel)
        return jax.lax.custom_linear_solve(multiply, value, solve, symmetric=True, has_aux=True)

    solutions, solved = jax.vmap(solve_one)(kernels, values)
    return jnp.moveaxis(solutions, 0, -1), solved


def _is_close(
    weights: jax.Array,
    coefficients: jax.Array,
    examples: jax.Array,
    outputs: jax.Array,
    window: Window,
    penalty: jax.Array,
    num: int,
) -> jax.Array:
    """Where weights nearly minimise the objective, judged by their predictions: `(height, width)`.

    With r = t - (K + penalty) a, their objective is at most r^T r / 2 above its least value. The mean
    picture, one more example where the bias is penalised, counts as penalty / (1 + penalty / N) of them.
    """
    nothing = jnp.zeros_like(coefficients[0])
    params = jax.lax.stop_gradient(WindowLinear(weights, nothing))
    made = predict(params, jax.lax.stop_gradient(examples), window)
    centred = (jnp.arange(len(examples)) < num)[:, None, None]
    diagonal = jnp.where(centred, penalty[None], 1 + penalty[None] / num)
    left = outputs - made - diagonal[..., None] * jnp.moveaxis(coefficients, 1, -1)
    count = jnp.where(centred, 1, penalty[None] / (1 + penalty[None] / num))[..., None]
    excess, none = (jnp.sum(count * each**2, axis=0) for each in (left, outputs))
    return (excess <= cholesky.MAX_EXCESS * none).all(axis=-1)


def _combine(planes: jax.Array, coefficients: jax.Array, window: Window) -> jax.Array:
    """The weights: sums over the examples of their windows, each times its coefficient at the pixel.

    Args:
      planes: `(examples, in_channels, height, width)`.
      coefficients: `(examples, out_channels, height, width)`.
      window: of the weights.

    Returns:
      `(out_channels, num_offsets, in_channels, height, width)`.
    """
    size, in_channels, height, width = planes.shape
    out_channels = coefficients.shape[1]
    layout = lines.Layout(height, width, *window.reach)
    num_blocks = -(-size // _BLOCK)
    block = -(-size // num_blocks)

    def blocks(array: jax.Array) -> jax.Array:
        filled = jnp.pad(array, ((0, num_blocks * block - size), (0, 0), (0, 0)))
        return filled.reshape(num_blocks, block, *array.shape[1:])

    line = lines.flatten(coefficients, layout)[..., layout.margin : layout.margin + layout.length]
    examples_and_factors = blocks(lines.flatten(planes, layout)), blocks(line)

    @partial(jax.checkpoint, prevent_cse=False)
    def weigh(shift: jax.Array) -> jax.Array:
        def add(total: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            examples, factors = pair
            around = jax.lax.dynamic_slice_in_dim(examples, layout.margin + shift, layout.length, axis=2)
            terms = [factors[n][:, None] * around[n][None] for n in range(block)]
            return total + sum(terms[1:], terms[0]), None

        zero = jnp.zeros((out_channels, in_channels, layout.length), planes.dtype)
        return jax.lax.scan(add, zero, examples_and_factors)[0]

    shifts = [layout.shift(dy, dx) for dy, dx in window.offsets]
    # At least two: the compiler unrolls a loop of one step, and recomputes the sums for each use. Where they
    # are rounding errors times large coefficients, the results would differ.
    sums = jax.lax.map(weigh, jnp.asarray(shifts if len(shifts) > 1 else 2 * shifts))[: len(shifts)]
    return lines.unflatten(jnp.moveaxis(sums, 0, 1), layout)
