import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax.numerics import pixel_systems

NUM_PIXELS, NUM_RIGHTS = 6, 3
SIZES = (1, 2, 5, 17)


def systems(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Positive definite matrices, and right sides; the pixel axis comes last."""
    factors = rng.standard_normal((NUM_PIXELS, size, size + 3))
    matrices = factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(size)
    return np.moveaxis(matrices, 0, -1), rng.standard_normal((size, NUM_RIGHTS, NUM_PIXELS))


def numpy_solution(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.linalg.solve(np.moveaxis(gram, -1, 0), np.moveaxis(right, -1, 0)), 0, -1)


def as_planes(gram: jax.Array) -> pixel_systems.Planes:
    size = len(gram)
    return {(i, j): jnp.asarray(gram[i, j]) for i in range(size) for j in range(i, size)}


solve_and_tell_by_rows = jax.jit(pixel_systems.solve)


@jax.jit
def solve_and_tell_by_planes(gram: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    return pixel_systems.solve_planes(as_planes(gram), right)


def solve_by_rows(gram: jax.Array, right: jax.Array) -> jax.Array:
    return solve_and_tell_by_rows(gram, right)[0]


def solve_by_planes(gram: jax.Array, right: jax.Array) -> jax.Array:
    return solve_and_tell_by_planes(gram, right)[0]


# The elimination that is written out compiles too long at the sizes it is not for.
CASES = pytest.mark.parametrize(
    ("solver", "size"),
    [*((solve_by_rows, size) for size in SIZES), (solve_by_planes, 2), (solve_by_planes, 5)],
)


@CASES
def test_solutions_agree_with_numpy(solver, size, rng, x64):
    gram, right = systems(rng, size)
    solution = solver(gram, right)
    assert solution.shape == right.shape
    assert solution.dtype == np.float64
    np.testing.assert_allclose(solution, numpy_solution(gram, right), rtol=1e-9, atol=1e-9)


@CASES
def test_solutions_agree_with_numpy_in_float32(solver, size, rng):
    gram, right = systems(rng, size)
    gram += 10 * np.eye(size)[..., None]
    solution = solver(gram.astype(np.float32), right.astype(np.float32))
    assert solution.dtype == np.float32
    np.testing.assert_allclose(solution, numpy_solution(gram, right), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("solver", "size"), [(solve_by_rows, 5), (solve_by_planes, 2)])
def test_derivatives_are_those_of_the_solution(solver, size, rng, x64):
    gram, right = systems(rng, size)
    cotangent = rng.standard_normal(right.shape)
    _, pull = jax.vjp(solver, jnp.asarray(gram), jnp.asarray(right))
    of_gram, of_right = pull(jnp.asarray(cotangent))
    x, y = numpy_solution(gram, right), numpy_solution(gram, cotangent)
    np.testing.assert_allclose(of_right, y, rtol=1e-9, atol=1e-9)
    # The planes are those of the upper triangle: they stand for both entries.
    expected = -np.einsum("irp,jrp->ijp", y, x)
    np.testing.assert_allclose(
        of_gram + np.swapaxes(of_gram, 0, 1), expected + np.swapaxes(expected, 0, 1), rtol=1e-9, atol=1e-9
    )


def test_planes_may_have_any_shape(rng, x64):
    gram, right = systems(rng, 5)
    planes = {key: entry.reshape(2, 3) for key, entry in as_planes(gram).items()}
    solution, solved = pixel_systems.solve_planes(planes, right.reshape(5, NUM_RIGHTS, 2, 3))
    assert solved.shape == (2, 3)
    assert solved.all()
    np.testing.assert_allclose(
        solution.reshape(right.shape), numpy_solution(gram, right), rtol=1e-9, atol=1e-9
    )


@CASES
@pytest.mark.parametrize("kind", ["zero", "negative", "indefinite at the end"])
def test_what_is_not_positive_definite_is_told_and_spoils_no_other(solver, size, kind, rng, x64):
    gram, right = systems(rng, size)
    expected = numpy_solution(gram, right)
    bad = 2
    if kind == "zero":
        gram[..., bad] = 0
    elif kind == "negative":
        gram[..., bad] *= -1
    else:
        gram[-1, -1, bad] = -1e-3
    tell = {solve_by_rows: solve_and_tell_by_rows, solve_by_planes: solve_and_tell_by_planes}[solver]
    solution, solved = (np.asarray(each) for each in tell(gram, right))
    np.testing.assert_array_equal(solution[..., bad], 0)
    np.testing.assert_array_equal(solved, np.arange(NUM_PIXELS) != bad)
    others = np.arange(NUM_PIXELS) != bad
    np.testing.assert_allclose(solution[..., others], expected[..., others], rtol=1e-9, atol=1e-9)
