"""StarGAN: one generator for all expressions, with the expression to reach as an input.

Choi, Choi, Kim, Ha, Kim and Choo, "StarGAN: Unified Generative Adversarial Networks for Multi-Domain
Image-to-Image Translation", CVPR 2018 (arXiv 1711.09020): with real pictures x of expression c', wanted
expressions c, and y = G(x, c),

    D minimises  E D(y) - E D(x) + 10 E (||grad D|| - 1)^2 - E log p(c' | x)
    G minimises  -E D(y) - E log p(c | y) + 10 E ||x - G(y, c')||_1

and G has one step for five of D.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from experiments.gans import critics, losses
from experiments.gans.contract import Gan, Losses, Params, Task, from_network, run, to_network
from experiments.gans.layers import Convolution, InstanceNorm, Residual, Upsampling

_RECONSTRUCTION_WEIGHT = 10.0
_CLASSIFICATION_WEIGHT = 1.0


class ConditionedTrunk(nn.Module):
    """The picture with the condition at every pixel, reduced to a quarter, six residual blocks, enlarged.

    Attributes:
      width: channels of the first layer, 64 in the paper.
      num_blocks: residual blocks.
    """

    width: int
    num_blocks: int = 6

    @nn.compact
    def __call__(self, pictures: jax.Array, condition: jax.Array) -> jax.Array:
        def normal(hidden: jax.Array) -> jax.Array:
            return nn.relu(InstanceNorm(affine=True)(hidden))

        everywhere = jnp.broadcast_to(condition[:, None, None, :], (*pictures.shape[:3], condition.shape[-1]))
        hidden = jnp.concatenate([pictures, everywhere], axis=-1)
        hidden = normal(Convolution(self.width, 7, padding=3, use_bias=False)(hidden))
        for factor in (2, 4):
            hidden = normal(Convolution(factor * self.width, 4, stride=2, padding=1, use_bias=False)(hidden))
        for _ in range(self.num_blocks):
            hidden = Residual(mode="constant", affine=True)(hidden)
        for factor in (2, 1):
            hidden = normal(Upsampling(factor * self.width, 4, use_bias=False)(hidden))
        return hidden


class Generator(nn.Module):
    """(pictures, conditions) -> pictures.

    Attributes:
      width: channels of the first layer, 64 in the paper.
      channels: of the pictures.
    """

    width: int
    channels: int

    @nn.compact
    def __call__(self, pictures: jax.Array, condition: jax.Array) -> jax.Array:
        hidden = ConditionedTrunk(self.width)(pictures, condition)
        return jnp.tanh(Convolution(self.channels, 7, padding=3, use_bias=False)(hidden))


def make(task: Task, *, width: int = 64, learning_rate: float = 1e-4, batch_size: int = 16) -> Gan:
    """StarGAN for a task.

    Args:
      task: what to learn; every expression is a label, the source included.
      width: channels of the first layers, 64 in the paper; the others are multiples.
      learning_rate: of Adam, with momenta 0.5 and 0.999, at a width of 64, see
        `contract.learning_rate_at`; in the second half of the epochs it falls to 0.
      batch_size: pictures of a step.
    """
    generator = Generator(width, task.channels)
    num_layers = round(math.log2(task.image_size)) - 1
    discriminator = critics.Critic(width, num_layers, task.num_expressions)

    def discriminator_loss(
        params: Params, batch: critics.Batch, made: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Losses]:
        terms = critics.wasserstein_terms(discriminator, params, batch.pictures, made, key)
        logits = run(discriminator, params, batch.pictures)[1]
        labels = optax.softmax_cross_entropy(logits, batch.conditions).mean()
        total = sum(terms.values()) + _CLASSIFICATION_WEIGHT * labels
        return total, {**terms, "classification_real": labels}

    def generator_loss(
        params: Params, discriminators: Params, batch: critics.Batch
    ) -> tuple[jax.Array, Losses]:
        made = run(generator, params, batch.pictures, batch.wanted)
        verdicts, logits = run(discriminator, discriminators, made)
        labels = optax.softmax_cross_entropy(logits, batch.wanted).mean()
        reconstruction = losses.distance(run(generator, params, made, batch.conditions), batch.pictures)
        adversarial = -verdicts.mean()
        total = adversarial + _CLASSIFICATION_WEIGHT * labels + _RECONSTRUCTION_WEIGHT * reconstruction
        terms = {"adversarial": adversarial, "classification": labels, "reconstruction": reconstruction}
        return total, terms

    training = critics.Training(
        make=partial(run, generator),
        discriminator_loss=discriminator_loss,
        generator_loss=generator_loss,
        optimizer=critics.adam(task, width, learning_rate, batch_size, first_share=1 / 2),
        batch_size=batch_size,
    )

    def generate(params: Params, pictures: jax.Array, condition: jax.Array) -> jax.Array:
        def make_one(one: tuple[jax.Array, jax.Array]) -> jax.Array:
            picture, wanted = one
            return run(generator, params, picture[None], wanted[None])[0]

        return from_network(jax.lax.map(make_one, (to_network(pictures), condition)))

    return Gan(
        init=partial(critics.init, task, generator, discriminator, training.optimizer),
        step=partial(critics.step, training),
        generate=generate,
        synthesis_params=lambda generators: generators,
        steps_an_epoch=critics.steps_an_epoch(task, batch_size),
    )
