"""A procedural data set of faces: nothing to download, any number of people, any picture size.

The renderer is a shader. `portrait.shade` gives the colour at one point, by composing the parts of the
picture from back to front, and `render` calls it at every point through `jax.vmap`. The skin is a relief, a
height over the picture plane. Its normals are `jax.grad` of that height, so that one light shades every fold,
lip and cheek.

    people    identities and expressions, and random draws of both
    anatomy   the geometry of a face
    light     shading and camera response
    parts     colour and coverage of skin, eyes, mouth, hair, ...
    portrait  the whole picture: render
    shapes    drawing tools

Lengths are in picture widths: x runs from -0.5 (left) to 0.5, y from 0 (top) to 1. Colours are linear light
until `light.develop` turns them into pixel values. In all drawing functions `who` is an `Identity`, `act` an
`Expression` and `at` a `Point`.
"""

import os
import threading
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax import Array

from mlr_jax.alignment import FaceTemplate
from mlr_jax.checks import InputError
from mlr_jax.datasets import streams
from mlr_jax.datasets.streams import PairStream
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
    "TEMPLATE",
    "Expression",
    "Identity",
    "load",
    "render",
    "sample_expression",
    "sample_identity",
    "stream",
]

TEMPLATE = FaceTemplate(eye_distance=0.38, eye_height=0.38, mouth_height=0.78)
"""Where the faces have eyes and mouth on average; the eyes lie lower than in the template of `alignment`."""

_BATCH = 4  # people drawn at once: more is not faster, and takes more memory
_MOST_BATCHES = 2  # drawn by one call; a call of one batch compiles to other code, with other last digits
_VERSION = 1  # of the pictures that the same arguments give


@partial(jax.jit, static_argnames=("num_batches", "image_size"))
def _photograph(key: Array, index: Array, first: Array, num_batches: int, image_size: int) -> Array:
    """Pictures `(num_batches * _BATCH, image_size, image_size, 3)` of people `first`, `first + 1`, ..."""

    def draw(person: Array) -> Array:
        of_identity, of_expression = jax.random.split(jax.random.fold_in(key, person))
        expression = draw_expression(of_expression, index)
        return render(sample_identity(of_identity), expression, image_size)

    return jax.lax.map(draw, first + jnp.arange(num_batches * _BATCH), batch_size=_BATCH)


def stream(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    image_size: int = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    num_subjects: int = 100,
    seed: int = 0,
) -> PairStream:
    """Opens pictures of people with two expressions, to be drawn person by person.

    A person's face depends on the seed only, not on the other arguments.

    Args:
      data_dir: must be None; the other data sets need it.
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
            raise InputError(f"synthetic: {message}")
    indices = index_of("synthetic", "source", source), index_of("synthetic", "target", target)
    num_batches = min(_MOST_BATCHES, -(-num_subjects // _BATCH))
    num_people = num_batches * _BATCH
    lock = threading.Lock()

    # Threads read one person after the other; two of them may be in neighbouring groups.
    @lru_cache(maxsize=2)
    def photograph(group: int) -> tuple[np.ndarray, ...]:
        first = jnp.int32(group * num_people)
        key = jax.random.key(seed)
        colour = (_photograph(key, jnp.int32(index), first, num_batches, image_size) for index in indices)
        return tuple(to_channels(np.asarray(each), channels) for each in colour)

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        with lock:
            neutral, expressive = photograph(index // num_people)
        return neutral[index % num_people], expressive[index % num_people]

    subjects = tuple(f"synthetic_{i:04d}" for i in range(num_subjects))
    config: Any = jax.config  # Its type does not know its options.
    key = {
        "loader": ("synthetic", _VERSION),
        "source": source,
        "target": target,
        "num_subjects": num_subjects,
        "seed": seed,
        "image_size": image_size,
        "channels": channels,
        "template": TEMPLATE,
        # The last digits depend on these, or all of them.
        "drawn_by": (
            jax.__version__,
            jaxlib.__version__,
            jax.default_backend(),
            str(config.jax_default_prng_impl),
            bool(config.jax_threefry_partitionable),
        ),
    }
    return PairStream(subjects, (image_size, image_size, channels), read, key)


load = streams.loader(stream, "the synthetic faces")
