"""`synthesis.fit(towards="input")`: fits changes of pixels, then adds the pixels themselves to the model."""

from collections.abc import Iterable
from typing import Literal

import jax
import jax.numpy as jnp

from mlr_jax import checks, masks
from mlr_jax.masks import Mask
from mlr_jax.synthesis._model import ExpressionModel
from mlr_jax.windows import Entry, View, Window

Towards = Literal["zero", "input"]
"""What a penalty shrinks a model to: "zero" to black pictures, as published; "input" to the input itself."""

_OWN = Entry((0, 0), View())


def check_windows(where: str, fields: Iterable[Window | Mask]) -> None:
    """Raises InputError unless in each receptive field some pixel sees itself."""
    for field in fields:
        if isinstance(field, Mask):
            masks.check_own(field, where)
        elif _OWN not in field.entries:
            raise checks.InputError(
                f"{where}: the window has no offset (0, 0), so that nothing can shrink towards the input; "
                "add it, or use towards='zero'"
            )


@jax.jit
def change(neutral: jax.Array, expressive: jax.Array, mask: Mask | None) -> jax.Array:
    """The targets of a fit: the change, or the pixel itself where it does not see its input."""
    if mask is None:
        return expressive - neutral
    seen = masks.own_entries(mask).any(axis=1).reshape(1, *neutral.shape[1:3], 1)
    return expressive - jnp.where(seen, neutral, 0)


@jax.jit
def with_identity(model: ExpressionModel) -> ExpressionModel:
    """The model of pictures from a model of their changes."""
    out_channels, num_entries, in_channels, height, width = model.weights.shape
    if isinstance(model.window, Mask):
        own = masks.own_entries(model.window).T.reshape(num_entries, 1, height, width)
    else:
        is_own = jnp.array([entry == _OWN for entry in model.window.entries])
        own = is_own[:, None, None, None]
    # An output channel sees its own input channel: all of them if it sees one.
    channels = jnp.eye(out_channels) if in_channels > 1 else jnp.ones((out_channels, 1))
    identity = (channels[:, None, :, None, None] * own[None]).astype(model.weights.dtype)
    return model._replace(weights=model.weights + identity)
