"""The earlier name of `mlr_jax.datasets.streams`, whose `PairStream` was called `Source` here."""

from mlr_jax.datasets.streams import PairStream as Source, Place, batches, load, take

__all__ = ["Place", "Source", "batches", "load", "take"]
