"""From pairs of pictures to the sums over them.

Pictures are centred before they are multiplied. Sums are `compensated`; only the pairs of one block are
summed plainly.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax._window_regression import lines, strips
from mlr_jax._window_regression.statistics import WindowStatistics
from mlr_jax._window_regression.window import LagTable, Window
from mlr_jax.numerics import compensated
from mlr_jax.numerics.compensated import Sum

# Pairs that are summed plainly, in one loop over the pixels. Fewer write the sums too often; more are read
# from too many places at once.
_BLOCK = 14
# Pixels whose sums and pictures stay in a CPU's cache.
_STRIP_PIXELS = 2**15


@jax.jit
def update(
    statistics: WindowStatistics,
    inputs: jax.Array,
    targets: jax.Array,
    *,
    weights: jax.Array | np.ndarray | None = None,
) -> WindowStatistics:
    """`add`, compiled."""
    return add(statistics, inputs, targets, weights=weights)


def add(
    statistics: WindowStatistics,
    inputs: jax.Array,
    targets: jax.Array,
    *,
    is_counted: jax.Array | None = None,
    weights: jax.Array | np.ndarray | None = None,
) -> WindowStatistics:
    """Adds pairs, strip by strip.

    Args:
      statistics: so far.
      inputs: `(num, height, width, in_channels)`, of the dtype of the statistics.
      targets: `(num, height, width, out_channels)`, the same dtype.
      is_counted: `(num,)` bool, which pairs count; all by default.
      weights: `(num,)`, how often each pair counts; once by default. Not together with `is_counted`.
    """
    width = inputs.shape[2]

    def add_strip(start: jax.Array, size: int, totals: tuple[Sum, Sum, Sum]) -> tuple[Sum, Sum, Sum]:
        rows = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=size, axis=1)
        part = of_pairs(
            statistics.window,
            rows(inputs),
            rows(targets),
            rows(statistics.input_centre),
            rows(statistics.target_centre),
            is_counted=is_counted,
            weights=weights,
        )
        input_sum, target_sum, products = map(compensated.join, totals, part[4:])
        return input_sum, target_sum, products

    totals = statistics.input_sum, statistics.target_sum, statistics.products
    input_sum, target_sum, products = strips.replace_rows(add_strip, totals, plan(statistics.window, width))
    dtype = statistics.num_pairs.dtype
    added = len(inputs) if is_counted is None else is_counted.sum(dtype=dtype)
    return statistics._replace(
        num_pairs=statistics.num_pairs + (added if weights is None else weights.sum()),
        input_sum=input_sum,
        target_sum=target_sum,
        products=products,
    )


def of_pairs(
    window: Window,
    inputs: jax.Array,
    targets: jax.Array,
    input_centre: jax.Array,
    target_centre: jax.Array,
    *,
    is_counted: jax.Array | None = None,
    weights: jax.Array | np.ndarray | None = None,
) -> WindowStatistics:
    """The statistics of pairs that all fit into the cache, or are a strip of pictures.

    Args:
      window: of the statistics.
      inputs: `(num, height, width, in_channels)` floating point.
      targets: `(num, height, width, out_channels)`, the same dtype.
      input_centre: `(in_channels, height, width)`, subtracted from the inputs.
      target_centre: `(out_channels, height, width)`.
      is_counted: `(num,)` bool, which pairs count, so that one program serves several numbers of them; all by
        default.
      weights: as for `add`.
    """
    in_channels = len(input_centre)
    table = window.lag_table(in_channels, len(target_centre))
    if is_counted is None:
        is_counted = jnp.ones(len(inputs), bool)
    centre = jnp.concatenate([input_centre, target_centre])
    sums, products = _sum_up(inputs, targets, centre, is_counted, weights, table)
    return WindowStatistics(
        window,
        is_counted.sum(dtype=inputs.dtype) if weights is None else jnp.sum(weights),
        input_centre,
        target_centre,
        Sum(*(leaf[:in_channels] for leaf in sums)),
        Sum(*(leaf[in_channels:] for leaf in sums)),
        products,
    )


def plan(window: Window, width: int) -> strips.Plan:
    """How `add` cuts a picture: so that a strip's sums stay in the cache while examples are added."""
    halo = window.lag_table(window.num_views, 1).reach[0]
    return strips.Plan(max(1, _STRIP_PIXELS // width - 2 * halo, 4 * halo), halo)


def _sum_up(
    inputs: jax.Array,
    targets: jax.Array,
    centre: jax.Array,
    is_counted: jax.Array,
    weights: jax.Array | np.ndarray | None,
    table: LagTable,
) -> tuple[Sum, Sum]:
    """The sums of channels, `(channels, height, width)`, and of products, `(num_lags, height, width)`."""
    num, height, width, in_channels = inputs.shape
    channels = in_channels + targets.shape[3]
    num_blocks = -(-num // _BLOCK)
    block = -(-num // num_blocks)
    layout = lines.Layout(height, width, *table.reach)

    def load(index: jax.Array) -> jax.Array:
        """A block of examples, each a row: its channels' lines one after the other, and a line of ones."""
        start = jnp.minimum(index * block, num - block)
        # The last block reaches back to examples that were counted already.
        is_fresh = start + jnp.arange(block) >= index * block
        factors = (is_fresh & jax.lax.dynamic_slice_in_dim(is_counted, start, block)).astype(inputs.dtype)
        # 0, but unknown to the compiler, which so copies planes into place: faster than padding them.
        zero = jnp.minimum(index, 0)
        is_one = np.arange(channels + 1)[:, None, None] == channels
        lines_of_block = jnp.broadcast_to(
            jnp.asarray(is_one, inputs.dtype), (block, channels + 1, *layout.rows)
        )
        for array, channel in ((inputs, 0), (targets, in_channels)):
            planes = jnp.moveaxis(jax.lax.dynamic_slice_in_dim(array, start, block), -1, 1)
            planes -= centre[None, channel : channel + planes.shape[1]]
            lines_of_block = jax.lax.dynamic_update_slice(
                lines_of_block,
                planes * factors[:, None, None, None],
                (0, channel, layout.reach_y + zero, layout.reach_x),
                allow_negative_indices=False,
            )
        return lines_of_block.reshape(block, -1)

    # Sums of channels are products with ones.
    starts = [(channel * layout.size, channels * layout.size) for channel in range(channels)]
    starts += [
        (lag.left * layout.size, lag.right * layout.size + layout.shift(lag.dy, lag.dx)) for lag in table.lags
    ]

    # The examples of a block are written out in the body of a loop over the lag images, which compiles for
    # one of them. Sums of several in one body compile longer and are not faster.
    @partial(jax.checkpoint, prevent_cse=False)
    def add(totals: Sum, index: jax.Array) -> tuple[Sum, None]:
        examples = load(index)

        def product(starts: jax.Array) -> jax.Array:
            left, right = (
                [
                    jax.lax.dynamic_slice_in_dim(each, start, layout.length, allow_negative_indices=False)
                    for each in examples
                ]
                for start in starts
            )
            if weights is not None:
                start = jnp.minimum(index * block, num - block)
                own = jax.lax.dynamic_slice_in_dim(jnp.asarray(weights), start, block)
                # Not square roots within `load`, which have no derivative at 0.
                left = [each * own[place] for place, each in enumerate(left)]
            terms = [one * other for one, other in zip(left, right, strict=True)]
            return sum(terms[1:], terms[0])

        values = jax.lax.map(product, jnp.asarray(layout.margin + np.array(starts)))
        return compensated.add(totals, values), None

    zero = jnp.zeros((len(starts), layout.length), inputs.dtype)
    totals, _ = jax.lax.scan(add, Sum(zero, zero), jnp.arange(num_blocks))
    planes = [lines.unflatten(line, layout) for line in totals]
    return Sum(*(each[:channels] for each in planes)), Sum(*(each[channels:] for each in planes))
