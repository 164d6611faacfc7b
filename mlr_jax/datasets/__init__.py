"""Pairs of pictures, and a module for each data set with `load(data_dir, *, image_size, channels, ...)`."""

from mlr_jax.datasets import folder, london, synthetic
from mlr_jax.datasets.pairs import Pairs

__all__ = ["Pairs", "folder", "london", "synthetic"]
