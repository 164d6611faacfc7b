"""Pictures as lines: their rows one after the other, with zeros between them.

With as many zeros as the largest shift to the side, a shift by (dy, dx) is a shift along the line, and reads
zeros where it leaves the picture. Loops over slices of a line run several times as fast on a CPU as over
slices of a plane.
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
        """Numbers before the first pixel; at least as many follow the line."""
        return self.reach_y * self.stride + self.reach_x

    @property
    def rows(self) -> tuple[int, int]:
        """The line and its margins as rows of `stride` numbers; pixel (0, 0) is at (reach_y, reach_x)."""
        return self.height + 2 * self.reach_y + 1, self.stride

    @property
    def size(self) -> int:
        """Numbers of the line and its margins."""
        return self.rows[0] * self.rows[1]

    def shift(self, dy: int, dx: int) -> int:
        """How far along the line the pixel at (dy, dx) from another one is."""
        return dy * self.stride + dx


def flatten(planes: jax.Array, layout: Layout, *, fill: float = 0) -> jax.Array:
    """Lays out planes.

    Args:
      planes: `(..., height, width)`, or of fewer rows, of which there are more on the line.
      layout: of the line.
      fill: the value between and around rows.

    Returns:
      `(..., size)`.
    """
    lead = [(0, 0)] * (planes.ndim - 2)
    # One more row stands for the margins at both ends of the line: rows are padded fast.
    below = layout.height - planes.shape[-2] + layout.reach_y + 1
    rows = [(layout.reach_y, below), (layout.reach_x, 0)]
    return jnp.pad(planes, [*lead, *rows], constant_values=fill).reshape(*planes.shape[:-2], -1)


def unflatten(line: jax.Array, layout: Layout) -> jax.Array:
    """From `(..., length)`, without margins, to `(..., height, width)`."""
    return line.reshape(*line.shape[:-1], layout.height, layout.stride)[..., : layout.width]
