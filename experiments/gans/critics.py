"""What StarGAN and GANimation share: a critic of pictures and their expressions.

It takes five steps for each of the generator, is trained with a gradient penalty (Gulrajani et al., 2017),
and also predicts the expression.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from experiments.gans import augmentation, losses
from experiments.gans.contract import (
    Losses,
    Params,
    State,
    Task,
    first_state,
    learning_rate_at,
    run,
    step_key,
    to_network,
)
from experiments.gans.layers import BY_INPUTS, Convolution

NUM_CRITIC_STEPS = 5
"""Steps of the critic for each of the generator."""

_PENALTY_WEIGHT = 10.0


class Critic(nn.Module):
    """Strided convolutions without normalisation down to 2 x 2 pixels, each with a verdict; the expression.

    Initial weights are StarGAN's. With GANimation's, layers of fewer than 64 channels would pass on little
    of a picture.

    Attributes:
      width: channels of the first layer, 64 in the papers; every further layer has twice as many.
      num_layers: six for 128 x 128, five for 64 x 64.
      num_expressions: outputs, one for each expression.
    """

    width: int
    num_layers: int
    num_expressions: int

    @nn.compact
    def __call__(self, pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
        convolution = partial(Convolution, kernel_init=BY_INPUTS)
        hidden = pictures
        for place in range(self.num_layers):
            hidden = convolution(self.width * 2**place, 4, stride=2, padding=1)(hidden)
            hidden = nn.leaky_relu(hidden, 0.01)
        verdicts = convolution(1, 3, padding=1, use_bias=False, name="verdicts")(hidden)
        left = hidden.shape[1]
        expression = convolution(self.num_expressions, left, use_bias=False, name="expression")(hidden)
        return verdicts, expression[:, 0, 0]


class Batch(NamedTuple):
    """The minibatch of a step.

    Attributes:
      pictures: `(batch_size, height, width, channels)` in [-1, 1].
      conditions: `(batch_size, num_expressions)`, of the pictures.
      wanted: the same shape, the conditions to reach.
    """

    pictures: jax.Array
    conditions: jax.Array
    wanted: jax.Array


class Training(NamedTuple):
    """How StarGAN or GANimation is trained.

    Attributes:
      make: (parameters, pictures, conditions) -> pictures in [-1, 1].
      discriminator_loss: (parameters, batch, made pictures, key) -> (loss, terms).
      generator_loss: (parameters, those of the critic, batch) -> (loss, terms).
      optimizer: of critic and generator.
      batch_size: pictures of a step.
      condition: one-hot `(batch_size, num_expressions)` -> conditions of pictures.
      wish: (conditions, key) -> conditions to reach in training.
    """

    make: Callable[..., jax.Array]
    discriminator_loss: Callable[..., tuple[jax.Array, Losses]]
    generator_loss: Callable[..., tuple[jax.Array, Losses]]
    optimizer: optax.GradientTransformation
    batch_size: int
    condition: Callable[[jax.Array], jax.Array] = lambda labels: labels
    wish: Callable[[jax.Array, jax.Array], jax.Array] = lambda conditions, key: conditions


def adam(
    task: Task, width: int, learning_rate: float, batch_size: int, *, first_share: float
) -> optax.GradientTransformation:
    """Adam with a rate that is constant for the first share of the epochs, and then falls to 0."""
    steps = task.num_epochs * steps_an_epoch(task, batch_size) // NUM_CRITIC_STEPS
    first = round(first_share * steps)
    rate = learning_rate_at(width, learning_rate)
    schedule = optax.linear_schedule(rate, 0.0, max(steps - first, 1), transition_begin=first)
    return optax.adam(schedule, b1=0.5, b2=0.999)


def steps_an_epoch(task: Task, batch_size: int) -> int:
    """Steps in which the generator sees as many pictures as the training set has."""
    return NUM_CRITIC_STEPS * -(-task.num_people * task.num_expressions // batch_size)


def init(
    task: Task,
    generator: nn.Module,
    discriminator: nn.Module,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
) -> State:
    """The state before the first step."""
    generator_key, discriminator_key, key = jax.random.split(key, 3)
    blank = jnp.zeros((1, task.image_size, task.image_size, task.channels))
    generators = generator.init(generator_key, blank, jnp.zeros((1, task.num_expressions)))
    discriminators = discriminator.init(discriminator_key, blank)
    return first_state(key, generators, discriminators, optimizer)


def step(training: Training, state: State, pictures: jax.Array) -> tuple[State, Losses]:
    """A step of the critic; after every fifth, a step of the generator, too."""
    batch_key, penalty_key = jax.random.split(step_key(state))
    batch = _draw(training, pictures, batch_key)
    made = training.make(state.generators, batch.pictures, batch.wanted)
    gradient, critic_terms = jax.grad(training.discriminator_loss, has_aux=True)(
        state.discriminators, batch, made, penalty_key
    )
    updates, discriminator_state = training.optimizer.update(gradient, state.discriminator_optimizer)
    discriminators = optax.apply_updates(state.discriminators, updates)

    def improve(_: None) -> tuple[Params, Any, Losses]:
        gradient, terms = jax.grad(training.generator_loss, has_aux=True)(
            state.generators, discriminators, batch
        )
        updates, generator_state = training.optimizer.update(gradient, state.generator_optimizer)
        # An epoch's means are over all steps, of which one in five has these terms.
        terms = {name: NUM_CRITIC_STEPS * term for name, term in terms.items()}
        return optax.apply_updates(state.generators, updates), generator_state, terms

    def leave(_: None) -> tuple[Params, Any, Losses]:
        terms = jax.eval_shape(training.generator_loss, state.generators, discriminators, batch)[1]
        nothing = {name: jnp.zeros(term.shape, term.dtype) for name, term in terms.items()}
        return state.generators, state.generator_optimizer, nothing

    is_last = state.step % NUM_CRITIC_STEPS == NUM_CRITIC_STEPS - 1
    generators, generator_state, terms = jax.lax.cond(is_last, improve, leave, None)
    after = State(state.step + 1, state.key, generators, discriminators, generator_state, discriminator_state)
    return after, critic_terms | terms


def wasserstein_terms(
    critic: nn.Module, params: Params, real: jax.Array, made: jax.Array, key: jax.Array
) -> Losses:
    """The terms of the critic's loss, without that of the expression.

    As in the authors' programs, the penalty is on the gradient of the sum of a picture's verdicts, not of
    their mean, with which verdicts would weigh four times as much against the reconstruction.
    """

    def verdicts(pictures: jax.Array) -> jax.Array:
        return run(critic, params, pictures)[0]

    penalty = losses.gradient_penalty(verdicts, real, made, key)
    difference = verdicts(made).mean() - verdicts(real).mean()
    return {"critic": difference, "penalty": _PENALTY_WEIGHT * penalty}


def _draw(training: Training, pictures: jax.Array, key: jax.Array) -> Batch:
    """Random pictures of random people, with random expressions to reach."""
    num_people, num_expressions = pictures.shape[:2]
    keys = jax.random.split(key, 5)
    size = (training.batch_size,)
    people = jax.random.randint(keys[0], size, 0, num_people)
    labels = jax.random.randint(keys[1], size, 0, num_expressions)
    wanted = jax.random.permutation(keys[2], labels)

    def augment(picture: jax.Array, key: jax.Array) -> jax.Array:
        return augmentation.augment(picture[None], key)[0]

    faces = jax.vmap(augment)(pictures[people, labels], jax.random.split(keys[3], training.batch_size))
    one_hot = jnp.eye(num_expressions, dtype=pictures.dtype)
    conditions, wishes = training.condition(one_hot[labels]), training.condition(one_hot[wanted])
    return Batch(to_network(faces), conditions, training.wish(wishes, keys[4]))
