"""Weights of examples: 0 is a missing one, and 2 is one that occurs twice."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from mlr_jax import checks, masked_ridge, masks, synthesis, window_statistics, windows
from tests import oracle

pytestmark = pytest.mark.usefixtures("unoptimized_file")

HEIGHT, WIDTH, PIXELS = 5, 4, 20
# More inputs than pairs.
TALL = windows.from_offsets((dy, dx) for dy in range(-2, 3) for dx in range(-1, 2))
MASK = masks.square_mask(HEIGHT, WIDTH, 3)


@pytest.fixture(scope="module", autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def problem(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = oracle.smooth_faces(rng, num, HEIGHT, WIDTH)
    return inputs, 0.7 * inputs + 0.3 * oracle.smooth_faces(rng, num, HEIGHT, WIDTH)


def pictures(num: int, channels: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(num)
    return list(rng.random((2, num, HEIGHT, WIDTH, channels)))


@pytest.mark.parametrize("penalize_bias", [True, False])
@pytest.mark.parametrize("num", [6, 30])
@given(seed=st.integers(0, 1000), penalty=st.sampled_from([0.05, 0.4, 20.0]))
def test_whole_weights_repeat_examples(num, penalize_bias, seed, penalty):
    """Weights 0, 1, 2, another one for each output; values of weight 0 are anything, NaN among them."""
    inputs, targets = problem(num, seed)
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 3, (num, PIXELS))
    weights[0] = np.maximum(weights[0], 1)  # No output is without examples.
    lost = targets.copy()
    lost[weights == 0] = rng.choice([np.nan, np.inf, -7.0, 1e30], (weights == 0).sum())
    found = masked_ridge.fit(inputs, lost, MASK, penalty, penalize_bias=penalize_bias, weights=weights)
    for i in range(PIXELS):
        repeated = (each.repeat(weights[:, i], axis=0) for each in (inputs, targets[:, [i]]))
        row = masks.Mask(MASK.indices[[i]], MASK.valid[[i]])
        expected, bias = oracle.masked_ridge(*repeated, row, penalty, penalize_bias)
        np.testing.assert_allclose(found.weights[i], expected[0], atol=1e-9)
        np.testing.assert_allclose(found.bias[i], bias[0], atol=1e-9)
    assert np.asarray(found.solved).all()


@pytest.mark.parametrize("num", [6, 30])
def test_a_lost_input_concerns_only_the_outputs_that_see_it(num):
    inputs, targets = problem(num)
    weights = np.ones((num, PIXELS))
    sees = masks.to_dense(MASK, PIXELS)
    weights[2, sees[:, 7]] = 0
    lost = inputs.copy()
    lost[2, 7] = np.nan
    found = masked_ridge.fit(lost, targets, MASK, 0.4, weights=weights)
    expected, _ = oracle.masked_ridge(inputs, targets, MASK, 0.4, True)
    without, _ = oracle.masked_ridge(
        *(np.delete(each, 2, axis=0) for each in (inputs, targets)), MASK, 0.4, True
    )
    np.testing.assert_allclose(found.weights, np.where(sees[:, [7]], without, expected), atol=1e-9)
    compiled = jax.jit(lambda x: masked_ridge.fit(x, targets, MASK, 0.4, weights=weights))(lost)
    chex.assert_trees_all_close(compiled, found, atol=1e-12)
    weights[2, 7] = 0.5
    with pytest.raises(
        checks.InputError, match=r"1 targets of weight above 0 .* example 2, output 7; give them"
    ):
        masked_ridge.fit(lost, targets, MASK, 0.4, weights=weights)


def test_outputs_with_too_few_examples_are_unsolved_and_the_others_fitted():
    inputs, targets = problem(30)
    weights = np.ones((30, PIXELS))
    weights[:, 3], weights[4:, 5] = 0, 0
    for penalty, unsolved in ((0.4, {3}), (0.0, {3, 5})):
        with pytest.warns(checks.UnsolvedWarning, match=f"{len(unsolved)} of 20 outputs, the first being 3"):
            found = masked_ridge.fit(inputs, targets, MASK, penalty, weights=weights)
        assert set(np.flatnonzero(np.asarray(found.solved) == 0)) == unsolved
        expected, _ = oracle.masked_ridge(inputs, targets, MASK, penalty, True)
        whole = [i for i in range(PIXELS) if i not in (3, 5)]
        np.testing.assert_allclose(np.asarray(found.weights)[whole], expected[whole], atol=1e-8)
        assert found.bias[3] == 0
    assert found.bias[5] == pytest.approx(targets[:4, 5].mean())


@pytest.mark.parametrize("penalize_bias", [True, False])
def test_any_weights_minimise_the_weighted_error(penalize_bias):
    inputs, targets = problem(30)
    weights = np.random.default_rng(1).random(30) * 3
    found = masked_ridge.fit(inputs, targets, MASK, 0.4, penalize_bias=penalize_bias, weights=weights)

    def objective(params):
        left = masked_ridge.predict(params, inputs, MASK) - targets
        bias = jnp.sum(params.bias**2) if penalize_bias else 0
        return jnp.sum(weights[:, None] * left**2) / 2 + 0.2 * (jnp.sum(params.weights**2) + bias)

    slopes = jax.grad(objective)(found)
    np.testing.assert_allclose(np.where(MASK.valid, slopes.weights, 0), 0, atol=1e-9)
    np.testing.assert_allclose(slopes.bias, 0, atol=1e-9)


def statistics_of(window, inputs, targets, **options):
    empty = window_statistics.init(window, HEIGHT, WIDTH, in_channels=2, out_channels=2, dtype=np.float64)
    return window_statistics.update(empty, inputs, targets, **options)


@given(weights=st.lists(st.integers(0, 2), min_size=17, max_size=17))
def test_weighted_statistics_repeat_pairs(weights):
    """Also over blocks of pairs; merged and subtracted like others."""
    inputs, targets = pictures(17)
    weights = np.array(weights)
    lost = inputs.copy()
    lost[weights == 0, 1, 2, 0] = np.nan
    found = statistics_of(windows.square(3), lost, targets, weights=weights)
    expected = statistics_of(windows.square(3), inputs[:1], targets[:1])
    repeated = [each.repeat(weights, axis=0) for each in (inputs, targets)]
    if len(repeated[0]):
        expected = window_statistics.merge(expected, statistics_of(windows.square(3), *repeated))
    expected = window_statistics.subtract(expected, statistics_of(windows.square(3), inputs[:1], targets[:1]))
    assert found.num_pairs == weights.sum() == expected.num_pairs
    chex.assert_trees_all_close(
        *([each.input_sum.high, each.target_sum.high, each.products.high] for each in (found, expected)),
        atol=1e-10,
    )


@pytest.mark.parametrize("channels", ["independent", "shared", "joint"])
@pytest.mark.parametrize(
    "options", [{}, {"solver": "gather"}, {"window": TALL}, {"window": MASK}, {"mirror": True}]
)
def test_a_model_of_weighted_pairs_is_that_of_repeated_ones(channels, options):
    pairs = pictures(12)
    weights = np.array([2, 0, 1, 1, 1, 0, 1, 2, 1, 1, 1, 1])
    repeated = [each.repeat(weights, axis=0) for each in pairs]
    expected = synthesis.fit(*repeated, channels=channels, **options)
    # Values that would spoil a centre, or rounding.
    lost = [
        np.where((weights == 0)[:, None, None, None], bad, each)
        for each, bad in zip(pairs, (np.nan, 1e9), strict=True)
    ]
    found = synthesis.fit(*lost, channels=channels, weights=weights, **options)
    chex.assert_trees_all_close(found, expected, atol=1e-9)
    if options:
        return
    parts = synthesis.init_statistics(*pairs, channels=channels)
    for half in (slice(0, 5), slice(5, 12)):
        parts = synthesis.update(parts, *(each[half] for each in lost), weights=weights[half])
    chex.assert_trees_all_close(synthesis.solve(parts), expected, atol=1e-9)


def test_derivatives_by_weights_equal_finite_differences():
    """By those of statistics also at 0: whether to add a pair."""
    inputs, targets = pictures(6)
    weights = jnp.array([1.0, 0.0, 2.0, 0.5, 1.0, 1.0])
    direction = jnp.array([0.3, 1.0, -0.2, 0.1, 0.0, 0.4])

    def total(step):
        return synthesis.fit(
            inputs, targets, weights=weights + step * direction, solver="primal"
        ).weights.sum()

    step = 1e-5
    difference = float(total(step) - total(0.0)) / step
    assert jax.grad(total)(0.0) == pytest.approx(difference, rel=1e-3)
    flat = [each[..., 0].reshape(6, -1) for each in (inputs, targets)]

    def gathered(step):
        own = jnp.where(weights > 0, weights + step * direction, 0)
        return masked_ridge.fit(*flat, MASK, 0.4, weights=own).weights.sum()

    difference = float(gathered(step) - gathered(-step)) / (2 * step)
    assert jax.grad(gathered)(0.0) == pytest.approx(difference, rel=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda w: masked_ridge.fit(*problem(6), MASK, 0.4, weights=w),
            r"weights must be \(6,\) or \(6, 20\)",
        ),
        (
            lambda w: synthesis.fit(*pictures(6), weights=w),
            r"weights must be \(6,\), one for each example, not \(5,\)",
        ),
        (lambda w: statistics_of(windows.square(3), *pictures(6), weights=w), r"weights must be \(6,\)"),
        (
            lambda w: synthesis.update(synthesis.init_statistics(*pictures(6)), *pictures(6), weights=w),
            "weights must",
        ),
    ],
)
def test_wrong_weights_are_said(call, message):
    with pytest.raises(checks.InputError, match=message):
        call(np.ones(5))
    with pytest.raises(checks.InputError, match="weights must be 0 or more and finite, not -1"):
        call(np.array([1, 1, -1, 1, 1, 1]))


def test_options_that_do_not_go_with_weights_are_said():
    weights = np.ones(6)
    with pytest.raises(checks.InputError, match="'primal' or 'gather', not 'dual'"):
        synthesis.fit(*pictures(6), weights=weights, solver="dual")
    with pytest.raises(checks.InputError, match='weights do not go with what is "auto"'):
        synthesis.fit(*pictures(6), weights=weights, penalty="auto")
    spoiled = pictures(6)
    spoiled[1][2, 0, 0, 0] = np.nan
    with pytest.raises(checks.InputError, match="expressive holds 1 values that are NaN"):
        synthesis.fit(*spoiled, weights=weights)
    with pytest.raises(checks.InputError, match="the statistics hold no pairs"):
        synthesis.solve(
            synthesis.update(synthesis.init_statistics(*pictures(6)), *pictures(6), weights=0 * weights)
        )
