"""Displacement fields: where each pixel of a picture comes from.

A field u moves a picture: result[p] = picture[p + u(p)]. Points are (x, y) in pixels, x to the right and y
down.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlr_jax import checks, resampling
from mlr_jax.numerics import resizing
from mlr_jax.numerics.blurring import blur
from mlr_jax.numerics.serialization import exported

_LEAST_SIZE = 16  # of the coarsest picture that is registered, in pixels
_LONGEST_STEP = 1.0  # of a registration, in pixels: flat regions do not determine a step

LEAST_STRETCH = 0.1
"""The default stretch below which a pixel is folded for `unfold`."""

NUM_ROUNDS = 20
"""The default number of rounds in which `unfold` smooths."""

NUM_HALVINGS = 10
"""Bisection steps in which `unfold` finds how far to shorten a field."""

SMOOTHING = 1.5
"""Standard deviation of the Gaussian of `unfold`, in pixels."""

NEAR = 0.01
"""`unfold` smooths the field where the blurred mask of folded pixels exceeds this."""

_BORDER_POINTS = 9  # along each side, which a spline keeps in place

_AXES = ("num", "height", "width", "channels")


@exported
class Unfolded(NamedTuple):
    """Fields that do not fold.

    Attributes:
      fields: `(num, height, width, 2)`.
      num_folded: `(num,)` int32, how many pixels were folded before.
    """

    fields: jax.Array
    num_folded: jax.Array


@partial(jax.jit, static_argnames=("kernel", "oversampling"))
def warp(
    images: ArrayLike,
    fields: ArrayLike,
    *,
    kernel: resampling.Kernel = "cubic",
    oversampling: int = 1,
) -> jax.Array:
    """Moves pictures: result[p] = image[p + field(p)].

    Args:
      images: `(num, height, width, channels)` floating point.
      fields: `(num, height, width, 2)`, in pixels.
      kernel: see `resampling.Kernel`.
      oversampling: samples along each side of a pixel, which are averaged; more than one for a field that
        shrinks a picture, where single samples would miss some of its pixels.

    Returns:
      Pictures of the same shape. Beyond the picture its border is repeated; the cubic kernel may overshoot.
    """
    images, fields = jnp.asarray(images), jnp.asarray(fields)
    height, width = fields.shape[1:3]
    steps = (jnp.arange(oversampling, dtype=fields.dtype) + 0.5) / oversampling - 0.5
    across, down = (
        (jnp.arange(length, dtype=fields.dtype)[:, None] + steps[None]).reshape(-1)
        for length in (width, height)
    )
    points = jnp.stack(jnp.meshgrid(across, down), axis=-1)

    def warp_one(image: jax.Array, field: jax.Array) -> jax.Array:
        between = field if oversampling == 1 else resampling.sample(field, points)
        samples = resampling.sample(image, points + between, kernel=kernel)
        return samples.reshape(height, oversampling, width, oversampling, -1).mean(axis=(1, 3))

    # One after the other, as the samples take several times the memory of a picture.
    return jax.lax.map(lambda each: warp_one(*each), (images, fields))


def stretch(fields: ArrayLike) -> jax.Array:
    """The Jacobian determinant det(1 + du/dp): the area that each pixel shows, `(num, height, width)`.

    From differences between each pixel and the next one on the right and below. Where it is 0 or less, the
    field folds: neighbours change places.
    """
    fields = jnp.asarray(fields)
    right = jnp.diff(fields, axis=2, append=fields[:, :, -1:])
    below = jnp.diff(fields, axis=1, append=fields[:, -1:])
    return (1 + right[..., 0]) * (1 + below[..., 1]) - right[..., 1] * below[..., 0]


@partial(jax.jit, static_argnames=("num_rounds",))
def unfold(fields: ArrayLike, *, least: ArrayLike = LEAST_STRETCH, num_rounds: int = NUM_ROUNDS) -> Unfolded:
    """Smooths fields where they fold, until they do not.

    Around pixels whose `stretch` is less than `least`, it replaces the field by its Gaussian mean, at most
    `num_rounds` times. Then it shortens a field that still folds as a whole, as little as needed.

    Args:
      fields: `(num, height, width, 2)`, in pixels.
      least: stretch below which a pixel is folded, above 0 and below 1.
      num_rounds: of smoothing.

    Returns:
      Fields whose stretch is at least `least` everywhere, and how many pixels were below it before. A field
      that does not fold comes back as it is, to the bit.
    """
    fields = jnp.asarray(fields)

    def folded(field: jax.Array) -> jax.Array:
        return stretch(field[None])[0] < least

    def mend_more(
        step: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """One round of smoothing or, after all rounds, one bisection step for the length of the field.

        One loop does both, so that smoothing and the test for folds are compiled only once: compiling takes
        longer than running.
        """
        field, short, long = state
        length = jnp.where(step <= num_rounds, jnp.ones_like(short), (short + long) / 2)
        folds = folded(length * field)
        is_smoothed = step < num_rounds
        blurred = blur(jnp.concatenate([field, folds[..., None].astype(field.dtype)], axis=-1), SMOOTHING)
        near = (blurred[..., 2:] > NEAR) & is_smoothed
        too_long = folds.any()
        return (
            jnp.where(near, blurred[..., :2], field),
            jnp.where(is_smoothed | too_long, short, length),
            jnp.where(is_smoothed | ~too_long, long, length),
        )

    def mend(field: jax.Array) -> jax.Array:
        # Contains the largest length at which the field does not fold.
        interval = jnp.zeros((), field.dtype), jnp.ones((), field.dtype)
        num_steps = num_rounds + 1 + NUM_HALVINGS
        smoothed, length, _ = jax.lax.fori_loop(0, num_steps, mend_more, (field, *interval))
        return length * smoothed

    def unfold_one(field: jax.Array) -> tuple[jax.Array, jax.Array]:
        before = folded(field)
        # Hardly any field folds, and mending takes long.
        mended = jax.lax.cond(before.any(), mend, lambda field: field, field)
        return mended, before.sum().astype(jnp.int32)

    return Unfolded(*jax.lax.map(unfold_one, fields))


def fix_border(fields: ArrayLike, *, margin: int) -> jax.Array:
    """Fades fields to 0 at the border, which so stays in place.

    Args:
      fields: `(num, height, width, 2)`.
      margin: pixels over which they fade, linearly.
    """
    fields = jnp.asarray(fields)
    fading = jnp.asarray(border_weights(fields.shape[1], fields.shape[2], margin), fields.dtype)
    return fields * fading[None, :, :, None]


def border_weights(height: int, width: int, margin: int) -> np.ndarray:
    """The factors of `fix_border`, `(height, width)`: 1 inside, 0 at the border."""
    down, across = (
        np.clip(np.minimum(place, place[::-1]) / margin, 0, 1)
        for place in (np.arange(height), np.arange(width))
    )
    return down[:, None] * across[None]


def resize(fields: ArrayLike, shape: tuple[int, int]) -> jax.Array:
    """The same movement in pictures of another size.

    Args:
      fields: `(num, height, width, 2)`, in pixels.
      shape: the new (height, width). Shrinking is anti-aliased, enlarging is cubic.

    Returns:
      `(num, *shape, 2)`, in the new pixels.
    """
    fields = jnp.asarray(fields)
    height, width = fields.shape[1:3]
    scale = jnp.array([shape[1] / width, shape[0] / height], fields.dtype)
    method = resizing_method((height, width), shape)
    return resizing.resize(fields, shape, method) * scale[None, None, None]


def resizing_method(before: tuple[int, int], after: tuple[int, int]) -> resizing.Method:
    """The interpolation with which `resize` goes from one (height, width) to another."""
    return "cubic" if after[0] * after[1] > before[0] * before[1] else "linear"


def mirror(fields: ArrayLike) -> jax.Array:
    """The same movement in pictures that are mirrored left to right; `(num, height, width, 2)`."""
    fields = jnp.asarray(fields)
    return fields[:, :, ::-1] * jnp.array([-1.0, 1.0], fields.dtype)[None, None, None]


def from_landmarks(
    fixed: ArrayLike, moving: ArrayLike, shape: tuple[int, int], *, smoothing: float = 1.0
) -> np.ndarray:
    """The smoothest field that takes the landmarks of one picture to those of another, and keeps the border.

    A thin-plate spline (Bookstein, IEEE TPAMI 11(6), 1989) through the landmarks and points of the border.

    Args:
      fixed: `(num_points, 2)`, (x, y) in pixels, in the picture that the field is for.
      moving: `(num_points, 2)`, the same points of the picture whose pixels are to be moved.
      shape: (height, width) of both.
      smoothing: how far the spline may miss noisy landmarks; 0 goes through them.

    Returns:
      `(height, width, 2)` float32, for `warp`.

    Raises:
      InputError: the numbers of points differ, or a value is not finite.
    """
    # Comes with JAX, and is slow to import.
    from scipy.interpolate import RBFInterpolator

    fixed, moving = np.asarray(fixed, np.float64), np.asarray(moving, np.float64)
    if fixed.shape != moving.shape or fixed.ndim != 2 or fixed.shape[1] != 2:
        raise checks.InputError(
            f"displacement.from_landmarks: fixed is {fixed.shape} and moving is {moving.shape}; both must be "
            "(num_points, 2)"
        )
    checks.finite("displacement.from_landmarks", "fixed", fixed)
    checks.finite("displacement.from_landmarks", "moving", moving)
    height, width = shape
    across, down = (np.linspace(0, length - 1, _BORDER_POINTS) for length in (width, height))
    border = [(x, y) for x in across for y in down if x in across[[0, -1]] or y in down[[0, -1]]]
    places = np.concatenate([fixed, border])
    steps = np.concatenate([moving - fixed, np.zeros((len(border), 2))])
    places, first = np.unique(places, axis=0, return_index=True)
    spline = RBFInterpolator(places, steps[first], kernel="thin_plate_spline", smoothing=smoothing)
    # The field is smooth: every other pixel is enough, and takes a quarter of the time.
    coarse = np.meshgrid(
        np.linspace(0, width - 1, -(-width // 2)), np.linspace(0, height - 1, -(-height // 2))
    )
    values = spline(np.stack(coarse, axis=-1).reshape(-1, 2)).reshape(*coarse[0].shape, 2)
    fine = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    scale = (np.array(values.shape[1::-1]) - 1) / np.maximum(np.array([width, height]) - 1, 1)
    field = resampling.sample(
        jnp.asarray(values, jnp.float32), jnp.asarray(fine * scale, jnp.float32), kernel="cubic"
    )
    return np.asarray(field)


def register(
    fixed: ArrayLike,
    moving: ArrayLike,
    *,
    sigma: float = 5.0,
    smoothing: float = 2.0,
    stiffness: float = 1e-3,
    num_steps: int = 6,
) -> jax.Array:
    """Finds the fields that bring pictures onto others, such that fixed[p] is about moving[p + u(p)].

    Lucas and Kanade's (IJCAI 1981) least squares on the brightness of a Gaussian neighbourhood of every
    pixel,

        min_du  sum_q g(q - p) (fixed(q) - moving(q + u(q)) - grad moving . du)^2 + stiffness |du|^2 ,

    from coarse to fine, in `num_steps` steps at each size. Each step ends by smoothing the field.

    Args:
      fixed: `(num, height, width, channels)` floating point in [0, 1].
      moving: the same shape.
      sigma: standard deviation of the neighbourhood, in pixels of each size.
      smoothing: of the field after each step, standard deviation in pixels.
      stiffness: damps steps in flat regions of the picture, which do not determine them.
      num_steps: at each size.

    Returns:
      `(num, height, width, 2)`.

    Raises:
      TypeError: the pictures are not floating point.
      InputError: their shapes differ, a value is NaN, or they are not in [0, 1], see `synthesis.fit`.
    """
    where = "displacement.register"
    fixed = checks.as_floating(where, "fixed", fixed, _AXES)
    moving = checks.as_floating(where, "moving", moving, _AXES)
    if fixed.shape != moving.shape:
        raise checks.InputError(f"{where}: fixed is {fixed.shape}, but moving is {moving.shape}")
    checks.pictures(where, "fixed", fixed)
    checks.pictures(where, "moving", moving)
    return _register(fixed.mean(axis=-1), moving.mean(axis=-1), sigma, smoothing, stiffness, num_steps)


@partial(jax.jit, static_argnames=("sigma", "smoothing", "num_steps"))
def _register(
    fixed: jax.Array, moving: jax.Array, sigma: float, smoothing: float, stiffness: ArrayLike, num_steps: int
) -> jax.Array:
    height, width = fixed.shape[1:]
    num_sizes = 1
    while min(height, width) >> num_sizes >= _LEAST_SIZE:
        num_sizes += 1

    def register_one(fixed: jax.Array, moving: jax.Array) -> jax.Array:
        field = jnp.zeros((1, 1, 2), fixed.dtype)
        for halvings in reversed(range(num_sizes)):
            shape = height >> halvings, width >> halvings
            field = resize(field[None], shape)[0]
            target, start = (
                jax.image.resize(each, shape, "linear", antialias=True) for each in (fixed, moving)
            )
            step = partial(_step, target, start, sigma=sigma, smoothing=smoothing, stiffness=stiffness)
            field = jax.lax.fori_loop(0, num_steps, step, field)
        return field

    return jax.lax.map(lambda both: register_one(*both), (fixed, moving))


def _step(
    fixed: jax.Array,
    moving: jax.Array,
    _: jax.Array,
    field: jax.Array,
    *,
    sigma: float,
    smoothing: float,
    stiffness: ArrayLike,
) -> jax.Array:
    """One step of a registration at one size."""
    moved = warp(moving[None, :, :, None], field[None], kernel="linear")[0, :, :, 0]
    padded = jnp.pad(moved, 1, mode="edge")
    right = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    below = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    error = fixed - moved
    products = (right * right, right * below, below * below, right * error, below * error)
    xx, xy, yy, xe, ye = jnp.moveaxis(blur(jnp.stack(products, axis=-1), sigma), -1, 0)
    xx, yy = xx + stiffness, yy + stiffness
    step = jnp.stack([yy * xe - xy * ye, xx * ye - xy * xe], axis=-1) / (xx * yy - xy * xy)[..., None]
    return blur(field + jnp.clip(step, -_LONGEST_STEP, _LONGEST_STEP), smoothing)
