"""Pairs of pictures, and a module for each data set with `load(data_dir, *, image_size, channels, ...)`.

`stream` takes the same arguments, and reads pairs when they are asked for: see `source`.
"""

from mlr_jax.datasets import ck_plus, folder, jaffe, london, manifest, source, synthetic
from mlr_jax.datasets.pairs import Pairs
from mlr_jax.datasets.source import Source

__all__ = ["Pairs", "Source", "ck_plus", "folder", "jaffe", "london", "manifest", "source", "synthetic"]
