"""The interface of a GAN: pure, jittable functions over a state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

PUBLISHED_WIDTH = 64
"""Channels of the first layers of all four GANs in their papers."""

Params = Any
Losses = dict[str, jax.Array]


class Task(NamedTuple):
    """What a GAN learns. Static.

    Attributes:
      image_size: height and width of the pictures in pixels, a power of two, 32 or more.
      channels: 3 for colour or 1 for grey.
      num_expressions: of which there are pictures of every person.
      source: the expression to start from, for GANs that know two.
      target: the one to reach.
      num_people: in the training set.
      num_epochs: that the learning rates' schedule spans, see `Gan.steps_an_epoch`.
    """

    image_size: int
    channels: int
    num_expressions: int = 2
    source: int = 0
    target: int = 1
    num_people: int = 1
    num_epochs: int = 200


class State(NamedTuple):
    """The state of training.

    Attributes:
      step: (), int32, the number of finished steps.
      key: uint32, the data of the random key, which is combined with the step's number.
      generators: parameters.
      discriminators: parameters.
      generator_optimizer: of optax.
      discriminator_optimizer: of optax.
      memory: all else that a GAN keeps from step to step.
    """

    step: jax.Array
    key: jax.Array
    generators: Params
    discriminators: Params
    generator_optimizer: Any
    discriminator_optimizer: Any
    memory: Any = ()


class Gan(NamedTuple):
    """One GAN for one task.

    Attributes:
      init: a key -> State.
      step: (state, pictures) -> (state, losses by name): draws its minibatch from all training pictures,
        `(num_people, num_expressions, height, width, channels)` in [0, 1], and changes discriminators and
        generators once.
      generate: (`synthesis_params`, pictures, conditions) -> pictures, `(num, height, width,
        channels)` in [0, 1]. Conditions are `(num, num_expressions)`, one-hot times an intensity; GANs for
        two expressions ignore them. The same input gives the same output.
      synthesis_params: parameters of all generators -> those that `generate` needs.
      steps_an_epoch: in which the generators see as many pictures as the training set has.
    """

    init: Callable[[jax.Array], State]
    step: Callable[[State, jax.Array], tuple[State, Losses]]
    generate: Callable[[Params, jax.Array, jax.Array], jax.Array]
    synthesis_params: Callable[[Params], Params]
    steps_an_epoch: int


def first_state(
    key: jax.Array,
    generators: Params,
    discriminators: Params,
    optimizer: optax.GradientTransformation,
    memory: Any = (),
) -> State:
    """The state before the first step; generators and discriminators have the same optimiser."""
    return State(
        jnp.zeros((), jnp.int32),
        jax.random.key_data(key),
        generators,
        discriminators,
        optimizer.init(generators),
        optimizer.init(discriminators),
        memory,
    )


def step_key(state: State) -> jax.Array:
    """The key of the next step, which a checkpoint does not change."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)


def run(module: nn.Module, params: Params, *inputs: jax.Array, **options: Any) -> Any:
    """Applies a network to its inputs."""
    return module.apply(params, *inputs, **options)


def num_parameters(params: Params) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def to_network(pictures: jax.Array) -> jax.Array:
    """From [0, 1] to [-1, 1]."""
    return 2 * pictures - 1


def from_network(outputs: jax.Array) -> jax.Array:
    """From [-1, 1] to [0, 1]."""
    return (outputs + 1) / 2


def learning_rate_at(width: int, published: float) -> float:
    """Adam's learning rate for networks of another width than published.

    Adam moves every weight by about its rate, and thus the outputs of a layer by the rate times the number of
    inputs: with a rate inverse to their number, networks of all widths learn alike (Yang et al., 2021, arXiv
    2203.03466).

    Args:
      width: channels of the first layer.
      published: the rate for `PUBLISHED_WIDTH`.
    """
    return published * PUBLISHED_WIDTH / width
