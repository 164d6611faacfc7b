import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso, LinearRegression

from mlr_jax.baselines import l1_lasso
from mlr_jax.checks import InputError
from tests import oracle
from tests.baselines.helpers import check_gradients, dense_weights

# Fewer examples than inputs, and more.
SHAPES = {"dual": (12, 30), "primal": (40, 8)}
# Fractions of the alpha at which the last weight becomes 0.
FRACTIONS = (0.5, 0.1, 0.01)


@pytest.fixture
def x64():
    """Optimised, unlike elsewhere: last digits decide whether a weight is zero, and steps are many."""
    with jax.enable_x64(True):
        yield


def problem(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of different variances; targets that depend on a few of them, plus noise."""
    num_examples, num_inputs = SHAPES[name]
    rng = np.random.default_rng(num_inputs)
    inputs = rng.random((num_examples, num_inputs)) * rng.uniform(0.5, 2, num_inputs) + 1
    weights = rng.standard_normal((num_inputs, 5)) * (rng.random((num_inputs, 5)) < 0.3)
    return inputs, inputs @ weights + 3 + 0.3 * rng.random((num_examples, 5))


def largest_alpha(inputs: np.ndarray, targets: np.ndarray) -> float:
    """The smallest alpha at which all weights of all outputs are 0."""
    products = (inputs - inputs.mean(axis=0)).T @ (targets - targets.mean(axis=0))
    return float(np.abs(products).max() / len(inputs))


def relative_gap(
    inputs: np.ndarray, targets: np.ndarray, params: l1_lasso.L1Lasso, alpha: float
) -> np.ndarray:
    """The duality gap over the objective of w = 0, in float64, from the weights alone."""
    inputs, targets = inputs - inputs.mean(axis=0, dtype=np.float64), targets.astype(np.float64)
    targets = targets - targets.mean(axis=0)
    weights, num_examples = dense_weights(params.map, inputs.shape[1]), len(inputs)
    rest = targets - inputs @ weights.T
    primal = (rest**2).sum(axis=0) / (2 * num_examples) + alpha * np.abs(weights).sum(axis=1)
    correlation = np.abs(inputs.T @ rest).max(axis=0) / num_examples
    dual_point = rest / num_examples * np.minimum(1, alpha / np.maximum(correlation, 1e-300))
    dual = (targets * dual_point).sum(axis=0) - num_examples / 2 * (dual_point**2).sum(axis=0)
    return (primal - dual) / np.maximum((targets**2).sum(axis=0) / (2 * num_examples), 1e-300)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_agrees_with_scikit_learn(name, standardize, x64):
    inputs, targets = problem(name)
    scale = inputs.std(axis=0) if standardize else np.ones(inputs.shape[1])
    scaled = inputs / scale

    def objective(weights, bias, alpha):
        rest = targets - scaled @ weights.T - bias
        return (rest**2).mean(axis=0) / 2 + alpha * np.abs(weights).sum(axis=1)

    for fraction in FRACTIONS:
        alpha = fraction * largest_alpha(scaled, targets)
        expected = Lasso(alpha=alpha, tol=1e-12, max_iter=100_000).fit(scaled, targets)
        params = l1_lasso.fit(inputs, targets, alpha, standardize=standardize, tolerance=1e-12)
        weights = dense_weights(params.map, inputs.shape[1]) * scale
        np.testing.assert_allclose(
            objective(weights, np.asarray(params.map.linear.bias), alpha),
            objective(expected.coef_, expected.intercept_, alpha),
            rtol=1e-9,
        )
        np.testing.assert_array_equal(weights != 0, expected.coef_ != 0)
        np.testing.assert_allclose(weights, expected.coef_, atol=1e-5)
        np.testing.assert_allclose(l1_lasso.predict(params, inputs), expected.predict(scaled), atol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_is_optimal(name, x64):
    """Every slope is alpha against the sign of its weight, and at most alpha where the weight is 0."""
    inputs, targets = problem(name)
    for fraction in FRACTIONS:
        alpha = fraction * largest_alpha(inputs, targets)
        params = l1_lasso.fit(inputs, targets, alpha, tolerance=1e-12)
        weights = dense_weights(params.map, inputs.shape[1])
        rest = targets - inputs @ weights.T - np.asarray(params.map.linear.bias)
        slopes = (inputs.T @ rest / len(inputs)).T
        np.testing.assert_allclose(rest.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(slopes[weights != 0], alpha * np.sign(weights[weights != 0]), rtol=1e-8)
        assert (np.abs(slopes[weights == 0]) <= alpha).all()


def test_all_weights_are_0_from_the_largest_alpha_on(x64):
    inputs, targets = problem("dual")
    alpha = largest_alpha(inputs, targets)
    above, below = (l1_lasso.fit(inputs, targets, factor * alpha, tolerance=1e-12) for factor in (1.01, 0.99))
    assert not above.map.mask.valid.any()
    assert (np.asarray(above.iterations) == 0).all()
    np.testing.assert_allclose(l1_lasso.predict(above, inputs[:1])[0], targets.mean(axis=0), rtol=1e-12)
    assert below.map.mask.valid.sum() == 1


def test_no_penalty_is_least_squares(x64):
    inputs, targets = problem("primal")
    expected = LinearRegression().fit(inputs, targets)
    params = l1_lasso.fit(inputs, targets, 0, tolerance=1e-12)
    np.testing.assert_allclose(dense_weights(params.map, 8), expected.coef_, atol=1e-9)


@pytest.mark.parametrize("name", SHAPES)
def test_the_gap_belongs_to_the_weights(name, x64):
    inputs, targets = problem(name)
    for fraction, tolerance in itertools.product(FRACTIONS, (1e-2, 1e-4, 1e-9)):
        alpha = fraction * largest_alpha(inputs, targets)
        params = l1_lasso.fit(inputs, targets, alpha, tolerance=tolerance)
        np.testing.assert_allclose(params.gap, relative_gap(inputs, targets, params, alpha), atol=1e-12)
        assert (params.gap <= tolerance).all()


@pytest.mark.parametrize("name", SHAPES)
def test_the_gap_belongs_to_the_weights_in_float32(name):
    inputs, targets = (each.astype(np.float32) for each in problem(name))
    for fraction, tolerance in itertools.product(FRACTIONS, (1e-2, 1e-4, 1e-5)):
        alpha = np.float32(fraction * largest_alpha(inputs, targets))
        params = l1_lasso.fit(inputs, targets, alpha, tolerance=tolerance)
        assert params.gap.dtype == np.float32
        np.testing.assert_allclose(params.gap, relative_gap(inputs, targets, params, alpha), atol=3e-6)
        assert (params.gap <= tolerance).all()


@pytest.mark.parametrize("fraction", [0.01, 1e-3, 1e-4])
def test_float32_reaches_small_gaps(fraction):
    """At a tiny alpha with as many examples as inputs it may not, but then reports the gap."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        inputs = oracle.smooth_faces(rng, 30, 5, 6).astype(np.float32)
        targets = (0.7 * inputs + 0.3 * oracle.smooth_faces(rng, 30, 5, 6)).astype(np.float32)
        alpha = np.float32(fraction * largest_alpha(inputs, targets))
        params = l1_lasso.fit(inputs, targets, alpha, tolerance=1e-5)
        gap = relative_gap(inputs, targets, params, alpha)
        assert (gap < 1.5 * params.gap + 1e-5).all()
        if fraction > 1e-4:
            assert gap.max() < 2e-5


def test_a_path_equals_separate_fits(x64):
    inputs, targets = problem("dual")
    alphas = np.array(FRACTIONS) * largest_alpha(inputs, targets)
    path = l1_lasso.fit_path(inputs, targets, alphas, tolerance=1e-12)
    for i, alpha in enumerate(alphas):
        at_alpha = jax.tree.map(lambda leaf, i=i: leaf[i], path)
        alone = l1_lasso.fit(inputs, targets, alpha, tolerance=1e-12)
        np.testing.assert_allclose(
            dense_weights(at_alpha.map, inputs.shape[1]),
            dense_weights(alone.map, inputs.shape[1]),
            atol=1e-9,
        )
        np.testing.assert_allclose(at_alpha.map.linear.bias, alone.map.linear.bias, atol=1e-9)


def test_a_path_stops_early_at_every_alpha(x64):
    inputs, targets = problem("dual")
    alphas = np.array(FRACTIONS) * largest_alpha(inputs, targets)
    loose, tight = (l1_lasso.fit_path(inputs, targets, alphas, tolerance=each) for each in (1e-2, 1e-12))
    assert (loose.gap <= 1e-2).all()
    assert (loose.iterations <= tight.iterations).all()
    assert loose.iterations.sum() < tight.iterations.sum()
    assert (np.diff(loose.iterations, axis=0) >= 0).all()


def test_iterations_are_counted(x64):
    """Of orthogonal inputs each enters once; the walk ends between two of them."""
    rng = np.random.default_rng(0)
    orthogonal = np.linalg.qr(np.column_stack([np.ones(8), rng.standard_normal((8, 3))]))[0][:, 1:]
    inputs, targets = np.sqrt(8) * orthogonal, np.sqrt(8) * orthogonal @ [[4.0], [2.0], [1.0]]
    counts = [int(l1_lasso.fit(inputs, targets, alpha).iterations[0]) for alpha in (5, 3, 1.5, 0.5)]
    assert counts == [0, 2, 3, 4]


def test_iterations_are_limited(x64):
    inputs, targets = problem("dual")
    alpha = 0.01 * largest_alpha(inputs, targets)
    free = l1_lasso.fit(inputs, targets, alpha)
    for limit in (1, 2, 5):
        params = l1_lasso.fit(inputs, targets, alpha, max_iterations=limit)
        np.testing.assert_array_equal(params.iterations, np.minimum(free.iterations, limit))
        assert (params.gap > 1e-4).all()
        np.testing.assert_allclose(params.gap, relative_gap(inputs, targets, params, alpha), atol=1e-12)


def degenerate_problems() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    base, targets = rng.standard_normal((12, 12)), rng.standard_normal((12, 8))
    faces = oracle.smooth_faces(rng, 30, 5, 6)
    half_constant = base.copy()
    half_constant[:, ::2] = 0.1
    return {
        "duplicated": (np.tile(base[:, :6], 2), targets),
        "negated": (np.hstack([base[:, :6], -base[:, :6]]), targets),
        "half constant": (half_constant, targets),
        "all constant": (np.full((12, 12), 0.1), targets),
        "low rank": (base[:, :2] @ rng.standard_normal((2, 12)), targets),
        "identity": (np.eye(12), np.eye(12, 8)),
        "identity with ties": (np.eye(12), np.eye(12, 8) + np.arange(12)[:, None] % 2),
        "constant targets": (base, np.full((12, 8), 0.1)),
        "square": (base, targets),
        "square 30": (rng.standard_normal((30, 30)), rng.standard_normal((30, 8))),
        "square faces": (faces, 0.7 * faces[:, :8] + 0.3 * oracle.smooth_faces(rng, 30, 2, 4)),
        "two examples": (base[:2, :3], targets[:2]),
        "one input": (base[:, :1], targets),
        "two examples of one input": (base[:2, :1], targets[:2]),
    }


@pytest.mark.parametrize("name", degenerate_problems())
def test_degenerate_problems(name, x64):
    inputs, targets = degenerate_problems()[name]
    for fraction in (0.5, 0.01, 0.001):
        alpha = fraction * max(largest_alpha(inputs, targets), 1e-3)
        params = l1_lasso.fit(inputs, targets, alpha, tolerance=1e-10)
        assert (params.gap < 1e-9).all()
        assert relative_gap(inputs, targets, params, alpha).max() < 1e-9


@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_constant_inputs_are_left_out(constant, x64):
    inputs, targets = problem("primal")
    inputs[:, ::2] = constant
    params = l1_lasso.fit(inputs, targets, 1e-4, standardize=True, tolerance=1e-10)
    scale = inputs[:, 1::2].std(axis=0)
    expected = Lasso(alpha=1e-4, tol=1e-12, max_iter=100_000).fit(inputs[:, 1::2] / scale, targets)
    assert (params.gap < 1e-9).all()
    np.testing.assert_allclose(dense_weights(params.map, 8)[:, ::2], 0, atol=1e-12)
    np.testing.assert_allclose(dense_weights(params.map, 8)[:, 1::2], expected.coef_ / scale, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("values", [[0.0, 1.0], [-1.0, 1.0], [0.0, 1.0, 2.0]])
def test_inputs_with_few_distinct_values(values, dtype):
    """Many inputs reach the level together."""
    tolerance = 1e-10 if dtype == np.float64 else 1e-4
    for seed in range(16):
        rng = np.random.default_rng(seed)
        inputs, targets = (rng.choice(values, shape).astype(dtype) for shape in ((12, 30), (12, 64)))
        for fraction in (0.1, 0.001):
            alpha = dtype(fraction * largest_alpha(inputs, targets))
            with jax.enable_x64(dtype == np.float64):
                params = l1_lasso.fit(inputs, targets, alpha, tolerance=tolerance)
            assert relative_gap(inputs, targets, params, alpha).max() < 1.5 * tolerance


def test_a_tie_between_two_inputs(x64):
    """Two inputs reach the level together, and the weight of one would then take the wrong sign."""
    inputs = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 2], [2, 2, 1]], np.float64)
    targets = np.array([[0], [1], [1], [2]], np.float64)
    expected = Lasso(alpha=0.01, tol=1e-12, max_iter=100_000).fit(inputs, targets)
    params = l1_lasso.fit(inputs, targets, 0.01, tolerance=1e-10)
    np.testing.assert_allclose(dense_weights(params.map, 3)[0], expected.coef_, atol=1e-4)


def test_many_ties_in_float32():
    """Where rounding decides how the weights of a tie move, the walk must still end."""
    inputs = np.eye(30, dtype=np.float32)
    targets = np.eye(30, dtype=np.float32) + np.arange(30, dtype=np.float32)[:, None] % 2
    for fraction in (0.1, 0.001):
        alpha = np.float32(fraction * largest_alpha(inputs, targets))
        params = l1_lasso.fit(inputs, targets, alpha)
        assert relative_gap(inputs, targets, params, alpha).max() < 1.1e-4
        assert (params.iterations < 100).all()


@pytest.mark.parametrize("seed", range(3))
def test_inputs_that_are_nearly_combinations_of_others(seed, x64):
    """Such as the pixels of a smooth background: a walk that follows tiny differences runs in circles."""
    rng = np.random.default_rng(seed)
    place = np.linspace(0, 1, 200)
    waves = np.stack([np.cos(np.pi * k * place) for k in range(6)])
    inputs = rng.normal(size=(90, 2)) @ np.stack([np.ones(200), place - 0.5])
    inputs += 0.1 * rng.normal(size=(90, 6)) @ waves + 1e-3 * rng.normal(size=(90, 200))
    targets = 0.6 * inputs[:, ::10] + 0.3 * rng.normal(size=(90, 20))
    assert (l1_lasso.fit(inputs, targets, 0.03, standardize=True).gap <= 1e-4).all()
    single = inputs.astype(np.float32), targets.astype(np.float32)
    assert (l1_lasso.fit(*single, np.float32(0.03), standardize=True).gap < 1e-3).all()


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_do_not_change_the_result(batch_size, x64):
    inputs, targets = problem("dual")
    alphas = np.array(FRACTIONS) * largest_alpha(inputs, targets)
    whole = l1_lasso.fit_path(inputs, targets, alphas)
    batches = l1_lasso.fit_path(inputs, targets, alphas, batch_size=batch_size)
    # Except which weights are 0: another program may round a weight of 0 differently.
    (mask, linear), (mask_of_batches, linear_of_batches) = whole.map, batches.map
    chex.assert_trees_all_equal(mask.indices, mask_of_batches.indices)
    close = functools.partial(chex.assert_trees_all_close, rtol=1e-9, atol=1e-12)
    close((linear, whole.gap, whole.iterations), (linear_of_batches, batches.gap, batches.iterations))


def test_outputs_of_different_difficulty(x64):
    """Lanes become free at different times, and must not mix up the solutions."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((12, 12))
    targets = rng.standard_normal((12, 64)) * 10 ** rng.uniform(-3, 3, 64)
    targets[:, ::5] = 1.0
    targets[:, 1::5] = inputs[:, :1] + 0.1 * inputs[:, 1:2]
    params = l1_lasso.fit(inputs, targets, 0.02, tolerance=1e-10, batch_size=4)
    assert len(np.unique(params.iterations)) > 6
    assert relative_gap(inputs, targets, params, 0.02).max() < 1e-9
    for start in range(0, 64, 8):
        few = slice(start, start + 8)
        expected = l1_lasso.fit(inputs, targets[:, few], 0.02, tolerance=1e-10)
        ours = jax.tree.map(lambda leaf, few=few: leaf[few], params)
        chex.assert_trees_all_close(ours, expected, rtol=1e-8, atol=1e-9)


def test_scaling_inputs_targets_and_alpha_scales_the_weights(x64):
    inputs, targets = problem("dual")
    alpha = 0.1 * largest_alpha(inputs, targets)
    params = l1_lasso.fit(inputs, targets, alpha)
    scaled = l1_lasso.fit(1e-3 * inputs, 1e6 * targets, 1e3 * alpha)
    np.testing.assert_allclose(scaled.gap, params.gap, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(scaled.map.linear.weights, 1e9 * params.map.linear.weights, rtol=1e-8, atol=1)


def test_jit_and_vmap(x64):
    """Over several expressions of the same faces, each with its own penalty."""
    inputs, targets = problem("dual")
    stacked = np.stack([targets, targets[::-1]])
    alphas = np.array([0.1, 0.01]) * largest_alpha(inputs, targets)
    several = jax.jit(jax.vmap(l1_lasso.fit, in_axes=(None, 0, 0)))(inputs, stacked, alphas)
    for i in range(2):
        expected = l1_lasso.fit(inputs, stacked[i], alphas[i])
        ours = jax.tree.map(lambda leaf, i=i: leaf[i], several)
        chex.assert_trees_all_close(ours, expected, rtol=1e-9, atol=1e-12)


def test_gradients_equal_finite_differences(x64):
    inputs, targets = problem("dual")
    alphas = np.array(FRACTIONS) * largest_alpha(inputs, targets)
    held_out = np.random.default_rng(9)
    test_inputs = held_out.random((3, inputs.shape[1])) + 1
    test_targets = test_inputs[:, :5] + held_out.random((3, 5))

    def held_out_error(alphas, inputs, targets):
        path = l1_lasso.fit_path(inputs, targets, alphas, standardize=True, tolerance=1e-14)
        predicted = jax.vmap(l1_lasso.predict, in_axes=(0, None))(path, test_inputs)
        return jnp.sum((predicted - test_targets[None]) ** 2)

    check_gradients(held_out_error, (alphas, inputs, targets))


def test_second_derivatives_are_rejected(x64):
    inputs, targets = problem("dual")

    def size(alpha):
        return jnp.sum(l1_lasso.fit(inputs, targets, alpha).map.linear.weights ** 2)

    with pytest.raises(NotImplementedError, match="differentiate once"):
        jax.grad(jax.grad(size))(0.1)


def test_new_values_do_not_recompile():
    inputs, targets = problem("dual")
    l1_lasso.fit(inputs, targets, 0.1)
    before = l1_lasso._fit_path._cache_size()
    for alpha in (0.05, 1, np.float32(0.2), jnp.float32(0.3)):
        l1_lasso.fit(inputs + 1, 2 * targets, alpha, tolerance=float(alpha) / 100, max_iterations=7)
    l1_lasso.fit_path(inputs, targets, [0.3])
    assert l1_lasso._fit_path._cache_size() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alpha": -1.0}, "alpha must be 0 or more and finite, not -1"),
        ({"alpha": np.nan}, "alpha must be 0 or more and finite, not nan"),
        ({"alpha": [0.2, 0.1]}, r"alpha must be a scalar, not \(2,\); see fit_path"),
        ({"tolerance": -1e-3}, "tolerance must be 0 or more"),
        ({"max_iterations": 0}, "max_iterations must be 1 or more, not 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more, not 0"),
        ({"inputs": np.full((12, 30), np.nan)}, "inputs holds 360 values that are NaN"),
        ({"targets": np.full((12, 5), np.inf)}, "targets holds 60 values that are NaN or infinite"),
        ({"targets": np.ones((11, 5))}, "inputs hold 12 examples, but targets hold 11"),
    ],
)
def test_clear_errors(change, words):
    inputs, targets = problem("dual")
    arguments = {"inputs": inputs, "targets": targets, "alpha": 0.1} | change
    with pytest.raises(InputError, match=words):
        l1_lasso.fit(**arguments)


@pytest.mark.parametrize(
    ("alphas", "words"),
    [
        ([0.1, 0.2], "alphas must go from the largest to the smallest"),
        (0.1, r"alphas must be \(num_alphas,\), not \(\)"),
        ([], r"alphas must be \(num_alphas,\), not \(0,\)"),
        ([0.1, -0.1], "alpha must be 0 or more"),
    ],
)
def test_clear_errors_of_a_path(alphas, words):
    with pytest.raises(InputError, match=words):
        l1_lasso.fit_path(*problem("dual"), alphas)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": np.ones((12, 30), np.int32)}, "inputs must hold floating-point numbers, not int32"),
        ({"batch_size": 2.0}, "batch_size must be a whole number, not 2.0"),
        ({"max_iterations": 2.5}, "max_iterations must be a whole number, not 2.5"),
    ],
)
def test_clear_type_errors(change, words):
    inputs, targets = problem("dual")
    arguments = {"inputs": inputs, "targets": targets, "alpha": 0.1} | change
    with pytest.raises(TypeError, match=words):
        l1_lasso.fit(**arguments)
