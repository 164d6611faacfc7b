"""Compares all solvers of a window with each other and with a loop in float64, on random problems."""

from typing import NamedTuple, get_args

import numpy as np
import pytest

from mlr_jax import masks, synthesis, window_dual
from mlr_jax.checks import InputError
from tests import oracle

pytestmark = pytest.mark.usefixtures("small_blocks")


class Problem(NamedTuple):
    inputs: np.ndarray
    targets: np.ndarray
    window: masks.Window
    penalty: float | np.ndarray
    penalize_bias: bool
    channels: synthesis.Channels


def random_problem(seed: int) -> Problem:
    """Random sizes, windows, numbers of pairs, penalties and channels, including unusual ones."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(3, 10, 2)
    num, num_channels = rng.integers(1, 30), rng.integers(1, 3)
    if rng.random() < 0.5:
        # Any rectangle, with or without the pixel itself.
        (top, left), (rows, columns) = rng.integers(-2, 1, 2), rng.integers(1, 4, 2)
        offsets = [(y, x) for y in range(top, top + rows) for x in range(left, left + columns)]
    else:
        places = [(y, x) for y in range(-1, 2) for x in range(-1, 2)]
        chosen = rng.choice(len(places), rng.integers(1, len(places) + 1), replace=False)
        offsets = [places[i] for i in chosen]
    shape = num, num_channels, height, width
    faces = np.moveaxis(oracle.smooth_faces(rng, num * num_channels, height, width).reshape(shape), 1, -1)
    noise = rng.random(faces.shape)
    penalty = 10 ** rng.uniform(-3, 3)
    return Problem(
        faces,
        0.7 * np.roll(faces, 1, axis=1) + 0.3 * noise,
        masks.window(offsets),
        penalty * (1 + rng.random((height, width))) if rng.random() < 0.3 else penalty,
        bool(rng.random() < 0.5),
        str(rng.choice(get_args(synthesis.Channels))),  # type: ignore[arg-type]
    )


def expected_maps(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """The oracle's weights and biases, in the model's shapes."""
    inputs, targets, window, penalty, penalize_bias, channels = problem
    num, height, width, num_channels = inputs.shape
    mask = masks.offset_mask(height, width, window.offsets)
    if channels == "shared":
        inputs, targets = (
            np.moveaxis(each, -1, 0).reshape(-1, height, width, 1) for each in (inputs, targets)
        )
    num = len(inputs)
    weights, biases = [], []
    for out in range(targets.shape[-1]):
        seen = inputs if channels == "joint" else inputs[..., out : out + 1]
        wide = masks.across_channels(mask, seen.shape[-1])
        penalties = np.broadcast_to(penalty, (height, width)).reshape(-1)
        found, bias = oracle.masked_ridge(
            seen.reshape(num, -1), targets[..., out].reshape(num, -1), wide, penalties, penalize_bias
        )
        planes = found.reshape(height, width, len(window.offsets), seen.shape[-1])
        weights.append(np.moveaxis(planes, (2, 3), (0, 1)))
        biases.append(bias.reshape(height, width))
    assert num_channels >= len(weights)
    return np.stack(weights), np.stack(biases)


@pytest.mark.parametrize("seed", range(8))
def test_all_solvers_agree_with_a_loop(seed, x64):
    problem = random_problem(seed)
    inputs, targets, window, penalty, penalize_bias, channels = problem
    weights, bias = expected_maps(problem)
    scale = max(1.0, np.abs(weights).max())
    solvers = [
        each for each in get_args(synthesis.Solver) if each != "dual" or window_dual.is_slidable(window)
    ]
    for solver in (None, *solvers):
        model = synthesis.fit(
            inputs,
            targets,
            window=window,
            penalty=penalty,
            channels=channels,
            penalize_bias=penalize_bias,
            solver=solver,
        )
        np.testing.assert_allclose(model.weights, weights, rtol=0, atol=1e-9 * scale, err_msg=str(solver))
        np.testing.assert_allclose(model.bias, bias, rtol=0, atol=1e-9 * scale, err_msg=str(solver))
    parts = synthesis.init_statistics(inputs, targets, window=window, channels=channels)
    for part in np.array_split(np.arange(len(inputs)), 2):
        if len(part):
            parts = synthesis.update(parts, inputs[part], targets[part])
    model = synthesis.solve(parts, penalty=penalty, penalize_bias=penalize_bias)
    np.testing.assert_allclose(model.weights, weights, rtol=0, atol=1e-9 * scale)


def test_random_problems_are_of_all_kinds():
    problems = [random_problem(seed) for seed in range(8)]
    assert {each.channels for each in problems} == set(get_args(synthesis.Channels))
    assert {each.penalize_bias for each in problems} == {True, False}
    assert {np.ndim(each.penalty) for each in problems} == {0, 2}
    assert {window_dual.is_slidable(each.window) for each in problems} == {True, False}
    num_inputs = [
        len(each.window.offsets) * (each.inputs.shape[-1] if each.channels == "joint" else 1)
        for each in problems
    ]
    counts = zip(num_inputs, problems, strict=True)
    assert {size > len(each.inputs) for size, each in counts} == {True, False}


def test_numbers_and_shape_choose_the_solver():
    assert synthesis.choose_solver(masks.square(3), 9) == "primal"
    assert synthesis.choose_solver(masks.square(3), 26, in_channels=3) == "dual"
    assert synthesis.choose_solver(masks.disk(2), 5) == "gather"


@pytest.mark.parametrize(
    ("window", "solver", "words"),
    [
        (3, "fast", "solver must be one of primal, dual, gather, not 'fast'"),
        (masks.disk(2), "dual", "no rectangle without holes, which solver 'dual' needs; use 'primal'"),
        (masks.square_mask(5, 5, 3), "primal", "a mask can only be solved by 'gather', not 'primal'"),
    ],
)
def test_unsuitable_solvers_are_rejected(window, solver, words):
    faces = np.ones((4, 5, 5, 1), np.float32)
    with pytest.raises(InputError, match=words):
        synthesis.fit(faces, faces, window=window, solver=solver)
