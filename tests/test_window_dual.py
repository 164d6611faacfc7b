import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax import masks, synthesis, window_dual, windows
from mlr_jax._window_regression import dual
from mlr_jax.checks import InputError
from mlr_jax.window_linear import WindowLinear
from tests import oracle

HEIGHT, WIDTH, NUM = 8, 9, 6
WINDOWS = {
    "square": windows.square(5),
    "one row": windows.from_offsets([(0, dx) for dx in range(-3, 4)]),
    "one column": windows.from_offsets([(dy, 0) for dy in range(-3, 4)]),
    "to the right of the pixel": windows.from_offsets([(dy, dx) for dy in (1, 2) for dx in (1, 2, 3)]),
    "to the left of the pixel": windows.from_offsets([(dy, dx) for dy in (-1, 0) for dx in (-4, -3, -2)]),
    "in another order": windows.from_offsets(reversed(windows.square(3).offsets)),
}


def pictures(num: int, height: int, width: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    planes = [oracle.smooth_faces(rng, num, height, width) for _ in range(2 * channels)]
    stacked = np.stack(planes, axis=-1).reshape(num, height, width, 2 * channels)
    inputs = stacked[..., :channels]
    return inputs, 0.6 * inputs + 0.4 * stacked[..., channels:]


def assert_exact(
    params: WindowLinear,
    inputs: np.ndarray,
    targets: np.ndarray,
    window: windows.Window,
    penalty: float | np.ndarray,
    penalize_bias: bool,
    tolerance: float,
) -> None:
    """Compares every output channel with the loop over pixels in float64."""
    num, height, width, channels = inputs.shape
    mask = masks.across_channels(masks.offset_mask(height, width, window.offsets), channels)
    penalties = np.broadcast_to(penalty, (height, width)).reshape(-1)
    for channel in range(targets.shape[-1]):
        flat = inputs.reshape(num, -1), targets[..., channel].reshape(num, -1)
        weights, bias = oracle.masked_ridge(*flat, mask, penalties, penalize_bias)
        found = np.asarray(params.weights[channel]).reshape(-1, height * width).T
        np.testing.assert_allclose(found, weights, atol=tolerance)
        np.testing.assert_allclose(np.ravel(params.bias[channel]), bias, atol=tolerance)


@pytest.mark.parametrize("penalize_bias", [True, False])
@pytest.mark.parametrize("name", WINDOWS)
def test_equals_a_loop_over_pixels(name, penalize_bias, x64):
    inputs, targets = pictures(NUM, HEIGHT, WIDTH, 1)
    penalty = np.random.default_rng(1).uniform(0.1, 2, (HEIGHT, WIDTH))
    params = window_dual.fit(inputs, targets, WINDOWS[name], penalty, penalize_bias=penalize_bias)
    assert_exact(params, inputs, targets, WINDOWS[name], penalty, penalize_bias, 1e-11)


def test_windows_that_see_all_channels(x64):
    inputs, targets = pictures(NUM, HEIGHT, WIDTH, 2)
    params = window_dual.fit(inputs, targets, windows.square(3), 0.4)
    assert params.weights.shape == (2, 9, 2, HEIGHT, WIDTH)
    assert_exact(params, inputs, targets, windows.square(3), 0.4, True, 1e-11)


def test_float32_does_not_drift_along_a_row():
    inputs, targets = pictures(12, 4, 400, 1)
    window = windows.from_offsets([(dy, dx) for dy in (-1, 0, 1) for dx in range(-4, 5)])
    params = window_dual.fit(inputs.astype(np.float32), targets.astype(np.float32), window, 0.1)
    assert_exact(params, inputs, targets, window, 0.1, True, 1e-5)


def test_bands_of_rows_do_not_change_the_result(monkeypatch, x64):
    inputs, targets = pictures(NUM, 13, WIDTH, 1)
    whole = window_dual.fit(inputs, targets, windows.square(5), 0.4)
    dual.fit.clear_cache()
    monkeypatch.setattr(dual, "_KERNELS_NUMBERS", 1)
    monkeypatch.setattr(dual, "_FEWEST_ROWS", 5)
    banded = window_dual.fit(inputs, targets, windows.square(5), 0.4)
    dual.fit.clear_cache()
    for one, other in zip(whole, banded, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_solving_one_system_at_a_time_does_not_change_the_result(monkeypatch, x64):
    inputs, targets = pictures(NUM, HEIGHT, WIDTH, 2)
    expected = window_dual.fit(inputs, targets, windows.square(3), 0.4)
    dual.fit.clear_cache()
    monkeypatch.setattr(dual, "_SMALL", 0)
    found = window_dual.fit(inputs, targets, windows.square(3), 0.4)
    dual.fit.clear_cache()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("penalize_bias", [True, False])
def test_no_penalty_interpolates(penalize_bias, x64):
    inputs, targets = pictures(NUM, HEIGHT, WIDTH, 1)
    model = synthesis.fit(inputs, targets, window=5, penalty=0, penalize_bias=penalize_bias)
    np.testing.assert_allclose(synthesis.synthesize(model, inputs), targets, atol=1e-6)


def test_a_constant_pixel_is_predicted_by_the_mean():
    """Centred, it is rounding only, with coefficients of millions; the bias must cancel the weights."""
    inputs, targets = (each.astype(np.float32) for each in np.random.default_rng(0).random((2, 12, 3, 4, 1)))
    inputs[:, 0, 0] = 0.7
    fit = jax.jit(lambda *pictures: window_dual.fit(*pictures, windows.square(1), 1e-8))
    # With all optimisations: only vectorised code failed.
    params = fit.lower(inputs, targets).compile({"xla_backend_optimization_level": 3})(inputs, targets)
    assert params.solved[0, 0, 0]
    predicted = 0.7 * params.weights[0, 0, 0, 0, 0] + params.bias[0, 0, 0]
    np.testing.assert_allclose(predicted, targets[:, 0, 0].mean(), rtol=1e-5)


def test_gradients_equal_finite_differences(x64):
    inputs, targets = pictures(NUM, 5, 4, 1)

    def measure(penalty, inputs, targets):
        params = window_dual.fit(inputs, targets, windows.square(3), penalty)
        return jnp.sum(jnp.sin(params.weights)) + jnp.sum(params.bias**2)

    direction = np.random.default_rng(2).normal(size=(2, *inputs.shape))
    gradients = jax.jit(jax.grad(measure, argnums=(0, 1, 2)))(0.4, inputs, targets)
    step = 1e-5

    def moved(sign):
        shifted = 0.4 + sign * step, inputs + sign * step * direction[0], targets + sign * step * direction[1]
        return measure(*shifted)

    expected = (moved(1) - moved(-1)) / (2 * step)
    found = gradients[0] + jnp.sum(gradients[1] * direction[0]) + jnp.sum(gradients[2] * direction[1])
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("window", "slides"),
    [
        (windows.square(3), True),
        (windows.square(1), True),
        (windows.dilated(3, 2), False),
        (windows.disk(2), False),
    ],
)
def test_only_rectangular_windows_are_slidable(window, slides):
    assert window_dual.is_slidable(window) == slides


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window": windows.disk(2)}, "no rectangle"),
        ({"window": windows.square(11)}, "larger than the picture"),
        ({"penalty": -1.0}, "penalty must be 0 or more"),
        ({"penalty": np.ones(3)}, r"penalty must be a scalar or \(8, 9\)"),
        ({"inputs": np.ones((5, HEIGHT, WIDTH, 1))}, "inputs are .* but targets are"),
        ({"inputs": np.full((NUM, HEIGHT, WIDTH, 1), np.inf)}, "inputs holds"),
    ],
)
def test_clear_errors(change, words):
    inputs, targets = pictures(NUM, HEIGHT, WIDTH, 1)
    arguments = {"inputs": inputs, "targets": targets, "window": windows.square(5), "penalty": 0.4} | change
    with pytest.raises(InputError, match=words):
        window_dual.fit(**arguments)
