"""The interface of a method of the comparison, and its entry in the registry."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from experiments.comparing.folds import Folds
from experiments.gans.settings import GanSettings
from mlr_jax import synthesis
from mlr_jax.datasets.pairs import Pairs
from mlr_jax.numerics.blurring import blur

Params = Any
Learn = Literal["expression", "change"]
# Hyper-parameter -> its value, or the values to choose from.
Choice = Mapping[str, Any]
Grid = Mapping[str, Sequence[Any]]


class Settings(NamedTuple):
    """The settings of a run that hold for all its methods and are not chosen by cross-validation.

    Attributes:
      channel_mode: how masked ridge treats colour.
      learn: what regressions predict, the expressive picture (as published) or its difference from the
        neutral one, to which it is then added.
      gan: how GANs are trained.
    """

    channel_mode: synthesis.Channels = "independent"
    learn: Learn = "expression"
    gan: GanSettings = GanSettings()


def count_numbers(params: Params) -> int:
    """The number of entries in the arrays of a pytree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


class Method(NamedTuple):
    """One way to learn an expression; pictures are `(num, height, width, channels)` in [0, 1].

    Attributes:
      fit: (neutral, expressive, **hyper-parameters) -> params, a pytree of arrays; pure and jittable.
      predict: (params, neutral) -> predicted expressive pictures; pure and jittable.
      num_parameters: params -> the number of learned parameters; by default the size of all arrays.
      errors: for candidates that share work: (folds, **a tuple of values of each hyper-parameter) -> the sums
        of the held-out pictures' mean squared errors for all combinations, `(num_folds, *numbers of values)`,
        up to rounding those of separate fits; pure and jittable. If None, candidates are fitted one by one.
      prepare: (neutral, expressive) -> `folds.prepared` for `errors`, computed once from all pairs: a pytree
        of arrays with an axis of pairs.
      shortfall: params -> a note on what the fit did not reach, or None.
      render: (params, neutral, intensity, smoothing) -> pictures, for a method that moves pixels, whose
        intensity is more than a blend; see `render`.
      train: in place of `fit`, for training step by step: (pairs, seed, folder to resume from) -> (params,
        seconds). Cross-validation chooses nothing.
    """

    fit: Callable[..., Params]
    predict: Callable[[Params, jax.Array], jax.Array]
    num_parameters: Callable[[Params], int] = count_numbers
    errors: Callable[..., jax.Array] | None = None
    prepare: Callable[[jax.Array, jax.Array], Any] | None = None
    shortfall: Callable[[Params], str | None] = lambda params: None
    render: Callable[[Params, jax.Array, jax.Array, float], jax.Array] | None = None
    train: Callable[[Pairs, int, Path], tuple[Params, float]] | None = None


class Sizes(NamedTuple):
    """The sizes of training data.

    Attributes:
      height: of the pictures, in pixels.
      width: of the pictures.
      channels: of the pictures.
      num_pairs: how many there are.
    """

    height: int
    width: int
    channels: int
    num_pairs: int

    @property
    def pixels(self) -> int:
        """Of one channel."""
        return self.height * self.width


class MethodEntry(NamedTuple):
    """A method in the registry. Its name is that of `make`.

    Whole numbers among the hyper-parameters are sizes, each of which is compiled; floating-point numbers are
    not. Where two candidates are equally good, the first is taken. Candidates that need more pairs or larger
    pictures than there are, are left out.

    Attributes:
      make: settings of a run -> the method.
      grid: hyper-parameter -> the values that cross-validation tries, the more regularised first.
      fixed: hyper-parameter -> its value without a search, in the order of `grid`. Masked ridge's are those
        of the paper. The paper does not give those of the others; here they are round values near what
        cross-validation finds on real faces, so on the London set they have seen the test people.
      num_parameters: (sizes, **hyper-parameters) -> how many numbers are learned with the default settings.
        Tests compare it with the fitted arrays. None where it depends on the pictures.
      test_values: values in place of `fixed` for the tests, which fit 20 pairs of 8 x 6 pixels.
      test_grid: values in place of `grid` for the test of `Method.errors`, which fits 15 such pairs.
      role: "regression"; "variant" of masked ridge, compared where the question is about it; or "gan",
        trained step by step for minutes, compared only if named.
      duration: a greater one for slower methods, which are tried later.
    """

    make: Callable[[Settings], Method]
    grid: Mapping[str, Sequence[Any]] = {}
    fixed: Mapping[str, Any] = {}
    num_parameters: Callable[..., int] | None = None
    test_values: Mapping[str, Any] = {}
    test_grid: Mapping[str, Sequence[Any]] = {}
    role: Literal["regression", "variant", "gan"] = "regression"
    duration: int = 0


def learning(learn: Learn, method: Method) -> Method:
    """The method, or the one that learns the change instead of the expressive picture."""
    if learn == "expression":
        return method

    def fit(neutral: jax.Array, expressive: jax.Array, **choice: Any) -> Params:
        return method.fit(neutral, expressive - neutral, **choice)

    def errors(folds: Folds, **values: Any) -> jax.Array:
        assert method.errors is not None
        return method.errors(folds._replace(expressive=folds.expressive - folds.neutral), **values)

    def predict(params: Params, neutral: jax.Array) -> jax.Array:
        return neutral + method.predict(params, neutral)

    return method._replace(fit=fit, predict=predict, errors=method.errors and errors)


def render(
    method: Method, params: Params, neutral: jax.Array, *, intensity: jax.Array, smoothing: float
) -> jax.Array:
    """Applies a method to pictures, at an intensity and with a smoothed change.

    Args:
      method: of the registry.
      params: its parameters.
      neutral: `(num, height, width, channels)`.
      intensity: `(num,)`; 0 gives the pictures themselves, 1 what the method predicts.
      smoothing: standard deviation in pixels of the blur of the change to the (moved) picture, so that the
        picture's own details stay. Static.
    """
    if method.render is not None:
        return method.render(params, neutral, intensity, smoothing)
    change = jax.vmap(partial(blur, sigma=smoothing))(method.predict(params, neutral) - neutral)
    return neutral + intensity[:, None, None, None] * change


def geometric(first: float, last: float, num: int) -> tuple[float, ...]:
    """Values at equal ratios, rounded to three digits, for a grid."""
    return tuple(float(f"{value:.3g}") for value in np.geomspace(first, last, num))
