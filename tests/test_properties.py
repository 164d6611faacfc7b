"""Hostile input: for any pictures, masks and penalties, a fit is right, or says where it is not.

Shapes are few, since each is compiled; hypothesis finds the values. The bound is on the objective: rounding
may change a solution where the objective hardly changes, but the objective must be near its minimum, up to a
fraction of its value without any weights.
"""

import warnings
from typing import NamedTuple, get_args

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from mlr_jax import checks, masked_ridge, masks, synthesis, window_dual, windows

pytestmark = pytest.mark.usefixtures("any_levels")

HEIGHT, WIDTH = 3, 4
NUM_PIXELS = HEIGHT * WIDTH
MAX_INPUTS = 4
# One example, fewer examples than a window has entries, and more.
NUMS = (1, 3, 12)
WINDOWS = {
    "pixel": windows.square(1),
    "square": windows.square(3),
    "off the middle": windows.from_offsets([(0, 1), (1, -1)]),
}

# Excess of the objective over its minimum, as a fraction of its value without any weights.
EXCESS = {np.float32: 0.05, np.float64: 1e-6}


class Problem(NamedTuple):
    inputs: np.ndarray
    targets: np.ndarray
    penalty: float
    penalize_bias: bool


@st.composite
def problems(draw, dtype=np.float32) -> Problem:
    """Pictures `(num, pixels)`; some pixels are constant, equal, nearly so, black, tiny or huge."""
    num = draw(st.sampled_from(NUMS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs, targets = rng.random((2, num, NUM_PIXELS))
    treatments = {
        "nothing": lambda x, one, other: None,
        "constant": lambda x, one, other: x[:, one].fill(0.7),
        "black": lambda x, one, other: x[:, one].fill(0.0),
        "equal": lambda x, one, other: np.copyto(x[:, one], x[:, other]),
        "nearly equal": lambda x, one, other: np.copyto(x[:, one], x[:, other] + 1e-5 * x[:, one]),
        "one face": lambda x, one, other: np.copyto(x, x[:1]),
        "one colour": lambda x, one, other: np.copyto(x, x[:, :1]),
    }
    pixels = st.integers(0, NUM_PIXELS - 1)
    for name in draw(st.lists(st.sampled_from(list(treatments)), max_size=3)):
        treatments[name](inputs, draw(pixels), draw(pixels))
    inputs *= 10.0 ** draw(st.sampled_from([0, 0, 0, -3, 3, -15, 15, -40]))
    targets *= 10.0 ** draw(st.sampled_from([0, 0, 0, -3, 3, -15, 15, -40]))
    penalty = 10.0 ** draw(st.floats(-12, 12)) if draw(st.integers(0, 9)) else 0.0
    return Problem(inputs.astype(dtype), targets.astype(dtype), penalty, draw(st.booleans()))


@st.composite
def sparse_masks(draw) -> masks.Mask:
    """Any inputs for each output, padding anywhere; rows may be empty."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    indices = np.stack([rng.permutation(NUM_PIXELS)[:MAX_INPUTS] for _ in range(NUM_PIXELS)])
    valid = rng.random(indices.shape) < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    return masks.Mask(indices.astype(np.int32), valid)


def assert_solved_or_reported(
    problem: Problem,
    mask: masks.Mask,
    weights: np.ndarray,
    bias: np.ndarray,
    solved: np.ndarray,
    *,
    is_sliding: bool = False,
) -> None:
    """Each pixel has nearly the least objective, or is reported as unsolved and predicts the mean.

    The precision of sliding kernels depends on the largest numbers of the picture.
    """
    inputs, targets = (each.astype(np.float64) for each in problem[:2])
    assert np.isfinite(weights).all()
    assert np.isfinite(bias).all()
    assert set(np.unique(solved)) <= {0, 1}
    assert (weights[~np.asarray(mask.valid)] == 0).all()
    penalty, dtype = float(problem.inputs.dtype.type(problem.penalty)), problem.inputs.dtype.type
    rounding = np.finfo(dtype).eps
    num = len(inputs)
    for i in range(len(bias)):
        seen = np.asarray(mask.indices)[i][np.asarray(mask.valid)[i]]
        ours = weights[i][np.asarray(mask.valid)[i]].astype(np.float64)
        design, target = inputs[:, seen], targets[:, i]
        if not solved[i]:
            share = num / (num + penalty) if problem.penalize_bias else 1
            assert (ours == 0).all()
            np.testing.assert_allclose(bias[i], share * target.mean(), rtol=1e-4, atol=np.finfo(dtype).tiny)
            around = inputs if is_sliding else design
            assert is_hard(around, penalty, dtype), "a system that could be solved"
            continue
        if problem.penalize_bias:
            design, ours = np.column_stack([design, np.ones(num)]), np.append(ours, float(bias[i]))
        else:
            # The best bias for these weights; the objective is checked below.
            expected = target.mean() - design.mean(axis=0) @ ours
            scale = np.abs(target).max() + np.abs(design).max(initial=0) * np.abs(ours).sum()
            assert abs(bias[i] - expected) <= 100 * rounding * scale + np.finfo(dtype).tiny
            design, target = design - design.mean(axis=0), target - target.mean()
        # Allow for the rounding of centring in the problem's precision.
        noise = rounding * np.abs(inputs).max(initial=0) * np.sqrt(num)
        none = np.sum(target**2)
        left = np.sum((target - design @ ours) ** 2) + penalty * np.sum(ours**2)
        least = smallest(design, target, penalty)
        slack = (noise * np.abs(ours).sum()) ** 2 + (rounding * np.abs(targets[:, i]).max()) ** 2 * num
        assert left - least <= EXCESS[dtype] * none + 100 * slack + np.finfo(dtype).tiny


def smallest(design: np.ndarray, target: np.ndarray, penalty: float) -> float:
    """The least value of the objective, from singular values instead of a linear system."""
    if design.shape[1] == 0:
        return float(np.sum(target**2))
    left, values, _ = np.linalg.svd(design, full_matrices=False)
    along = left.T @ target
    shrunk = penalty / np.maximum(values**2 + penalty, np.finfo(np.float64).tiny)
    # Directions with singular values at the level of rounding are arbitrary.
    shrunk[values <= 1e-14 * values[0]] = 1
    # ||t||^2 - sum along^2 (1 - shrunk), without cancellation where the residual is 0.
    return float(np.sum((target - left @ along) ** 2) + np.sum(along**2 * shrunk))


def is_hard(design: np.ndarray, penalty: float, dtype: type) -> bool:
    """Whether rounding swallows the penalty, or the inputs' squares overflow or underflow."""
    size = np.append(design, 1)
    largest = np.sum(size**2)
    limits = np.finfo(dtype)
    return (
        penalty <= 1e3 * limits.eps * largest
        or largest * len(size) > limits.max / 1e3
        or penalty + largest < 1e3 * limits.tiny
    )


def fitted(fit, *args, **options) -> tuple[np.ndarray, ...]:
    """Weights, bias and status, without the warning about unsolved pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.UnsolvedWarning)
        params = fit(*args, **options)
    return tuple(np.asarray(each) for each in (params.weights, params.bias, params.solved))


@hypothesis.given(problems(), sparse_masks())
def test_any_mask_is_solved_or_reported(problem, mask):
    options = {"penalize_bias": problem.penalize_bias}
    found = fitted(masked_ridge.fit, *problem[:2], mask, problem.penalty, **options)
    assert_solved_or_reported(problem, mask, *found)


@hypothesis.given(problems(np.float64), sparse_masks())
def test_any_mask_is_solved_or_reported_in_float64(problem, mask):
    with jax.enable_x64(True):
        options = {"penalize_bias": problem.penalize_bias}
        found = fitted(masked_ridge.fit, *problem[:2], mask, problem.penalty, **options)
    assert_solved_or_reported(problem, mask, *found)


@pytest.mark.parametrize("solver", get_args(synthesis.Solver))
@pytest.mark.parametrize("name", WINDOWS)
@hypothesis.given(problem=problems())
def test_any_pictures_are_solved_or_reported(name, solver, problem):
    window = WINDOWS[name]
    if solver == "dual" and not window_dual.is_slidable(window):
        pytest.skip("it slides over rectangles")
    images = [each.reshape(-1, HEIGHT, WIDTH, 1) for each in problem[:2]]
    options = {"window": window, "penalty": problem.penalty, "penalize_bias": problem.penalize_bias}
    weights, bias, solved = fitted(synthesis.fit, *images, solver=solver, **options)
    mask = masks.as_mask(window, HEIGHT, WIDTH)
    weights = weights[0, :, 0].reshape(-1, NUM_PIXELS).T
    found = weights, bias[0].ravel(), solved[0].ravel()
    assert_solved_or_reported(problem, mask, *found, is_sliding=solver == "dual")
