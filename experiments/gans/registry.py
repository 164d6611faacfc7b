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
def make(name: str, task: Task, width: int = 64) -> Gan:
    """The GAN of that name, always the same one: what is compiled for it serves again."""
    return GANS[name](task, width=width)
