"""The registry of methods that are compared: each learns from pictures and predicts pictures.

To add one, write a function from `Settings` to `Method` and list it in `METHODS`. The comparison, its
figure and the tests that every method must pass take it from there.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax import synthesis
from mlr_jax.baselines import l2_ridge as ridge
from mlr_jax.baselines.factored_linear import FactoredLinear

Params = Any

# Penalties among which l2_ridge chooses by leave-one-out on the training pairs.
L2_PENALTIES = np.logspace(-2, 4, 13)


class Settings(NamedTuple):
    """The hyper-parameters that a run is given, static."""

    window: int = 3
    penalty: float = 0.4
    channel_mode: synthesis.Channels = "independent"


class Method(NamedTuple):
    """One way to learn an expression; pictures are `(num, height, width, channels)` in [0, 1].

    Attributes:
      fit: (neutral, expressive) -> params, a pytree of arrays; pure and jittable.
      predict: (params, neutral) -> predicted expressive pictures; pure and jittable.
      num_parameters: params -> how many numbers were learned.
      setting: params -> the hyper-parameters in use, as text.
    """

    fit: Callable[[jax.Array, jax.Array], Params]
    predict: Callable[[Params, jax.Array], jax.Array]
    num_parameters: Callable[[Params], int]
    setting: Callable[[Params], str]


def copy_input(settings: Settings) -> Method:
    """Changes nothing: what any method must beat."""
    del settings
    return Method(
        fit=lambda neutral, expressive: (),
        predict=lambda params, neutral: neutral,
        num_parameters=lambda params: 0,
        setting=lambda params: "",
    )


def mean_change(settings: Settings) -> Method:
    """Adds the mean difference of the training pairs to the input."""
    del settings
    return Method(
        fit=lambda neutral, expressive: (expressive - neutral).mean(axis=0),
        predict=lambda change, neutral: neutral + change[None],
        num_parameters=lambda change: change.size,
        setting=lambda params: "",
    )


def masked_ridge(settings: Settings) -> Method:
    """Masked linear regression (Khan et al., 2020): a ridge regression on a window of each pixel."""

    def num_parameters(model: synthesis.ExpressionModel) -> int:
        out_channels, _, in_channels = model.weights.shape[2:]
        weights = int(np.sum(model.mask.valid)) * out_channels * in_channels
        return weights + model.bias.size

    return Method(
        fit=partial(
            synthesis.fit,
            window=settings.window,
            penalty=settings.penalty,
            channels=settings.channel_mode,
        ),
        predict=synthesis.synthesize,
        num_parameters=num_parameters,
        setting=lambda model: (
            f"window={settings.window} penalty={settings.penalty:g} channels={settings.channel_mode}"
        ),
    )


class _SelectedRidge(NamedTuple):
    """Plain ridge regressions, one for each channel, and the penalty that they share."""

    channels: FactoredLinear
    penalty: jax.Array


def l2_ridge(settings: Settings) -> Method:
    """Every output pixel is regressed on all input pixels, each colour channel on its own.

    It gets the penalty that is best on the training pairs by leave-one-out.
    """
    del settings

    def fit(neutral: jax.Array, expressive: jax.Array) -> _SelectedRidge:
        penalties = jnp.asarray(L2_PENALTIES, neutral.dtype)
        # One channel after the other: the data of a single one may be all that memory holds.
        pairs = (_planes(neutral), _planes(expressive))
        errors = jax.lax.map(lambda p: ridge.leave_one_out_mse(p[0], p[1], penalties), pairs)
        penalty = penalties[jnp.argmin(errors.sum(axis=0))]
        return _SelectedRidge(jax.lax.map(lambda p: ridge.fit(p[0], p[1], penalty), pairs), penalty)

    def predict(params: _SelectedRidge, neutral: jax.Array) -> jax.Array:
        outputs = jax.lax.map(lambda each: ridge.predict(*each), (params.channels, _planes(neutral)))
        return jnp.moveaxis(outputs, 0, -1).reshape(neutral.shape)

    def num_parameters(params: _SelectedRidge) -> int:
        # A full matrix and an intercept, whatever the factors that stand for it.
        channels, num_outputs = params.channels.intercept.shape
        return channels * num_outputs * (params.channels.input_mean.shape[1] + 1)

    return Method(
        fit=fit,
        predict=predict,
        num_parameters=num_parameters,
        setting=lambda params: f"penalty={float(params.penalty):.3g} (leave-one-out)",
    )


METHODS: Mapping[str, Callable[[Settings], Method]] = {
    make.__name__: make for make in (copy_input, mean_change, masked_ridge, l2_ridge)
}


def _planes(pictures: jax.Array) -> jax.Array:
    """(num, height, width, channels) -> (channels, num, height * width)."""
    return jnp.moveaxis(pictures, -1, 0).reshape(pictures.shape[-1], len(pictures), -1)
