"""Pretrained models; README.md beside this file has their training data, commands and results."""

from pathlib import Path

from mlr_jax import checks, model_file
from mlr_jax.model_file import SavedModel

NAMES = ("smile", "unsmile")
"""From a neutral face to a smile, and back; for faces of 128 x 128 pixels in colour."""


def path(name: str) -> Path:
    """The file of a pretrained model; InputError if none has that name."""
    if name not in NAMES:
        raise checks.InputError(f"there is no pretrained model {name!r}; there are {', '.join(NAMES)}")
    return Path(__file__).with_name(f"{name}.npz")


def load(name: str) -> SavedModel:
    """Reads a pretrained model.

    Args:
      name: one of `NAMES`.

    Raises:
      InputError: no model has that name.

    >>> load("smile").template
    FaceTemplate(eye_distance=0.39, eye_height=0.36, mouth_height=0.78)
    """
    return model_file.load(path(name))
