"""What every method of the registry must do; a new one is tested by being listed."""

import jax
import numpy as np
import pytest

from experiments.methods import METHODS, Settings
from tests import oracle

HEIGHT, WIDTH = 8, 6


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training pairs and test pictures, colour, float64."""
    rng = np.random.default_rng(0)
    planes = [oracle.smooth_faces(rng, 30, HEIGHT, WIDTH) for _ in range(6)]
    stacked = np.stack(planes, axis=-1).reshape(30, HEIGHT, WIDTH, 6)
    neutral = stacked[..., :3]
    expressive = 0.6 * neutral + 0.3 * stacked[..., 3:] + 0.1
    return neutral[:20], expressive[:20], neutral[20:]


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param](Settings())


def test_predicts_pictures(method, faces):
    neutral, expressive, test = (each.astype(np.float32) for each in faces)
    copies = neutral.copy(), expressive.copy(), test.copy()
    params = method.fit(neutral, expressive)
    pictures = method.predict(params, test)
    assert pictures.shape == test.shape
    assert pictures.dtype == np.float32
    assert np.isfinite(pictures).all()
    for array, copy in zip((neutral, expressive, test), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert method.num_parameters(params) >= 0
    assert isinstance(method.setting(params), str)


def test_is_deterministic_and_jittable(method, faces):
    neutral, expressive, test = (each.astype(np.float32) for each in faces)
    fit, predict = jax.jit(method.fit), jax.jit(method.predict)
    pictures = predict(fit(neutral, expressive), test)
    np.testing.assert_array_equal(pictures, predict(fit(neutral, expressive), test))
    np.testing.assert_allclose(pictures, method.predict(method.fit(neutral, expressive), test), atol=1e-4)


def test_float64(method, faces, x64):
    neutral, expressive, test = faces
    pictures = method.predict(method.fit(neutral, expressive), test)
    assert pictures.dtype == np.float64
    single = method.fit(neutral.astype(np.float32), expressive.astype(np.float32))
    np.testing.assert_allclose(method.predict(single, test.astype(np.float32)), pictures, atol=1e-3)


def test_does_not_depend_on_the_order_of_examples(method, faces):
    neutral, expressive, test = (each.astype(np.float32) for each in faces)
    pictures = method.predict(method.fit(neutral, expressive), test)
    turned = method.predict(method.fit(neutral[::-1], expressive[::-1]), test)
    np.testing.assert_allclose(turned, pictures, atol=1e-4)


def test_learns_what_can_be_learned(faces):
    """All but the copy must halve the error of a change that is the same for everyone."""
    neutral, _, test = (each.astype(np.float32) for each in faces)
    change = np.linspace(-0.3, 0.3, neutral[0].size, dtype=np.float32).reshape(neutral[0].shape)
    for name, make in METHODS.items():
        method = make(Settings(penalty=0.01))
        pictures = method.predict(method.fit(neutral, neutral + change), test)
        error = np.mean((np.asarray(pictures) - test - change) ** 2) / np.mean(change**2)
        assert error == pytest.approx(1) if name == "copy_input" else error < 0.5, name


def test_numbers_of_parameters(faces):
    neutral, expressive, _ = (each.astype(np.float32) for each in faces)
    pixels = HEIGHT * WIDTH
    # A 3 x 3 window is cut at the border: (3 H - 2) (3 W - 2) entries in all.
    windows = (3 * HEIGHT - 2) * (3 * WIDTH - 2)
    expected = {
        "copy_input": 0,
        "mean_change": 3 * pixels,
        "masked_ridge": 3 * (windows + pixels),
        "l2_ridge": 3 * pixels * (pixels + 1),
    }
    for name, number in expected.items():
        method = METHODS[name](Settings(window=3))
        assert method.num_parameters(method.fit(neutral, expressive)) == number, name
