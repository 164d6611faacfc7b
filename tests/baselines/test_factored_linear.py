import jax
import numpy as np
import pytest

from mlr_jax.baselines import factored_linear
from mlr_jax.baselines.factored_linear import FactoredLinear
from mlr_jax.checks import InputError


def params(rng: np.random.Generator) -> FactoredLinear:
    return FactoredLinear(rng.random(6), (rng.random((6, 3)), rng.random((3, 4))), rng.random(4))


@pytest.mark.parametrize("function", [factored_linear.predict, jax.jit(factored_linear.predict)])
def test_predict(function, rng, x64):
    linear, inputs = params(rng), rng.random((5, 6))
    expected = (inputs - linear.input_mean) @ linear.factors[0] @ linear.factors[1] + linear.intercept
    np.testing.assert_allclose(function(linear, inputs), expected, rtol=1e-12)


def test_predict_rejects_another_number_of_inputs(rng):
    with pytest.raises(InputError, match="the map is for 6 inputs, not 5"):
        factored_linear.predict(params(rng), rng.random((5, 5)))


def test_predict_rejects_eight_bit_pictures(rng):
    with pytest.raises(TypeError, match="inputs must hold floating-point numbers, not uint8"):
        factored_linear.predict(params(rng), np.ones((5, 6), np.uint8))
