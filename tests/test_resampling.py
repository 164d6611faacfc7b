import jax.numpy as jnp
import numpy as np
import pytest
from jax import test_util
from scipy import ndimage

from mlr_jax import resampling
from mlr_jax.checks import InputError

HEIGHT, WIDTH = 7, 9


@pytest.fixture
def image(rng):
    return jnp.asarray(rng.random((HEIGHT, WIDTH, 2)), jnp.float32)


@pytest.mark.parametrize("kernel", ["linear", "cubic"])
def test_whole_points_give_pixels(image, kernel):
    points = jnp.stack(jnp.meshgrid(jnp.arange(WIDTH), jnp.arange(HEIGHT)), axis=-1).astype(jnp.float32)
    np.testing.assert_array_equal(resampling.sample(image, points, kernel=kernel), image)


@pytest.mark.parametrize(("kernel", "degree"), [("linear", 1), ("cubic", 2)])
def test_polynomials_are_exact(rng, kernel, degree):
    y, x = np.mgrid[:HEIGHT, :WIDTH]

    def polynomial(x, y):
        return (0.1 * x - 0.2) ** degree + (0.3 * y + 0.1) ** degree

    points = rng.uniform(1, 5, (20, 2)).astype(np.float32)
    sampled = resampling.sample(
        jnp.asarray(polynomial(x, y)[..., None], jnp.float32), jnp.asarray(points), kernel=kernel
    )
    np.testing.assert_allclose(sampled[:, 0], polynomial(*points.T), atol=1e-5)


def test_linear_equals_scipy(image, rng):
    points = rng.uniform(-3, 11, (50, 2)).astype(np.float32)
    for channel in range(2):
        expected = ndimage.map_coordinates(image[..., channel], points.T[::-1], order=1, mode="nearest")
        np.testing.assert_allclose(resampling.sample(image, points)[:, channel], expected, atol=1e-5)


@pytest.mark.parametrize("kernel", ["linear", "cubic"])
def test_points_outside_read_the_border(image, kernel):
    points = jnp.array([[-5.0, 2.0], [20.0, 2.0], [3.0, -9.0], [3.0, 30.0]])
    expected = jnp.stack([image[2, 0], image[2, -1], image[0, 3], image[-1, 3]])
    np.testing.assert_allclose(resampling.sample(image, points, kernel=kernel), expected, atol=1e-6)


@pytest.mark.parametrize("kernel", ["linear", "cubic"])
def test_sample_is_differentiable(rng, x64, kernel):
    image = jnp.asarray(rng.random((5, 5, 1)))
    points = jnp.array([[1.3, 2.4], [3.6, 0.7], [-0.4, 4.3]])

    def sample(image, points):
        return jnp.sin(resampling.sample(image, points, kernel=kernel)).sum()

    test_util.check_grads(sample, (image, points), order=1, modes=["rev", "fwd"], eps=1e-6)


def test_an_unknown_kernel_is_rejected(image):
    with pytest.raises(InputError, match="kernel must be one of linear, cubic, not 'lanczos'"):
        resampling.sample(image, jnp.zeros((1, 2)), kernel="lanczos")
