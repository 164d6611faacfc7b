"""ExpressionSet's pictures with every expression, which GANs learn from."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.pictures import data
from experiments.running import flag_values
from mlr_jax import checks
from mlr_jax.datasets.pairs import Pairs


class ExpressionSet(NamedTuple):
    """Every person with every expression, of which the first is the one to start from.

    Attributes:
      pictures: `(num_people, num_expressions, height, width, channels)` float32 in [0, 1].
      expressions: their names.
      subjects: whose pictures they are.
    """

    pictures: np.ndarray
    expressions: tuple[str, ...]
    subjects: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """`(height, width, channels)`."""
        return self.pictures.shape[2:]


def of_pairs(pairs: Pairs) -> ExpressionSet:
    """Pairs as people with two expressions."""
    pictures = np.stack([pairs.neutral, pairs.expressive], axis=1)
    return ExpressionSet(pictures, ("source", "target"), tuple(pairs.subjects))


def load_expression_set(
    seed: int, targets: Sequence[str] | None, *, cache_dir: Path, **options: object
) -> tuple[ExpressionSet, ExpressionSet]:
    """The people that the flags of `experiments.pictures.data` name: `(train, test)`.

    Args:
      seed: of the split and of the synthetic faces.
      targets: expressions to reach; None for that of the flag alone.
      cache_dir: where decoded pictures are kept.
      **options: of the data set, in place of flags.

    Raises:
      InputError: the data are invalid, or a person lacks an expression.
    """
    if targets is None:
        train, test = data.load_split(seed, cache_dir=cache_dir, **options)
        return of_pairs(train), of_pairs(test)
    flag_values.check_distinct("targets", targets, what="expression")
    splits = [data.load_split(seed, cache_dir=cache_dir, target=each, **options) for each in targets]
    return _join([train for train, _ in splits], targets), _join([test for _, test in splits], targets)


def digest(people: ExpressionSet) -> str:
    """A digest of the pictures."""
    return hashlib.sha256(np.ascontiguousarray(people.pictures).tobytes()).hexdigest()[:24]


def _join(parts: Sequence[Pairs], targets: Sequence[str]) -> ExpressionSet:
    for part, target in zip(parts, targets, strict=True):
        if part.subjects != parts[0].subjects:
            raise checks.InputError(
                f"--targets: not the same people have {targets[0]} and {target}, or not as many pictures each"
            )
    pictures = np.stack([parts[0].neutral, *(part.expressive for part in parts)], axis=1)
    return ExpressionSet(pictures, ("source", *targets), tuple(parts[0].subjects))
