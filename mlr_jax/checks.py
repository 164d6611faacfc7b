"""Checks of arguments, whose errors name the fault, the place and the remedy.

They always check shapes and dtypes, which are known while tracing. They check values (NaN, signs, index
ranges) only of concrete arrays: outside `jit`, `vmap` and `grad`. Inside these they skip values, so that
every function composes. In an array that is spread over several processes, `finite` does not locate the first
bad value.
"""

import warnings
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.typing import ArrayLike, DTypeLike

_Tree = TypeVar("_Tree")

_LONGEST = 300  # characters of quoted text
_CHUNK = 2**18  # numbers checked at once

LEAST_LEVEL, MOST_LEVEL = -0.5, 1.5
"""The levels that `pictures` accepts: earlier results are not clipped, and may leave [0, 1] a little."""


class InputError(ValueError):
    """The caller's data or options are wrong, and the message says how.

    Scripts print it as one line; in a program it is an ordinary `ValueError`.
    """


def one_line(words: object) -> str:
    """An error, or text from elsewhere, as one short, printable line for a message.

    >>> one_line(["any", 1])
    "['any', 1]"
    """
    text = " ".join(str(words).split()) or type(words).__name__
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."


def how_to_install(extra: str) -> str:
    """What to run for an extra, for messages: the package is on no index, only in clones of the project.

    >>> how_to_install("align")
    "run pip install '.[align]' in the project's folder"
    """
    return f"run pip install '.[{extra}]' in the project's folder"


def shown(value: Any) -> str:
    """A named tuple in one line, with the types and shapes of its arrays instead of their numbers.

    >>> shown(np.zeros((2, 3), np.float32))
    'float32[2, 3]'
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        if hasattr(value, "offsets") and hasattr(value, "extent") and len(value.offsets) > 1:
            rows, columns = value.extent
            return f"<window of {len(value.offsets)} pixels in {rows} x {columns}>"
        fields = ", ".join(f"{name}={shown(each)}" for name, each in zip(value._fields, value, strict=True))
        return f"{type(value).__name__}({fields})"
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))})"
    return repr(value)


def is_concrete(*arrays: Any) -> bool:
    """Whether the values of all arrays (or pytrees of arrays) are known to this process."""

    def is_here(leaf: Any) -> bool:
        return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated

    return not _is_traced(*arrays) and all(map(is_here, jax.tree.leaves(arrays)))


def is_known(*size: Any) -> bool:
    """Whether lengths are numbers: not in a function that `jax.export` exports for any number of examples."""
    return all(isinstance(length, int | np.integer) for length in size)


def known_number(where: str, name: str, array: jax.Array) -> None:
    """Raises InputError if the length of `array` is symbolic."""
    if not is_known(array.shape[0]):
        raise InputError(
            f"{where}: the number of {name} must be known, not {array.shape[0]}; export a fit for one number "
            "of them, and only predictions for any"
        )


def as_floating(where: str, name: str, array: ArrayLike, shape: tuple[str, ...]) -> jax.Array:
    """Returns `array` as a float32 (or, with x64 on, float64) array of the required rank.

    Args:
      where: the function that was called, for the message.
      name: the argument's name.
      array: real floating-point numbers. Half precision is computed in float32.
      shape: the names of its axes, for example `("num_examples", "num_inputs")`.

    Returns:
      The array, float32 or float64.

    Raises:
      TypeError: it does not hold floating-point numbers.
      InputError: its rank is wrong, or an axis is empty.
    """
    dtype = getattr(array, "dtype", None) or np.asarray(array).dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{where}: {name} must hold floating-point numbers, not {dtype}; "
            "convert it, for 8-bit pictures with x.astype('float32') / 255"
        )
    result = with_automatic_axes(where, as_array(array))
    if result.ndim != len(shape):
        raise InputError(
            f"{where}: {name} must have the {len(shape)} axes ({', '.join(shape)}), "
            f"but its shape is {result.shape}"
        )
    if 0 in filter(is_known, result.shape):
        axis = shape[result.shape.index(0)]
        raise InputError(f"{where}: {name} is empty along {axis}; its shape is {result.shape}")
    return as_dtype(result, jnp.promote_types(result.dtype, jnp.float32))


def with_automatic_axes(where: str, tree: _Tree) -> _Tree:
    """Arrays on a mesh with explicit axes, as `jax.make_mesh` makes it, on the same with automatic ones.

    No data moves. The solvers' slices and loops do not suit explicit axes.

    Raises:
      InputError: an array is being traced, and split along an explicit axis; or it lies on a mesh with
        explicit axes inside `jax.set_mesh` of one.
    """
    return jax.tree.map(partial(_with_automatic_axes, where), tree)


def _with_automatic_axes(where: str, leaf: Any) -> Any:
    if isinstance(leaf, jax.core.Tracer):
        placed = jax.typeof(leaf).sharding
        if AxisType.Explicit in placed.mesh.axis_types and any(placed.spec):
            raise InputError(
                f"{where}: an array is split along explicit axes of a mesh, inside a compiled program; "
                "call sharding.fit and the like, or make the mesh with "
                "axis_types=(jax.sharding.AxisType.Auto, ...)"
            )
        return leaf
    if not isinstance(leaf, jax.Array) or not isinstance(leaf.sharding, NamedSharding):
        return leaf
    mesh = leaf.sharding.mesh
    if AxisType.Explicit not in mesh.axis_types:
        return leaf
    if AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
        raise InputError(
            f"{where}: the mesh of jax.set_mesh has explicit axes; make it with "
            "axis_types=(jax.sharding.AxisType.Auto, ...), or call this outside"
        )
    automatic = Mesh(mesh.devices, mesh.axis_names)
    return jax.device_put(leaf, NamedSharding(automatic, leaf.sharding.spec))


def as_array(array: ArrayLike) -> jax.Array:
    """Like `jnp.asarray`, but compiles no program for each shape of NumPy's arrays; of any byte order."""
    if isinstance(array, jax.Array):
        return array
    # A copy, since the caller may still write to the array.
    native = np.asarray(array).dtype.newbyteorder("=")
    return jax.device_put(np.array(array, jax.dtypes.canonicalize_dtype(native)))


def as_dtype(array: jax.Array, dtype: DTypeLike) -> jax.Array:
    """The array in a dtype, without a call if it has that dtype already."""
    return array if array.dtype == dtype else array.astype(dtype)


def as_plane(value: ArrayLike, size: tuple[int, ...], dtype: DTypeLike) -> jax.Array | np.ndarray:
    """Broadcasts a number to `size`; by NumPy, unless it is JAX's, since JAX would compile a program."""
    if isinstance(value, jax.Array):
        return jnp.broadcast_to(as_dtype(with_automatic_axes("a penalty or intensity", value), dtype), size)
    if not is_known(*size):
        return jnp.broadcast_to(jnp.asarray(value, dtype), size)
    return np.broadcast_to(np.asarray(value, dtype), size)


def regression(
    where: str, inputs: ArrayLike, targets: ArrayLike, *, is_complete: bool = True
) -> tuple[jax.Array, jax.Array]:
    """Returns the examples of a regression as floating point of one dtype.

    Args:
      where: the function that was called, for the message.
      inputs: `(num_examples, num_inputs)`.
      targets: `(num_examples, num_outputs)`.
      is_complete: whether all values must be finite.

    Returns:
      Both, float32 or float64.

    Raises:
      TypeError: they do not hold floating-point numbers.
      InputError: their shapes do not agree, or a value is NaN or infinite.
    """
    inputs = as_floating(where, "inputs", inputs, ("num_examples", "num_inputs"))
    targets = as_floating(where, "targets", targets, ("num_examples", "num_outputs"))
    known_number(where, "examples", inputs)
    known_number(where, "examples", targets)
    if len(inputs) != len(targets):
        raise InputError(
            f"{where}: inputs hold {len(inputs)} examples, but targets hold {len(targets)}"
            + _what_to_transpose(inputs.shape, targets.shape)
        )
    if is_complete:
        finite(where, "inputs", inputs)
        finite(where, "targets", targets)
    dtype = jnp.promote_types(inputs.dtype, targets.dtype)
    return as_dtype(inputs, dtype), as_dtype(targets, dtype)


def _what_to_transpose(inputs: tuple[int, ...], targets: tuple[int, ...]) -> str:
    """The remedy for matrices of different lengths, whose rows are to be examples."""
    names = [
        name
        for name, is_one in (
            ("both", inputs[1] == targets[1]),
            ("inputs", inputs[1] == targets[0]),
            ("targets", inputs[0] == targets[1]),
        )
        if is_one
    ]
    return f"; transpose {' or '.join(names)}, whose rows must be examples" if names else ""


def channels_last(where: str, name: str, shape: tuple[int, ...]) -> None:
    """Raises InputError if the shape of pictures says that their channels come first, as in PyTorch."""
    if shape[1] in (1, 3) and min(shape[2:]) > 4:
        raise InputError(
            f"{where}: {name} must be (num, height, width, channels), but {shape} has the channels first; "
            "use np.moveaxis(x, 1, -1)"
        )


def weights(
    where: str, array: ArrayLike, shapes: tuple[tuple[int, ...], ...], dtype: DTypeLike
) -> jax.Array | np.ndarray:
    """Weights of examples in a dtype, after checking them.

    Args:
      where: the function that was called, for the message.
      array: numbers of 0 or more.
      shapes: one of which it must have.
      dtype: of the examples.

    Raises:
      InputError: they have another shape, or one is negative or not finite.
    """
    if np.shape(array) not in shapes:
        raise InputError(
            f"{where}: weights must be {' or '.join(map(str, shapes))}, one for each example, not "
            f"{np.shape(array)}"
        )
    not_negative(where, "weights", array)
    return as_dtype(array, dtype) if isinstance(array, jax.Array) else np.asarray(array, dtype)


def finite(where: str, name: str, array: ArrayLike) -> None:
    """Raises InputError if a concrete `array` holds NaN or infinity, and says where the first is."""
    if _is_traced(array):
        return
    if _is_on_host(array):
        # Without a copy, and without a program to compile.
        if _all_finite(np.asarray(array)):
            return
    else:
        # On the array's device, and at once even if the caller is being traced.
        with jax.ensure_compile_time_eval():
            if bool(jnp.isfinite(array).all()):
                return
    if not is_concrete(array):
        raise InputError(f"{where}: {name} holds values that are NaN or infinite; remove or repair them")
    bad = np.argwhere(~np.isfinite(np.asarray(array)))
    raise InputError(
        f"{where}: {name} holds {len(bad)} values that are NaN or infinite, the first at index "
        f"{tuple(int(i) for i in bad[0])}; remove or repair them"
    )


def pictures(where: str, name: str, array: ArrayLike, *, may_be_change: bool = False) -> None:
    """Raises InputError if concrete pictures hold NaN or infinity, or are not in [0, 1].

    Penalties are in units of such pictures. Results of an expression are not clipped and may be pictures
    again: levels from `LEAST_LEVEL` to `MOST_LEVEL` are accepted. Targets may be changes of pictures, whose
    levels begin at -`MOST_LEVEL`. Other units suit `masked_ridge` and the regressions on windows.
    """
    if _is_traced(array):
        return
    if _is_on_host(array):
        low, high = _range(np.asarray(array))
    else:
        finite(where, name, array)
        # On the array's device, and at once even if the caller is being traced.
        with jax.ensure_compile_time_eval():
            low, high = (float(each) for each in _range_on_device(array))
    least = -MOST_LEVEL if may_be_change else LEAST_LEVEL
    if low >= least and high <= MOST_LEVEL:
        return
    finite(where, name, array)
    raise InputError(
        f"{where}: {name} holds values from {low:g} to {high:g}, but pictures must be in [0, 1]; "
        + _how_to_scale(low, high)
    )


def _how_to_scale(low: float, high: float) -> str:
    if low >= LEAST_LEVEL and high < 65536:
        return f"divide by {255 if high < 256 else 65535}"
    if low >= -1.5 and high <= MOST_LEVEL:
        return "if they are in [-1, 1], use (x + 1) / 2, and otherwise clip them"
    return "scale or clip them"


def _range(array: np.ndarray) -> tuple[float, float]:
    """The least and the largest number, or NaN; in chunks, so that the second reads from the cache."""
    flat = array.reshape(-1)
    chunks = [flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK)]
    ends = np.array([(each.min(), each.max()) for each in chunks])
    return float(ends[:, 0].min()), float(ends[:, 1].max())


@jax.jit
def _range_on_device(array: ArrayLike) -> tuple[jax.Array, jax.Array]:
    return jnp.min(array), jnp.max(array)


def _is_on_host(array: ArrayLike) -> bool:
    """Whether NumPy can read the array without a transfer."""
    if not isinstance(array, jax.Array):
        return True
    return len(array.devices()) == 1 and next(iter(array.devices())).platform == "cpu"


def _all_finite(array: np.ndarray) -> bool:
    """Whether all numbers are finite; in chunks, so that intermediate arrays stay in the cache."""
    flat = array.reshape(-1)
    return all(np.isfinite(flat[start : start + _CHUNK]).all() for start in range(0, len(flat), _CHUNK))


def positive_integer(where: str, name: str, value: int) -> None:
    """Raises TypeError unless `value` is a whole number, and InputError if it is below 1."""
    if not isinstance(value, int | np.integer):
        raise TypeError(f"{where}: {name} must be a whole number, not {value!r}")
    if value < 1:
        raise InputError(f"{where}: {name} must be 1 or more, not {value}")


def real(where: str, name: str, value: Any) -> None:
    """Raises InputError unless `value` is a real number or an array of them."""
    try:
        dtype = getattr(value, "dtype", None) or np.asarray(value).dtype
    except ValueError:  # Of a ragged list.
        dtype = np.dtype(object)
    if jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating):
        return
    is_choice = isinstance(value, str) and value in ("auto", "tuned")
    remedy = "; only synthesis.fit and synthesis.choose choose one" if is_choice else ""
    raise InputError(f"{where}: {name} must be a number, not {one_line(repr(value))}{remedy}")


def intensity(where: str, value: ArrayLike, num_pictures: int) -> None:
    """Raises InputError unless `value` is a finite number, or one for each picture."""
    real(where, "intensity", value)
    if np.shape(value) not in ((), (num_pictures,)):
        raise InputError(f"{where}: intensity must be a scalar or ({num_pictures},), not {np.shape(value)}")
    if is_concrete(value):
        values = np.asarray(value)
        if not np.isfinite(values).all():
            raise InputError(
                f"{where}: intensity must be finite, not {float(values[~np.isfinite(values)].flat[0]):g}"
            )


def not_negative(where: str, name: str, array: ArrayLike) -> None:
    """Raises InputError unless `array` holds numbers which, if concrete, are 0 or more, and finite."""
    real(where, name, array)
    if not is_concrete(array):
        return
    values = np.asarray(array)
    if not np.isfinite(values).all() or (values < 0).any():
        worst = float(values[~(np.isfinite(values) & (values >= 0))].flat[0])
        raise InputError(f"{where}: {name} must be 0 or more and finite, not {worst:g}")


def positive(where: str, name: str, array: ArrayLike) -> None:
    """Raises InputError if a concrete `array` holds a number that is not above 0, or not finite."""
    not_negative(where, name, array)
    if is_concrete(array) and (np.asarray(array) == 0).any():
        raise InputError(f"{where}: {name} must be above 0")


def solved(where: str, solution: jax.Array) -> None:
    """Raises InputError if a concrete `solution` of a regularised system is not finite."""
    if is_concrete(solution) and not _all_finite(np.asarray(solution)):
        raise InputError(f"{where}: the system is singular in {solution.dtype}; raise the penalty")


class PassedOverWarning(UserWarning):
    """Files were passed over; the message counts and names them. Scripts print it as one line."""


class UnsolvedWarning(UserWarning):
    """Some pixels' systems could not be solved; these pixels fell back to the mean of their targets."""


class GridEndWarning(UserWarning):
    """The best of several penalties or windows is the first or the last: a better one may lie beyond."""


def warn_unsolved(where: str, solved: jax.Array, *, is_image: bool = True, stacklevel: int = 4) -> None:
    """Warns if a concrete result says that some pixels' systems were not solved.

    Args:
      where: the function that was called.
      solved: `(..., height, width)`, or `(..., num_outputs)`.
      is_image: whether `solved` has the first of these shapes.
      stacklevel: of the warning, so that it names the line of the user's program.
    """
    if _is_traced(solved):
        return
    remedy = "they are predicted by the mean of their targets; raise the penalty"
    if not is_concrete(solved):  # On several machines.
        if not bool(solved.all()):
            warnings.warn(
                f"{where}: the systems of some pixels cannot be solved in their precision; {remedy}",
                UnsolvedWarning,
                stacklevel=stacklevel - 1,
            )
        return
    axes = 2 if is_image else 1
    found = np.asarray(solved, dtype=bool)
    missing = ~np.asarray(found.all(axis=tuple(range(found.ndim - axes))))
    if not missing.any():
        return
    place = [int(index) for index in np.argwhere(missing)[0]]
    first = f"row {place[0]}, column {place[1]}" if is_image else str(place[0])
    kind = "pixels" if is_image else "outputs"
    warnings.warn(
        f"{where}: the systems of {missing.sum()} of {missing.size} {kind}, the first being {first}, cannot "
        f"be solved in their precision; {remedy}",
        UnsolvedWarning,
        stacklevel=stacklevel - 1,
    )


def _is_traced(*arrays: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays))
