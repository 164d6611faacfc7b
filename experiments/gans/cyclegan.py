"""CycleGAN: unpaired sets of pictures, and a generator for each direction.

Zhu, Park, Isola and Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
ICCV 2017 (arXiv 1703.10593): generators G (to the expression) and F (back) minimise

    (D_Y(G(x)) - 1)^2 + (D_X(F(y)) - 1)^2
        + 10 (||F(G(x)) - x||_1 + ||G(F(y)) - y||_1) + 5 (||G(y) - y||_1 + ||F(x) - x||_1)

and the discriminators, halved, (D(real) - 1)^2 + D(made)^2 on pictures from a pool of the last 50.
"""

from functools import partial
from typing import Any

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
from experiments.gans.layers import Convolution, InstanceNorm, PatchDiscriminator, Residual, Upsampling

_CYCLE_WEIGHT = 10.0
_IDENTITY_WEIGHT = 5.0
_POOL_SIZE = 50


class ResidualGenerator(nn.Module):
    """c7s1-64, d128, d256, R256 six times, u128, u64, c7s1-3, of Johnson et al. (2016).

    Attributes:
      width: channels of the first layer, 64 in the paper.
      channels: of the pictures.
      num_blocks: residual blocks: 6 for pictures up to 128 x 128.
    """

    width: int
    channels: int
    num_blocks: int = 6

    @nn.compact
    def __call__(self, pictures: jax.Array) -> jax.Array:
        def normal(hidden: jax.Array) -> jax.Array:
            return nn.relu(InstanceNorm()(hidden))

        hidden = normal(Convolution(self.width, 7, padding=3, mode="reflect", use_bias=False)(pictures))
        for factor in (2, 4):
            hidden = normal(Convolution(factor * self.width, 3, stride=2, padding=1, use_bias=False)(hidden))
        for _ in range(self.num_blocks):
            hidden = Residual()(hidden)
        for factor in (2, 1):
            hidden = normal(Upsampling(factor * self.width, 3, use_bias=False)(hidden))
        return jnp.tanh(Convolution(self.channels, 7, padding=3, mode="reflect")(hidden))


def make(task: Task, *, width: int = 64, learning_rate: float = 2e-4) -> Gan:
    """CycleGAN for a task.

    Args:
      task: what to learn.
      width: channels of the first layers, 64 in the paper; the others are multiples.
      learning_rate: of Adam, with momenta 0.5 and 0.999, at a width of 64, see
        `learning_rate_at`; in the second half of the epochs it falls to 0.
    """
    generator = ResidualGenerator(width, task.channels)
    discriminator = PatchDiscriminator(width)
    half = task.num_epochs * task.num_people // 2
    schedule = optax.linear_schedule(
        learning_rate_at(width, learning_rate), 0.0, max(half, 1), transition_begin=half
    )
    optimizer = optax.adam(schedule, b1=0.5, b2=0.999)
    shape = (task.image_size, task.image_size, task.channels)

    def init(key: jax.Array) -> State:
        *keys, key = jax.random.split(key, 5)
        blank = jnp.zeros((1, *shape))
        generators = {"there": generator.init(keys[0], blank), "back": generator.init(keys[1], blank)}
        discriminators = {
            "expressive": discriminator.init(keys[2], blank),
            "neutral": discriminator.init(keys[3], blank),
        }
        pool = jnp.zeros((_POOL_SIZE, *shape))
        memory = {"expressive": pool, "neutral": pool.copy()}
        return first_state(key, generators, discriminators, optimizer, memory)

    def step(state: State, pictures: jax.Array) -> tuple[State, Losses]:
        keys = jax.random.split(step_key(state), 4)
        faces = [
            _draw(state, pictures, place, expression, keys[place])
            for place, expression in enumerate((task.source, task.target))
        ]
        neutral, expressive = (to_network(each) for each in faces)

        def generator_losses(params: Params) -> tuple[jax.Array, tuple[Losses, dict[str, jax.Array]]]:
            there = partial(run, generator, params["there"])
            back = partial(run, generator, params["back"])
            made_expressive, same_expressive = jnp.split(there(jnp.concatenate([neutral, expressive])), 2)
            made_neutral, same_neutral = jnp.split(back(jnp.concatenate([expressive, neutral])), 2)
            made = {"expressive": made_expressive, "neutral": made_neutral}
            verdicts = [
                losses.real_by_squares(run(discriminator, state.discriminators[name], face), is_real=True)
                for name, face in made.items()
            ]
            adversarial = verdicts[0] + verdicts[1]
            cycle = losses.distance(back(made_expressive), neutral)
            cycle += losses.distance(there(made_neutral), expressive)
            identity = losses.distance(same_expressive, expressive)
            identity += losses.distance(same_neutral, neutral)
            total = adversarial + _CYCLE_WEIGHT * cycle + _IDENTITY_WEIGHT * identity
            return total, ({"adversarial": adversarial, "cycle": cycle, "identity": identity}, made)

        gradient, (terms, made) = jax.grad(generator_losses, has_aux=True)(state.generators)
        updates, generator_state = optimizer.update(gradient, state.generator_optimizer)
        generators = optax.apply_updates(state.generators, updates)

        pool, shown = {}, {}
        for place, (name, face) in enumerate(made.items()):
            pool[name], shown[name] = _exchange(state.memory[name], face[0], state.step, keys[2 + place])
        real = {"expressive": expressive, "neutral": neutral}

        def discriminator_loss(params: Params) -> jax.Array:
            total = jnp.zeros(())
            for name, params_of_one in params.items():
                both = run(discriminator, params_of_one, jnp.concatenate([real[name], shown[name][None]]))
                total += losses.real_by_squares(both[0], is_real=True) / 2
                total += losses.real_by_squares(both[1], is_real=False) / 2
            return total

        error, gradient = jax.value_and_grad(discriminator_loss)(state.discriminators)
        updates, discriminator_state = optimizer.update(gradient, state.discriminator_optimizer)
        discriminators = optax.apply_updates(state.discriminators, updates)
        after = State(
            state.step + 1, state.key, generators, discriminators, generator_state, discriminator_state, pool
        )
        return after, {"discriminator": error, **terms}

    def generate(params: Params, pictures: jax.Array, condition: jax.Array) -> jax.Array:
        del condition

        def make_one(picture: jax.Array) -> jax.Array:
            return run(generator, params, picture[None])[0]

        return from_network(jax.lax.map(make_one, to_network(pictures)))

    return Gan(init, step, generate, lambda generators: generators["there"], steps_an_epoch=task.num_people)


def _draw(state: State, pictures: jax.Array, place: int, expression: int, key: jax.Array) -> jax.Array:
    """An augmented picture of one set, `(1, height, width, channels)`, independent of the other."""
    set_key = jax.random.fold_in(jax.random.wrap_key_data(state.key), place)
    (person,) = augmentation.batch_of(set_key, state.step, len(pictures), 1)
    return augmentation.augment(pictures[person, expression][None], key)


def _exchange(pool: jax.Array, face: jax.Array, step: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
    """Adds the picture to the pool; once this is full, swaps it for a pooled one in half of the cases."""
    is_full = step >= len(pool)
    choice_key, place_key = jax.random.split(key)
    place = jnp.where(is_full, jax.random.randint(place_key, (), 0, len(pool)), step % len(pool))
    is_kept = ~is_full | jax.random.bernoulli(choice_key)
    old = pool[place]
    shown = jnp.where(is_full & is_kept, old, face)
    return pool.at[place].set(jnp.where(is_kept, face, old)), shown
