"""A procedural data set of faces: nothing to download, any number of people, any picture size.

The renderer is a shader. `portrait.shade` gives the colour at one point, by laying the parts of the picture
over each other from back to front, and `render` asks it at every point through `jax.vmap`. The skin is a
relief, a height over the picture plane. Its normals are `jax.grad` of that height, so that one light shades
every fold, lip and cheek.

    people    who is photographed, what the face does, and random draws of both
    anatomy   the geometry of a face
    light     what surfaces send to the camera
    parts     colour and coverage of skin, eyes, mouth, hair, ...
    portrait  all of it together: render
    shapes    drawing tools

Lengths are in picture widths: x runs from -0.5 (left) to 0.5, y from 0 (top) to 1. Colours are linear light
until `light.develop` turns them into pixel values. In all drawing functions `who` is an `Identity`, `act` an
`Expression` and `at` a `Point`.
"""

import math
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mlr_jax.checks import InputError
from mlr_jax.datasets.pairs import Pairs
from mlr_jax.datasets.synthetic.people import (
    EXPRESSIONS,
    Expression,
    Identity,
    draw_expression,
    index_of,
    sample_expression,
    sample_identity,
)
from mlr_jax.datasets.synthetic.portrait import render
from mlr_jax.images import to_channels

__all__ = [
    "EXPRESSIONS",
    "Expression",
    "Identity",
    "load",
    "render",
    "sample_expression",
    "sample_identity",
]

_BATCH = 4  # people drawn at once: more is not faster, and takes more memory


@partial(jax.jit, static_argnames=("num_batches", "image_size"))
def _photograph(key: Array, index: Array, num_batches: int, image_size: int) -> Array:
    """Pictures `(num_batches * _BATCH, image_size, image_size, 3)` of people 0, 1, 2, ..."""

    def draw(person: Array) -> Array:
        of_identity, of_expression = jax.random.split(jax.random.fold_in(key, person))
        expression = draw_expression(of_expression, index)
        return render(sample_identity(of_identity), expression, image_size)

    return jax.lax.map(draw, jnp.arange(num_batches * _BATCH), batch_size=_BATCH)


def load(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    image_size: int = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    num_subjects: int = 100,
    seed: int = 0,
) -> Pairs:
    """Draws pictures of people with two expressions.

    A person's face is the same whatever the other arguments are, as long as the seed is.

    Args:
      data_dir: must be left out; the other data sets have it.
      image_size: height and width in pixels, at least 16.
      channels: 3 for colour or 1 for grey (luminance of Rec. 601).
      source: the expression to start from, one of `EXPRESSIONS`.
      target: the expression to reach, another one of `EXPRESSIONS`.
      num_subjects: number of people, one pair each; by default as many as sets of real people have.
      seed: of everything random.

    Returns:
      The pairs, `neutral` holding the source expression and `expressive` the target.

    Raises:
      InputError: an argument is not as described.
    """
    problems = (
        (
            data_dir is not None,
            "the synthetic data set is rendered, it reads no folder: leave data_dir out",
        ),
        (source == target, f"source and target are both {source!r}; choose two expressions"),
        (channels not in (1, 3), f"channels must be 1 (grey) or 3 (colour), not {channels}"),
        (image_size < 16, f"image_size must be 16 or more to show a face, not {image_size}"),
        (num_subjects < 1, f"num_subjects must be 1 or more, not {num_subjects}"),
    )
    for is_wrong, message in problems:
        if is_wrong:
            raise InputError(f"synthetic.load: {message}")
    indices = (
        index_of("synthetic.load", "source", source),
        index_of("synthetic.load", "target", target),
    )

    def pictures(index: int) -> np.ndarray:
        batches = math.ceil(num_subjects / _BATCH)
        images = _photograph(jax.random.key(seed), jnp.int32(index), batches, image_size)
        colour = np.asarray(images[:num_subjects])
        return to_channels(colour, channels)

    neutral, expressive = map(pictures, indices)
    return Pairs(neutral, expressive, tuple(f"synthetic_{i:04d}" for i in range(num_subjects)))
