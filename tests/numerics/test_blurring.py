import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mlr_jax.numerics.blurring import blur


@pytest.mark.parametrize("sigma", [0.8, 3.0])
def test_equals_scipy(rng, sigma):
    planes = rng.random((20, 14, 2)).astype(np.float32)
    radius = int(2.5 * sigma) + 1
    expected = ndimage.gaussian_filter(planes, (sigma, sigma, 0), mode="nearest", radius=(radius, radius, 0))
    np.testing.assert_allclose(blur(jnp.asarray(planes), sigma), expected, atol=1e-6)


def test_double_precision(x64):
    planes = jnp.ones((5, 6, 1))
    assert planes.dtype == jnp.float64
    np.testing.assert_allclose(blur(planes, 1.0), 1, atol=1e-15)


def test_sigma_0_changes_nothing(rng):
    planes = jnp.asarray(rng.random((5, 4, 2)))
    np.testing.assert_array_equal(blur(planes, 0), planes)
