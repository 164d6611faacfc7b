"""Pictures as lines: their rows one after the other, with zeros between them.

With as many zeros as a shift goes to the side, a shift by (dy, dx) is one along the line, which reads zeros
where it leaves the picture. Loops over slices of a line run several times as fast on a CPU as over slices of
a plane.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Layout(NamedTuple):
    """How `height` rows of `width` pixels lie on a line, for shifts of at most `reach_y` and `reach_x`."""

    height: int
    width: int
    reach_y: int
    reach_x: int

    @property
    def stride(self) -> int:
        """Numbers from a row's beginning to the next one's."""
        return self.width + self.reach_x

    @property
    def length(self) -> int:
        """Numbers of the line, without margins."""
        return self.height * self.stride

    @property
    def margin(self) -> int:
        """Numbers before the first pixel, and after the line."""
        return self.reach_y * self.stride + self.reach_x

    def shift(self, dy: int, dx: int) -> int:
        """How far along the line the pixel at (dy, dx) from another one is."""
        return dy * self.stride + dx


def flatten(planes: jax.Array, layout: Layout, *, fill: float = 0) -> jax.Array:
    """Lays out planes.

    Args:
      planes: `(..., height, width)`, or `(..., height + 2 * reach_y, width)` where the rows above and below
        are known.
      layout: of the line.
      fill: instead of zeros.

    Returns:
      `(..., length + 2 * margin)`.
    """
    lead = [(0, 0)] * (planes.ndim - 2)
    rows = 0 if planes.shape[-2] > layout.height else layout.reach_y
    padded = jnp.pad(planes, [*lead, (rows, rows), (0, layout.reach_x)], constant_values=fill)
    line = padded.reshape(*planes.shape[:-2], -1)
    return jnp.pad(line, [*lead, (layout.reach_x, layout.reach_x)], constant_values=fill)


def unflatten(line: jax.Array, layout: Layout) -> jax.Array:
    """From `(..., length)`, without margins, to `(..., height, width)`."""
    return line.reshape(*line.shape[:-1], layout.height, layout.stride)[..., : layout.width]
