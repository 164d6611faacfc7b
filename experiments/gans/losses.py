"""Adversarial losses, as means over verdicts and pictures."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn


def real_from_logits(logits: jax.Array, *, is_real: bool) -> jax.Array:
    """The cross-entropy of verdicts that pictures are real, or not (Goodfellow et al., 2014)."""
    return nn.softplus(-logits if is_real else logits).mean()


def real_by_squares(verdicts: jax.Array, *, is_real: bool) -> jax.Array:
    """The squared distance of verdicts from 1, or from 0 (Mao et al., 2017)."""
    return jnp.mean((verdicts - is_real) ** 2)


def gradient_penalty(
    critic: Callable[[jax.Array], jax.Array], real: jax.Array, fake: jax.Array, key: jax.Array
) -> jax.Array:
    """The distance of the critic's slope from 1 between real and made pictures (Gulrajani et al., 2017).

        mean (||grad_x D(x)|| - 1)^2,    x = a real + (1 - a) fake, a uniform in [0, 1]

    Args:
      critic: pictures `(num, height, width, channels)` -> verdicts `(num, ...)`, summed for each picture.
      real: `(num, height, width, channels)`.
      fake: the same shape.
      key: from which `a` is drawn.
    """
    share = jax.random.uniform(key, (len(real), 1, 1, 1), real.dtype)
    between = share * real + (1 - share) * fake

    def verdict(picture: jax.Array) -> jax.Array:
        return critic(picture[None]).sum()

    gradients = jax.vmap(jax.grad(verdict))(between)
    norms = jnp.sqrt(jnp.sum(gradients**2, axis=(1, 2, 3)) + 1e-12)
    return jnp.mean((norms - 1) ** 2)


def distance(one: jax.Array, other: jax.Array) -> jax.Array:
    """L1, the mean absolute difference."""
    return jnp.abs(one - other).mean()
