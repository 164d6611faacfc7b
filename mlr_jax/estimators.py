"""Masked regression as a scikit-learn estimator, for pipelines and searches.

It needs scikit-learn, the extra `estimators`. No other module of the library imports this one.
"""

import math
from collections.abc import Sequence
from typing import Any, Self, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from mlr_jax import (
    checks,
    masked_ridge,
    masks,
    synthesis,
    window_dual,
    window_linear,
    window_statistics,
    windows,
)
from mlr_jax.window_linear import WindowLinear

__all__ = ["MaskedRidge"]


class MaskedRidge(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression in which every target sees only some of the features.

    The regression of `masked_ridge.fit`, or of `window_statistics.solve` with a window, with the interface of
    scikit-learn: `clone`, `GridSearchCV`, `cross_val_predict` and pipelines work as for `Ridge`.

    `alpha` is what it is there: both add it to sums of squares over samples. With `penalize_bias=False` and
    without a mask the solution is that of `sklearn.linear_model.Ridge(alpha)`, whose intercept is free. With
    `penalize_bias=True`, as published, it is that of `Ridge(alpha, fit_intercept=False)` on the features and
    one more that is always 1, whose coefficient is the intercept.

    It computes in float32; in float64 if X or y is and `jax_enable_x64` is on. Results are NumPy arrays, and
    a fitted estimator can be pickled.

    Attributes:
      intercept_: the biases, `(n_targets,)`, or a number if y was one-dimensional.
      solved_: 1 for each target whose system could be solved in its precision, 0 for one that is predicted
        by the mean of its values; the shape of `intercept_`.
      n_features_in_: how many features the samples of `fit` had.
      feature_names_in_: their names, if these were strings.

    >>> from sklearn.model_selection import GridSearchCV
    >>> rng = np.random.default_rng(0)
    >>> faces = rng.random((30, 64), dtype=np.float32)
    >>> ridge = MaskedRidge(window=3, image_shape=(8, 8))
    >>> GridSearchCV(ridge, {"alpha": [0.01, 100]}, cv=3).fit(faces, 1 - faces).best_params_
    {'alpha': 0.01}
    """

    def __init__(
        self,
        mask: masks.Mask | None = None,
        *,
        window: int | masks.Window | None = None,
        image_shape: Sequence[int] | None = None,
        alpha: ArrayLike = 0.4,
        penalize_bias: bool = True,
        solver: synthesis.Solver | None = None,
    ) -> None:
        """Keeps the parameters, which `fit` checks.

        Args:
          mask: the features that each target sees, a `masks.Mask` of a row for each target. Without a mask
            and a window, every target sees all features.
          window: instead of a mask, if features and targets are the pixels of pictures of one size: the side
            of a square window in pixels, odd; or a `windows.Window`. Needs `image_shape`, and is faster.
          image_shape: `(height, width)`, or `(height, width, channels)`, of which each sees itself alone.
            Samples are pictures that were flattened row by row.
          alpha: the penalty lambda >= 0, one for all or one for each target; 0.4 in the paper.
          penalize_bias: whether the penalty includes the intercept, as published.
          solver: of a window, see `synthesis.Solver`; all find the same.
        """
        self.mask = mask
        self.window = window
        self.image_shape = image_shape
        self.alpha = alpha
        self.penalize_bias = penalize_bias
        self.solver = solver

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fits every target's regression.

        Args:
          X: `(n_samples, n_features)`.
          y: `(n_samples, n_targets)`, or `(n_samples,)` for one target.

        Returns:
          The estimator.

        Raises:
          InputError: parameters do not agree with each other or with the data.
        """
        inputs, outputs = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype=[np.float64, np.float32]
        )
        self._is_single = outputs.ndim == 1
        targets = outputs.reshape(len(outputs), -1).astype(np.result_type(outputs, np.float32), copy=False)
        where = "MaskedRidge.fit"
        alpha = np.asarray(self.alpha, inputs.dtype)
        if alpha.shape not in ((), (targets.shape[1],)):
            raise checks.InputError(
                f"{where}: alpha must be a number or ({targets.shape[1]},), one for each target, not "
                f"{alpha.shape}"
            )
        # Predictions use what the weights were fitted with, whatever `set_params` changes afterwards.
        self._mask, self._shape = self.mask, tuple(self.image_shape or ())
        self._models: list[WindowLinear] | None = None
        if self.window is not None:
            self._models = self._fit_window(where, inputs, targets, alpha)
            biases, solved = (
                np.stack([np.asarray(getattr(each, name)) for each in self._models], axis=-1)
                for name in ("bias", "solved")
            )
        else:
            if self.image_shape is not None or self.solver not in (None, "gather"):
                raise checks.InputError(f"{where}: image_shape and solver are for a window; give one")
            self._params = self._fit_mask(inputs, targets, alpha)
            biases, solved = map(np.asarray, (self._params.bias, self._params.solved))
        self.intercept_, self.solved_ = (
            self._as_targets(each.reshape(1, -1))[0] for each in (biases, solved)
        )
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predicts the targets.

        Args:
          X: `(n_samples, n_features)`.

        Returns:
          `(n_samples, n_targets)`, or `(n_samples,)` if y had one axis; of the dtype of X.
        """
        check_is_fitted(self)
        inputs = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return self._as_targets(self._predict(inputs)).astype(inputs.dtype)

    @property
    def coef_(self) -> np.ndarray:
        """The weights as a matrix `(n_targets, n_features)`, 0 where a target does not see a feature.

        It is made at each access. For large pictures it does not fit into memory.
        """
        check_is_fitted(self)
        dtype = np.asarray(self.intercept_).dtype
        coefficients = self._predict(np.eye(self.n_features_in_, dtype=dtype), with_bias=False).T
        return coefficients[0] if self._is_single else coefficients

    def _as_targets(self, array: np.ndarray) -> np.ndarray:
        return array[:, 0] if self._is_single else array

    def _fit_mask(self, X: np.ndarray, targets: np.ndarray, alpha: np.ndarray) -> masked_ridge.MaskedLinear:
        if self.mask is not None:
            params = masked_ridge.fit(X, targets, self.mask, alpha, penalize_bias=self.penalize_bias)
        else:
            params = _fit_all_inputs(X, targets, alpha, self.penalize_bias)
            assert params.solved is not None
            checks.warn_unsolved("MaskedRidge.fit", params.solved, is_image=False)
        return jax.tree.map(np.asarray, params)

    def _fit_window(
        self, where: str, X: np.ndarray, targets: np.ndarray, alpha: np.ndarray
    ) -> list[WindowLinear]:
        """A model for each channel."""
        assert self.window is not None
        if self.mask is not None:
            raise checks.InputError(f"{where}: give a mask or a window, not both")
        if len(self._shape) not in (2, 3):
            raise checks.InputError(
                f"{where}: a window needs image_shape, (height, width) or (height, width, channels), not "
                f"{self.image_shape}"
            )
        if not X.shape[1] == targets.shape[1] == math.prod(self._shape):
            raise checks.InputError(
                f"{where}: pictures of image_shape {self._shape} have {math.prod(self._shape)} numbers, but "
                f"X has {X.shape[1]} features, and y {targets.shape[1]} targets"
            )
        if self.solver not in (None, *get_args(synthesis.Solver)):
            raise checks.InputError(
                f"{where}: solver must be one of {', '.join(get_args(synthesis.Solver))}, not {self.solver!r}"
            )
        self._field = self.window if isinstance(self.window, windows.Window) else windows.square(self.window)
        # As many times the same program as there are channels, each with the penalties of its own pixels.
        penalties = np.broadcast_to(alpha, targets.shape[1:])
        models = []
        for inputs, outputs, penalty in zip(*map(self._split, (X, targets, penalties[None])), strict=True):
            model = _fit_pictures(
                inputs, outputs, self._field, penalty[0, :, :, 0], self.penalize_bias, self.solver
            )
            assert model.solved is not None
            checks.warn_unsolved(where, model.solved)
            models.append(jax.tree.map(np.asarray, model))
        return models

    def _split(self, samples: np.ndarray) -> np.ndarray:
        """The channels of flattened pictures: `(channels, num, height, width, 1)`."""
        height, width, channels = (*self._shape, 1)[:3]
        return np.moveaxis(samples.reshape(len(samples), height, width, channels, 1), 3, 0)

    def _predict(self, X: np.ndarray, *, with_bias: bool = True) -> np.ndarray:
        def biased(model: Any) -> Any:
            return model if with_bias else model._replace(bias=np.zeros_like(model.bias))

        if self._models is not None:
            channels = [
                np.asarray(
                    window_linear.predict(
                        biased(model), window_linear.look(jnp.asarray(images), self._field), self._field
                    )
                )[..., 0]
                for model, images in zip(self._models, self._split(X), strict=True)
            ]
            return np.stack(channels, axis=-1).reshape(len(X), -1)
        params = biased(self._params)
        if self._mask is not None:
            return np.asarray(masked_ridge.predict(params, X, self._mask))
        return np.asarray(_predict_all_inputs(params, X))


def _fit_pictures(
    inputs: np.ndarray,
    outputs: np.ndarray,
    window: windows.Window,
    penalty: np.ndarray,
    penalize_bias: bool,
    solver: synthesis.Solver | None,
) -> WindowLinear:
    """The regression on a window, of pictures `(num, height, width, 1)` in any units."""
    num, height, width, _ = inputs.shape
    seen = window_linear.look(jnp.asarray(inputs), window)
    solver = solver or synthesis.choose_solver(window, num)
    if solver == "dual":
        return window_dual.fit(seen, outputs, window, penalty, penalize_bias=penalize_bias)
    if solver == "gather":
        flat = jnp.moveaxis(seen, -1, 1).reshape(num, -1)
        mask = masks.as_mask(window, height, width)
        params = masked_ridge.fit(
            flat, outputs.reshape(num, -1), mask, penalty.reshape(-1), penalize_bias=penalize_bias
        )
        return WindowLinear(
            params.weights.T.reshape(1, -1, 1, height, width),
            params.bias.reshape(1, height, width),
            params.solved if params.solved is None else params.solved.reshape(1, height, width),
        )
    return window_statistics.fit(seen, outputs, window, penalty, penalize_bias=penalize_bias)


def _fit_all_inputs(
    X: np.ndarray, targets: np.ndarray, alpha: np.ndarray, penalize_bias: bool
) -> masked_ridge.MaskedLinear:
    """Every target on all features: weights `(n_targets, n_features)`."""
    num_outputs = targets.shape[1]
    everything = masks.Mask(np.arange(X.shape[1], dtype=np.int32)[None], np.ones((1, X.shape[1]), bool))
    if alpha.ndim:
        repeated = masks.Mask(*(each.repeat(num_outputs, axis=0) for each in everything))
        return masked_ridge.fit(X, targets, repeated, alpha, penalize_bias=penalize_bias)

    def fit(target: jax.Array) -> masked_ridge.MaskedLinear:
        return masked_ridge.fit(X, target[:, None], everything, alpha, penalize_bias=penalize_bias)

    # Nothing but the targets differs: they share one factorisation.
    params = jax.vmap(fit, in_axes=1)(jnp.asarray(targets))
    return jax.tree.map(lambda leaf: leaf[:, 0], params)


def _predict_all_inputs(params: masked_ridge.MaskedLinear, X: np.ndarray) -> jax.Array:
    product = jnp.matmul(X, params.weights.T, precision=jax.lax.Precision.HIGHEST)
    return product + params.bias[None]
