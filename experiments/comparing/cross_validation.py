"""Hyper-parameters by k-fold cross-validation over people, on the training pairs alone."""

import hashlib
import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparing.folds import Folds, Rows
from experiments.comparing.methods.method import Choice, Grid, Method
from mlr_jax import checks
from mlr_jax.datasets.pairs import Pairs

Fold = tuple[Pairs, Pairs]
# Hyper-parameters that a program is compiled for, name and value.
Static = tuple[tuple[str, Any], ...]
# Hyper-parameters and the values of each.
Values = tuple[tuple[str, tuple[Any, ...]], ...]


class SearchResult(NamedTuple):
    """The choice, and the errors of the candidates.

    Attributes:
      choice: hyper-parameter -> value.
      errors: (candidate, held-out mean squared error) of all that could be tried.
    """

    choice: Choice
    errors: list[tuple[Choice, float]]


def candidates(grid: Grid) -> list[Choice]:
    """All combinations of a grid's values, the last hyper-parameter changing fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def select(name: str, method: Method, tried: Sequence[Choice], folds: Sequence[Fold]) -> SearchResult:
    """Chooses the candidate with the least held-out error; the first of equals.

    Args:
      name: of the method, for messages.
      method: to fit.
      tried: the candidates, all of them `possible`.
      folds: (pairs to fit on, pairs to measure on).

    Returns:
      The choice. A single candidate is not measured.

    Raises:
      InputError: no candidate gives finite pictures.
    """
    if len(tried) == 1:
        return SearchResult(tried[0], [])
    scored = errors(method, tried, folds)
    if not np.isfinite([error for _, error in scored]).any():
        raise checks.InputError(
            f"{name} has no finite solution on these pairs, whatever its hyper-parameters"
        )
    return SearchResult(min(scored, key=lambda each: each[1])[0], scored)


def errors(method: Method, tried: Sequence[Choice], folds: Sequence[Fold]) -> list[tuple[Choice, float]]:
    """Measures every candidate.

    Args:
      method: to fit.
      tried: the candidates, all of them `possible`.
      folds: (pairs to fit on, pairs to measure on).

    Returns:
      (candidate, mean squared error over the pictures of all folds); infinite where a picture is not finite.
    """
    if method.errors is not None:
        values = distinct(tried)
        # All are dispatched before any is waited for: most of the work uses a single core.
        tables = [shared_errors(method, values, each) for each in gather(method, folds)]
        places = [[each.index(choice[name]) for choice in tried] for name, each in values]
        totals = np.moveaxis(np.concatenate(tables, dtype=np.float64), 0, -1)[tuple(places)]
    else:
        # Here, too, all are dispatched first.
        found = []
        for train, held_out in folds:
            arrays = [jnp.asarray(each) for each in (*train[:2], *held_out[:2])]
            found.append([_error(method, *static_and_traced(each), *arrays) for each in tried])
        totals = np.array(found, np.float64).T
    num_pictures = sum(len(held_out.subjects) for _, held_out in folds)
    means = np.sum(totals, axis=1) / num_pictures
    means = np.where(np.isfinite(means), means, np.inf)
    return [(choice, float(error)) for choice, error in zip(tried, means, strict=True)]


def possible(method: Method, grid: Grid, folds: Sequence[Fold]) -> list[Choice]:
    """The candidates that suit the sizes of the pictures and of the smallest fold.

    Raises:
      InputError: there is none.
    """
    train = min((train for train, _ in folds), key=lambda train: len(train.subjects))
    tried = candidates(grid)
    # Only sizes can be unsuitable: one candidate is tried for all of the same sizes.
    problems: dict[Any, checks.InputError | None] = {}
    for choice in tried:
        static, _ = static_and_traced(choice)
        if static not in problems:
            try:
                jax.eval_shape(partial(method.fit, **choice), train.neutral, train.expressive)
                problems[static] = None
            except checks.InputError as error:
                problems[static] = error
    suitable = [choice for choice in tried if problems[static_and_traced(choice)[0]] is None]
    if not suitable:
        raise next(problem for problem in problems.values() if problem is not None)
    return suitable


def largest(candidates: Sequence[Choice]) -> Choice:
    """The candidate that takes the most memory: the one of the greatest sizes."""
    return max(candidates, key=lambda choice: tuple(v for v in choice.values() if isinstance(v, int)))


def distinct(choices: Sequence[Choice]) -> Values:
    """The values that hyper-parameters have in the choices, each once."""
    return tuple((name, tuple(dict.fromkeys(each[name] for each in choices))) for name in choices[0])


def gather(method: Method, folds: Sequence[Fold]) -> list[Folds]:
    """The folds for `Method.errors`, of equal shapes and with shared pairs."""
    places: dict[bytes, int] = {}
    pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def index(part: Pairs) -> list[int]:
        found = []
        for pair in zip(*part[:2], strict=True):
            digest = hashlib.blake2b(b"".join(each.tobytes() for each in pair)).digest()
            if digest not in places:
                places[digest] = len(pairs)
                pairs.append(pair)
            found.append(places[digest])
        return found

    def rows(indices: list[list[int]]) -> list[Rows]:
        longest = max(len(each) for each in indices)
        filled = [each + each[:1] * (longest - len(each)) for each in indices]
        weights = [[float(place < len(each)) for place in range(longest)] for each in indices]
        arrays = np.array(filled, np.int32), np.array(weights, pairs[0][0].dtype)
        return [Rows(*(jnp.asarray(each[None]) for each in row)) for row in zip(*arrays, strict=True)]

    train, held_out = (rows([index(fold[side]) for fold in folds]) for side in (0, 1))
    neutral, expressive = (jnp.asarray(np.stack(each)) for each in zip(*pairs, strict=True))
    prepared = None if method.prepare is None else method.prepare(neutral, expressive)
    return [Folds(neutral, expressive, *each, prepared) for each in zip(train, held_out, strict=True)]


def static_and_traced(choice: Choice) -> tuple[Static, dict[str, float]]:
    """Sizes and names, for which a program is compiled, and floating-point numbers, which are traced."""
    static = tuple((name, value) for name, value in choice.items() if not isinstance(value, float))
    return static, {name: value for name, value in choice.items() if isinstance(value, float)}


@partial(jax.jit, static_argnums=(0, 1))
def _error(
    method: Method,
    static: Static,
    traced: dict[str, jax.Array],
    neutral: jax.Array,
    expressive: jax.Array,
    held_out: jax.Array,
    truth: jax.Array,
) -> jax.Array:
    """The sum over the held-out pictures of their mean squared errors."""
    params = method.fit(neutral, expressive, **dict(static), **traced)
    return jnp.mean((method.predict(params, held_out) - truth) ** 2) * len(truth)


@partial(jax.jit, static_argnums=(0, 1))
def shared_errors(method: Method, values: Values, folds: Folds) -> jax.Array:
    """The same for all combinations of values, of each fold, by `Method.errors`."""
    assert method.errors is not None
    return method.errors(folds, **dict(values))
