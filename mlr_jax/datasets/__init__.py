"""Pairs of pictures, and a module for each data set with `stream` and `load`.

Both take `(data_dir, *, image_size, channels, source, target, ...)`: `stream` returns a `PairStream`, which
reads pairs one by one, and `load` reads all of them into memory, as `Pairs`.

    synthetic, london, jaffe, ck_plus   one data set each
    folder, manifest                    any pictures, in folders or listed in a table
    pairs                               pairs in memory: take some, split them by people
    streams                             pairs that are read one by one
    landmarks                           where eyes and mouths are, as files say it
    cache                               keeps decoded pictures on disk

`source` and `Source` are the earlier names of `streams` and `PairStream`.
"""

from mlr_jax.datasets import ck_plus, folder, jaffe, london, manifest, source, streams, synthetic
from mlr_jax.datasets.pairs import Pairs
from mlr_jax.datasets.streams import PairStream, PairStream as Source

__all__ = [
    "PairStream",
    "Pairs",
    "Source",
    "ck_plus",
    "folder",
    "jaffe",
    "london",
    "manifest",
    "source",
    "streams",
    "synthetic",
]
