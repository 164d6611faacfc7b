"""Options of data sets on disk, and the pairing of shots."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from mlr_jax import checks

_Shot = TypeVar("_Shot")


def check_options(
    dataset: str,
    *,
    image_size: int | None,
    channels: int,
    source: str,
    target: str,
    expressions: Iterable[str] | None = None,
) -> None:
    """Raises InputError unless the options of a data set are valid.

    Args:
      dataset: its name, for the message.
      image_size: 1 or more, or None.
      channels: 1 or 3.
      source: an expression.
      target: another one.
      expressions: those that the data set has; None if they are not known yet.
    """
    if image_size is not None:
        checks.positive_integer(dataset, "image_size", image_size)
    if channels not in (1, 3):
        raise checks.InputError(f"{dataset}: channels must be 1 (grey) or 3 (colour), not {channels}")
    for option, name in (("source", source), ("target", target)):
        if expressions is not None and name not in expressions:
            raise checks.InputError(
                f"{dataset} has no expression {name!r} for {option}; it has {', '.join(expressions)}"
            )
    if source == target:
        raise checks.InputError(f"{dataset}: source and target are both {source!r}; they must differ")


def pair_shots(
    sources: Mapping[str, Sequence[_Shot]], targets: Mapping[str, Sequence[_Shot]]
) -> list[tuple[str, _Shot, _Shot]]:
    """Puts a subject's i-th source beside its i-th target, and leaves out the surplus.

    Args:
      sources: for each subject, in order.
      targets: the same.

    Returns:
      `(subject, source, target)`, subject by subject in alphabetical order.
    """
    return [
        (subject, *pair)
        for subject in sorted(sources.keys() & targets.keys())
        for pair in zip(sources[subject], targets[subject], strict=False)
    ]
