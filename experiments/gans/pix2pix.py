"""pix2pix: pairs, a U-Net and a discriminator of patches.

Isola, Zhu, Zhou and Efros, "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017
(arXiv 1611.07004):

    min_G max_D  E log D(x, y) + E log(1 - D(x, G(x))) + 100 E ||y - G(x)||_1

with dropout for noise, in training and in synthesis. The discriminator's loss is halved, and the generator
maximises log D(x, G(x)). Batches have one picture, so that batch normalisation is over single pictures.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from experiments.gans import augmentation, losses
from experiments.gans.contract import (
    Gan,
    Losses,
    Params,
    State,
    Task,
    first_state,
    from_network,
    learning_rate_at,
    run,
    step_key,
    to_network,
)
from experiments.gans.layers import Convolution, InstanceNorm, PatchDiscriminator, Upsampling

_L1_WEIGHT = 100.0
# Layers of the decoder that have dropout, and its rate.
_NUM_DROPPED = 3
_DROPOUT = 0.5


class UNet(nn.Module):
    """An encoder down to one pixel, and a decoder with skip connections from the encoder.

    C64-C128-C256-C512-C512-... and back, halving and doubling the size: six layers each way for 64 x 64,
    seven for 128 x 128. The first layer is not normalised, nor is that of a single pixel, which would be 0.

    Attributes:
      widths: channels of the encoder's layers.
      channels: of the pictures.
    """

    widths: Sequence[int]
    channels: int

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        last = len(self.widths) - 1
        skips = []
        hidden = pictures
        for place, width in enumerate(self.widths):
            hidden = hidden if place == 0 else nn.leaky_relu(hidden, 0.2)
            is_normal = 0 < place < last
            hidden = Convolution(width, 4, stride=2, padding=1, use_bias=not is_normal)(hidden)
            hidden = InstanceNorm(affine=True)(hidden) if is_normal else hidden
            skips.append(hidden)
        for place, width in enumerate(reversed(self.widths[:-1])):
            hidden = InstanceNorm(affine=True)(Upsampling(width, use_bias=False)(nn.relu(hidden)))
            if place < _NUM_DROPPED and width == self.widths[-1]:
                hidden = nn.Dropout(_DROPOUT, deterministic=False)(hidden)
            hidden = jnp.concatenate([hidden, skips[last - 1 - place]], axis=-1)
        return jnp.tanh(Upsampling(self.channels)(nn.relu(hidden)))


def make(task: Task, *, width: int = 64, learning_rate: float = 2e-4) -> Gan:
    """pix2pix for a task.

    Args:
      task: what to learn.
      width: channels of the first layers, 64 in the paper; the others are multiples.
      learning_rate: of Adam, with momenta 0.5 and 0.999, at a width of 64, see `learning_rate_at`.
    """
    num_layers = round(math.log2(task.image_size))
    generator = UNet(tuple(width * min(2**i, 8) for i in range(num_layers)), task.channels)
    discriminator = PatchDiscriminator(width, affine=True)
    optimizer = optax.adam(learning_rate_at(width, learning_rate), b1=0.5, b2=0.999)
    blank = jnp.zeros((1, task.image_size, task.image_size, task.channels))

    def init(key: jax.Array) -> State:
        generator_key, discriminator_key, key = jax.random.split(key, 3)
        names = ("params", "dropout")
        generators = generator.init(dict(zip(names, jax.random.split(generator_key), strict=True)), blank)
        discriminators = discriminator.init(discriminator_key, jnp.concatenate([blank, blank], axis=-1))
        return first_state(key, generators, discriminators, optimizer)

    def step(state: State, pictures: jax.Array) -> tuple[State, Losses]:
        person_key = jax.random.wrap_key_data(state.key)
        (person,) = augmentation.batch_of(person_key, state.step, len(pictures), 1)
        augment_key, dropout_key = jax.random.split(step_key(state))
        pair = pictures[person][jnp.array([task.source, task.target])]
        pair = to_network(augmentation.augment(pair, augment_key))
        neutral, expressive = pair[:1], pair[1:]

        def make_face(params: Params) -> jax.Array:
            return run(generator, params, neutral, rngs={"dropout": dropout_key})

        def verdict(params: Params, face: jax.Array) -> jax.Array:
            return run(discriminator, params, jnp.concatenate([neutral, face], axis=-1))

        def discriminator_loss(params: Params, made: jax.Array) -> jax.Array:
            real = losses.real_from_logits(verdict(params, expressive), is_real=True)
            return (real + losses.real_from_logits(verdict(params, made), is_real=False)) / 2

        def generator_losses(made: jax.Array, discriminators: Params) -> tuple[jax.Array, Losses]:
            adversarial = losses.real_from_logits(verdict(discriminators, made), is_real=True)
            distance = losses.distance(made, expressive)
            return adversarial + _L1_WEIGHT * distance, {"adversarial": adversarial, "l1": distance}

        made, pull_back = jax.vjp(make_face, state.generators)
        error, gradient = jax.value_and_grad(discriminator_loss)(state.discriminators, made)
        updates, discriminator_state = optimizer.update(gradient, state.discriminator_optimizer)
        discriminators = optax.apply_updates(state.discriminators, updates)
        face_gradient, terms = jax.grad(generator_losses, has_aux=True)(made, discriminators)
        updates, generator_state = optimizer.update(pull_back(face_gradient)[0], state.generator_optimizer)
        generators = optax.apply_updates(state.generators, updates)
        after = State(
            state.step + 1, state.key, generators, discriminators, generator_state, discriminator_state
        )
        return after, {"discriminator": error, **terms}

    def generate(params: Params, pictures: jax.Array, condition: jax.Array) -> jax.Array:
        del condition
        # As in the paper, dropout stays; a fixed key repeats the results.
        rngs = {"dropout": jax.random.key(0)}

        def make_one(picture: jax.Array) -> jax.Array:
            return run(generator, params, picture[None], rngs=rngs)[0]

        return from_network(jax.lax.map(make_one, to_network(pictures)))

    return Gan(init, step, generate, lambda generators: generators, steps_an_epoch=task.num_people)
