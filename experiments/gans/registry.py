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
"""GANs of two expressions, paired or unpaired."""


@cache
def make(name: str, task: Task, width: int = 64, batch_size: int | None = None) -> Gan:
    """The GAN of that name, made once, so that its compiled functions are used again.

    Args:
      name: in `GANS`.
      task: what to learn.
      width: channels of the first layers.
      batch_size: pictures of a step; None as published. GANs of pairs take one.
    """
    is_given = batch_size is not None and name not in OF_PAIRS
    return GANS[name](task, width=width, **({"batch_size": batch_size} if is_given else {}))
