from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from mlr_jax.baselines import l2_ridge, reduced_rank
from mlr_jax.baselines.factored_linear import FactoredLinear
from mlr_jax.checks import InputError
from tests.baselines.helpers import check_gradients

# Fewer examples than inputs, and more; 5 outputs.
SHAPES = {"dual": (12, 30), "primal": (40, 8)}


def problem(name: str) -> tuple[np.ndarray, np.ndarray]:
    num_examples, num_inputs = SHAPES[name]
    rng = np.random.default_rng(num_inputs)
    inputs = rng.random((num_examples, num_inputs)) + 1
    return inputs, inputs @ rng.random((num_inputs, 5)) + 3 + rng.random((num_examples, 5))


def matrix(params: FactoredLinear) -> np.ndarray:
    return np.linalg.multi_dot([np.eye(len(params.input_mean)), *map(np.asarray, params.factors)])


@pytest.mark.parametrize("penalty", [0.1, 10.0])
@pytest.mark.parametrize("name", SHAPES)
def test_full_rank_is_ridge_regression(name, penalty, x64):
    inputs, targets = problem(name)
    params = reduced_rank.fit(inputs, targets, penalty, rank=5)
    expected = l2_ridge.fit(inputs, targets, penalty)
    np.testing.assert_allclose(matrix(params), matrix(expected), atol=1e-9)
    np.testing.assert_allclose(
        reduced_rank.predict(params, inputs + 1), l2_ridge.predict(expected, inputs + 1), atol=1e-9
    )


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("penalty", [0.1, 10.0])
@pytest.mark.parametrize("name", SHAPES)
def test_is_the_projection_of_ridge_regression(name, penalty, rank, x64):
    """Least squares on [X; sqrt(lambda) I], projected on the leading directions of its fitted values."""
    inputs, targets = problem(name)
    num_inputs = inputs.shape[1]
    rows, centred = inputs - inputs.mean(axis=0), targets - targets.mean(axis=0)
    stacked = np.vstack([rows, np.sqrt(penalty) * np.eye(num_inputs)])
    full = np.linalg.lstsq(stacked, np.vstack([centred, np.zeros((num_inputs, 5))]), rcond=None)[0]
    directions = np.linalg.svd(stacked @ full)[2][:rank]
    params = reduced_rank.fit(inputs, targets, penalty, rank=rank)
    assert [factor.shape for factor in params.factors] == [(num_inputs, rank), (rank, 5)]
    np.testing.assert_allclose(matrix(params), full @ directions.T @ directions, atol=1e-9)
    expected = rows @ full @ directions.T @ directions + targets.mean(axis=0)
    np.testing.assert_allclose(reduced_rank.predict(params, inputs), expected, atol=1e-9)


@pytest.mark.parametrize("name", SHAPES)
def test_no_nearby_solution_is_better(name, rng, x64):
    inputs, targets = problem(name)
    params = reduced_rank.fit(inputs, targets, 10.0, rank=2)

    def objective(encoder, decoder, bias):
        rest = inputs @ encoder @ decoder + bias - targets
        return (rest**2).sum() / 2 + 10.0 / 2 * ((encoder @ decoder) ** 2).sum()

    encoder, decoder = (np.asarray(factor) for factor in params.factors)
    best = (encoder, decoder, np.asarray(params.intercept - params.input_mean @ encoder @ decoder))
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(20):
            moved = [each + size * each.std() * rng.standard_normal(each.shape) for each in best]
            assert objective(*moved) > objective(*best)


@pytest.mark.parametrize("name", SHAPES)
def test_the_solution_has_the_given_rank(name, x64):
    inputs, targets = problem(name)
    for rank in (1, 3):
        assert np.linalg.matrix_rank(matrix(reduced_rank.fit(inputs, targets, 0.1, rank=rank))) == rank


@pytest.mark.parametrize(("input_rank", "output_rank"), [(1, 1), (4, 2), (8, 5)])
@pytest.mark.parametrize("name", SHAPES)
def test_components_agree_with_scikit_learn(name, input_rank, output_rank, x64):
    inputs, targets = problem(name)
    encode, decode = PCA(input_rank).fit(inputs), PCA(output_rank).fit(targets)
    ridge = Ridge(alpha=0.1, fit_intercept=False).fit(encode.transform(inputs), decode.transform(targets))
    params = reduced_rank.fit_pca(inputs, targets, 0.1, input_rank=input_rank, output_rank=output_rank)
    assert [factor.shape for factor in params.factors] == [
        (inputs.shape[1], input_rank),
        (input_rank, output_rank),
        (output_rank, 5),
    ]
    others = inputs[::-1] ** 2
    scores = ridge.predict(encode.transform(others)).reshape(len(others), output_rank)
    expected = decode.inverse_transform(scores)
    np.testing.assert_allclose(reduced_rank.predict(params, others), expected, atol=1e-9)


def test_all_components_are_ridge_regression(x64):
    inputs, targets = problem("primal")
    params = reduced_rank.fit_pca(inputs, targets, 0.1, input_rank=8, output_rank=5)
    np.testing.assert_allclose(matrix(params), matrix(l2_ridge.fit(inputs, targets, 0.1)), atol=1e-9)


@pytest.mark.parametrize("name", SHAPES)
def test_float32(name):
    inputs, targets = problem(name)
    params = reduced_rank.fit(inputs.astype(np.float32), targets.astype(np.float32), 0.1, rank=5)
    rows, centred = inputs - inputs.mean(axis=0), targets - targets.mean(axis=0)
    expected = np.linalg.solve(rows.T @ rows + 0.1 * np.eye(rows.shape[1]), rows.T @ centred)
    assert params.intercept.dtype == np.float32
    np.testing.assert_allclose(matrix(params), expected, atol=1e-4)


# Centring leaves a singular value that is 0 up to rounding; constant inputs have at most one other.
@pytest.mark.parametrize("inputs", [problem("dual")[0], np.full((12, 30), 0.1), np.ones((12, 30))])
def test_the_rank_may_exceed_that_of_the_inputs(inputs, x64):
    targets = np.random.default_rng(0).random((12, 14))
    expected = l2_ridge.fit(inputs, targets, 0.1)
    params = reduced_rank.fit(inputs, targets, 0.1, rank=12)
    np.testing.assert_allclose(matrix(params), matrix(expected), atol=1e-9)
    params = reduced_rank.fit_pca(inputs, targets, 0.1, input_rank=12, output_rank=12)
    np.testing.assert_allclose(matrix(params), matrix(expected), atol=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_the_rank_may_exceed_that_of_the_targets(value):
    inputs, _ = problem("dual")
    targets = np.full((12, 5), value)
    for params in (
        reduced_rank.fit(inputs, targets, 0.1, rank=5),
        reduced_rank.fit_pca(inputs, targets, 0.1, input_rank=12, output_rank=5),
    ):
        np.testing.assert_allclose(reduced_rank.predict(params, inputs**2), value, atol=1e-6)


def test_jit_and_vmap(x64):
    inputs, targets = problem("dual")
    penalties = jnp.array([0.1, 2.0])
    several = jax.jit(jax.vmap(partial(reduced_rank.fit, rank=3), in_axes=(None, None, 0)))(
        inputs, targets, penalties
    )
    components = jax.jit(partial(reduced_rank.fit_pca, input_rank=4, output_rank=2))(inputs, targets, 0.1)
    for i, penalty in enumerate(penalties):
        ours = jax.tree.map(lambda leaf, i=i: leaf[i], several)
        expected = reduced_rank.fit(inputs, targets, penalty, rank=3)
        np.testing.assert_allclose(matrix(ours), matrix(expected), atol=1e-10)
    expected = reduced_rank.fit_pca(inputs, targets, 0.1, input_rank=4, output_rank=2)
    np.testing.assert_allclose(matrix(components), matrix(expected), atol=1e-10)


def test_gradients_equal_finite_differences(x64):
    inputs, targets = problem("primal")

    def error(inputs, targets, penalty):
        one = reduced_rank.fit(inputs, targets, penalty, rank=3)
        other = reduced_rank.fit_pca(inputs, targets, penalty, input_rank=4, output_rank=2)
        others = problem("primal")[0][:3] ** 2
        return sum(jnp.sum(jnp.sin(reduced_rank.predict(each, others))) for each in (one, other))

    check_gradients(error, (inputs, targets, 0.1), rel=1e-5)


def test_new_values_do_not_recompile():
    inputs, targets = problem("dual")
    reduced_rank.fit(inputs, targets, 0.1, rank=3)
    before = reduced_rank._fit._cache_size()
    reduced_rank.fit(1 - inputs, 2 * targets, 3, rank=3)
    assert reduced_rank._fit._cache_size() == before


BOTH = {"fit": {"rank": 2}, "fit_pca": {"input_rank": 2, "output_rank": 2}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"penalty": 0}, "penalty must be above 0"),
        ({"penalty": -1.0}, "penalty must be 0 or more and finite, not -1"),
        ({"penalty": np.nan}, "penalty must be 0 or more and finite, not nan"),
        ({"inputs": np.full((12, 30), np.nan)}, "inputs holds 360 values that are NaN"),
        ({"targets": np.ones((11, 5))}, "inputs hold 12 examples, but targets hold 11"),
    ],
)
@pytest.mark.parametrize("function", BOTH)
def test_clear_errors(function, change, words):
    inputs, targets = problem("dual")
    arguments = {"inputs": inputs, "targets": targets, "penalty": 0.1} | BOTH[function] | change
    with pytest.raises(InputError, match=f"reduced_rank.{function}: {words}"):
        getattr(reduced_rank, function)(**arguments)


@pytest.mark.parametrize(
    ("function", "ranks", "words"),
    [
        ("fit", {"rank": 6}, "rank must be at most 5 for these arrays, not 6"),
        ("fit", {"rank": 0}, "rank must be 1 or more, not 0"),
        ("fit_pca", {"input_rank": 13, "output_rank": 2}, "input_rank must be at most 12"),
        ("fit_pca", {"input_rank": 2, "output_rank": 6}, "output_rank must be at most 5"),
        ("fit_pca", {"input_rank": 2, "output_rank": 0}, "output_rank must be 1 or more"),
    ],
)
def test_clear_errors_of_ranks(function, ranks, words):
    with pytest.raises(InputError, match=words):
        getattr(reduced_rank, function)(*problem("dual"), 0.1, **ranks)


def test_the_rank_must_be_whole():
    with pytest.raises(TypeError, match=r"rank must be a whole number, not 2\.0"):
        reduced_rank.fit(*problem("dual"), 0.1, rank=2.0)


def test_eight_bit_pictures_are_rejected():
    with pytest.raises(TypeError, match="inputs must hold floating-point numbers, not uint8"):
        reduced_rank.fit(np.zeros((12, 30), np.uint8), problem("dual")[1], 0.1, rank=2)
