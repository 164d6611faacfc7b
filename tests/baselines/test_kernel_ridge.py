import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.preprocessing import KernelCenterer

from mlr_jax.baselines import kernel_ridge, l2_ridge
from mlr_jax.checks import InputError
from tests.baselines.helpers import check_gradients

# Our kernels, with scikit-learn's options for each.
KERNELS = {
    "linear": (kernel_ridge.linear(), {}),
    "rbf": (kernel_ridge.rbf(0.3), {"gamma": 0.3}),
    "polynomial": (
        kernel_ridge.polynomial(3, 0.5, offset=2.0),
        {"gamma": 0.5, "coef0": 2.0, "degree": 3},
    ),
}


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, targets, and other inputs."""
    rng = np.random.default_rng(0)
    inputs = rng.random((12, 6))
    return inputs, np.sin(3 * inputs[:, :4]) + 3 + 0.1 * rng.random((12, 4)), rng.random((5, 6))


@pytest.mark.parametrize("penalty", [0.01, 1.0])
@pytest.mark.parametrize("name", KERNELS)
def test_agrees_with_scikit_learn_without_an_intercept(name, penalty, x64):
    inputs, targets, others = problem()
    kernel, options = KERNELS[name]
    expected = KernelRidge(alpha=penalty, kernel=name, **options).fit(inputs, targets)
    params = kernel_ridge.fit(inputs, targets, kernel, penalty, fit_intercept=False)
    np.testing.assert_allclose(params.coefficients, expected.dual_coef_, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(kernel_ridge.predict(params, others), expected.predict(others), atol=1e-8)
    assert (params.intercept == 0).all()


@pytest.mark.parametrize("penalty", [0.01, 1.0])
@pytest.mark.parametrize("name", KERNELS)
def test_agrees_with_scikit_learn_with_an_intercept(name, penalty, x64):
    inputs, targets, others = problem()
    kernel, options = KERNELS[name]
    gram, products = (pairwise_kernels(x, inputs, metric=name, **options) for x in (inputs, others))
    centerer, mean = KernelCenterer().fit(gram), targets.mean(axis=0)
    expected = KernelRidge(alpha=penalty, kernel="precomputed").fit(centerer.transform(gram), targets - mean)
    params = kernel_ridge.fit(inputs, targets, kernel, penalty)
    for x, k in ((inputs, gram), (others, products)):
        prediction = expected.predict(centerer.transform(k)) + mean
        np.testing.assert_allclose(kernel_ridge.predict(params, x), prediction, atol=1e-8)


@pytest.mark.parametrize("shape", [(12, 30), (40, 8)])
def test_the_linear_kernel_is_ridge_regression(shape, rng, x64):
    inputs, targets, others = rng.random(shape), rng.random((shape[0], 4)), rng.random((5, shape[1]))
    params = kernel_ridge.fit(inputs, targets, kernel_ridge.linear(), 0.5)
    expected = l2_ridge.predict(l2_ridge.fit(inputs, targets, 0.5), others)
    np.testing.assert_allclose(kernel_ridge.predict(params, others), expected, atol=1e-9)


def test_the_intercept_takes_up_a_constant_in_the_targets(x64):
    inputs, targets, others = problem()
    params = kernel_ridge.fit(inputs, targets, KERNELS["rbf"][0], 0.1)
    shifted = kernel_ridge.fit(inputs, targets + 100, KERNELS["rbf"][0], 0.1)
    np.testing.assert_allclose(shifted.coefficients, params.coefficients, atol=1e-10)
    difference = kernel_ridge.predict(shifted, others) - kernel_ridge.predict(params, others)
    np.testing.assert_allclose(difference, 100, rtol=1e-10)


def laplacian(x: jax.Array, z: jax.Array) -> jax.Array:
    return jnp.exp(-jnp.sum(jnp.abs(x[:, None] - z[None]), axis=2))


def test_any_function_may_be_the_kernel(x64):
    inputs, targets, others = problem()
    expected = KernelRidge(alpha=0.1, kernel="laplacian", gamma=1).fit(inputs, targets)
    params = kernel_ridge.fit(inputs, targets, laplacian, 0.1, fit_intercept=False)
    np.testing.assert_allclose(kernel_ridge.predict(params, others), expected.predict(others), atol=1e-9)


def test_new_numbers_do_not_recompile():
    inputs, targets, others = problem()

    def cache_sizes():
        return kernel_ridge._fit._cache_size(), kernel_ridge._predict._cache_size()

    def run(inputs, kernel, penalty):
        kernel_ridge.predict(kernel_ridge.fit(inputs, targets, kernel, penalty), others)
        return cache_sizes()

    first = run(inputs, kernel_ridge.rbf(0.3), 0.1)
    assert run(1 - inputs, kernel_ridge.rbf(0.7), 2) == first
    other = run(inputs, kernel_ridge.polynomial(2, 0.3), 0.1)
    assert run(inputs, kernel_ridge.polynomial(2, 0.7, offset=3.0), 0.2) == other
    assert run(inputs, kernel_ridge.polynomial(3, 0.3), 0.1) > other


def test_gamma_may_be_an_integer(x64):
    inputs, targets, others = problem()
    for kernel in (kernel_ridge.rbf, lambda gamma: kernel_ridge.polynomial(2, gamma, offset=gamma)):
        whole, real = (kernel_ridge.fit(inputs, targets, kernel(gamma), 0.1) for gamma in (2, 2.0))
        np.testing.assert_allclose(
            kernel_ridge.predict(whole, others), kernel_ridge.predict(real, others), rtol=1e-12
        )


def test_gradients_equal_finite_differences(x64):
    inputs, targets, others = problem()

    def error(inputs, targets, gamma, penalty):
        params = kernel_ridge.fit(inputs, targets, kernel_ridge.rbf(gamma), penalty)
        return jnp.sum((kernel_ridge.predict(params, others) - np.sin(3 * others[:, :4])) ** 2)

    check_gradients(error, (inputs, targets, 0.3, 0.1))


def test_gradients_in_the_numbers_of_a_polynomial(x64):
    inputs, targets, others = problem()

    def error(gamma, offset):
        kernel = kernel_ridge.polynomial(2, gamma, offset=offset)
        params = kernel_ridge.fit(inputs, targets, kernel, 0.1, fit_intercept=False)
        return jnp.sum((kernel_ridge.predict(params, others) - np.sin(3 * others[:, :4])) ** 2)

    check_gradients(error, (0.3, 1.5))


def test_jit_and_vmap(x64):
    inputs, targets, others = problem()

    def predict(gamma, penalty):
        params = kernel_ridge.fit(inputs, targets, kernel_ridge.rbf(gamma), penalty)
        return kernel_ridge.predict(params, others)

    several = jax.jit(jax.vmap(predict))(jnp.array([0.3, 0.7]), jnp.array([0.1, 1.0]))
    chex.assert_trees_all_close(several[0], predict(0.3, 0.1), rtol=1e-9)
    chex.assert_trees_all_close(several[1], predict(0.7, 1.0), rtol=1e-9)


def test_params_pass_through_jit():
    inputs, targets, others = problem()
    params = jax.jit(kernel_ridge.fit)(inputs, targets, kernel_ridge.rbf(0.3), 0.1)
    expected = kernel_ridge.fit(inputs, targets, kernel_ridge.rbf(0.3), 0.1)
    np.testing.assert_allclose(
        jax.jit(kernel_ridge.predict)(params, others), kernel_ridge.predict(expected, others), atol=1e-5
    )


def test_large_means_of_inputs_lose_no_digits():
    """The squares of 1e3 would leave their differences 3 of the 7 digits of float32."""
    inputs, targets, others = (each.astype(np.float32) for each in problem())
    far, far_others = inputs + np.float32(1e3), others + np.float32(1e3)
    params = kernel_ridge.fit(far, targets, kernel_ridge.rbf(0.3), 0.1)
    gram, products = (
        pairwise_kernels(x.astype(np.float64), far.astype(np.float64), metric="rbf", gamma=0.3)
        for x in (far, far_others)
    )
    np.testing.assert_allclose(params.kernel(far, far), gram, atol=1e-5)
    centerer, mean = KernelCenterer().fit(gram), targets.mean(axis=0)
    expected = KernelRidge(alpha=0.1, kernel="precomputed").fit(centerer.transform(gram), targets - mean)
    np.testing.assert_allclose(
        kernel_ridge.predict(params, far_others),
        expected.predict(centerer.transform(products)) + mean,
        atol=1e-4,
    )


def test_small_penalties_in_float32():
    inputs, targets, others = problem()
    params = kernel_ridge.fit(*(x.astype(np.float32) for x in (inputs, targets)), kernel_ridge.rbf(0.3), 1e-4)
    gram, products = (pairwise_kernels(x, inputs, metric="rbf", gamma=0.3) for x in (inputs, others))
    centerer, mean = KernelCenterer().fit(gram), targets.mean(axis=0)
    expected = KernelRidge(alpha=1e-4, kernel="precomputed").fit(centerer.transform(gram), targets - mean)
    np.testing.assert_allclose(
        kernel_ridge.predict(params, others.astype(np.float32)),
        expected.predict(centerer.transform(products)) + mean,
        atol=1e-3,
    )


def test_rbf_kernels_do_not_exceed_1():
    inputs = np.float32(100) * problem()[0].astype(np.float32)
    gram = np.asarray(kernel_ridge.rbf(1.0)(inputs, inputs))
    assert (gram <= 1).all()


def test_huge_equal_examples_are_rejected():
    """Their centred kernel is 0, and solvable; its product with the coefficients overflows float32."""
    targets = 1e15 * problem()[1].astype(np.float32)
    # The compiler decides whether the result is infinite or NaN.
    with jax.debug_nans(False), pytest.raises(InputError, match="singular in float32; raise the penalty"):
        kernel_ridge.fit(np.full((12, 6), 8e14, np.float32), targets, kernel_ridge.linear(), 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"penalty": -1.0}, "penalty must be 0 or more and finite, not -1"),
        ({"penalty": np.nan}, "penalty must be 0 or more and finite, not nan"),
        ({"inputs": np.full((12, 6), np.nan)}, "inputs holds 72 values that are NaN"),
        ({"targets": np.ones((11, 4))}, "inputs hold 12 examples, but targets hold 11"),
        ({"penalty": 0, "inputs": np.zeros((12, 6))}, "the system is singular in float32; raise the penalty"),
    ],
)
def test_clear_errors(change, words):
    inputs, targets, _ = problem()
    arguments = {"inputs": inputs, "targets": targets, "kernel": kernel_ridge.rbf(0.3), "penalty": 0.1}
    with pytest.raises(InputError, match=words):
        kernel_ridge.fit(**(arguments | change))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: kernel_ridge.rbf(-1.0), "rbf: gamma must be 0 or more and finite, not -1"),
        (
            lambda: kernel_ridge.polynomial(2, np.inf),
            "polynomial: gamma must be 0 or more and finite, not inf",
        ),
        (lambda: kernel_ridge.polynomial(2, 1.0, offset=-1.0), "offset must be 0 or more"),
        (lambda: kernel_ridge.polynomial(0, 1.0), "degree must be 1 or more, not 0"),
    ],
)
def test_clear_errors_of_kernels(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_the_degree_must_be_whole():
    with pytest.raises(TypeError, match=r"degree must be a whole number, not 2\.5"):
        kernel_ridge.polynomial(2.5, 1.0)


def test_eight_bit_pictures_are_rejected():
    with pytest.raises(TypeError, match="inputs must hold floating-point numbers, not uint8"):
        kernel_ridge.fit(np.zeros((12, 6), np.uint8), problem()[1], kernel_ridge.linear(), 0.1)


def test_predict_rejects_another_number_of_inputs():
    inputs, targets, others = problem()
    params = kernel_ridge.fit(inputs, targets, kernel_ridge.rbf(0.3), 0.1)
    with pytest.raises(InputError, match="the regression is for 6 inputs, not 5"):
        kernel_ridge.predict(params, others[:, :5])
