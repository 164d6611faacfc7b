"""Which channels of a picture are fitted together.

"independent" channels are a regression each, "shared" ones are examples of a single regression, and "joint"
ones are inputs of a single regression.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax import checks

Channels = Literal["independent", "shared", "joint"]
"""How colour channels relate.

"independent": each output channel sees its own channel, with its own weights, as published. "shared":
one set of weights for all channels, each channel of a picture being one more example. "joint": each
output channel sees all channels of the window.
"""


def group(images: jax.Array, channels: Channels, *, num_views: int = 1) -> jax.Array:
    """The examples of each regression: `(groups, num, height, width, inputs of one)`."""
    if channels == "joint":
        return images[None]
    return (
        as_examples(images, num_views=num_views)[None]
        if channels == "shared"
        else split(images, num_views=num_views)
    )


def as_examples(images: jax.Array, *, num_views: int = 1) -> jax.Array:
    """(num, height, width, channels * views) -> (channels * num, height, width, views)."""
    return split(images, num_views=num_views).reshape(-1, *images.shape[1:3], num_views)


def split(images: jax.Array, *, num_views: int = 1) -> jax.Array:
    """(num, height, width, channels * views) -> (channels, num, height, width, views)."""
    return jnp.moveaxis(images.reshape(*images.shape[:3], -1, num_views), 3, 0)


def views_first(images: jax.Array, num_views: int) -> jax.Array:
    """(num, height, width, channels * views) -> (num, views, height, width, channels)."""
    return jnp.moveaxis(images.reshape(*images.shape[:3], -1, num_views), -1, 1)


def num_examples(num_pairs: int, num_channels: int, channels: Channels) -> int:
    """How many examples each regression has."""
    return num_pairs * (num_channels if channels == "shared" else 1)


def weights_of_examples(
    weights: jax.Array | np.ndarray | None, num_channels: int, channels: Channels
) -> jax.Array | None:
    """The weights of each regression's examples, from those of pairs `(num,)`."""
    if weights is None:
        return None
    return jnp.tile(weights, num_channels) if channels == "shared" else jnp.asarray(weights)


def num_inputs(num_channels: int, channels: Channels) -> int:
    """How many channels each offset of a window sees."""
    return num_channels if channels == "joint" else 1


def check_channels(where: str, channels: str) -> None:
    """Raises InputError unless `channels` is one of `Channels`. Only public functions call this."""
    if channels not in get_args(Channels):
        raise checks.InputError(
            f"{where}: channels must be one of {', '.join(get_args(Channels))}, not {channels!r}"
        )
