import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax import masked_ridge, masks
from mlr_jax.checks import InputError, UnsolvedWarning
from mlr_jax.datasets import london
from tests import oracle

HEIGHT, WIDTH = 6, 5
NUM_PIXELS = HEIGHT * WIDTH

SPARSE = np.random.default_rng(7).random((NUM_PIXELS, NUM_PIXELS)) < 0.15
SPARSE[3] = False  # This pixel has a bias only.
MASKS = {
    "pixel": masks.square_mask(HEIGHT, WIDTH, 1),
    "square": masks.square_mask(HEIGHT, WIDTH, 3),
    "disk": masks.disk_mask(HEIGHT, WIDTH, 2.0),
    "dilated": masks.dilated_mask(HEIGHT, WIDTH, 3, 2),
    "from_dense": masks.from_dense(SPARSE, allow_empty=True),
    "union": masks.union(masks.square_mask(HEIGHT, WIDTH, 3), masks.dilated_mask(HEIGHT, WIDTH, 3, 2)),
}
# Fewer examples than window entries, and more, for the dual and the primal system.
NUM_EXAMPLES = (4, 40)
PENALTIES = (0.01, 0.4, 30.0)


def problem(num_examples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(num_examples)
    inputs = oracle.smooth_faces(rng, num_examples, HEIGHT, WIDTH)
    targets = 0.7 * inputs + 0.3 * oracle.smooth_faces(rng, num_examples, HEIGHT, WIDTH)
    return inputs, targets


@pytest.mark.parametrize("penalize_bias", [True, False])
@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
@pytest.mark.parametrize("name", MASKS)
def test_equals_a_loop_over_pixels_in_float64(name, num_examples, penalize_bias, x64):
    inputs, targets = problem(num_examples)
    mask = MASKS[name]
    for penalty in PENALTIES:
        params = masked_ridge.fit(inputs, targets, mask, penalty, penalize_bias=penalize_bias)
        weights, bias = oracle.masked_ridge(inputs, targets, mask, penalty, penalize_bias)
        assert params.weights.dtype == np.float64
        np.testing.assert_allclose(params.weights, weights, rtol=0, atol=1e-10)
        np.testing.assert_allclose(params.bias, bias, rtol=0, atol=1e-10)
        assert (np.asarray(params.weights)[~mask.valid] == 0).all()
        prediction = masked_ridge.predict(params, inputs[:3], mask)
        expected = oracle.masked_predict(weights, bias, mask, inputs[:3])
        np.testing.assert_allclose(prediction, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("penalize_bias", [True, False])
@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
@pytest.mark.parametrize("name", ["square", "from_dense"])
def test_equals_a_loop_over_pixels_in_float32(name, num_examples, penalize_bias):
    inputs, targets = (each.astype(np.float32) for each in problem(num_examples))
    mask = MASKS[name]
    for penalty in PENALTIES:
        params = masked_ridge.fit(inputs, targets, mask, penalty, penalize_bias=penalize_bias)
        weights, bias = oracle.masked_ridge(
            inputs.astype(np.float64), targets.astype(np.float64), mask, penalty, penalize_bias
        )
        assert params.weights.dtype == np.float32
        error = np.linalg.norm(params.weights - weights, axis=1)
        assert (error <= 1e-4 * np.linalg.norm(weights, axis=1) + 1e-7).all()
        np.testing.assert_allclose(params.bias, bias, rtol=1e-4, atol=1e-5)
        assert (np.asarray(params.weights)[~mask.valid] == 0).all()


def test_refinement_rescues_an_ill_conditioned_problem():
    # Neighbouring pixels differ by little, so that the Gram matrix alone loses most digits.
    rng = np.random.default_rng(1)
    base = rng.random((50, 1))
    inputs = (base + 0.02 * rng.random((50, NUM_PIXELS))).astype(np.float32)
    targets = inputs[:, ::-1]
    mask = MASKS["square"]
    params = masked_ridge.fit(inputs, targets, mask, 1e-3)
    weights, _ = oracle.masked_ridge(inputs.astype(np.float64), targets.astype(np.float64), mask, 1e-3, True)
    assert np.abs(params.weights - weights).max() < 1e-4 * np.abs(weights).max()


def test_real_faces_in_float32(london_dir):
    pairs = london.load(london_dir, image_size=32, channels=1)
    inputs, targets = (each.reshape(len(each), -1) for each in (pairs.neutral, pairs.expressive))
    for window, penalty, bound in ((3, 0.4, 5e-6), (5, 1e-3, 1e-4)):
        mask = masks.square_mask(32, 32, window)
        params = masked_ridge.fit(inputs, targets, mask, penalty)
        weights, _ = oracle.masked_ridge(
            inputs.astype(np.float64), targets.astype(np.float64), mask, penalty, True
        )
        error = np.linalg.norm(params.weights - weights, axis=1)
        assert (error < bound * np.linalg.norm(weights, axis=1)).all()


def test_one_penalty_for_each_output(x64):
    inputs, targets = problem(40)
    penalties = np.linspace(0.1, 5, NUM_PIXELS)
    params = masked_ridge.fit(inputs, targets, MASKS["square"], penalties)
    weights, _ = oracle.masked_ridge(inputs, targets, MASKS["square"], penalties, True)
    np.testing.assert_allclose(params.weights, weights, rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_no_penalty_gives_least_squares_or_interpolation(num_examples, x64):
    """Least squares in the primal, the interpolation of least norm in the dual."""
    inputs, targets = problem(num_examples)
    params = masked_ridge.fit(inputs, targets, MASKS["square"], 0.0)
    middle = 2 * WIDTH + 2
    design = np.column_stack([inputs[:, MASKS["square"].indices[middle]], np.ones(num_examples)])
    expected = np.linalg.lstsq(design, targets[:, middle], rcond=None)[0]
    np.testing.assert_allclose(params.weights[middle], expected[:-1], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
@pytest.mark.parametrize("batch_size", [1, 7, 30, 1000])
def test_batches_do_not_change_the_result(num_examples, batch_size, unoptimized):
    inputs, targets = problem(num_examples)
    whole = masked_ridge.fit(inputs, targets, MASKS["square"], 0.4)
    chunks = masked_ridge.fit(inputs, targets, MASKS["square"], 0.4, batch_size=batch_size)
    chex.assert_trees_all_close(whole, chunks, rtol=1e-5, atol=1e-6)


def temporary_bytes(function, *arguments) -> int:
    return jax.jit(function).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


def test_memory_is_bounded_by_batches():
    """Not by the number of pixels: gathering all receptive fields takes 25 times the inputs."""
    rng = np.random.default_rng(0)
    inputs = rng.random((64, 64 * 64), dtype=np.float32)
    mask = masks.square_mask(64, 64, 5)

    def fit(inputs, penalty, batch_size=None):
        return masked_ridge.fit(inputs, 1 - inputs, mask, penalty, batch_size=batch_size)

    def gradient(inputs, penalty):
        return jax.grad(lambda x: jnp.sum(fit(x, penalty).weights ** 2))(inputs)

    def penalties(inputs, penalty):
        return jax.vmap(lambda scale: fit(inputs, scale * penalty))(jnp.arange(1.0, 5.0))

    all_fields = 25 * inputs.nbytes
    assert temporary_bytes(fit, inputs, 0.4) < 0.4 * all_fields
    assert temporary_bytes(gradient, inputs, 0.4) < 0.8 * all_fields
    assert temporary_bytes(penalties, inputs, 0.4) < 1.2 * all_fields
    whole = temporary_bytes(lambda x, p: fit(x, p, batch_size=4096), inputs, 0.4)
    assert whole > all_fields, "the bound above would not notice"


def test_jit_and_vmap(unoptimized):
    inputs, targets = problem(40)
    mask = MASKS["square"]
    expected = masked_ridge.fit(inputs, targets, mask, 0.4)
    chex.assert_trees_all_close(jax.jit(masked_ridge.fit)(inputs, targets, mask, 0.4), expected, atol=1e-6)
    # Several expressions of the same faces, and several penalties.
    stacked = jnp.stack([targets, 1 - targets])
    several = jax.vmap(masked_ridge.fit, in_axes=(None, 0, None, None))(inputs, stacked, mask, 0.4)
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[0], several), expected, atol=1e-5)
    penalties = jax.vmap(lambda penalty: masked_ridge.fit(inputs, targets, mask, penalty))(
        jnp.array([0.4, 4.0])
    )
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[0], penalties), expected, atol=1e-5)
    predict = jax.jit(jax.vmap(masked_ridge.predict, in_axes=(0, None, None)))
    np.testing.assert_allclose(
        predict(several, inputs, mask)[0], masked_ridge.predict(expected, inputs, mask), atol=1e-5
    )


@pytest.mark.parametrize("penalize_bias", [True, False])
@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_gradients_equal_finite_differences(num_examples, penalize_bias, x64):
    inputs, targets = problem(num_examples)
    mask = MASKS["square"]
    test_inputs, test_targets = problem(3)

    def held_out_error(inputs, targets, penalty):
        params = masked_ridge.fit(inputs, targets, mask, penalty, penalize_bias=penalize_bias, batch_size=8)
        return jnp.sum((masked_ridge.predict(params, test_inputs, mask) - test_targets) ** 2)

    arguments = (jnp.asarray(inputs), jnp.asarray(targets), jnp.full(NUM_PIXELS, 0.4, float))
    # One program returns both, since it takes long to compile.
    error_and_gradients = jax.jit(jax.value_and_grad(held_out_error, argnums=(0, 1, 2)))
    _, gradients = error_and_gradients(*arguments)
    rng = np.random.default_rng(2)
    for position, gradient in enumerate(gradients):
        direction = rng.standard_normal(gradient.shape)
        step = 1e-5

        def moved(sign, position=position, direction=direction, step=step):
            moved = list(arguments)
            moved[position] = moved[position] + sign * step * direction
            return float(error_and_gradients(*moved)[0])

        expected = (moved(1) - moved(-1)) / (2 * step)
        assert float(jnp.sum(gradient * direction)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_second_derivative_in_the_penalty(num_examples, x64):
    inputs, targets = problem(num_examples)

    def error(penalty):
        params = masked_ridge.fit(inputs, targets, MASKS["square"], penalty)
        return jnp.sum((masked_ridge.predict(params, inputs, MASKS["square"]) - targets) ** 2)

    derivatives = jax.jit(jax.value_and_grad(jax.grad(error)))
    expected = (derivatives(0.4 + 1e-5)[0] - derivatives(0.4 - 1e-5)[0]) / 2e-5
    assert float(derivatives(0.4)[1]) == pytest.approx(float(expected), rel=1e-6)


def test_gradient_through_predict(x64):
    inputs, targets = problem(4)
    mask = MASKS["from_dense"]
    params = masked_ridge.fit(inputs, targets, mask, 0.4)

    def total(params, inputs):
        return jnp.sum(jnp.sin(masked_ridge.predict(params, inputs, mask)))

    jax.test_util.check_grads(total, (params, jnp.asarray(inputs)), order=1, modes=["rev", "fwd"])


def test_new_values_do_not_recompile(unoptimized):
    inputs, targets = problem(40)
    mask = MASKS["square"]
    fit = jax.jit(chex.assert_max_traces(masked_ridge.fit, n=1))
    for penalty in (0.1, 2.0, np.float32(3)):
        masked_ridge.predict(fit(inputs * penalty, targets, mask, float(penalty)), inputs, mask)
    before = masked_ridge._fit._cache_size(), masked_ridge._predict._cache_size()
    params = masked_ridge.fit(inputs, targets, mask, 0.5)
    masked_ridge.predict(params, inputs, mask)
    first = masked_ridge._fit._cache_size(), masked_ridge._predict._cache_size()
    other = masks.dilated_mask(HEIGHT, WIDTH, 3, 2)
    for penalty in (1, 0.7, np.linspace(1, 2, NUM_PIXELS)):
        params = masked_ridge.fit(1 - inputs, targets, other, penalty)
        masked_ridge.predict(params, 1 - inputs, other)
    after = masked_ridge._fit._cache_size(), masked_ridge._predict._cache_size()
    assert before <= first == after


def test_arguments_are_not_changed():
    inputs, targets = problem(4)
    copies = inputs.copy(), targets.copy()
    masked_ridge.fit(inputs, targets, MASKS["square"], 0.4)
    np.testing.assert_array_equal(inputs, copies[0])
    np.testing.assert_array_equal(targets, copies[1])


def test_half_precision_is_computed_in_float32():
    inputs, targets = problem(40)
    params = masked_ridge.fit(
        jnp.asarray(inputs, jnp.bfloat16), jnp.asarray(targets, jnp.float16), MASKS["square"], 0.4
    )
    assert params.weights.dtype == jnp.float32


def test_two_fits_in_one_program_do_not_block_each_other():
    # Batched LAPACK calls blocked each other on two cores; see cholesky.py.
    rng = np.random.default_rng(0)
    faces = [rng.random((70, 3 * 1024), dtype=np.float32) for _ in range(2)]
    mask = masks.across_channels(masks.square_mask(32, 32, 3), 3)

    @jax.jit
    def both(first, second):
        return [masked_ridge.fit(x, 1 - x[:, :1024], mask, 0.4, batch_size=700) for x in (first, second)]

    for _ in range(3):
        jax.block_until_ready(both(*faces))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": np.ones((4, NUM_PIXELS - 5))}, "mask points at input 29, but there are 25"),
        ({"targets": np.ones((4, NUM_PIXELS + 1))}, "mask has 30 outputs, but targets have 31"),
        ({"targets": np.ones((5, NUM_PIXELS))}, "inputs hold 4 examples, but targets hold 5"),
        ({"inputs": np.full((4, NUM_PIXELS), np.nan)}, r"inputs holds 120 .* index \(0, 0\)"),
        ({"targets": np.full((4, NUM_PIXELS), np.inf)}, "targets holds 120 values"),
        ({"inputs": np.ones(NUM_PIXELS)}, r"inputs must have the 2 axes \(num_examples, num_inputs\)"),
        ({"inputs": np.ones((0, NUM_PIXELS))}, "inputs is empty along num_examples"),
        ({"penalty": -1.0}, "penalty must be 0 or more and finite, not -1"),
        ({"penalty": np.nan}, "penalty must be 0 or more and finite, not nan"),
        ({"penalty": np.ones(3)}, r"penalty must be a scalar or \(30,\), not \(3,\)"),
    ],
)
def test_clear_errors(change, words):
    inputs, targets = problem(4)
    arguments = {"inputs": inputs, "targets": targets, "mask": MASKS["square"], "penalty": 0.4}
    arguments |= change
    with pytest.raises(InputError, match=words):
        masked_ridge.fit(**arguments)


@pytest.mark.parametrize("penalize_bias", [True, False])
@pytest.mark.parametrize("num", [40, 5])
def test_unsolved_outputs_predict_the_mean(num, penalize_bias):
    """By both systems: the last output has no penalty, and black inputs."""
    rng = np.random.default_rng(0)
    inputs, targets = np.zeros((num, NUM_PIXELS), np.float32), rng.random((num, NUM_PIXELS), np.float32)
    inputs[:, :20] = rng.random((num, 20))
    penalty = np.full(NUM_PIXELS, 0.5, np.float32)
    penalty[-1] = 0
    mask = MASKS["square"]

    def fit(penalty):
        return masked_ridge.fit(inputs, targets, mask, penalty, penalize_bias=penalize_bias)

    with pytest.warns(UnsolvedWarning, match=r"of 1 of 30 outputs, the first being 29, cannot be solved"):
        params = fit(penalty)
    np.testing.assert_array_equal(params.solved, np.arange(NUM_PIXELS) < 29)
    np.testing.assert_array_equal(params.weights[-1], 0)
    assert float(params.bias[-1]) == pytest.approx(float(targets[:, -1].mean()), rel=1e-5)
    expected = fit(np.full(NUM_PIXELS, 0.5, np.float32))
    np.testing.assert_array_equal(params.weights[:-1], expected.weights[:-1])
    np.testing.assert_array_equal(jax.jit(fit)(penalty).solved, params.solved)
    slopes = jax.jit(jax.grad(lambda penalty: jnp.sum(fit(penalty).weights ** 2)))(penalty)
    assert np.isfinite(slopes).all()
    assert float(slopes[-1]) == 0


def test_overflowing_sums_are_unsolved():
    inputs = np.full((8, NUM_PIXELS), 1e30, np.float32)
    with pytest.warns(UnsolvedWarning, match="of 30 of 30 outputs"):
        params = masked_ridge.fit(inputs, np.ones_like(inputs), MASKS["square"], 1.0)
    np.testing.assert_array_equal(params.weights, 0)
    np.testing.assert_allclose(params.bias, 8 / 9, rtol=1e-6)


def test_an_overflowing_bias_is_unsolved():
    """Although the weights are finite, for nearly equal inputs and enormous targets."""
    rng = np.random.default_rng(0)
    inputs = 1000 + 0.01 * rng.standard_normal((8, NUM_PIXELS), np.float32)
    targets = 1e34 * rng.random((8, NUM_PIXELS), np.float32)
    mask = MASKS["pixel"]
    finite = masked_ridge.fit(inputs, 1e-3 * targets, mask, 1e-6, penalize_bias=False)
    assert np.abs(finite.weights).max() > 1e31
    np.testing.assert_array_equal(finite.solved, 1)
    with pytest.warns(UnsolvedWarning, match="outputs"):
        params = masked_ridge.fit(inputs, 100 * targets, mask, 1e-6, penalize_bias=False)
    unsolved = np.asarray(params.solved) == 0
    assert unsolved.sum() > 20
    np.testing.assert_array_equal(params.weights[unsolved], 0)
    np.testing.assert_allclose(params.bias[unsolved], 100 * targets.mean(axis=0)[unsolved], rtol=1e-6)


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_scaled_targets_scale_the_weights(num_examples, unoptimized):
    inputs, targets = (each.astype(np.float32) for each in problem(num_examples))
    expected = masked_ridge.fit(inputs, targets, MASKS["square"], 0.01)
    for scale in (np.float32(2**-30), np.float32(2**30)):
        params = masked_ridge.fit(inputs, scale * targets, MASKS["square"], 0.01)
        np.testing.assert_array_equal(params.solved, 1)
        np.testing.assert_allclose(params.weights / scale, expected.weights, rtol=1e-5, atol=1e-6)


def test_batch_size_must_be_positive():
    inputs, targets = problem(4)
    with pytest.raises(InputError, match="batch_size must be 1 or more"):
        masked_ridge.fit(inputs, targets, MASKS["square"], 0.4, batch_size=0)


def test_eight_bit_pictures_are_rejected():
    picture = np.zeros((4, NUM_PIXELS), np.uint8)
    with pytest.raises(TypeError, match=r"inputs must hold floating-point numbers, not uint8.*/ 255"):
        masked_ridge.fit(picture, picture, MASKS["square"], 0.4)


def test_mask_must_be_a_mask():
    inputs, targets = problem(4)
    with pytest.raises(TypeError, match=r"mask must be a masks\.Mask, not a tuple"):
        masked_ridge.fit(inputs, targets, tuple(MASKS["square"]), 0.4)


def test_predict_rejects_another_mask():
    inputs, targets = problem(4)
    params = masked_ridge.fit(inputs, targets, MASKS["square"], 0.4)
    with pytest.raises(InputError, match="use the mask that they were fitted with"):
        masked_ridge.predict(params, inputs, MASKS["pixel"])
    with pytest.raises(InputError, match="made for another size"):
        masked_ridge.predict(params, inputs[:, :20], MASKS["square"])
