"""The registry of methods that are compared: each learns from pictures and predicts pictures.

To add one, write a function from `Settings` to `Method`, list it in `METHODS`, and give its
hyper-parameters in `hyperparameters.py`. The comparison, its figures and the tests that every method must
pass take it from there.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparing import shared_errors
from experiments.comparing.shared_errors import Folds, planes
from experiments.gans import optional
from experiments.gans.settings import GanSettings
from mlr_jax import checks, displacement, masks, synthesis, warped_ridge as warped
from mlr_jax.baselines import (
    kernel_ridge as kernel,
    l0_omp as omp,
    l1_lasso as lasso,
    l2_ridge as ridge,
    masked_lsrf as lsrf,
    reduced_rank as low_rank,
)
from mlr_jax.baselines.factored_linear import FactoredLinear
from mlr_jax.baselines.sparse_linear import SparseLinear
from mlr_jax.datasets.pairs import Pairs
from mlr_jax.numerics.blurring import blur

Params = Any
Learn = Literal["expression", "change"]

_FOVEATED = tuple(masks.foveated(dilation=step, blur=step / 2) for step in (2, 3, 4))
# Relative, at which the lasso is stopped.
_DUALITY_GAP = 1e-4
# Of warped ridge, besides its penalty.
_WARPED = {"window": 5, "field_window": 9, "field_penalty": 1000.0}


class Settings(NamedTuple):
    """What holds for all methods of a run, and is not chosen by cross-validation.

    Attributes:
      channel_mode: how masked ridge treats colour.
      learn: what regressions predict, the expressive picture (as published) or its difference from the
        neutral one, to which it is then added.
      gan: how GANs are trained.
    """

    channel_mode: synthesis.Channels = "independent"
    learn: Learn = "expression"
    gan: GanSettings = GanSettings()


class Method(NamedTuple):
    """One way to learn an expression; pictures are `(num, height, width, channels)` in [0, 1].

    Attributes:
      fit: (neutral, expressive, **hyper-parameters) -> params, a pytree of arrays; pure and jittable.
      predict: (params, neutral) -> predicted expressive pictures; pure and jittable.
      num_parameters: params -> how many numbers were learned.
      errors: where candidates share work: (folds, **a tuple of values of each hyper-parameter) -> the errors
        of all combinations, `(num_folds, *numbers of values)`, see `shared_errors`; pure and jittable. They
        are those of one candidate fitted after the other, which is what is done where this is None.
      prepare: (neutral, expressive) -> what `errors` finds in `folds.prepared`: what can be made of all pairs
        once, a pytree of arrays with an axis of pairs.
      shortfall: params -> how they fall short of what was asked for, or None.
      render: (params, neutral, intensity, smoothing) -> pictures, for a method that moves pixels, so that an
        intensity does more than fade; see `render`.
      train: for what is trained step by step, instead of `fit`: (pairs, seed, folder to go on from) ->
        (params, seconds). Nothing of it is chosen by cross-validation.
    """

    fit: Callable[..., Params]
    predict: Callable[[Params, jax.Array], jax.Array]
    num_parameters: Callable[[Params], int]
    errors: Callable[..., jax.Array] | None = None
    prepare: Callable[[jax.Array, jax.Array], Any] | None = None
    shortfall: Callable[[Params], str | None] = lambda params: None
    render: Callable[[Params, jax.Array, jax.Array, float], jax.Array] | None = None
    train: Callable[[Pairs, int, Path], tuple[Params, float]] | None = None


def copy_input(settings: Settings) -> Method:
    """Changes nothing: what any method must beat."""
    del settings
    return Method(
        fit=lambda neutral, expressive: (),
        predict=lambda params, neutral: neutral,
        num_parameters=lambda params: 0,
    )


def mean_change(settings: Settings) -> Method:
    """Adds the mean difference of the training pairs to the input."""
    del settings
    return Method(
        fit=lambda neutral, expressive: (expressive - neutral).mean(axis=0),
        predict=lambda change, neutral: neutral + change[None],
        num_parameters=lambda change: change.size,
    )


def masked_ridge(settings: Settings) -> Method:
    """Masked linear regression (Khan et al., 2020): a ridge regression on a window of each pixel."""
    method = Method(
        fit=partial(synthesis.fit, channels=settings.channel_mode),
        predict=synthesis.synthesize,
        num_parameters=_num_masked_parameters,
        errors=partial(shared_errors.masked_ridge, channels=settings.channel_mode),
        shortfall=_unsolved,
    )
    return _learning(settings.learn, method)


def _chosen(settings: Settings, **options: Any) -> Method:
    """Masked ridge that chooses its own penalty, by the error on training pairs that are left out."""
    fit = partial(synthesis.fit, channels=settings.channel_mode, **options)
    method = Method(fit, synthesis.synthesize, _num_masked_parameters, shortfall=_unsolved)
    return _learning(settings.learn, method)


def masked_auto(settings: Settings) -> Method:
    """Masked ridge that chooses its window and penalty, from statistics of the folds."""
    return _chosen(settings, window="auto", penalty="auto")


def masked_per_pixel(settings: Settings) -> Method:
    """Masked ridge of which every pixel chooses its window and penalty."""
    return _chosen(settings, window="auto", penalty="auto", per_pixel=True)


def masked_tuned(settings: Settings) -> Method:
    """Masked ridge with penalties of its own for each pixel and each offset of the window."""
    return _chosen(settings, window=3, penalty="tuned")


def masked_mirrored(settings: Settings) -> Method:
    """Masked ridge that sees the mirror pixel, too."""
    return _chosen(settings, window=masks.mirrored(masks.square(3)), penalty="auto")


def masked_foveated(settings: Settings) -> Method:
    """Masked ridge that sees far, but not sharply; how far, it chooses."""
    return _chosen(settings, window=_FOVEATED, penalty="auto")


def mirrored_pairs(settings: Settings) -> Method:
    """Masked ridge on twice the pairs, half of them mirrored."""
    return _chosen(settings, window=3, penalty="auto", mirror=True)


def masked_combined(settings: Settings) -> Method:
    """What lowers the error on held-out people, together: a foveated window, mirrored pairs, tuned penalties.

    Not the mirror pixel, which does not.
    """
    return _chosen(settings, window=_FOVEATED, penalty="tuned", mirror=True)


def warped_ridge(settings: Settings) -> Method:
    """Pixels move before they mix: masked ridge on faces that a predicted displacement has moved.

    It learns the expressive picture, whatever the other regressions learn.
    """
    options: dict[str, Any] = {"channels": settings.channel_mode, **_WARPED}
    fit = partial(warped.fit, **options)
    errors = partial(shared_errors.warped_ridge, **options)

    def render(params: Params, neutral: jax.Array, intensity: jax.Array, smoothing: float) -> jax.Array:
        return warped.synthesize(params, neutral, intensity=intensity, smoothing=smoothing)

    def num_parameters(params: warped.WarpedModel) -> int:
        height, width = params.field.bias.shape[1:]
        field = masks.as_mask(params.field_window, height, width)
        num_field = len(params.field.bias) * int(np.sum(field.valid)) + params.field.bias.size
        return num_field + _num_masked_parameters(params.change) + params.tint.size

    def prepare(neutral: jax.Array, expressive: jax.Array) -> jax.Array:
        return displacement.register(expressive, neutral)

    return Method(fit, warped.synthesize, num_parameters, errors, prepare, render=render)


def masked_lsrf(settings: Settings) -> Method:
    """Each pixel sees few pixels of its neighbourhood, which are learned."""

    def fit(neutral: jax.Array, expressive: jax.Array, *, window: int, **choice: Any) -> Params:
        height, width = neutral.shape[1:3]
        neighbourhood = masks.square_window(height, width, window)

        def fit_plane(inputs: jax.Array, targets: jax.Array) -> Params:
            return lsrf.fit(inputs, targets, neighbourhood, **choice)

        return _each_channel(fit_plane, neutral, expressive)

    def errors(folds: Folds, **values: Any) -> jax.Array:
        height, width = folds.neutral.shape[1:3]
        of_plane = partial(shared_errors.masked_lsrf, height=height, width=width)
        return shared_errors.of_planes(of_plane, folds, **values)

    method = Method(fit, partial(_predict, lsrf), _num_sparse_parameters, errors)
    return _learning(settings.learn, method)


def l0_omp(settings: Settings) -> Method:
    """Every output pixel from a few input pixels anywhere in the picture, chosen greedily.

    Inputs are standardised, as for the lasso: both do much better so.
    """
    fit = partial(omp.fit, standardize=True)
    return _of_planes(settings, omp, _num_sparse_parameters, shared_errors.l0_omp, fit=fit)


def l1_lasso(settings: Settings) -> Method:
    """Every output pixel from all input pixels, with a penalty that leaves few weights."""

    def num_parameters(params: lasso.L1Lasso) -> int:
        return _num_sparse_parameters(params.map)

    def shortfall(params: lasso.L1Lasso) -> str | None:
        gap = np.asarray(params.gap)
        above = gap[gap > _DUALITY_GAP]
        if not above.size:
            return None
        outputs = f"{above.size} of {gap.size} outputs"
        return f"{outputs} have a duality gap above {_DUALITY_GAP:g}, up to {above.max():.1e}"

    fit = partial(lasso.fit, standardize=True, tolerance=_DUALITY_GAP)
    errors = partial(shared_errors.l1_lasso, tolerance=_DUALITY_GAP)
    method = _of_planes(settings, lasso, num_parameters, errors, fit=fit)
    return method._replace(shortfall=shortfall)


def l2_ridge(settings: Settings) -> Method:
    """Every output pixel is regressed on all input pixels."""

    def num_parameters(params: FactoredLinear) -> int:
        # A full matrix and an intercept, whatever the factors that stand for it.
        channels, num_outputs = params.intercept.shape
        return channels * num_outputs * (params.input_mean.shape[1] + 1)

    return _of_planes(settings, ridge, num_parameters, shared_errors.l2_ridge)


def kernel_ridge(settings: Settings) -> Method:
    """Every output pixel as a smooth function of the whole picture.

    Widths are in units of the data: for the Gaussian kernel, the root mean square distance of two training
    faces; for the quadratic one, (1 + x . z / width^2)^2, the root mean square of a face's norm. Its
    faces are centred first.
    """

    def make(shape: str, width: float | jax.Array, variance: jax.Array) -> kernel.Kernel:
        scale = jnp.maximum(width**2 * variance, jnp.finfo(variance.dtype).tiny)
        return kernel.rbf(1 / (4 * scale)) if shape == "rbf" else kernel.polynomial(2, 1 / scale)

    def fit(neutral: jax.Array, expressive: jax.Array, *, shape: str, width: float, penalty: float) -> Params:
        def fit_plane(inputs: jax.Array, targets: jax.Array) -> Params:
            mean = inputs.mean(axis=0)
            centred = inputs - mean[None]
            # Two faces differ by twice the variance of one.
            variance = jnp.mean(jnp.sum(centred**2, axis=1))
            return mean, kernel.fit(centred, targets, make(shape, width, variance), penalty)

        return _each_channel(fit_plane, neutral, expressive)

    def predict(params: Params, neutral: jax.Array) -> jax.Array:
        def predict_plane(params: Params, inputs: jax.Array) -> jax.Array:
            mean, regression = params
            return kernel.predict(regression, inputs - mean[None])

        return _predict_each_channel(predict_plane, params, neutral)

    def num_parameters(params: Params) -> int:
        mean, regression = params
        arrays = (mean, regression.examples, regression.coefficients, regression.intercept)
        return sum(array.size for array in arrays)

    errors = partial(shared_errors.of_planes, partial(shared_errors.kernel_ridge, make=make))
    return _learning(settings.learn, Method(fit, predict, num_parameters, errors))


def reduced_rank(settings: Settings) -> Method:
    """Ridge regression of all pixels on all pixels by a matrix of low rank."""
    return _of_planes(settings, low_rank, _num_factored_parameters, shared_errors.reduced_rank)


def pca_ridge(settings: Settings) -> Method:
    """Ridge regression between principal components of the inputs and of the outputs."""
    errors = shared_errors.pca_ridge
    return _of_planes(settings, low_rank, _num_factored_parameters, errors, fit=low_rank.fit_pca)


def pix2pix(settings: Settings) -> Method:
    """A GAN of pairs: a U-Net, and a discriminator of patches (Isola et al., 2017)."""
    return _gan("pix2pix", settings)


def cyclegan(settings: Settings) -> Method:
    """A GAN that need not be told which pictures belong together (Zhu et al., 2017)."""
    return _gan("cyclegan", settings)


METHODS: Mapping[str, Callable[[Settings], Method]] = {
    make.__name__: make
    for make in (
        copy_input,
        mean_change,
        masked_ridge,
        masked_auto,
        masked_per_pixel,
        masked_tuned,
        masked_mirrored,
        masked_foveated,
        mirrored_pairs,
        masked_combined,
        warped_ridge,
        masked_lsrf,
        l0_omp,
        l1_lasso,
        l2_ridge,
        kernel_ridge,
        reduced_rank,
        pca_ridge,
        pix2pix,
        cyclegan,
    )
}

VARIANTS = (
    "masked_auto",
    "masked_per_pixel",
    "masked_tuned",
    "masked_mirrored",
    "masked_foveated",
    "mirrored_pairs",
    "masked_combined",
)
"""Masked ridge with choices and windows of its own: compared where the question is about them."""

GANS = ("pix2pix", "cyclegan")
"""Trained step by step, for minutes: compared where they are asked for."""


@cache
def make_method(name: str, settings: Settings) -> Method:
    """The method of that name, always the same one: what JAX has compiled for it serves again."""
    return METHODS[name](settings)


def render(
    method: Method, params: Params, neutral: jax.Array, *, intensity: jax.Array, smoothing: float
) -> jax.Array:
    """What a method makes of pictures, at an intensity and with a smoothed change.

    Args:
      method: of the registry.
      params: what it has learned.
      neutral: `(num, height, width, channels)`.
      intensity: `(num,)`; 0 gives the pictures themselves, 1 what the method predicts.
      smoothing: standard deviation in pixels by which what is added to the (moved) picture is smoothed, so
        that the picture's own details stay. Static.
    """
    if method.render is not None:
        return method.render(params, neutral, intensity, smoothing)
    change = jax.vmap(partial(blur, sigma=smoothing))(method.predict(params, neutral) - neutral)
    return neutral + intensity[:, None, None, None] * change


def _of_planes(
    settings: Settings,
    module: ModuleType,
    num_parameters: Callable[[Params], int],
    plane_errors: Callable[..., jax.Array],
    *,
    fit: Callable[..., Params] | None = None,
) -> Method:
    """A regression of flattened pictures, used on each colour channel on its own."""

    def fit_pictures(neutral: jax.Array, expressive: jax.Array, **choice: Any) -> Params:
        return _each_channel(partial(fit or module.fit, **choice), neutral, expressive)

    errors = partial(shared_errors.of_planes, plane_errors)
    method = Method(fit_pictures, partial(_predict, module), num_parameters, errors)
    return _learning(settings.learn, method)


def _gan(name: str, settings: Settings) -> Method:
    """A GAN of two expressions. It learns the expressive picture, whatever the regressions learn."""

    def fit(neutral: jax.Array, expressive: jax.Array) -> Params:
        raise checks.InputError(
            f"{name} is trained step by step, which this experiment cannot do; see compare_baselines and "
            "gan_comparison"
        )

    def train(pairs: Pairs, seed: int, folder: Path) -> tuple[Params, float]:
        return optional.fitting().train_pairs(name, pairs, seed=seed, folder=folder, settings=settings.gan)

    def predict(params: Params, neutral: jax.Array) -> jax.Array:
        return optional.fitting().predict(name, params, neutral, width=settings.gan.width)

    def num_parameters(params: Params) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    return Method(fit, predict, num_parameters, train=train)


def _learning(learn: Learn, method: Method) -> Method:
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


def _each_channel(fit: Callable[..., Params], neutral: jax.Array, expressive: jax.Array) -> Params:
    """Fits one channel after the other: the data of a single one may be all that memory holds."""
    return jax.lax.map(lambda both: fit(*both), (planes(neutral), planes(expressive)))


def _predict_each_channel(
    predict: Callable[[Params, jax.Array], jax.Array], params: Params, neutral: jax.Array
) -> jax.Array:
    outputs = jax.lax.map(lambda each: predict(*each), (params, planes(neutral)))
    return jnp.moveaxis(outputs, 0, -1).reshape(neutral.shape)


def _predict(module: ModuleType, params: Params, neutral: jax.Array) -> jax.Array:
    return _predict_each_channel(module.predict, params, neutral)


def _num_masked_parameters(model: synthesis.ExpressionModel) -> int:
    out_channels, _, in_channels, height, width = model.weights.shape

    def num_inputs(window: masks.Window | masks.Mask) -> np.ndarray:
        mask = masks.as_mask(window, height, width) if isinstance(window, masks.Window) else window
        return np.sum(mask.valid, axis=1)

    used = num_inputs(model.window)
    if model.selection is not None:
        # Where windows are chosen, what a pixel's own has not is there, but 0.
        index = np.broadcast_to(model.selection.window_index, (height, width)).reshape(-1)
        used = np.choose(index, [num_inputs(window) for window in model.selection.scores.windows])
    return int(np.sum(used)) * out_channels * in_channels + model.bias.size


def _unsolved(model: synthesis.ExpressionModel) -> str | None:
    """How many pixels fell back to the mean, if any."""
    solved = np.asarray(model.solved, dtype=bool)
    if solved.all():
        return None
    return f"{(~solved).sum()} of {solved.size} pixels could not be solved, and are predicted by their mean"


def _num_sparse_parameters(params: SparseLinear) -> int:
    return int(np.sum(params.mask.valid)) + params.linear.bias.size


def _num_factored_parameters(params: FactoredLinear) -> int:
    return params.input_mean.size + params.intercept.size + sum(factor.size for factor in params.factors)
