"""Composes the parts from back to front, at every point of the picture."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from mlr_jax.datasets.synthetic.anatomy import point_at
from mlr_jax.datasets.synthetic.light import develop
from mlr_jax.datasets.synthetic.parts import BACK_TO_FRONT, backdrop
from mlr_jax.datasets.synthetic.people import Expression, Identity
from mlr_jax.datasets.synthetic.shapes import mix


def shade(who: Identity, act: Expression, x: Array, y: Array) -> Array:
    """Colour `(3,)` of the picture at one point, in display values."""
    dx, dy = x - act.shift_x, y - act.shift_y - 0.5
    at = point_at(who, act, dx + act.tilt * dy, dy - act.tilt * dx + 0.5)
    light = backdrop(who, at)
    for part in BACK_TO_FRONT:
        colour, coverage = part(who, act, at)
        light = mix(light, colour, coverage)
    return develop(act, light)


@partial(jax.jit, static_argnames="image_size")
def render(identity: Identity, expression: Expression, image_size: int) -> Array:
    """Draws a portrait.

    The picture does not depend on the size, except for its detail. The function is differentiable,
    and for many people it can be mapped with `jax.vmap`.

    Args:
      identity: the person.
      expression: of the face.
      image_size: height and width in pixels.

    Returns:
      `(image_size, image_size, 3)` float32 in [0, 1].
    """
    samples = max(2, math.ceil(128 / image_size))  # along each axis, for smooth edges
    grid = (jnp.arange(image_size * samples, dtype=jnp.float32) + 0.5) / (image_size * samples)
    colour_at = partial(shade, identity, expression)
    image = jax.vmap(jax.vmap(colour_at, (0, None)), (None, 0))(grid - 0.5, grid)
    return image.reshape(image_size, samples, image_size, samples, 3).mean((1, 3))
