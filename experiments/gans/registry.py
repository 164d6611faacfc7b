"""The GANs by name."""

from collections.abc import Callable, Mapping
from functools import cache

from experiments.gans import cyclegan, ganimation, pix2pix, stargan
from experiments.gans.contract import Gan, Task

GANS: Mapping[str, Callable[..., Gan]] = {
    "pix2pix": pix2pix.make,
    "cyclegan": cyclegan.make,
    "stargan": stargan.make,
    "ganimation": ganimation.make,
}

OF_PAIRS = ("pix2pix", "cyclegan")
"""Those that know two expressions, each person with both or not."""


@cache
def make(name: str, task: Task, width: int = 64, batch_size: int | None = None) -> Gan:
    """The GAN of that name, always the same one: what is compiled for it serves again.

    Args:
      name: in `GANS`.
      task: what is to be learned.
      width: channels of the first layers.
      batch_size: pictures that a step sees; None as published. Those of pairs see one.
    """
    is_given = batch_size is not None and name not in OF_PAIRS
    return GANS[name](task, width=width, **({"batch_size": batch_size} if is_given else {}))
