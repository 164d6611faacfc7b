"""What every method of the registry must do; a new one is tested by being listed."""

import jax
import numpy as np
import pytest

from experiments.comparing.hyperparameters import FIXED, GRIDS
from experiments.comparing.methods import GANS, METHODS, VARIANTS, Method, Settings
from mlr_jax.checks import InputError
from tests import oracle

pytestmark = pytest.mark.usefixtures("unoptimized_file")

HEIGHT, WIDTH = 8, 6

# Hyper-parameters that suit pictures as small, and pairs as few, as here.
SMALL = {name: dict(choice) for name, choice in FIXED.items()} | {
    "l0_omp": {"num_nonzeros": 2},
    "reduced_rank": {"rank": 5, "penalty": 1.0},
    "pca_ridge": {"input_rank": 6, "output_rank": 5, "penalty": 1.0},
}


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training pairs and test pictures, colour, float64."""
    rng = np.random.default_rng(0)
    planes = [oracle.smooth_faces(rng, 30, HEIGHT, WIDTH) for _ in range(6)]
    stacked = np.stack(planes, axis=-1).reshape(30, HEIGHT, WIDTH, 6)
    neutral = stacked[..., :3]
    expressive = 0.6 * neutral + 0.3 * stacked[..., 3:] + 0.1
    return neutral[:20], expressive[:20], neutral[20:]


# Variants are `synthesis.fit` with other options, which its own tests ask; so do those of GANs.
TESTED = [name for name in METHODS if name not in (*VARIANTS, *GANS)]


@pytest.fixture(scope="module", params=TESTED)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def method(name) -> Method:
    """Compiled once for all tests of a method."""
    method = METHODS[name](Settings())
    fit = jax.jit(lambda neutral, expressive: method.fit(neutral, expressive, **SMALL[name]))
    return method._replace(fit=fit, predict=jax.jit(method.predict))


def single(faces: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(each.astype(np.float32) for each in faces)


def test_every_method_has_its_hyper_parameters():
    assert list(METHODS) == list(GRIDS) == list(FIXED)
    for name in METHODS:
        assert list(GRIDS[name]) == list(FIXED[name])


def test_predicts_pictures(method, faces):
    neutral, expressive, test = single(faces)
    copies = neutral.copy(), expressive.copy(), test.copy()
    params = method.fit(neutral, expressive)
    pictures = method.predict(params, test)
    assert pictures.shape == test.shape
    assert pictures.dtype == np.float32
    assert np.isfinite(pictures).all()
    for array, copy in zip((neutral, expressive, test), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert isinstance(method.num_parameters(params), int)


def test_is_deterministic(method, faces):
    neutral, expressive, test = single(faces)
    pictures = method.predict(method.fit(neutral, expressive), test)
    np.testing.assert_array_equal(pictures, method.predict(method.fit(neutral, expressive), test))


def test_works_without_jit(name, method, faces):
    neutral, expressive, test = single(faces)
    plain = METHODS[name](Settings())
    pictures = plain.predict(plain.fit(neutral, expressive, **SMALL[name]), test)
    expected = method.predict(method.fit(neutral, expressive), test)
    np.testing.assert_allclose(pictures, expected, atol=1e-4)


def test_float64(method, faces, x64):
    neutral, expressive, test = faces
    pictures = method.predict(method.fit(neutral, expressive), test)
    assert pictures.dtype == np.float64
    neutral, expressive, test = single(faces)
    predicted = method.predict(method.fit(neutral, expressive), test)
    np.testing.assert_allclose(predicted, pictures, atol=1e-3)


def test_does_not_depend_on_the_order_of_examples(name, method, faces):
    neutral, expressive, test = single(faces)
    pictures = method.predict(method.fit(neutral, expressive), test)
    turned = method.predict(method.fit(neutral[::-1], expressive[::-1]), test)
    # The lasso stops where its gap is small enough, which is not always at the same place.
    np.testing.assert_allclose(turned, pictures, atol=2e-3 if name == "l1_lasso" else 1e-4)


def test_learns_each_channel_on_its_own(method, faces):
    """What is in the other channels changes nothing."""
    neutral, expressive, test = single(faces)
    whole = method.predict(method.fit(neutral, expressive), test)
    swapped = [each[..., [2, 1, 0]] for each in (neutral, expressive, test)]
    pictures = method.predict(method.fit(*swapped[:2]), swapped[2])
    np.testing.assert_allclose(pictures[..., [2, 1, 0]], whole, atol=1e-5)


def test_what_is_not_a_number_is_not_hidden(name, method, faces):
    """Traced, values cannot be looked at; then the predictions tell."""
    neutral, expressive, _ = single(faces)
    broken = expressive.copy()
    broken[3, 2, 1, 0] = np.nan
    if name == "masked_ridge":
        with pytest.raises(InputError, match="NaN"):
            METHODS[name](Settings()).fit(neutral, broken, **SMALL[name])
    with jax.debug_nans(False):
        pictures = method.predict(method.fit(neutral, broken), neutral)
    assert np.isfinite(pictures).all() == (name == "copy_input")


@pytest.mark.parametrize("regression", ["masked_ridge", "l0_omp", "l2_ridge"])
def test_learns_the_change(regression, faces):
    neutral, expressive, test = single(faces)
    choice = SMALL[regression]
    method = METHODS[regression](Settings(learn="change"))
    pictures = method.predict(method.fit(neutral, expressive, **choice), test)
    plain = METHODS[regression](Settings())
    change = plain.predict(plain.fit(neutral, expressive - neutral, **choice), test)
    np.testing.assert_allclose(pictures, test + change, atol=1e-5)


def test_learns_what_can_be_learned(name, method, faces):
    """All but the copy must halve the error of a change that is the same for everyone."""
    neutral, _, test = single(faces)
    change = np.linspace(-0.3, 0.3, neutral[0].size, dtype=np.float32).reshape(neutral[0].shape)
    pictures = method.predict(method.fit(neutral, neutral + change), test)
    error = np.mean((np.asarray(pictures) - test - change) ** 2) / np.mean(change**2)
    assert error == pytest.approx(1) if name == "copy_input" else error < 0.5


def test_number_of_parameters(name, method, faces):
    neutral, expressive, _ = single(faces)
    params = method.fit(neutral, expressive)
    pixels = HEIGHT * WIDTH
    # A 3 x 3 window is cut at the border: (3 H - 2) (3 W - 2) entries in all.
    windows = (3 * HEIGHT - 2) * (3 * WIDTH - 2)
    expected = {
        "copy_input": 0,
        "mean_change": 3 * pixels,
        "masked_ridge": 3 * (windows + pixels),
        # The field: 9 x 9 on 32 x 32, for both axes; the change: 5 x 5, and the tint.
        "warped_ridge": 2 * ((9 * 32 - 20) ** 2 + 32**2)
        + 3 * ((5 * HEIGHT - 6) * (5 * WIDTH - 6) + 2 * pixels),
        "masked_lsrf": 3 * (windows + pixels),
        "l0_omp": 3 * pixels * (2 + 1),
        "l2_ridge": 3 * pixels * (pixels + 1),
        # The faces themselves, their mean, a coefficient of each for every pixel, and the intercept.
        "kernel_ridge": 3 * pixels * (20 + 1 + 20 + 1),
        "reduced_rank": 3 * pixels * (5 + 5 + 2),
        "pca_ridge": 3 * (pixels * (6 + 5 + 2) + 6 * 5),
    }
    if name == "l1_lasso":
        nonzero = int((np.asarray(params.map.linear.weights) != 0).sum())
        assert 0 < nonzero < 3 * pixels * pixels
        expected[name] = nonzero + 3 * pixels
    assert method.num_parameters(params) == expected[name]


def test_says_where_the_lasso_stopped_short(faces):
    neutral, expressive, _ = single(faces)
    method = METHODS["l1_lasso"](Settings())
    params = method.fit(neutral, expressive, alpha=1e-2)
    assert method.shortfall(params) is None
    short = params._replace(gap=params.gap.at[1, 3].set(2e-3))
    assert "1 of 144 outputs" in method.shortfall(short)
    assert "2.0e-03" in method.shortfall(short)
