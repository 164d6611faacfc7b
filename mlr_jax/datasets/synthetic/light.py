"""How surfaces send light to the camera, and how the camera develops it."""

import jax.numpy as jnp
from jax import Array

from mlr_jax.datasets.synthetic.people import Expression, Identity
from mlr_jax.datasets.synthetic.shapes import rgb


def unit(x: Array | float, y: Array | float, z: Array | float) -> Array:
    """The unit vector `(3,)` of a direction: x to the right, y down, z towards the camera."""
    vector = jnp.array([x, y, z])
    return vector / jnp.sqrt(jnp.sum(vector**2))


def lit(
    who: Identity,
    albedo: Array,
    normal: Array,
    open_sky: Array | float,
    gloss: float = 0.0,
    scatter: float = 0.5,
) -> Array:
    """Light `(3,)` that a surface sends to the camera.

    Light scattered in the skin comes out further on, the red most: it wraps around into the shade.
    """
    toward = unit(who.light_x, who.light_y, 0.9)
    halfway = unit(toward[0], toward[1], toward[2] + 1)
    colour = 1 + who.warmth * rgb(0.08, 0.0, -0.12)
    wrap = scatter * rgb(0.55, 0.32, 0.25)
    key = jnp.maximum((normal @ toward + wrap) / (1 + wrap), 0.0) * (0.4 + 0.6 * open_sky)
    sky = (0.75 - 0.25 * normal[1] + 0.15 * normal[2]) * open_sky * rgb(0.97, 1.0, 1.04)
    shine = jnp.maximum(normal @ halfway, 0.0) ** 32 * open_sky
    light = 1.65 * who.contrast * key * colour + (0.95 - 0.7 * who.contrast) * sky
    return albedo * light + gloss * who.contrast * shine * colour


def develop(act: Expression, light: Array) -> Array:
    """Linear light to display values, with the soft highlights of film."""
    exposed = 1 - jnp.exp(-1.75 * 2.0**act.exposure * light)
    return jnp.maximum(exposed, 1e-4) ** (1 / 2.2)  # the floor keeps the gradient finite
