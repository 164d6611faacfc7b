"""GANimation: expressions as continuous vectors, and a mask of the pixels that stay unchanged.

Pumarola, Agudo, Martinez, Sanfeliu and Moreno-Noguer, "GANimation: Anatomically-aware Facial Animation from a
Single Image", ECCV 2018 (arXiv 1807.09251). The generator makes a picture C and a mask A,

    G(x, c) = (1 - A) C + A x,

and with y = G(x, c) of pictures x of expression c',

    D minimises  E D(y) - E D(x) + 10 E (||grad D|| - 1)^2 + 160 E ||E(x) - c'||^2
    G minimises  -E D(y) + 160 E ||E(y) - c||^2 + 10 E ||G(y, c') - x||_1 + attention of both masks
    attention    0.1 ||A||_2 + 1e-4 TV(A), as in the paper means over pixels

The paper has 4000 for 160, but its authors' program divides once more by the 25 pictures of a step.

In the paper, c are activations of muscles, 0 for a neutral face. Here, c is the one-hot expression times an
intensity, and 0 for the source expression. In training, half of the conditions to reach have an intensity
between 0 and 1, as half of an expression has half of its activations.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments.gans import critics, losses
from experiments.gans.contract import Gan, Losses, Params, Task, from_network, run, to_network
from experiments.gans.layers import Convolution
from experiments.gans.stargan import ConditionedTrunk

# Of mean squares. With 4000, faces become noise that the critic takes for the expression.
_EXPRESSION_WEIGHT = 4000.0 / 25
_CYCLE_WEIGHT = 10.0
_MASK_WEIGHT = 0.1
_SMOOTHNESS_WEIGHT = 1e-4


class Generator(nn.Module):
    """(pictures, conditions) -> (colours C in [-1, 1], mask A in [0, 1] of one channel).

    Attributes:
      width: channels of the first layer, 64 in the paper.
      channels: of the pictures.
    """

    width: int
    channels: int

    @nn.compact
    def __call__(self, pictures: jax.Array, condition: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = ConditionedTrunk(self.width)(pictures, condition)
        colours = Convolution(self.channels, 7, padding=3, use_bias=False, name="colours")(hidden)
        mask = Convolution(1, 7, padding=3, use_bias=False, name="mask")(hidden)
        return jnp.tanh(colours), nn.sigmoid(mask)


def make(task: Task, *, width: int = 64, learning_rate: float = 1e-4, batch_size: int = 25) -> Gan:
    """GANimation for a task.

    Args:
      task: what to learn; the source's condition is 0.
      width: channels of the first layers, 64 in the paper; the others are multiples.
      learning_rate: of Adam, with momenta 0.5 and 0.999, at a width of 64, see
        `contract.learning_rate_at`; in the last third of the epochs it falls to 0.
      batch_size: pictures of a step.
    """
    generator = Generator(width, task.channels)
    num_layers = round(math.log2(task.image_size)) - 1
    discriminator = critics.Critic(width, num_layers, task.num_expressions)
    activity = jnp.ones(task.num_expressions).at[task.source].set(0)

    def blend(params: Params, pictures: jax.Array, condition: jax.Array) -> tuple[jax.Array, jax.Array]:
        colours, mask = run(generator, params, pictures, condition)
        return (1 - mask) * colours + mask * pictures, mask

    def make_faces(params: Params, pictures: jax.Array, condition: jax.Array) -> jax.Array:
        return blend(params, pictures, condition)[0]

    def discriminator_loss(
        params: Params, batch: critics.Batch, made: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Losses]:
        terms = critics.wasserstein_terms(discriminator, params, batch.pictures, made, key)
        error = jnp.mean((run(discriminator, params, batch.pictures)[1] - batch.conditions) ** 2)
        return sum(terms.values()) + _EXPRESSION_WEIGHT * error, {**terms, "expression_real": error}

    def generator_loss(
        params: Params, discriminators: Params, batch: critics.Batch
    ) -> tuple[jax.Array, Losses]:
        made, mask = blend(params, batch.pictures, batch.wanted)
        again, back_mask = blend(params, made, batch.conditions)
        verdicts, found = run(discriminator, discriminators, made)
        adversarial, expression = -verdicts.mean(), jnp.mean((found - batch.wanted) ** 2)
        cycle = losses.distance(again, batch.pictures)
        attention = sum(
            _MASK_WEIGHT * each.mean() + _SMOOTHNESS_WEIGHT * _variation(each) for each in (mask, back_mask)
        )
        total = adversarial + _EXPRESSION_WEIGHT * expression + _CYCLE_WEIGHT * cycle + attention
        terms = {
            "adversarial": adversarial,
            "expression": expression,
            "cycle": cycle,
            "attention": jnp.asarray(attention),
        }
        return total, terms

    training = critics.Training(
        make=make_faces,
        discriminator_loss=discriminator_loss,
        generator_loss=generator_loss,
        optimizer=critics.adam(task, width, learning_rate, batch_size, first_share=2 / 3),
        batch_size=batch_size,
        condition=lambda labels: labels * activity[None],
        wish=_fade_half,
    )

    def generate(params: Params, pictures: jax.Array, condition: jax.Array) -> jax.Array:
        def make_one(one: tuple[jax.Array, jax.Array]) -> jax.Array:
            picture, wanted = one
            return make_faces(params, picture[None], wanted[None])[0]

        return from_network(jax.lax.map(make_one, (to_network(pictures), condition * activity[None])))

    return Gan(
        init=partial(critics.init, task, generator, discriminator, training.optimizer),
        step=partial(critics.step, training),
        generate=generate,
        synthesis_params=lambda generators: generators,
        steps_an_epoch=critics.steps_an_epoch(task, batch_size),
    )


def _fade_half(conditions: jax.Array, key: jax.Array) -> jax.Array:
    """Scales half of the conditions by random intensities in [0, 1]."""
    choice_key, intensity_key = jax.random.split(key)
    shape = (len(conditions), 1)
    intensity = jax.random.uniform(intensity_key, shape, conditions.dtype)
    return conditions * jnp.where(jax.random.bernoulli(choice_key, shape=shape), intensity, 1)


def _variation(mask: jax.Array) -> jax.Array:
    """The total variation: squared differences of neighbours, summed over each picture."""
    down = jnp.sum((mask[:, 1:] - mask[:, :-1]) ** 2, axis=(1, 2, 3))
    across = jnp.sum((mask[:, :, 1:] - mask[:, :, :-1]) ** 2, axis=(1, 2, 3))
    return jnp.mean(down + across)
