"""Hyper-parameters by k-fold cross-validation over people, on the training pairs alone."""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.methods import Method
from mlr_jax import checks
from mlr_jax.datasets.pairs import Pairs

Choice = Mapping[str, Any]
Grid = Mapping[str, Sequence[Any]]
Fold = tuple[Pairs, Pairs]
# Hyper-parameters that a program is compiled for, name and value.
Static = tuple[tuple[str, Any], ...]


class Selection(NamedTuple):
    """What was chosen, and what it was chosen from.

    Attributes:
      choice: hyper-parameter -> value.
      errors: (candidate, mean squared error on the people left out) for all that could be tried.
    """

    choice: Choice
    errors: list[tuple[Choice, float]]


def candidates(grid: Grid) -> list[Choice]:
    """All combinations of a grid's values, the last hyper-parameter changing fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def select(name: str, method: Method, tried: Sequence[Choice], folds: Sequence[Fold]) -> Selection:
    """Chooses the candidate with the least error on the people left out; the first of several.

    Args:
      name: of the method, for messages.
      method: what is fitted.
      tried: the candidates, all of them `possible`.
      folds: (pairs to fit on, pairs to measure on).

    Returns:
      The choice. A single candidate is not measured.

    Raises:
      InputError: no candidate gives finite pictures.
    """
    if len(tried) == 1:
        return Selection(tried[0], [])
    scored = errors(method, tried, folds)
    if not np.isfinite([error for _, error in scored]).any():
        raise checks.InputError(
            f"{name} has no finite solution on these pairs, whatever its hyper-parameters"
        )
    return Selection(min(scored, key=lambda each: each[1])[0], scored)


def errors(method: Method, tried: Sequence[Choice], folds: Sequence[Fold]) -> list[tuple[Choice, float]]:
    """Measures every candidate.

    Args:
      method: what is fitted.
      tried: the candidates, all of them `possible`.
      folds: (pairs to fit on, pairs to measure on).

    Returns:
      (candidate, mean squared error over the pictures of all folds); infinite where a picture is not finite.
    """
    # Dispatched one after the other, and waited for in the end.
    totals: list[jax.Array] = []
    for train, held_out in folds:
        arrays = tuple(jnp.asarray(each) for each in (*train[:2], *held_out[:2]))
        if method.fit_path is not None:
            totals.append(_path_errors(method, tuple(columns(tried).items()), *arrays))
        else:
            totals.append(jnp.stack([_error(method, *static_and_traced(each), *arrays) for each in tried]))
    num_pictures = sum(len(held_out.subjects) for _, held_out in folds)
    means = np.sum([np.asarray(total, np.float64) for total in totals], axis=0) / num_pictures
    means = np.where(np.isfinite(means), means, np.inf)
    return [(choice, float(error)) for choice, error in zip(tried, means, strict=True)]


def possible(method: Method, grid: Grid, folds: Sequence[Fold]) -> list[Choice]:
    """The candidates that suit the sizes of the pictures and of the smallest fold.

    Raises:
      InputError: there is none.
    """
    train = min((train for train, _ in folds), key=lambda train: len(train.subjects))
    tried = candidates(grid)
    # Only sizes can be unsuitable: one candidate speaks for all that differ from it in other numbers.
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


def columns(choices: Sequence[Choice]) -> dict[str, tuple[Any, ...]]:
    """Hyper-parameter -> its value in each of the choices."""
    return {name: tuple(choice[name] for choice in choices) for name in choices[0]}


def static_and_traced(choice: Choice) -> tuple[Static, dict[str, float]]:
    """Sizes and names are part of the program; a floating-point number changes without a compilation."""
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
def _path_errors(
    method: Method,
    values: tuple[tuple[str, tuple[Any, ...]], ...],
    neutral: jax.Array,
    expressive: jax.Array,
    held_out: jax.Array,
    truth: jax.Array,
) -> jax.Array:
    """The same for all values of a path."""
    assert method.fit_path is not None
    path = method.fit_path(neutral, expressive, **dict(values))

    def error(params: Any) -> jax.Array:
        return jnp.mean((method.predict(params, held_out) - truth) ** 2) * len(truth)

    return jax.lax.map(error, path)
