import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax.numerics import resizing

SHAPES = [((16, 12), (4, 6)), ((6, 5), (16, 17)), ((9, 14), (20, 5)), ((7, 8), (7, 8))]


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize(("before", "after"), SHAPES)
def test_equals_jax(rng, method, before, after):
    planes = rng.random((2, *before, 3)).astype(np.float32)
    expected = jax.image.resize(planes, (2, *after, 3), method, antialias=True)
    result = resizing.resize(jnp.asarray(planes), after, method)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, atol=3e-6)
    np.testing.assert_allclose(resizing.resize_on_host(planes[0], after, method), expected[0], atol=3e-6)


def test_the_same_size_changes_nothing(rng):
    planes = rng.random((1, 7, 8, 2)).astype(np.float32)
    np.testing.assert_array_equal(resizing.resize(jnp.asarray(planes), (7, 8), "cubic"), planes)


def test_composes_with_jit_vmap_and_grad(rng, x64):
    planes = jnp.asarray(rng.random((3, 1, 6, 5, 1)))
    together = jax.jit(jax.vmap(lambda each: resizing.resize(each, (3, 8), "linear")))(planes)
    assert together.dtype == jnp.float64
    for one, other in zip(planes, together, strict=True):
        np.testing.assert_allclose(resizing.resize(one, (3, 8), "linear"), other, atol=1e-12)
    # Resizing is linear, and each row of weights has the sum 1.
    gradient = jax.grad(lambda each: resizing.resize(each, (12, 10), "linear").sum())(planes[0])
    np.testing.assert_allclose(gradient.sum(), 120, rtol=1e-12)
