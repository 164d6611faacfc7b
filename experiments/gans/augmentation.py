"""Mirrored and moved pictures, the same for all GANs (Isola et al., 2017: 256 pixels of 286, mirrored)."""

from functools import partial

import jax
import jax.numpy as jnp

# Pictures are enlarged by so much before a part of their size is cut out.
_ENLARGEMENT = 286 / 256


def augment(pictures: jax.Array, key: jax.Array) -> jax.Array:
    """Mirrors, or not, and moves a group of pictures that belong together, all in the same way.

    Args:
      pictures: `(num, height, width, channels)`.
      key: of what is random.

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
    """The people of a step, `(batch_size,)`: in an epoch each is drawn once, in an order of its own.

    Args:
      key: of the whole training.
      step: number of the step.
      num_people: to draw from.
      batch_size: of every step; the last step of an epoch goes on with people of the same epoch.
    """
    steps_an_epoch = -(-num_people // batch_size)
    order = jax.random.permutation(jax.random.fold_in(key, step // steps_an_epoch), num_people)
    return order[(step % steps_an_epoch * batch_size + jnp.arange(batch_size)) % num_people]
