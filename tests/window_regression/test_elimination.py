import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax._window_regression import elimination

NUM_PIXELS, NUM_RIGHTS = 6, 3
SIZES = (1, 2, 5, 13, 17)


def systems(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Positive definite matrices and right sides; the pixel axis comes last."""
    factors = rng.standard_normal((NUM_PIXELS, size, size + 3))
    matrices = factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(size)
    return np.moveaxis(matrices, 0, -1), rng.standard_normal((size, NUM_RIGHTS, NUM_PIXELS))


def numpy_solution(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.linalg.solve(np.moveaxis(gram, -1, 0), np.moveaxis(right, -1, 0)), 0, -1)


@jax.jit
def solve_with_status(gram: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    return elimination.solve(gram, right)


def solve(gram: jax.Array, right: jax.Array) -> jax.Array:
    return solve_with_status(gram, right)[0]


# One panel; two of unequal sizes; four, of which the last is shorter.
CASES = pytest.mark.parametrize("size", [*SIZES, 41])


@CASES
def test_solutions_agree_with_numpy(size, rng, x64):
    gram, right = systems(rng, size)
    solution = solve(gram, right)
    assert solution.shape == right.shape
    assert solution.dtype == np.float64
    np.testing.assert_allclose(solution, numpy_solution(gram, right), rtol=1e-9, atol=1e-9)


@CASES
def test_solutions_agree_with_numpy_in_float32(size, rng):
    gram, right = systems(rng, size)
    gram += 10 * np.eye(size)[..., None]
    solution = solve(gram.astype(np.float32), right.astype(np.float32))
    assert solution.dtype == np.float32
    np.testing.assert_allclose(solution, numpy_solution(gram, right), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [2, 17])
def test_derivatives_equal_those_of_the_solution(size, rng, x64):
    gram, right = systems(rng, size)
    cotangent = rng.standard_normal(right.shape)
    _, pull = jax.vjp(solve, jnp.asarray(gram), jnp.asarray(right))
    of_gram, of_right = pull(jnp.asarray(cotangent))
    x, y = numpy_solution(gram, right), numpy_solution(gram, cotangent)
    np.testing.assert_allclose(of_right, y, rtol=1e-9, atol=1e-9)
    # Each entry of a symmetric matrix has two derivatives, of which only the sum is defined.
    expected = -np.einsum("irp,jrp->ijp", y, x)
    np.testing.assert_allclose(
        of_gram + np.swapaxes(of_gram, 0, 1), expected + np.swapaxes(expected, 0, 1), rtol=1e-9, atol=1e-9
    )


@CASES
@pytest.mark.parametrize("kind", ["zero", "negative", "indefinite at the end"])
def test_indefinite_matrices_are_reported_and_change_no_other(size, kind, rng, x64):
    gram, right = systems(rng, size)
    expected = numpy_solution(gram, right)
    bad = 2
    if kind == "zero":
        gram[..., bad] = 0
    elif kind == "negative":
        gram[..., bad] *= -1
    else:
        gram[-1, -1, bad] = -1e-3
    solution, solved = (np.asarray(each) for each in solve_with_status(gram, right))
    np.testing.assert_array_equal(solution[..., bad], 0)
    np.testing.assert_array_equal(solved, np.arange(NUM_PIXELS) != bad)
    others = np.arange(NUM_PIXELS) != bad
    np.testing.assert_allclose(solution[..., others], expected[..., others], rtol=1e-9, atol=1e-9)
