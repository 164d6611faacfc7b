"""The same fits on many devices: the pairs, the rows of the pictures, or both split over a mesh.

Khan et al.'s problem (IJCV 2020) comes apart in two ways. The sums over pairs of `window_statistics` add up:
each device makes those of its own pairs, and one `psum` joins them. And every pixel sees its window only: a
strip of rows is fitted from its own rows and as many above and below as the window reaches, which the
neighbours send (`ppermute`). Strips are of equal size and lie inside the picture: those at the top and at
the bottom are moved inwards, so that the picture's border is their border, and nothing else is.

All functions here are their namesakes of `synthesis` and `window_statistics` with three more arguments: a
mesh, and the names of those of its axes over which pairs and rows are split. They take what these take, lying
anywhere, and give the same numbers up to rounding, for any number of pairs and rows. Under `jit`, `mesh`,
`pairs` and `rows` are static, so bind them with `functools.partial`; `grad` goes through.

    mesh = jax.make_mesh((2, 4), ("pairs", "rows"))
    model = sharding.fit(neutral, expressive, mesh=mesh, pairs="pairs", rows="rows")

Arrays larger than one device are given sharded, pictures as `P(pairs, rows)`, which JAX allows where the
devices divide what is split; what they do not divide is kept whole on every device, before and after. On
several processes (`jax.distributed`), every process calls the same functions with the same global arrays,
made from its own part by `jax.make_array_from_process_local_data`, or with NumPy arrays that are the same
on all. Where each process rather streams its own pairs, it does so as if it were alone, and `join` adds up
all processes' statistics. `experiments/train_distributed.py` does all of this.

`synthesis.fit` and `window_statistics` take sharded arrays too, under `jit` or not, and are right, but what
they do is up to the partitioner, which does not know how the problem comes apart. With the pairs split over
8 devices it gathers all pictures on each, and each does all the work; with the rows split it sends margins
1489 times a fit (window of 3 x 3) instead of 6, and takes many times as long as one device.

The results lie on the same mesh with automatic axes, whatever the type of those that were given.
"""

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from mlr_jax import checks, masks, synthesis, window_statistics
from mlr_jax.synthesis import Channels, ExpressionModel
from mlr_jax.window_linear import WindowLinear
from mlr_jax.window_statistics import Sum, WindowStatistics

# Which axes of an array are split, by the fields of `_Split`.
_Layout = tuple[str | None, ...]
_PICTURES: _Layout = ("pairs", "rows")
_PLANES: _Layout = (None, "rows")
_PIXELS: _Layout = ("rows",)
_WEIGHTS: _Layout = (None, None, None, "rows")
_EACH: _Layout = ("pairs",)

_AXES = ("num", "height", "width", "channels")


def fit(
    neutral: ArrayLike,
    expressive: ArrayLike,
    *,
    mesh: Mesh,
    pairs: str | None = None,
    rows: str | None = None,
    window: int | masks.Window = 3,
    penalty: ArrayLike = 0.4,
    channels: Channels = "independent",
    penalize_bias: bool = True,
) -> ExpressionModel:
    """Learns from pairs of pictures how an expression changes faces: `synthesis.fit` on many devices.

    Split over rows alone, each device calls `synthesis.fit` on its strip, and nothing is communicated but the
    strips' margins. Split over pairs, the fit always goes through `window_statistics`: it takes sums of
    the size of `2 * num_offsets` pictures or more, whatever the number of pairs.

    Args:
      neutral: `(num, height, width, channels)` floating point in [0, 1], the faces to start from.
      expressive: the same shape, the same people with the expression.
      mesh: of the devices.
      pairs: its axis over which the pairs are split, if any.
      rows: its axis over which the rows are split, if any.
      window: side of the square window in pixels, odd, or any `masks.Window`; not a mask.
      penalty: lambda >= 0, one for all or `(height, width)`.
      channels: how colour channels relate, see `synthesis.Channels`.
      penalize_bias: whether the penalty includes the bias, as published.

    Returns:
      The model, its rows split as those of the pictures.

    Raises:
      TypeError: the pictures are not floating point, or the window is none.
      InputError: shapes do not agree, a value is NaN, the window does not suit the picture, the penalty is
        negative, or the mesh has no such axis.
    """
    where = "sharding.fit"
    split = _split(where, mesh, pairs, rows)
    neutral = _pictures(where, "neutral", neutral, split)
    expressive = _pictures(where, "expressive", expressive, split)
    if neutral.shape != expressive.shape:
        raise checks.InputError(f"{where}: neutral is {neutral.shape}, but expressive is {expressive.shape}")
    if channels not in get_args(Channels):
        raise checks.InputError(
            f"{where}: channels must be one of {', '.join(get_args(Channels))}, not {channels!r}"
        )
    size = neutral.shape[1:3]
    if isinstance(window, int | np.integer):
        checks.positive_integer(where, "window", window)
        window = masks.square(int(window))
    masks.check_window(window, where, *size)
    _check_views(where, window)
    dtype = jnp.promote_types(neutral.dtype, expressive.dtype)
    penalties = _penalties(where, penalty, size, dtype, split)
    checks.finite(where, "neutral", neutral)
    checks.finite(where, "expressive", expressive)
    model = _fit(
        neutral.astype(dtype),
        expressive.astype(dtype),
        penalties,
        window=window,
        channels=channels,
        penalize_bias=penalize_bias,
        split=split,
    )
    assert model.solved is not None
    checks.warn_unsolved(where, model.solved)
    return model


def synthesize(
    model: ExpressionModel,
    images: ArrayLike,
    *,
    mesh: Mesh,
    pairs: str | None = None,
    rows: str | None = None,
    intensity: ArrayLike = 1.0,
) -> jax.Array:
    """Puts the learned expression on faces: `synthesis.synthesize` on many devices.

    Args:
      model: from either `fit`, of a window.
      images: `(num, height, width, channels)` floating point in [0, 1], of the model's height and width.
      mesh: of the devices.
      pairs: its axis over which the pictures are split, if any.
      rows: its axis over which their rows are split, if any.
      intensity: 0 returns the images themselves, 1 the learned expression. One for all or `(num,)`.

    Returns:
      Pictures of the same shape, split in the same way.

    Raises:
      TypeError: the pictures are not floating point, or the model is of a mask.
      InputError: their size or number of channels is not the model's, a value is NaN, intensity has another
        shape, or the mesh has no such axis.
    """
    where = "sharding.synthesize"
    split = _split(where, mesh, pairs, rows)
    images = _pictures(where, "images", images, split)
    synthesis.check_images(model, where, images, intensity)
    if not isinstance(model.window, masks.Window):
        raise TypeError(f"{where}: the model must be of a masks.Window, not a {type(model.window).__name__}")
    _check_views(where, model.window)
    amount = jnp.broadcast_to(jnp.asarray(intensity, images.dtype), (len(images),))
    model = model._replace(
        weights=_place(model.weights, _WEIGHTS, split), bias=_place(model.bias, _PLANES, split)
    )
    return _synthesize(model, images, _place(amount, _EACH, split), split=split)


def _check_views(where: str, window: masks.Window) -> None:
    if window.views:
        raise checks.InputError(
            f"{where}: the window looks at blurred or mirrored pictures, which need more rows than a device "
            "has; use `window_linear.look` and `update`, or one device"
        )


def update(
    statistics: WindowStatistics,
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    mesh: Mesh,
    pairs: str | None = None,
    rows: str | None = None,
) -> WindowStatistics:
    """Adds pairs: `window_statistics.update` on many devices.

    The devices' sums are joined with their compensation: no digit is lost that one device would keep.

    Args:
      statistics: so far.
      inputs: `(num, height, width, in_channels)` floating point.
      targets: `(num, height, width, out_channels)` floating point.
      mesh: of the devices.
      pairs: its axis over which the pairs are split, if any.
      rows: its axis over which the rows are split, if any.

    Returns:
      The statistics with these pairs, each device having its rows of them. They are those of one device, and
      work with all functions of `window_statistics`; those that are split over rows had better be solved by
      `solve` below.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: shapes do not agree, a value is NaN, or the mesh has no such axis.
    """
    where = "sharding.update"
    split = _split(where, mesh, pairs, rows)
    inputs = _pictures(where, "inputs", inputs, split)
    targets = _pictures(where, "targets", targets, split)
    window_statistics.check_pairs(statistics, where, inputs, targets)
    dtype = statistics.num_pairs.dtype
    statistics = _place_statistics(statistics, split)
    return _update(statistics, inputs.astype(dtype), targets.astype(dtype), split=split)


def solve(
    statistics: WindowStatistics,
    window: masks.Window,
    penalty: ArrayLike,
    *,
    mesh: Mesh,
    rows: str | None = None,
    penalize_bias: bool = True,
) -> WindowLinear:
    """Solves every pixel's ridge problem: `window_statistics.solve` on many devices.

    Args:
      statistics: of the pairs, from either `update`.
      window: any whose offsets are among those of `statistics.window`.
      penalty: lambda >= 0, one for all or `(height, width)`.
      mesh: of the devices.
      rows: its axis over which the rows are split, if any.
      penalize_bias: whether the penalty includes the bias, as published.

    Returns:
      The map, each device having its rows of it.

    Raises:
      TypeError: the window is no `masks.Window`.
      InputError: the window is not inside that of the statistics, there are no pairs, the penalty is negative
        or of another shape, or the mesh has no such axis.
    """
    where = "sharding.solve"
    split = _split(where, mesh, None, rows)
    size = statistics.input_centre.shape[1:]
    masks.check_window(window, where, *size)
    window_statistics.check_inside(where, window, statistics)
    penalties = _penalties(where, penalty, size, statistics.num_pairs.dtype, split)
    if checks.is_concrete(statistics.num_pairs) and not np.asarray(statistics.num_pairs) > 0:
        raise checks.InputError(f"{where}: the statistics hold no pairs; update them first")
    statistics = _place_statistics(statistics, split)
    params = _solve(statistics, penalties, window=window, penalize_bias=penalize_bias, split=split)
    assert params.solved is not None
    checks.warn_unsolved(where, params.solved)
    return params


def join(statistics: WindowStatistics) -> WindowStatistics:
    """The statistics of the pairs of all processes, from those that each process made of its own.

    Every process calls it, once all have been through their pairs, of which there may be other numbers on
    each. Without `jax.distributed` there is one process, and nothing to do.

    Args:
      statistics: of this process's pairs, on its own devices; made with the same window, size and centres
        on all processes.

    Returns:
      The sums of all, the same on every process, on its first device.

    Raises:
      InputError: they were made with different windows, sizes or centres, or are not on this process's
        devices alone.
    """
    where = "sharding.join"
    leaves = jax.tree.leaves(statistics)
    if any(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in leaves):
        raise checks.InputError(
            f"{where}: the statistics lie on the devices of several processes; those of `update` on such "
            "a mesh are joined already"
        )
    if jax.process_count() == 1:
        return statistics
    # Sums that differ in shape would wait for each other for ever, and others that differ add up to nonsense.
    centres = statistics.input_centre, statistics.target_centre
    described = repr((statistics.window, [(each.shape, each.dtype) for each in centres])).encode()
    mark = np.uint32(zlib.crc32(b"".join([described, *(np.asarray(each).tobytes() for each in centres)])))
    marks = np.asarray(multihost_utils.process_allgather(mark)).reshape(-1)
    if (marks != marks[0]).any():
        other = int(np.argmax(marks != marks[0]))
        raise checks.InputError(
            f"{where}: process {other} has statistics of another window, size or centre than process 0"
        )
    firsts = {device.process_index: device for device in reversed(jax.devices())}
    mesh = Mesh(np.array([firsts[i] for i in range(jax.process_count())]), ("processes",))
    parts = statistics.num_pairs, _sums(statistics)

    def globally(leaf: jax.Array) -> jax.Array:
        each = NamedSharding(mesh, PartitionSpec("processes"))
        return jax.make_array_from_process_local_data(each, np.asarray(leaf)[None])

    num_pairs, sums = _join(jax.tree.map(globally, parts), mesh=mesh)
    local = jax.tree.map(lambda leaf: leaf.addressable_data(0), (num_pairs, sums))
    return _with_sums(statistics, *local)


class _Split(NamedTuple):
    """A mesh, and those of its axes over which pairs and rows are split. Static."""

    mesh: Mesh
    pairs: str | None
    rows: str | None


def _split(where: str, mesh: Mesh, pairs: str | None, rows: str | None) -> _Split:
    if not isinstance(mesh, Mesh):
        raise TypeError(f"{where}: mesh must be a jax.sharding.Mesh, not a {type(mesh).__name__}")
    for name, axis in (("pairs", pairs), ("rows", rows)):
        if axis is not None and axis not in mesh.axis_names:
            raise checks.InputError(
                f"{where}: {name} is {axis!r}, but the mesh has the axes {', '.join(map(repr, mesh.shape))}"
            )
    if pairs is not None and pairs == rows:
        raise checks.InputError(f"{where}: pairs and rows are both {pairs!r}; they need an axis each")
    if AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
        raise checks.InputError(
            f"{where}: the mesh of jax.set_mesh has explicit axes; make it with "
            "axis_types=(jax.sharding.AxisType.Auto, ...)"
        )
    return _Split(Mesh(mesh.devices, mesh.axis_names), pairs, rows)


def _num_devices(split: _Split, name: str | None) -> int:
    """Into how many parts an axis of a layout is split."""
    axis = None if name is None else getattr(split, name)
    return 1 if axis is None else split.mesh.shape[axis]


def _spec(layout: _Layout, split: _Split) -> PartitionSpec:
    return PartitionSpec(*(name and getattr(split, name) for name in layout))


def _sharding(shape: Sequence[int], layout: _Layout, split: _Split) -> NamedSharding:
    """How an array lies on the mesh: whole where the devices do not divide it, as JAX wants it."""
    divided = tuple(
        name if size % _num_devices(split, name) == 0 else None
        for size, name in zip(shape, layout, strict=False)
    )
    return NamedSharding(split.mesh, _spec(divided, split))


def _place(array: ArrayLike, layout: _Layout, split: _Split) -> jax.Array:
    return jax.device_put(array, _sharding(np.shape(array), layout, split))


def _place_statistics(statistics: WindowStatistics, split: _Split) -> WindowStatistics:
    planes = jax.tree.map(partial(_place, layout=_PLANES, split=split), statistics)
    return planes._replace(num_pairs=_place(statistics.num_pairs, (), split))


def _pictures(where: str, name: str, pictures: ArrayLike, split: _Split) -> jax.Array:
    # Placed before all else, so that no device needs to hold all of them.
    placed = _place(pictures, _PICTURES, split) if np.ndim(pictures) == len(_AXES) else pictures
    return checks.as_floating(where, name, placed, _AXES)


def _penalties(where: str, penalty: ArrayLike, size: tuple[int, ...], dtype: Any, split: _Split) -> jax.Array:
    if np.shape(penalty) not in ((), size):
        raise checks.InputError(f"{where}: penalty must be a scalar or {size}, not {np.shape(penalty)}")
    checks.not_negative(where, "penalty", penalty)
    return _place(jnp.broadcast_to(jnp.asarray(penalty, dtype), size), _PIXELS, split)


class _Strips(NamedTuple):
    """Which rows each device needs. Static.

    Attributes:
      axis: of the mesh; None for one strip.
      rows: of a device's own, the first being row `rows` times its index.
      size: rows that it needs for these.
      starts: the first of them, for each device.
    """

    axis: str | None
    rows: int
    size: int
    starts: tuple[int, ...]


def _strips(height: int, halo: int, split: _Split) -> _Strips:
    num = _num_devices(split, "rows")
    rows = -(-height // num)
    size = min(rows + 2 * halo, height)
    starts = tuple(min(max(i * rows - halo, 0), height - size) for i in range(num))
    return _Strips(split.rows, rows, size, starts)


def _take(strips: _Strips, block: jax.Array, axis: int) -> jax.Array:
    """A device's strip, from its own rows along `axis` and those that its neighbours send."""
    num, own = len(strips.starts), strips.rows
    if num == 1:
        return block
    above = max(i * own - start for i, start in enumerate(strips.starts))
    below = max(start + strips.size - (i + 1) * own for i, start in enumerate(strips.starts))
    parts = [block]
    # From as far as it takes: rows may be fewer than the window's reach.
    for hop in range(1, -(-above // own) + 1):
        count = min(own, above - (hop - 1) * own)
        rows = jax.lax.slice_in_dim(block, own - count, own, axis=axis)
        parts.insert(0, jax.lax.ppermute(rows, strips.axis, [(i, i + hop) for i in range(num - hop)]))
    for hop in range(1, -(-below // own) + 1):
        rows = jax.lax.slice_in_dim(block, 0, min(own, below - (hop - 1) * own), axis=axis)
        parts.append(jax.lax.ppermute(rows, strips.axis, [(i, i - hop) for i in range(hop, num)]))
    index = jax.lax.axis_index(strips.axis)
    start = jnp.asarray(strips.starts)[index] - index * own + above
    return jax.lax.dynamic_slice_in_dim(jnp.concatenate(parts, axis), start, strips.size, axis)


def _keep(strips: _Strips, strip: jax.Array, axis: int) -> jax.Array:
    """A device's own rows of its strip."""
    num, own = len(strips.starts), strips.rows
    if num == 1:
        return strip
    # The last devices may have rows below the picture.
    missing = max(i * own - start for i, start in enumerate(strips.starts)) + own - strips.size
    padding = [(0, max(missing, 0) if i == axis else 0) for i in range(strip.ndim)]
    index = jax.lax.axis_index(strips.axis)
    start = index * own - jnp.asarray(strips.starts)[index]
    return jax.lax.dynamic_slice_in_dim(jnp.pad(strip, padding), start, own, axis)


def _on_strips(
    function: Callable[..., tuple],
    arguments: tuple,
    takes: Sequence[_Layout],
    gives: Sequence[_Layout],
    *,
    height: int,
    halo: int,
    split: _Split,
) -> tuple:
    """Calls a function of pictures on strips of them, and puts its results together.

    Args:
      function: `arguments` -> a tuple, with as many rows as they have.
      arguments: arrays, or trees of arrays of one layout.
      takes: their layouts.
      gives: the layouts of the results.
      height: of the whole pictures.
      halo: rows above and below that each row of the results depends on.
      split: the mesh and its axes.
    """
    strips = _strips(height, halo, split)
    padded_height = strips.rows * len(strips.starts)

    def pad(tree: Any, layout: _Layout) -> Any:
        def pad_leaf(leaf: jax.Array) -> jax.Array:
            missing = [padded_height - height if name == "rows" else 0 for name in layout]
            return jnp.pad(leaf, [(0, each) for each in missing] + [(0, 0)] * (leaf.ndim - len(layout)))

        return jax.tree.map(pad_leaf, tree) if "rows" in layout else tree

    def change(way: Callable, tree: Any, layout: _Layout) -> Any:
        if "rows" not in layout:
            return tree
        return jax.tree.map(lambda leaf: way(strips, leaf, layout.index("rows")), tree)

    def call(*blocks: Any) -> tuple:
        results = function(*map(partial(change, _take), blocks, takes))
        return tuple(map(partial(change, _keep), results, gives))

    def cut(tree: Any, layout: _Layout) -> Any:
        def cut_leaf(leaf: jax.Array) -> jax.Array:
            whole = leaf
            if "rows" in layout:
                whole = jax.lax.slice_in_dim(leaf, 0, height, axis=layout.index("rows"))
            return jax.lax.with_sharding_constraint(whole, _sharding(whole.shape, layout, split))

        return jax.tree.map(cut_leaf, tree)

    results = jax.shard_map(
        call,
        mesh=split.mesh,
        in_specs=tuple(_spec(layout, split) for layout in takes),
        out_specs=tuple(_spec(layout, split) for layout in gives),
        # Loops inside begin with constants, which differ between devices only after the first round.
        check_vma=False,
    )(*map(pad, arguments, takes))
    return tuple(map(cut, results, gives))


@partial(jax.jit, static_argnames=("window", "channels", "penalize_bias", "split"))
def _fit(
    neutral: jax.Array,
    expressive: jax.Array,
    penalties: jax.Array,
    *,
    window: masks.Window,
    channels: Channels,
    penalize_bias: bool,
    split: _Split,
) -> ExpressionModel:
    height = neutral.shape[1]

    def fit_strip(neutral: jax.Array, expressive: jax.Array, penalties: jax.Array) -> tuple:
        model = synthesis.fit(
            neutral,
            expressive,
            window=window,
            penalty=penalties,
            channels=channels,
            penalize_bias=penalize_bias,
        )
        return model.weights, model.bias, model.solved

    def fit_one(inputs: jax.Array, targets: jax.Array) -> WindowLinear:
        """Every output channel of which sees all inputs."""
        empty = window_statistics.init(
            window,
            *inputs.shape[1:3],
            in_channels=inputs.shape[3],
            out_channels=targets.shape[3],
            input_centre=jax.lax.stop_gradient(inputs.mean(axis=0)),
            target_centre=jax.lax.stop_gradient(targets.mean(axis=0)),
            dtype=inputs.dtype,
        )
        statistics = _update(empty, inputs, targets, split=split)
        return _solve(statistics, penalties, window=window, penalize_bias=penalize_bias, split=split)

    def as_grey(images: jax.Array) -> jax.Array:
        """Channel after channel of each picture: split in the same way as the pictures are."""
        return jnp.moveaxis(images, -1, 1).reshape(-1, *images.shape[1:3], 1)

    if split.pairs is None:
        params = WindowLinear(
            *_on_strips(
                fit_strip,
                (neutral, expressive, penalties),
                (_PICTURES, _PICTURES, _PIXELS),
                (_WEIGHTS, _PLANES, _PLANES),
                height=height,
                halo=masks.reach(window)[0],
                split=split,
            )
        )
    elif channels == "joint":
        params = fit_one(neutral, expressive)
    elif channels == "shared":
        params = fit_one(as_grey(neutral), as_grey(expressive))
    else:
        planes = (jnp.moveaxis(images, -1, 0)[..., None] for images in (neutral, expressive))
        each = jax.lax.map(lambda pair: fit_one(*pair), tuple(planes))
        params = jax.tree.map(lambda leaf: leaf[:, 0], each)
    return ExpressionModel(params.weights, params.bias, window, solved=params.solved)


@partial(jax.jit, static_argnames="split")
def _synthesize(
    model: ExpressionModel, images: jax.Array, intensity: jax.Array, *, split: _Split
) -> jax.Array:
    num, height = images.shape[:2]
    missing = -num % _num_devices(split, "pairs")
    images = jnp.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))

    def synthesize_strip(weights: jax.Array, bias: jax.Array, *pictures: jax.Array) -> tuple:
        images, intensity = pictures
        return (
            synthesis.synthesize(ExpressionModel(weights, bias, model.window), images, intensity=intensity),
        )

    (result,) = _on_strips(
        synthesize_strip,
        (model.weights, model.bias, images, jnp.pad(intensity, (0, missing))),
        (_WEIGHTS, _PLANES, _PICTURES, _EACH),
        (_PICTURES,),
        height=height,
        halo=masks.reach(model.window)[0],  # type: ignore[arg-type]
        split=split,
    )
    return jax.lax.with_sharding_constraint(result[:num], _sharding((num, height), _PICTURES, split))


@partial(jax.jit, static_argnames="split")
def _update(
    statistics: WindowStatistics, inputs: jax.Array, targets: jax.Array, *, split: _Split
) -> WindowStatistics:
    num, height = inputs.shape[:2]
    window = statistics.window
    num_devices = _num_devices(split, "pairs")
    missing = -num % num_devices

    def fill(pictures: jax.Array, centre: jax.Array) -> jax.Array:
        """With pictures that are zero once they are centred: they add nothing to the sums."""
        nothing = jnp.broadcast_to(jnp.moveaxis(centre, 0, -1)[None], (missing, *pictures.shape[1:]))
        return jnp.concatenate([pictures, nothing])

    def add_up(input_centre: jax.Array, target_centre: jax.Array, *pair: jax.Array) -> tuple:
        inputs, targets = pair
        part = window_statistics.init(
            window,
            *inputs.shape[1:3],
            in_channels=inputs.shape[3],
            out_channels=targets.shape[3],
            input_centre=jnp.moveaxis(input_centre, 0, -1),
            target_centre=jnp.moveaxis(target_centre, 0, -1),
            dtype=inputs.dtype,
        )
        sums = _sums(window_statistics.update(part, inputs, targets))
        return (sums if split.pairs is None else _psum(sums, split.pairs, num_devices),)

    (sums,) = _on_strips(
        add_up,
        (
            statistics.input_centre,
            statistics.target_centre,
            fill(inputs, statistics.input_centre),
            fill(targets, statistics.target_centre),
        ),
        (_PLANES, _PLANES, _PICTURES, _PICTURES),
        (_PLANES,),
        height=height,
        # The products at a row are with rows as far away as two offsets are from each other.
        halo=2 * masks.reach(window)[0],
        split=split,
    )
    part = _with_sums(statistics, jnp.full_like(statistics.num_pairs, num), sums)
    return _place_statistics(window_statistics.merge(statistics, part), split)


@partial(jax.jit, static_argnames=("window", "penalize_bias", "split"))
def _solve(
    statistics: WindowStatistics,
    penalties: jax.Array,
    *,
    window: masks.Window,
    penalize_bias: bool,
    split: _Split,
) -> WindowLinear:
    centres = statistics.input_centre, statistics.target_centre

    def solve_strip(num_pairs: jax.Array, centres: tuple, sums: Any, penalties: jax.Array) -> tuple:
        strip = statistics._replace(input_centre=centres[0], target_centre=centres[1])
        return window_statistics.solve(
            _with_sums(strip, num_pairs, sums), window, penalties, penalize_bias=penalize_bias
        )

    return WindowLinear(
        *_on_strips(
            solve_strip,
            (statistics.num_pairs, centres, _sums(statistics), penalties),
            ((), _PLANES, _PLANES, _PIXELS),
            (_WEIGHTS, _PLANES, _PLANES),
            height=len(penalties),
            halo=masks.reach(window)[0],
            split=split,
        )
    )


@partial(jax.jit, static_argnames="mesh")
def _join(parts: Any, *, mesh: Mesh) -> Any:
    """Adds up numbers of pairs and sums `(processes, ...)`."""

    def add_up(parts: Any) -> Any:
        num_pairs, sums = jax.tree.map(lambda leaf: leaf[0], parts)
        return jax.lax.psum(num_pairs, "processes"), _psum(sums, "processes", mesh.size)

    specs = PartitionSpec("processes"), PartitionSpec()
    return jax.shard_map(add_up, mesh=mesh, in_specs=specs[:1], out_specs=specs[1])(parts)


def _sums(statistics: WindowStatistics) -> tuple[Sum, Sum, Sum]:
    return statistics.input_sum, statistics.target_sum, statistics.products


def _with_sums(
    statistics: WindowStatistics, num_pairs: jax.Array, sums: tuple[Sum, Sum, Sum]
) -> WindowStatistics:
    return statistics._replace(num_pairs=num_pairs, input_sum=sums[0], target_sum=sums[1], products=sums[2])


def _psum(sums: tuple[Sum, ...], axis: str, num_devices: int) -> tuple[Sum, ...]:
    """Adds up the sums of the devices along an axis, so that what `psum` rounds off is not lost.

    Of each number, as much is taken as is a multiple of one unit, which is so large that these add up
    without rounding in any order; the rest goes with the low parts (Rump, Ogita and Oishi, SISC 2008).
    """

    def add_up(total: Sum) -> Sum:
        largest = jax.lax.pmax(jnp.abs(jax.lax.stop_gradient(total.high)), axis)
        exponent = jnp.frexp(largest)[1] + (num_devices + 1).bit_length()
        anchor = jnp.ldexp(jnp.ones_like(largest), exponent)
        high = (total.high + anchor) - anchor
        return Sum(jax.lax.psum(high, axis), jax.lax.psum((total.high - high) + total.low, axis))

    return tuple(map(add_up, sums))
