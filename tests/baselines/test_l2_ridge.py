import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from mlr_jax.baselines import l2_ridge
from mlr_jax.checks import InputError

# The dual system (fewer examples than inputs), and the primal.
SHAPES = {"dual": (12, 30), "primal": (40, 8)}


def problem(name: str) -> tuple[np.ndarray, np.ndarray]:
    num_examples, num_inputs = SHAPES[name]
    rng = np.random.default_rng(num_inputs)
    inputs = rng.random((num_examples, num_inputs))
    return inputs, inputs @ rng.random((num_inputs, 5)) + 3 + rng.random((num_examples, 5))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_agrees_with_scikit_learn(name, penalty, x64):
    inputs, targets = problem(name)
    expected = Ridge(alpha=penalty).fit(inputs, targets).predict(inputs)
    params = l2_ridge.fit(inputs, targets, penalty)
    np.testing.assert_allclose(l2_ridge.predict(params, inputs), expected, atol=1e-9)


def test_the_dual_forms_no_square_matrix():
    params = l2_ridge.fit(*problem("dual"), 1.0)
    assert [factor.shape for factor in params.factors] == [(30, 12), (12, 5)]


@pytest.mark.parametrize("name", SHAPES)
def test_leave_one_out_is_exact(name, x64):
    inputs, targets = problem(name)
    penalties = [0.1, 3.0]
    errors = l2_ridge.leave_one_out_mse(inputs, targets, penalties)
    for penalty, error in zip(penalties, errors, strict=True):
        left_out = cross_val_predict(Ridge(alpha=penalty), inputs, targets, cv=LeaveOneOut())
        assert float(error) == pytest.approx(np.mean((left_out - targets) ** 2), rel=1e-8)


def test_composes_with_jit_and_grad(x64):
    inputs, targets = (jnp.asarray(each) for each in problem("dual"))

    @jax.jit
    def error(penalty):
        return jnp.mean((l2_ridge.predict(l2_ridge.fit(inputs, targets, penalty), inputs) - targets) ** 2)

    expected = (error(1.0 + 1e-5) - error(1.0 - 1e-5)) / 2e-5
    assert float(jax.grad(error)(1.0)) == pytest.approx(float(expected), rel=1e-5)


def test_clear_errors():
    inputs, targets = problem("dual")
    with pytest.raises(InputError, match="two or more examples are needed, not 1"):
        l2_ridge.leave_one_out_mse(inputs[:1], targets[:1], [1.0])
    with pytest.raises(InputError, match="penalty must be 0 or more"):
        l2_ridge.fit(inputs, targets, -1)
    with pytest.raises(InputError, match="inputs hold 12 examples, but targets hold 11"):
        l2_ridge.fit(inputs, targets[:11], 1)
    with pytest.raises(InputError, match="targets holds 60 values that are NaN"):
        l2_ridge.leave_one_out_mse(inputs, targets * np.nan, [1.0])
