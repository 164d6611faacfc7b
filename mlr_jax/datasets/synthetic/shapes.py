"""Drawing tools: soft edges, lines, bumps and waves, and the mixing of colours."""

import jax.numpy as jnp
from jax import Array


def rgb(red: float, green: float, blue: float) -> Array:
    """A colour `(3,)` in linear light."""
    return jnp.array([red, green, blue], jnp.float32)


def mix(start: Array, end: Array, amount: Array) -> Array:
    """`start` at amount 0, `end` at 1."""
    return start + (end - start) * amount


def smooth_step(low: Array | float, high: Array | float, value: Array) -> Array:
    """0 below `low`, 1 above `high` (or the reverse, if low > high), and smooth in between."""
    t = jnp.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def inside(distance: Array, softness: float = 0.007) -> Array:
    """Coverage of a region whose distance is negative inside."""
    return smooth_step(softness, -softness, distance)


def line(distance: Array, width: Array | float) -> Array:
    """A soft line of height 1 where the distance is 0."""
    return jnp.exp(-((distance / width) ** 2))


def bump(dx: Array, dy: Array, width: Array | float, height: Array | float) -> Array:
    """A soft hill of height 1 where dx and dy are 0."""
    return jnp.exp(-((dx / width) ** 2) - (dy / height) ** 2)


def wave(turns: Array) -> Array:
    """Nearly sin(2 pi turns), made of parabolas: several times cheaper, and it looks the same."""
    half = 2 * (turns - jnp.floor(turns)) - 1
    return 4 * half * (jnp.abs(half) - 1)


def superellipse(dx: Array, dy: Array, power: Array | float = 2.0) -> Array:
    """Size of the superellipse through (dx, dy): 1 on the unit one."""
    return ((dx * dx + 1e-6) ** (power / 2) + (dy * dy + 1e-6) ** (power / 2)) ** (1 / power)


def rounded_abs(x: Array) -> Array:
    """|x|, rounded at the midline so that the relief of a symmetrical face has no crease there."""
    return jnp.sqrt(x * x + 1e-4)
