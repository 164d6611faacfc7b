"""Identities and expressions, and how both are drawn at random."""

import math
from typing import Annotated, NamedTuple, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mlr_jax.checks import InputError
from mlr_jax.datasets.synthetic.shapes import smooth_step


class Identity(NamedTuple):
    """One person, and the light they are photographed in.

    All fields are float32. The annotation of a field holds the lowest and the highest value that
    `sample_identity` draws, then the shape, if it is no scalar. Quantities without a unit run from
    0 to 1. A range that starts below 0 makes a feature rare: below 0 it is absent.
    """

    head_width: Annotated[Array, 0.395, 0.435]  # half width at the cheekbones
    squareness: Annotated[Array, 2.05, 2.5]  # of the outline: 2 is an ellipse
    jaw_taper: Annotated[Array, 0.1, 0.32]  # how much narrower the jaw is
    chin_y: Annotated[Array, 0.975, 1.04]
    cheek: Annotated[Array, 0.0, 1.0]
    age: Annotated[Array, 0.0, 1.0]  # depth of the folds at rest
    melanin: Annotated[Array, 0.0, 1.0]
    blood: Annotated[Array, 0.0, 1.0]
    freckles: Annotated[Array, -2.0, 1.0]
    skin_waves: Annotated[Array, 0.0, 1.0, 16, 3]  # direction, frequency and phase of the texture
    moles: Annotated[Array, -1.0, 1.0, 4, 3]  # x, y, darkness
    eye_x: Annotated[Array, 0.184, 0.196]
    eye_y: Annotated[Array, 0.374, 0.386]
    eye_width: Annotated[Array, 0.088, 0.104]  # half width
    eye_height: Annotated[Array, 0.88, 1.2]
    eye_tilt: Annotated[Array, -0.04, 0.14]
    lid_fold: Annotated[Array, 0.0, 1.0]
    lashes: Annotated[Array, 0.2, 1.0]
    iris_light: Annotated[Array, 0.0, 1.0]
    iris_green: Annotated[Array, 0.0, 1.0]
    brow_y: Annotated[Array, 0.275, 0.305]
    brow_thickness: Annotated[Array, 0.014, 0.03]
    brow_arch: Annotated[Array, 0.0, 0.035]
    brow_slope: Annotated[Array, -0.02, 0.03]
    brow_density: Annotated[Array, 0.5, 1.0]
    nose_width: Annotated[Array, 0.062, 0.098]
    nose_y: Annotated[Array, 0.585, 0.625]  # of the tip
    nose_height: Annotated[Array, 0.055, 0.085]
    mouth_y: Annotated[Array, 0.772, 0.788]
    mouth_width: Annotated[Array, 0.128, 0.156]  # half width
    mouth_curve: Annotated[Array, -0.05, 0.35]  # corners up at rest
    upper_lip: Annotated[Array, 0.026, 0.044]
    lower_lip: Annotated[Array, 0.038, 0.058]
    lip_red: Annotated[Array, 0.2, 1.0]
    hair_dark: Annotated[Array, 0.0, 1.0]
    hair_red: Annotated[Array, -1.0, 1.0]
    hair_grey: Annotated[Array, -0.8, 0.5]  # age comes on top
    hair_length: Annotated[Array, 0.0, 1.0]
    hair_volume: Annotated[Array, 0.0, 1.0]
    hair_curl: Annotated[Array, 0.0, 1.0]
    hair_waves: Annotated[Array, 0.0, 1.0, 10, 2]  # frequency and phase of the strands
    hairline: Annotated[Array, -0.02, 0.07]
    parting: Annotated[Array, -0.25, 0.25]
    swoop: Annotated[Array, 0.0, 0.35]  # how steeply the hair falls away from the parting
    fringe: Annotated[Array, -1.2, 1.0]
    bald: Annotated[Array, -9.0, 1.0]
    beard: Annotated[Array, -2.0, 1.0]
    glasses: Annotated[Array, -7.0, 1.0]
    cloth: Annotated[Array, 0.0, 1.0, 3]
    backdrop: Annotated[Array, 0.0, 1.0, 4]  # lightness, hue, saturation, gradient
    light_x: Annotated[Array, -0.9, 0.9]  # where the key light comes from
    light_y: Annotated[Array, -0.9, -0.15]
    contrast: Annotated[Array, 0.55, 0.95]  # of the key light to the sky
    warmth: Annotated[Array, -0.6, 1.0]


class Expression(NamedTuple):
    """The action of the muscles and the pose when the picture is taken. All fields are scalars.

    A muscle at rest is 0 and 1 is its full action; negative values act the other way.
    """

    smile: Array | float = 0.0  # corners of the mouth up
    stretch: Array | float = 0.0  # mouth wider
    jaw: Array | float = 0.0  # mouth open
    lip_raise: Array | float = 0.0  # upper lip up
    press: Array | float = 0.0  # lips thinner
    brow_inner: Array | float = 0.0  # inner ends of the eyebrows up
    brow_outer: Array | float = 0.0  # outer ends of the eyebrows up
    brow_draw: Array | float = 0.0  # eyebrows together and down
    eye_open: Array | float = 0.0
    cheek: Array | float = 0.0  # cheeks up, with crow's feet
    nose: Array | float = 0.0  # nose wrinkled
    chin: Array | float = 0.0  # chin bunched up
    uneven: Array | float = 0.0  # more on the left of the picture than on the right
    shift_x: Array | float = 0.0  # the head, in picture widths
    shift_y: Array | float = 0.0
    tilt: Array | float = 0.0  # of the head in the picture plane, in radians
    exposure: Array | float = 0.0  # of the picture, in stops


# The full action of a typical person.
_TYPICAL = {
    "neutral": Expression(),
    "happy": Expression(
        smile=1.0, stretch=0.8, jaw=0.22, lip_raise=0.7, eye_open=-0.1, cheek=0.9
    ),
    "sad": Expression(
        smile=-0.75, stretch=-0.1, brow_inner=0.8, brow_draw=0.35, eye_open=-0.3, chin=0.7
    ),
    "angry": Expression(
        smile=-0.3, press=0.9, brow_inner=-0.15, brow_draw=1.0, eye_open=0.1, nose=0.25, chin=0.2
    ),
    "surprised": Expression(
        stretch=-0.55, jaw=0.9, brow_inner=0.9, brow_outer=0.95, eye_open=0.95
    ),
    "disgusted": Expression(
        smile=-0.45, lip_raise=0.5, brow_draw=0.6, eye_open=-0.45, cheek=0.5, nose=1.0, chin=0.3
    ),
    "afraid": Expression(
        smile=-0.4, stretch=0.65, jaw=0.3, lip_raise=0.25,
        brow_inner=0.95, brow_outer=0.35, brow_draw=0.5, eye_open=0.8,
    ),
}  # fmt: skip

# Standard deviation of faces about the typical one, smallest where it would part closed lips.
_SPREAD = Expression(
    smile=0.06, stretch=0.06, jaw=0.012, lip_raise=0.02, press=0.08,
    brow_inner=0.07, brow_outer=0.07, brow_draw=0.07, eye_open=0.07,
    cheek=0.05, nose=0.04, chin=0.05, uneven=0.2,
    shift_x=0.007, shift_y=0.007, tilt=0.012, exposure=0.06,
)  # fmt: skip

EXPRESSIONS = tuple(_TYPICAL)
"""The names of all expressions, "neutral" first."""


def sample_identity(key: Array) -> Identity:
    """Draws a person at random.

    Args:
      key: a JAX random key.

    Returns:
      The person, every field uniform in its range, except that dark skin goes with dark curly hair
      and dark eyes, and long hair with no beard.
    """
    ranges = [hint.__metadata__ for hint in get_type_hints(Identity, include_extras=True).values()]
    sizes = [math.prod(shape) for _, _, *shape in ranges]
    draws = jnp.split(jax.random.uniform(key, (sum(sizes),), jnp.float32), np.cumsum(sizes)[:-1])
    who = Identity(
        *(
            low + (high - low) * draw.reshape(shape)
            for draw, (low, high, *shape) in zip(draws, ranges, strict=True)
        )
    )
    return who._replace(
        hair_dark=jnp.maximum(who.hair_dark, 0.95 * smooth_step(0.1, 0.6, who.melanin)),
        hair_red=who.hair_red * smooth_step(0.6, 0.3, who.melanin),
        hair_curl=jnp.maximum(who.hair_curl, smooth_step(0.5, 0.9, who.melanin)),
        iris_light=who.iris_light * smooth_step(0.5, 0.2, who.melanin),
        beard=jnp.where(who.hair_length > 0.6, -1.0, who.beard),
    )


def sample_expression(key: Array, name: str) -> Expression:
    """Draws a person's way to show an expression.

    Args:
      key: a JAX random key. One key stands for one person: it gives the same face each time, and
        unrelated ones for different names.
      name: one of `EXPRESSIONS`.

    Returns:
      The expression, 0.55 to 1.3 times as strong as a typical one, with every muscle and the pose
      varied besides. A neutral face varies a little, too.

    Raises:
      InputError: the name is unknown.
    """
    return draw_expression(key, index_of("synthetic.sample_expression", "name", name))


def draw_expression(key: Array, index: Array | int) -> Expression:
    """`sample_expression` by the position in `EXPRESSIONS`, which may be traced."""
    typical = jnp.array(list(_TYPICAL.values()), jnp.float32)[index]
    spread = jnp.array(_SPREAD, jnp.float32)
    draws = jax.random.uniform(jax.random.fold_in(key, index), (2, spread.size + 1), jnp.float32, -1.73, 1.73)
    strength = 0.925 + 0.217 * draws[0, 0]
    return Expression(*(typical * strength * (1 + 0.3 * draws[0, 1:]) + spread * draws[1, 1:]))


def index_of(where: str, argument: str, name: str) -> int:
    """The position of an expression in `EXPRESSIONS`; InputError if there is no such one."""
    if name not in EXPRESSIONS:
        raise InputError(f"{where}: {argument} {name!r} is unknown; choose one of {', '.join(EXPRESSIONS)}")
    return EXPRESSIONS.index(name)
