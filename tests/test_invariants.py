"""Invariants of the solutions for any pictures and all solvers, in float64."""

from typing import get_args

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from mlr_jax import synthesis, window_statistics, windows

HEIGHT, WIDTH, NUM = 4, 5, 14
SOLVERS = get_args(synthesis.Solver)
WINDOW = windows.square(3)

pytestmark = pytest.mark.usefixtures("x64", "any_levels")
# All examples share the fixture.
TRIED = hypothesis.settings(
    max_examples=10, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
SEEDS = st.integers(0, 2**32 - 1)
PENALTIES = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)
SCALES = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)


def pictures(seed: int, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    neutral, expressive = rng.random((2, NUM, HEIGHT, WIDTH, channels))
    return neutral, expressive


def fit(
    neutral: np.ndarray, expressive: np.ndarray, penalty: float, solver: str, **options
) -> list[np.ndarray]:
    """Returns weights and bias."""
    options = {"window": WINDOW, "channels": "joint", **options}
    model = synthesis.fit(neutral, expressive, penalty=penalty, solver=solver, **options)
    assert (np.asarray(model.solved) == 1).all()
    return [np.asarray(model.weights), np.asarray(model.bias)]


def assert_same(got: list[np.ndarray], expected: list[np.ndarray], tolerance: float = 1e-8) -> None:
    for each, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(each, other, rtol=tolerance, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize("solver", SOLVERS)
@TRIED
@hypothesis.given(SEEDS, PENALTIES)
def test_the_order_of_examples_does_not_matter(solver, seed, penalty):
    neutral, expressive = pictures(seed)
    order = np.random.default_rng(seed).permutation(NUM)
    assert_same(
        fit(neutral[order], expressive[order], penalty, solver), fit(neutral, expressive, penalty, solver)
    )


@pytest.mark.parametrize("solver", SOLVERS)
@TRIED
@hypothesis.given(SEEDS, PENALTIES, SCALES)
def test_scaled_inputs_and_penalties_scale_the_weights(solver, seed, penalty, scale):
    """Inputs times s and penalties times s^2 divide the weights by s, and keep a free bias."""
    neutral, expressive = pictures(seed)
    weights, bias = fit(neutral, expressive, penalty, solver, penalize_bias=False)
    scaled = fit(scale * neutral, expressive, scale**2 * penalty, solver, penalize_bias=False)
    assert_same([scale * scaled[0], scaled[1]], [weights, bias], 1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
@TRIED
@hypothesis.given(SEEDS, PENALTIES, SCALES, st.booleans())
def test_the_solution_is_linear_in_the_targets(solver, seed, penalty, scale, penalize_bias):
    neutral, expressive = pictures(seed)
    _, other = pictures(seed + 1)
    options = {"penalize_bias": penalize_bias}
    first = fit(neutral, expressive, penalty, solver, **options)
    second = fit(neutral, other, penalty, solver, **options)
    both = fit(neutral, expressive + scale * other, penalty, solver, **options)
    assert_same(both, [a + scale * b for a, b in zip(first, second, strict=True)], 1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
@TRIED
@hypothesis.given(SEEDS, PENALTIES)
def test_mirrored_people_have_mirrored_weights(solver, seed, penalty):
    """With everyone's mirror image, the weight left of a pixel is right of its mirror pixel."""
    neutral, expressive = (np.concatenate([each, each[:, :, ::-1]]) for each in pictures(seed))
    weights, bias = fit(neutral, expressive, penalty, solver)
    mirrored = [WINDOW.offsets.index((dy, -dx)) for dy, dx in WINDOW.offsets]
    # With as many examples as inputs and more, the dual's kernels are singular but for the penalty.
    tolerance = max(1e-8, 1e-11 / penalty) if solver == "dual" else 1e-8
    assert_same([weights[:, mirrored, ..., ::-1], bias[..., ::-1]], [weights, bias], tolerance)


@TRIED
@hypothesis.given(SEEDS, st.floats(-3, 3).map(lambda exponent: 10.0**exponent), st.booleans())
def test_entries_with_enormous_penalties_are_not_used(seed, penalty, penalize_bias):
    """A large window with an enormous penalty outside a smaller one equals the smaller one."""
    neutral, expressive = pictures(seed, channels=1)
    empty = window_statistics.init(WINDOW, HEIGHT, WIDTH, dtype=np.float64)
    statistics = window_statistics.update(empty, neutral, expressive)
    small = windows.from_offsets([(0, 0), (0, 1), (-1, 0)])
    is_small = [offset in small.offsets for offset in WINDOW.offsets]
    factors = np.where(is_small, 1, 1e12)
    options = {"penalize_bias": penalize_bias}
    large = window_statistics.solve(statistics, WINDOW, penalty, factors=factors, **options)
    expected = window_statistics.solve(statistics, small, penalty, **options)
    places = [WINDOW.offsets.index(offset) for offset in small.offsets]
    got = [np.asarray(large.weights)[:, places], np.asarray(large.bias)]
    assert_same(got, [np.asarray(expected.weights), np.asarray(expected.bias)], 1e-6)
    left = np.asarray(large.weights)[:, np.logical_not(is_small)]
    assert np.abs(left).max() < 1e-8


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_compiled_fit_leaks_no_tracers(solver):
    """Within a compiled program of the caller."""
    neutral, expressive = pictures(0)

    def error(penalty: jax.Array) -> jax.Array:
        model = synthesis.fit(neutral, expressive, window=WINDOW, penalty=penalty, solver=solver)
        return ((synthesis.synthesize(model, neutral) - expressive) ** 2).sum()

    with jax.checking_leaks():
        value, slope = jax.jit(jax.value_and_grad(error))(0.4)
    assert value > 0
    assert slope > 0
