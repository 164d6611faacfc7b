import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import test_util

from mlr_jax import masks, window_linear, windows
from mlr_jax._window_regression import linear
from mlr_jax.checks import InputError
from tests import oracle

HEIGHT, WIDTH, NUM = 7, 5, 3
WINDOWS = {
    "pixel": windows.square(1),
    "square": windows.square(3),
    "disk": windows.disk(2.0),
    "dilated": windows.dilated(3, 2),
    "off the middle": windows.from_offsets([(0, 1), (-3, 0), (2, -2)]),
    "out of sight": windows.from_offsets([(9, 0), (0, -8)]),
}
CHANNELS = [(1, 1), (2, 1), (1, 3), (2, 3)]


def problem(
    rng: np.random.Generator, window: windows.Window, channels: tuple[int, int]
) -> tuple[window_linear.WindowLinear, np.ndarray]:
    """A float64 map and pictures; the weights outside the picture are not 0, and must not count."""
    in_channels, out_channels = channels
    weights = rng.standard_normal((out_channels, len(window.offsets), in_channels, HEIGHT, WIDTH))
    params = window_linear.WindowLinear(weights, rng.standard_normal((out_channels, HEIGHT, WIDTH)))
    return params, rng.standard_normal((NUM, HEIGHT, WIDTH, in_channels))


def expected_pictures(
    params: window_linear.WindowLinear, images: np.ndarray, window: windows.Window
) -> np.ndarray:
    """The oracle's predictions, channel by channel."""
    mask = masks.Mask(*seen(window))
    mask = masks.across_channels(mask, images.shape[-1])
    planes = [
        oracle.masked_predict(
            weights.reshape(-1, HEIGHT * WIDTH).T, bias.reshape(-1), mask, images.reshape(NUM, -1)
        )
        for weights, bias in zip(params.weights, params.bias, strict=True)
    ]
    return np.stack(planes, axis=-1).reshape(NUM, HEIGHT, WIDTH, -1)


def seen(window: windows.Window) -> tuple[np.ndarray, np.ndarray]:
    """Indices and validity, offset by offset, also of windows larger than the picture."""
    y, x = np.divmod(np.arange(HEIGHT * WIDTH), WIDTH)
    rows = np.stack([y + dy for dy, _ in window.offsets], axis=1)
    columns = np.stack([x + dx for _, dx in window.offsets], axis=1)
    valid = (rows >= 0) & (rows < HEIGHT) & (columns >= 0) & (columns < WIDTH)
    return np.where(valid, rows * WIDTH + columns, 0), valid


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", WINDOWS)
def test_equals_a_loop_over_pixels(name, channels, rng, x64):
    window = WINDOWS[name]
    params, images = problem(rng, window, channels)
    result = window_linear.predict(params, images, window)
    assert result.dtype == np.float64
    assert result.shape == (NUM, HEIGHT, WIDTH, channels[1])
    np.testing.assert_allclose(result, expected_pictures(params, images, window), rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", WINDOWS)
def test_large_windows_give_the_same_offset_by_offset(name, channels, rng, x64, monkeypatch):
    window = WINDOWS[name]
    params, images = problem(rng, window, channels)
    expected = window_linear.predict(params, images, window)
    linear.predict.clear_cache()
    monkeypatch.setattr(linear, "_UNROLLED", 0)
    monkeypatch.setattr(linear, "_BLOCK", 2)
    result = window_linear.predict(params, images, window)
    linear.predict.clear_cache()
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_float32_equals_a_loop_over_pixels(rng):
    window = WINDOWS["square"]
    params, images = problem(rng, window, (2, 3))
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    result = window_linear.predict(single, images.astype(np.float32), window)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected_pictures(params, images, window), rtol=0, atol=1e-4)
    half = window_linear.predict(single, jnp.asarray(images, jnp.bfloat16), window)
    assert half.dtype == np.float32


def test_jit_and_vmap(rng):
    window = WINDOWS["square"]
    problems = [problem(rng, window, (1, 1)) for _ in range(2)]
    problems = jax.tree.map(lambda leaf: leaf.astype(np.float32), problems)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)
    several = jax.vmap(window_linear.predict, in_axes=(0, 0, None))(*stacked, window)
    for result, (params, images) in zip(several, problems, strict=True):
        alone = jax.jit(window_linear.predict)(params, images, window)
        np.testing.assert_allclose(alone, window_linear.predict(params, images, window), atol=1e-6)
        np.testing.assert_allclose(result, alone, atol=1e-6)


def test_gradients_equal_finite_differences(rng, x64):
    window = WINDOWS["off the middle"]
    params, images = jax.tree.map(jnp.asarray, problem(rng, window, (2, 1)))

    def total(params, images):
        return jnp.sum(jnp.sin(window_linear.predict(params, images, window)))

    test_util.check_grads(total, (params, images), order=1, modes=["rev", "fwd"])
    gradients = jax.grad(total)(params, images)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))
    # Where an offset leaves the picture, its weight does not matter.
    valid = seen(window)[1].T.reshape(len(window.offsets), HEIGHT, WIDTH)
    inside = np.broadcast_to(valid[None, :, None], params.weights.shape)
    np.testing.assert_array_equal(np.asarray(gradients.weights) != 0, inside)


def test_new_values_do_not_recompile(rng):
    window = windows.disk(1.5)
    params, images = jax.tree.map(lambda leaf: leaf.astype(np.float32), problem(rng, window, (1, 1)))
    window_linear.predict(params, images, window)
    first = linear.predict._cache_size()
    window_linear.predict(jax.tree.map(lambda leaf: 2 * leaf, params), images + 1, windows.disk(1.5))
    assert linear.predict._cache_size() == first


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((NUM, WIDTH, HEIGHT, 1), r"for pictures of \(7, 5, 1\), not \(5, 7, 1\)"),
        ((NUM, HEIGHT, WIDTH, 2), r"for pictures of \(7, 5, 1\), not \(7, 5, 2\)"),
        ((HEIGHT, WIDTH, 1), r"images must have the 4 axes \(num, height, width, in_channels\)"),
        ((0, HEIGHT, WIDTH, 1), "images is empty along num"),
    ],
)
def test_clear_errors(shape, words, rng):
    params, _ = problem(rng, WINDOWS["square"], (1, 1))
    with pytest.raises(InputError, match=words):
        window_linear.predict(params, np.ones(shape, np.float32), WINDOWS["square"])


def test_another_window_is_rejected(rng):
    params, images = problem(rng, WINDOWS["square"], (1, 1))
    with pytest.raises(InputError, match="has 9 offsets, but the window 1; use the window that it was"):
        window_linear.predict(params, images, WINDOWS["pixel"])


def test_eight_bit_pictures_are_rejected(rng):
    params, images = problem(rng, WINDOWS["square"], (1, 1))
    with pytest.raises(TypeError, match=r"images must hold floating-point numbers, not uint8.*/ 255"):
        window_linear.predict(params, images.astype(np.uint8), WINDOWS["square"])
