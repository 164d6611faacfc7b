"""Masked regression as a layer of a larger model, trained by gradient.

    python docs/examples/masked_layers.py

Two masked layers with a nonlinearity between them, from neutral to smiling faces. The first predicts the
smile. The second sees, around every pixel, the face, and where the first layer brightens and darkens it. Each
starts at the exact solution of its own ridge problem. Then Adam trains both together for their common
objective, which has no closed form.

Takes half a minute at most. The training lowers the objective by more than a third, and the error on held-out
people by 5 %.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlr_jax import masked_ridge, masks
from mlr_jax.datasets import pairs, synthetic
from mlr_jax.masked_ridge import MaskedLinear

SIZE = 24
PENALTY = 0.4
NUM_STEPS = 100

FACE = masks.square_mask(SIZE, SIZE, 3)
FACE_AND_CHANGE = masks.across_channels(FACE, 3)


class TwoLayers(NamedTuple):
    """A pytree of arrays, as `jax.grad` and optax need.

    Attributes:
      first: from the face to a first prediction of the smile, over the mask `FACE`.
      second: from `add_changes` to the smile, over the mask `FACE_AND_CHANGE`.
    """

    first: MaskedLinear
    second: MaskedLinear


def add_changes(faces: jax.Array, smiles: jax.Array) -> jax.Array:
    """The nonlinearity: the face, its increase and its decrease, as three channels of each pixel."""
    change = smiles - faces
    channels = jnp.stack([faces, jax.nn.relu(change), jax.nn.relu(-change)], axis=-1)
    return channels.reshape(len(faces), -1)


def predict(layers: TwoLayers, faces: jax.Array) -> jax.Array:
    """The smiles of flattened faces `(num, pixels)`."""
    smiles = masked_ridge.predict(layers.first, faces, FACE)
    return masked_ridge.predict(layers.second, add_changes(faces, smiles), FACE_AND_CHANGE)


def fit_in_turn(faces: jax.Array, smiles: jax.Array) -> TwoLayers:
    """Both layers in closed form; the second is fitted on the output of the first."""
    first = masked_ridge.fit(faces, smiles, FACE, PENALTY)
    seen = add_changes(faces, masked_ridge.predict(first, faces, FACE))
    return TwoLayers(first, masked_ridge.fit(seen, smiles, FACE_AND_CHANGE, PENALTY))


def objective(layers: TwoLayers, faces: jax.Array, smiles: jax.Array) -> jax.Array:
    """The ridge objective of the two layers as one model, for each pixel of a picture."""
    misfit = jnp.sum((predict(layers, faces) - smiles) ** 2)
    size = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(layers))
    return (misfit + PENALTY * size) / (2 * smiles.size)


@jax.jit
def train(layers: TwoLayers, faces: jax.Array, smiles: jax.Array) -> TwoLayers:
    """The whole training, compiled as one loop."""
    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, NUM_STEPS))

    def step(_: int, state: tuple[TwoLayers, optax.OptState]) -> tuple[TwoLayers, optax.OptState]:
        layers, moments = state
        gradient = jax.grad(objective)(layers, faces, smiles)
        updates, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(layers, updates), moments

    layers, _ = jax.lax.fori_loop(0, NUM_STEPS, step, (layers, optimizer.init(layers)))
    return layers


def flatten(pictures: np.ndarray) -> jax.Array:
    """Pictures `(num, height, width, 1)` as `(num, pixels)`."""
    return jnp.asarray(pictures).reshape(len(pictures), -1)


def main() -> None:
    """Prints the objective and the errors, before and after the training."""
    people = synthetic.load(image_size=SIZE, channels=1, num_subjects=80)
    known, new = pairs.split(people, test_fraction=0.25)
    faces, smiles = flatten(known.neutral), flatten(known.expressive)
    new_faces, new_smiles = flatten(new.neutral), flatten(new.expressive)

    in_turn = fit_in_turn(faces, smiles)
    together = train(in_turn, faces, smiles)

    print("objective x 1e3")
    for name, layers in (("trained in turn", in_turn), ("trained together", together)):
        print(f"  {name:20s} {1e3 * objective(layers, faces, smiles):.3f}")
    print("MSE x 1e3 on new people")
    for name, prediction in (
        ("input", new_faces),
        ("one layer", masked_ridge.predict(in_turn.first, new_faces, FACE)),
        ("two layers in turn", predict(in_turn, new_faces)),
        ("two layers together", predict(together, new_faces)),
    ):
        print(f"  {name:20s} {1e3 * jnp.mean((prediction - new_smiles) ** 2):.3f}")


if __name__ == "__main__":
    main()
