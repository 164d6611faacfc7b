from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, orthogonal_mp

from mlr_jax.baselines import l0_omp
from mlr_jax.baselines.sparse_linear import SparseLinear
from mlr_jax.checks import InputError
from tests.baselines.helpers import check_gradients, dense_weights

# Fewer examples than inputs, and more.
SHAPES = {"dual": (12, 30), "primal": (40, 8)}
NUM_NONZEROS = (1, 3, 6)


def problem(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of different variances, so that scaling changes which ones OMP selects."""
    num_examples, num_inputs = SHAPES[name]
    rng = np.random.default_rng(num_inputs)
    inputs = rng.random((num_examples, num_inputs)) * rng.uniform(0.2, 2, num_inputs) + 1
    return inputs, inputs @ rng.standard_normal((num_inputs, 5)) + 3 + rng.random((num_examples, 5))


def unstacked(path: SparseLinear) -> list[SparseLinear]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], path) for i in range(len(path.linear.bias))]


def orthogonal_inputs() -> np.ndarray:
    """`(8, 5)`, each of mean 0 and variance 1."""
    rng = np.random.default_rng(0)
    return np.sqrt(8) * np.linalg.qr(np.column_stack([np.ones(8), rng.standard_normal((8, 5))]))[0][:, 1:]


@pytest.mark.parametrize(("name", "standardize"), [("dual", False), ("dual", True), ("primal", False)])
def test_agrees_with_scikit_learn(name, standardize, x64):
    inputs, targets = problem(name)
    scale = inputs.std(axis=0) if standardize else np.ones(inputs.shape[1])
    atoms, centred = (inputs - inputs.mean(axis=0)) / scale, targets - targets.mean(axis=0)
    path = l0_omp.fit_path(inputs, targets, num_nonzeros=NUM_NONZEROS, standardize=standardize)
    for i in range(5):
        # (num_inputs, 6): the weights after each step.
        steps = orthogonal_mp(atoms, centred[:, i], n_nonzero_coefs=6, return_path=True) / scale[:, None]
        order = sorted(np.flatnonzero(steps[:, -1]), key=lambda j, steps=steps: np.argmax(steps[j] != 0))
        for params, number in zip(unstacked(path), NUM_NONZEROS, strict=True):
            assert params.mask.valid[i].tolist() == [k < number for k in range(6)]
            np.testing.assert_array_equal(params.mask.indices[i, :number], order[:number])
            expected = steps[order[:number], number - 1]
            np.testing.assert_allclose(params.linear.weights[i, :number], expected, rtol=1e-8)
            rest = targets - np.asarray(l0_omp.predict(params, inputs))
            np.testing.assert_allclose(rest.mean(axis=0), 0, atol=1e-12)


def test_standardising_changes_the_selection(x64):
    inputs, targets = problem("dual")
    given, scaled = (l0_omp.fit(inputs, targets, num_nonzeros=3, standardize=each) for each in (False, True))
    assert (np.asarray(given.mask.indices) != np.asarray(scaled.mask.indices)).any()


def test_float32_agrees_with_scikit_learn():
    inputs, targets = problem("dual")
    params = l0_omp.fit(inputs.astype(np.float32), targets.astype(np.float32), num_nonzeros=6)
    assert params.linear.weights.dtype == np.float32
    atoms, centred = inputs - inputs.mean(axis=0), targets - targets.mean(axis=0)
    expected = orthogonal_mp(atoms, centred, n_nonzero_coefs=6)
    np.testing.assert_allclose(dense_weights(params, 30), expected.T, rtol=1e-4, atol=1e-4)


def test_a_path_equals_separate_fits(x64):
    inputs, targets = problem("dual")
    path = l0_omp.fit_path(inputs, targets, num_nonzeros=NUM_NONZEROS)
    assert path.mask.indices.shape == (3, 5, 6)
    for at_number, number in zip(unstacked(path)[:2], NUM_NONZEROS[:2], strict=True):
        alone = l0_omp.fit(inputs, targets, num_nonzeros=number)
        assert not at_number.mask.valid[:, number:].any()
        assert (at_number.linear.weights[:, number:] == 0).all()
        widths = slice(None), slice(number)
        np.testing.assert_array_equal(at_number.mask.indices[widths], alone.mask.indices)
        np.testing.assert_allclose(at_number.linear.weights[widths], alone.linear.weights, rtol=1e-9)
        np.testing.assert_allclose(at_number.linear.bias, alone.linear.bias, rtol=1e-9)


def test_a_path_takes_numbers_in_any_order():
    inputs, targets = problem("dual")
    path = l0_omp.fit_path(inputs, targets, num_nonzeros=(3, 1, 3))
    assert path.mask.valid.sum(axis=2).tolist() == [[3] * 5, [1] * 5, [3] * 5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stops_at_an_exact_fit(dtype):
    inputs = orthogonal_inputs().astype(dtype)
    targets = np.stack([3 * inputs[:, 4] - inputs[:, 1] + 7, inputs[:, 2]], axis=1)
    with jax.enable_x64(dtype == np.float64):
        params = l0_omp.fit(inputs, targets, num_nonzeros=4)
    assert params.mask.valid.tolist() == [[True, True, False, False], [True, False, False, False]]
    assert params.mask.indices[0, :2].tolist() == [4, 1]
    assert params.mask.indices[1, 0] == 2
    np.testing.assert_allclose(params.linear.weights, [[3, -1, 0, 0], [1, 0, 0, 0]], atol=1e-5)
    assert (np.asarray(params.linear.weights)[~params.mask.valid] == 0).all()
    np.testing.assert_allclose(params.linear.bias, [7, 0], atol=1e-5)


# Fails for 0.1: ROUNDED MEANS. Centred, 12 values of 0.1 are not quite 0, and OMP pursues the rest.
@pytest.mark.parametrize("value", [0.0, 0.5, 0.1])
def test_a_constant_target_selects_no_input(value):
    inputs, _ = problem("dual")
    params = l0_omp.fit(inputs.astype(np.float32), np.full((12, 2), value, np.float32), num_nonzeros=3)
    assert not params.mask.valid.any()
    assert (params.linear.weights == 0).all()
    np.testing.assert_allclose(params.linear.bias, value, rtol=1e-6)


def test_copies_are_not_selected_twice():
    inputs, targets = (each.astype(np.float32) for each in problem("primal"))
    copies = np.hstack([inputs[:, :4], -inputs[:, :4], 2 * inputs[:, :4]])
    params = l0_omp.fit(copies, targets, num_nonzeros=6)
    # OMP selects the largest of the copies, then stops.
    assert params.mask.valid.tolist() == [[True] * 4 + [False] * 2] * 5
    assert np.sort(params.mask.indices[:, :4], axis=1).tolist() == [[8, 9, 10, 11]] * 5
    expected = LinearRegression().fit(copies[:, 8:], targets)
    np.testing.assert_allclose(dense_weights(params, 12)[:, 8:], expected.coef_, rtol=1e-3)
    assert (np.asarray(params.linear.weights)[:, 4:] == 0).all()


def test_constant_inputs_are_not_selected(x64):
    inputs, targets = problem("dual")
    inputs[:, 3:] = 0.25
    params = l0_omp.fit(inputs, targets, num_nonzeros=6, standardize=True)
    assert params.mask.valid.sum(axis=1).tolist() == [3] * 5
    assert (np.asarray(params.mask.indices)[params.mask.valid] < 3).all()


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_do_not_change_the_result(batch_size, x64):
    inputs, targets = problem("dual")
    whole = l0_omp.fit(inputs, targets, num_nonzeros=3)
    batches = l0_omp.fit(inputs, targets, num_nonzeros=3, batch_size=batch_size)
    chex.assert_trees_all_close(whole, batches, rtol=1e-9)


def test_jit_and_vmap(x64):
    inputs, targets = problem("dual")
    stacked = np.stack([targets, targets[::-1]])
    fit = jax.vmap(partial(l0_omp.fit, num_nonzeros=3), in_axes=(None, 0))
    for ours, targets in zip(unstacked(jax.jit(fit)(inputs, stacked)), stacked, strict=True):
        chex.assert_trees_all_close(ours, l0_omp.fit(inputs, targets, num_nonzeros=3), rtol=1e-9)


def test_gradients_equal_finite_differences(x64):
    inputs, targets = problem("primal")
    test_inputs, test_targets = (each[:3] for each in problem("primal"))

    def error(inputs, targets):
        path = l0_omp.fit_path(inputs, targets, num_nonzeros=(1, 4), standardize=True)
        predicted = jax.vmap(l0_omp.predict, in_axes=(0, None))(path, test_inputs)
        return jnp.sum((predicted - test_targets[None]) ** 2)

    check_gradients(error, (inputs, targets))


def test_gradient_where_a_pursuit_ended_early(x64):
    inputs = orthogonal_inputs()
    targets = np.stack([3 * inputs[:, 4] - inputs[:, 1], np.full(8, 0.5)], axis=1)

    def size(inputs):
        return jnp.sum(l0_omp.fit(inputs, targets, num_nonzeros=4).linear.weights)

    assert np.isfinite(jax.grad(size)(inputs)).all()


def test_new_values_do_not_recompile():
    inputs, targets = problem("dual")
    l0_omp.fit(inputs, targets, num_nonzeros=3)
    before = l0_omp._fit_path._cache_size()
    l0_omp.fit(1 - inputs, 2 * targets, num_nonzeros=3)
    l0_omp.fit_path(inputs, targets, num_nonzeros=[3])
    assert l0_omp._fit_path._cache_size() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_nonzeros": 0}, "num_nonzeros must be 1 or more, not 0"),
        ({"num_nonzeros": 12}, "num_nonzeros must be at most 11, less than the 12 examples"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"inputs": np.full((12, 30), np.nan)}, "inputs holds 360 values that are NaN"),
        ({"inputs": np.ones((12, 2))}, "num_nonzeros must be at most 2, .* no more than the 2 inputs, not 3"),
        ({"targets": np.ones((11, 5))}, "inputs hold 12 examples, but targets hold 11"),
    ],
)
def test_clear_errors(change, words):
    inputs, targets = problem("dual")
    arguments = {"inputs": inputs, "targets": targets, "num_nonzeros": 3} | change
    with pytest.raises(InputError, match=words):
        l0_omp.fit(**arguments)


def test_clear_errors_of_a_path():
    inputs, targets = problem("dual")
    with pytest.raises(InputError, match="num_nonzeros is empty"):
        l0_omp.fit_path(inputs, targets, num_nonzeros=())
    with pytest.raises(InputError, match="num_nonzeros must be at most 11"):
        l0_omp.fit_path(inputs, targets, num_nonzeros=(1, 12))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_nonzeros": 2.0}, "num_nonzeros must be a whole number, not 2.0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number, not 1.5"),
        ({"targets": np.ones((12, 5), np.uint8)}, "targets must hold floating-point numbers, not uint8"),
    ],
)
def test_clear_type_errors(change, words):
    inputs, targets = problem("dual")
    arguments = {"inputs": inputs, "targets": targets, "num_nonzeros": 3} | change
    with pytest.raises(TypeError, match=words):
        l0_omp.fit(**arguments)
