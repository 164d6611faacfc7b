import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax import masked_ridge, masks
from mlr_jax.baselines import sparse_linear
from mlr_jax.checks import InputError

# Output 0 is 1 + 2 x_3 - x_0, output 1 is 5.
PARAMS = sparse_linear.SparseLinear(
    masks.Mask(np.array([[3, 0], [2, 2]], np.int32), np.array([[True, True], [False, False]])),
    masked_ridge.MaskedLinear(jnp.array([[2.0, -1.0], [0.0, 0.0]]), jnp.array([1.0, 5.0])),
)


def test_predict():
    inputs = np.array([[1.0, 9.0, 9.0, 2.0], [0.0, 9.0, 9.0, 1.0]], np.float32)
    assert sparse_linear.predict(PARAMS, inputs).tolist() == [[4.0, 5.0], [3.0, 5.0]]


def test_predict_rejects_another_number_of_inputs():
    with pytest.raises(InputError, match="mask points at input 3, but there are 3 inputs"):
        sparse_linear.predict(PARAMS, np.ones((2, 3)))


def test_predict_rejects_eight_bit_pictures():
    with pytest.raises(TypeError, match="inputs must hold floating-point numbers, not uint8"):
        sparse_linear.predict(PARAMS, np.ones((2, 4), np.uint8))


def test_inputs_are_scaled_by_their_standard_deviations(rng, x64):
    inputs = rng.random((12, 5)) * [1, 2, 3, 1e-3, 1e6]
    scale = sparse_linear.input_scale(jnp.asarray(inputs), standardize=True)
    np.testing.assert_allclose(scale, inputs.std(axis=0), rtol=1e-12)


def test_nothing_is_scaled_unless_asked(rng):
    scale = sparse_linear.input_scale(jnp.asarray(rng.random((12, 5))), standardize=False)
    assert scale.tolist() == [1.0] * 5


# Rounding of the mean gives inputs that are all 0.1 a variance of 1e-16.
@pytest.mark.parametrize("value", [0.0, 0.5, 255.0, 0.1])
def test_constant_inputs_are_not_scaled(value, rng):
    inputs = rng.random((12, 4), dtype=np.float32)
    inputs[:, 2] = value
    scale = np.asarray(sparse_linear.input_scale(jnp.asarray(inputs), standardize=True))
    assert scale[2] == 1
    np.testing.assert_allclose(scale[[0, 1, 3]], inputs[:, [0, 1, 3]].std(axis=0), rtol=1e-5)


def test_inputs_that_vary_little_are_scaled(rng, x64):
    """Only constant inputs keep their scale."""
    inputs = 0.5 + 1e-6 * rng.standard_normal((12, 1))
    scale = sparse_linear.input_scale(jnp.asarray(inputs), standardize=True)
    np.testing.assert_allclose(scale, inputs.std(axis=0), rtol=1e-6)
