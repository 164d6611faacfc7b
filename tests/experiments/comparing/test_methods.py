"""Requirements on every method of the registry, which is the list of tested methods."""

import jax
import numpy as np
import pytest

from experiments.comparing.methods import GANS, METHODS, VARIANTS
from experiments.comparing.methods.masked_ridge import window_inputs
from experiments.comparing.methods.method import Method, Settings, Sizes
from mlr_jax.checks import InputError
from tests import oracle

pytestmark = pytest.mark.usefixtures("unoptimized_file")

HEIGHT, WIDTH = 8, 6

# Hyper-parameters that suit these few small pictures.
SMALL = {name: {**entry.fixed, **entry.test_values} for name, entry in METHODS.items()}


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training pairs and test pictures, colour, float64."""
    rng = np.random.default_rng(0)
    planes = [oracle.smooth_faces(rng, 30, HEIGHT, WIDTH) for _ in range(6)]
    stacked = np.stack(planes, axis=-1).reshape(30, HEIGHT, WIDTH, 6)
    neutral = stacked[..., :3]
    expressive = 0.6 * neutral + 0.3 * stacked[..., 3:] + 0.1
    return neutral[:20], expressive[:20], neutral[20:]


# `synthesis.fit`, of which variants are options, and GANs have their own tests.
TESTED = [name for name in METHODS if name not in (*VARIANTS, *GANS)]


@pytest.fixture(scope="module", params=TESTED)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def method(name) -> Method:
    """Compiled once for all tests of a method."""
    method = METHODS[name].make(Settings())
    fit = jax.jit(lambda neutral, expressive: method.fit(neutral, expressive, **SMALL[name]))
    return method._replace(fit=fit, predict=jax.jit(method.predict))


def single(faces: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(each.astype(np.float32) for each in faces)


def test_every_method_has_its_hyper_parameters():
    for name, entry in METHODS.items():
        assert list(entry.grid) == list(entry.fixed), name
        assert {*entry.test_values, *entry.test_grid} <= {*entry.grid}, name


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


def test_runs_without_jit(name, method, faces):
    neutral, expressive, test = single(faces)
    plain = METHODS[name].make(Settings())
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
    # The lasso may stop at another iteration, wherever its gap is small enough.
    np.testing.assert_allclose(turned, pictures, atol=2e-3 if name == "l1_lasso" else 1e-4)


def test_learns_each_channel_independently(method, faces):
    """Other channels change nothing."""
    neutral, expressive, test = single(faces)
    whole = method.predict(method.fit(neutral, expressive), test)
    swapped = [each[..., [2, 1, 0]] for each in (neutral, expressive, test)]
    pictures = method.predict(method.fit(*swapped[:2]), swapped[2])
    np.testing.assert_allclose(pictures[..., [2, 1, 0]], whole, atol=1e-5)


def test_nan_in_the_targets_is_not_hidden(name, method, faces):
    """Under jit nothing can raise; then the predictions are NaN."""
    neutral, expressive, _ = single(faces)
    broken = expressive.copy()
    broken[3, 2, 1, 0] = np.nan
    if name == "masked_ridge":
        with pytest.raises(InputError, match="NaN"):
            METHODS[name].make(Settings()).fit(neutral, broken, **SMALL[name])
    with jax.debug_nans(False):
        pictures = method.predict(method.fit(neutral, broken), neutral)
    assert np.isfinite(pictures).all() == (name == "copy_input")


@pytest.mark.parametrize("regression", ["masked_ridge", "l0_omp", "l2_ridge"])
def test_learns_the_change(regression, faces):
    neutral, expressive, test = single(faces)
    choice = SMALL[regression]
    method = METHODS[regression].make(Settings(learn="change"))
    pictures = method.predict(method.fit(neutral, expressive, **choice), test)
    plain = METHODS[regression].make(Settings())
    change = plain.predict(plain.fit(neutral, expressive - neutral, **choice), test)
    np.testing.assert_allclose(pictures, test + change, atol=1e-5)


def test_learns_a_change_that_everyone_shares(name, method, faces):
    """Every method except the copy must halve the error."""
    neutral, _, test = single(faces)
    change = np.linspace(-0.3, 0.3, neutral[0].size, dtype=np.float32).reshape(neutral[0].shape)
    pictures = method.predict(method.fit(neutral, neutral + change), test)
    error = np.mean((np.asarray(pictures) - test - change) ** 2) / np.mean(change**2)
    assert error == pytest.approx(1) if name == "copy_input" else error < 0.5


def test_number_of_parameters(name, method, faces):
    """The count over the fitted arrays agrees with the entry's formula, if it has one."""
    neutral, expressive, _ = single(faces)
    num_learned = method.num_parameters(method.fit(neutral, expressive))
    expected = METHODS[name].num_parameters
    if expected is None:
        assert name == "l1_lasso", "only the lasso's number depends on the pictures"
    else:
        assert num_learned == expected(Sizes(HEIGHT, WIDTH, 3, len(neutral)), **SMALL[name])


def test_number_of_parameters_of_the_lasso(faces):
    neutral, expressive, _ = single(faces)
    method = METHODS["l1_lasso"].make(Settings())
    params = method.fit(neutral, expressive, **SMALL["l1_lasso"])
    num_nonzeros = int((np.asarray(params.map.linear.weights) != 0).sum())
    assert 0 < num_nonzeros < 3 * (HEIGHT * WIDTH) ** 2
    assert method.num_parameters(params) == num_nonzeros + 3 * HEIGHT * WIDTH


def test_windows_are_cut_at_the_border():
    """Windows of 3 have (3 H - 2) (3 W - 2) inputs, windows of 5 (5 H - 6) (5 W - 6)."""
    for side, cut in ((1, 0), (3, 2), (5, 6)):
        expected = (side * HEIGHT - cut) * (side * WIDTH - cut)
        assert window_inputs(HEIGHT, WIDTH, side).sum() == expected


def test_the_shortfall_counts_outputs_where_the_lasso_stopped_early(faces):
    neutral, expressive, _ = single(faces)
    method = METHODS["l1_lasso"].make(Settings())
    params = method.fit(neutral, expressive, alpha=1e-2)
    assert method.shortfall(params) is None
    short = params._replace(gap=params.gap.at[1, 3].set(2e-3))
    assert "1 of 144 outputs" in method.shortfall(short)
    assert "2.0e-03" in method.shortfall(short)
