"""The scikit-learn estimator: scikit-learn's own checks, and agreement with its regressions."""

import pickle

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlr_jax import checks, masks, synthesis, windows
from mlr_jax.estimators import MaskedRidge


@parametrize_with_checks([MaskedRidge(), MaskedRidge(penalize_bias=False)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture
def pictures():
    """Features and targets of pictures of 6 x 5 x 2."""
    rng = np.random.default_rng(0)
    features = rng.random((40, 60))
    return features, 0.5 * features + rng.random((40, 60))


@pytest.fixture
def _float64():
    with jax.enable_x64(True):
        yield


EVERYTHING = masks.Mask(np.arange(60)[None].repeat(60, axis=0), np.ones((60, 60), bool))


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("mask", [None, EVERYTHING])
@pytest.mark.parametrize("alpha", [0.7, np.linspace(0.1, 3, 60)])
def test_a_free_intercept_is_that_of_ridge(pictures, mask, alpha):
    ours = MaskedRidge(mask, alpha=alpha, penalize_bias=False).fit(*pictures)
    theirs = Ridge(alpha=alpha).fit(*pictures)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-10)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-10)
    np.testing.assert_allclose(ours.predict(pictures[0]), theirs.predict(pictures[0]), atol=1e-10)
    assert ours.score(*pictures) == pytest.approx(theirs.score(*pictures), abs=1e-10)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("alpha", [0.7, np.linspace(0.1, 3, 60)])
def test_a_penalised_bias_is_a_feature_of_ones(pictures, alpha):
    ours = MaskedRidge(alpha=alpha).fit(*pictures)
    ones = np.ones((40, 1))
    theirs = Ridge(alpha=alpha, fit_intercept=False).fit(np.hstack([pictures[0], ones]), pictures[1])
    np.testing.assert_allclose(ours.coef_, theirs.coef_[:, :-1], atol=1e-10)
    np.testing.assert_allclose(ours.intercept_, theirs.coef_[:, -1], atol=1e-10)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("solver", [None, "primal", "dual", "gather"])
@pytest.mark.parametrize("alpha", [0.7, np.linspace(0.1, 3, 60)])
@pytest.mark.parametrize("shape", [(6, 10), (6, 5, 2)])
def test_a_window_is_the_mask_that_it_stands_for(pictures, solver, alpha, shape):
    by_window = MaskedRidge(window=3, image_shape=shape, alpha=alpha, solver=solver).fit(*pictures)
    # One channel after the other: channel c of pixel p is feature p * channels + c.
    channels = (*shape, 1)[2]
    pixels = masks.to_dense(masks.square_mask(*shape[:2], 3), 60 // channels)
    by_mask = MaskedRidge(masks.from_dense(np.kron(pixels, np.eye(channels)) > 0), alpha=alpha).fit(*pictures)
    np.testing.assert_allclose(by_window.coef_, by_mask.coef_, atol=1e-8)
    np.testing.assert_allclose(by_window.intercept_, by_mask.intercept_, atol=1e-8)
    np.testing.assert_allclose(by_window.predict(pictures[0]), by_mask.predict(pictures[0]), atol=1e-8)
    assert by_window.solved_.all()


def test_any_window_of_the_library_is_accepted(pictures):
    window = windows.mirrored(windows.square(3))
    fitted = MaskedRidge(window=window, image_shape=(6, 10)).fit(*pictures)
    shape = (-1, 6, 10, 1)
    model = synthesis.fit(*(each.reshape(shape) for each in pictures), window=window)
    expected = synthesis.synthesize(model, pictures[0].reshape(shape)).reshape(40, 60)
    np.testing.assert_allclose(fitted.predict(pictures[0]), expected, atol=1e-5)
    np.testing.assert_allclose(
        pictures[0] @ fitted.coef_.T + fitted.intercept_[None], fitted.predict(pictures[0]), atol=1e-5
    )


def test_clones_searches_and_pipelines(pictures):
    ridge = MaskedRidge(window=3, image_shape=(6, 5, 2), alpha=np.full(60, 0.1))
    copy = clone(ridge)
    assert copy.get_params()["window"] == 3
    np.testing.assert_array_equal(copy.alpha, ridge.alpha)
    pipe = make_pipeline(StandardScaler(), ridge)
    search = GridSearchCV(pipe, {"maskedridge__alpha": [0.1, 10.0, 1e4], "maskedridge__window": [1, 3]}, cv=4)
    search.fit(*pictures)
    # A target depends on its own pixel alone.
    assert search.best_params_["maskedridge__window"] == 1
    means = search.cv_results_["mean_test_score"]
    assert means.max() == search.best_score_ > means.min()
    whole = TransformedTargetRegressor(search.best_estimator_, transformer=StandardScaler())
    assert whole.fit(*pictures).predict(pictures[0]).shape == (40, 60)


@pytest.mark.parametrize("options", [{}, {"window": 3, "image_shape": (6, 10)}, {"mask": EVERYTHING}])
def test_predictions_are_those_of_the_fit(pictures, options):
    """Whatever becomes of the estimator afterwards: pickled, or given other parameters."""
    fitted = MaskedRidge(**options).fit(*pictures)
    before = fitted.predict(pictures[0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(pictures[0]), before)
    small = masks.square_mask(6, 10, 1)
    for changed in ({"mask": small, "window": None}, {"mask": None, "window": 5, "image_shape": (10, 6)}):
        np.testing.assert_array_equal(fitted.set_params(**changed).predict(pictures[0]), before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, int])
def test_predictions_have_the_dtype_of_the_features(pictures, dtype):
    features, targets = (10 * each for each in pictures)
    fitted = MaskedRidge().fit(features, targets)
    expected = np.float32 if dtype == np.float32 else np.float64
    assert fitted.predict(features.astype(dtype)).dtype == expected


def test_a_target_that_cannot_be_solved_is_said():
    features = np.ones((5, 3))
    with pytest.warns(checks.UnsolvedWarning, match="1 of 1 outputs"):
        fitted = MaskedRidge(alpha=0).fit(features, np.arange(5.0))
    assert fitted.solved_ == 0
    np.testing.assert_allclose(fitted.predict(features), 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": [1.0, 2.0]}, r"alpha must be a number or \(60,\), one for each target, not \(2,\)"),
        ({"alpha": -1}, "penalty must be 0 or more"),
        ({"window": 3}, r"needs image_shape, \(height, width\) or"),
        ({"window": 3, "image_shape": (6, 9)}, r"\(6, 9\) have 54 numbers, but X has 60 features"),
        ({"window": 3, "image_shape": (6, 10), "mask": EVERYTHING}, "a mask or a window, not both"),
        ({"image_shape": (6, 10)}, "are for a window"),
        ({"solver": "dual"}, "are for a window"),
        (
            {"window": 3, "image_shape": (6, 10), "solver": "fast"},
            "solver must be one of primal, dual, gather",
        ),
        ({"mask": masks.square_mask(4, 4, 1)}, "the mask has 16 outputs, but targets have 60"),
    ],
)
def test_wrong_parameters_are_said(pictures, options, message):
    with pytest.raises(checks.InputError, match=message):
        MaskedRidge(**options).fit(*pictures)


def test_a_second_alpha_compiles_nothing(pictures, caplog):
    """So a search compiles once for each size of its folds."""
    for alpha, option in (
        (0.3, {}),
        (0.3, {"window": 3, "image_shape": (6, 10)}),
        (0.9, {}),
        (0.9, {"window": 3, "image_shape": (6, 10)}),
    ):
        with jax.log_compiles():
            MaskedRidge(alpha=alpha, **option).fit(*pictures).predict(pictures[0])
        if alpha == 0.3:
            caplog.clear()
    assert [record for record in caplog.records if "Finished XLA" in record.getMessage()] == []
