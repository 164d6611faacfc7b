"""Mirrored and shifted pictures, the same for all GANs (Isola et al., 2017: 256 of 286 pixels)."""

from functools import partial

import jax
import jax.numpy as jnp

# Factor by which pictures are enlarged before a crop of their size.
_ENLARGEMENT = 286 / 256


def augment(pictures: jax.Array, key: jax.Array) -> jax.Array:
    """Mirrors and shifts a group of pictures at random, all alike.

    Args:
      pictures: `(num, height, width, channels)`.
      key: of the random choices.

    Returns:
      The same shape.
    """
    _, height, width, _ = pictures.shape
    flip_key, move_key = jax.random.split(key)
    pictures = jnp.where(jax.random.bernoulli(flip_key), jnp.flip(pictures, axis=2), pictures)
    size = jnp.array([height, width])
    margin = jnp.round((_ENLARGEMENT - 1) * size)
    offset = jnp.round(jax.random.uniform(move_key, (2,)) * margin)
    scale = (size + margin) / size

    @partial(jax.vmap)
    def move(picture: jax.Array) -> jax.Array:
        return jax.image.scale_and_translate(
            picture, picture.shape, (0, 1), scale, -offset, method="linear", antialias=False
        )

    return move(pictures)


def batch_of(key: jax.Array, step: jax.Array, num_people: int, batch_size: int) -> jax.Array:
    """The people of a step, `(batch_size,)`: each epoch has everyone once, in a new order.

    Args:
      key: of the whole training.
      step: number of the step.
      num_people: to draw from.
      batch_size: of every step; the last step of an epoch goes on with people of the same epoch.
    """
    steps_an_epoch = -(-num_people // batch_size)
    order = jax.random.permutation(jax.random.fold_in(key, step // steps_an_epoch), num_people)
    return order[(step % steps_an_epoch * batch_size + jnp.arange(batch_size)) % num_people]
