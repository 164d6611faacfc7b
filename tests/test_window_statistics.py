from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax import masks, window_linear, window_statistics, windows
from mlr_jax._window_regression import accumulation, linear, primal, ridge
from mlr_jax.checks import InputError, UnsolvedWarning
from tests import oracle

SIZES = {"small": (6, 5), "odd": (7, 5)}
WINDOWS = {
    "pixel": windows.square(1),
    "cross": windows.disk(1),
    "six": windows.from_offsets([(dy, dx) for dy in (0, 1) for dx in (-1, 0, 1)]),
    "square": windows.square(3),
    "disk": windows.disk(2.0),
    "dilated": windows.dilated(3, 2),
    "off the middle": windows.from_offsets([(0, 1), (-3, 0), (2, 2)]),
    "large": windows.square(5),
}
BLOCK = 4  # Of the fixture small_blocks.
# Several blocks, of which the last is not full.
NUM = 37
PENALTIES = (0.01, 0.4, 30.0)


pytestmark = pytest.mark.usefixtures("small_blocks")


@cache
def problem(
    num: int, height: int, width: int, in_channels: int = 1, out_channels: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Float64 pictures `(num, height, width, channels)`."""
    rng = np.random.default_rng(num)
    shape = num, height, width
    inputs, noise = (
        np.stack([oracle.smooth_faces(rng, *shape).reshape(shape) for _ in range(channels)], axis=-1)
        for channels in (in_channels, out_channels)
    )
    return inputs, 0.7 * inputs.mean(axis=-1, keepdims=True) + 0.3 * noise


def make(
    window: windows.Window, inputs: np.ndarray, targets: np.ndarray, **options
) -> window_statistics.WindowStatistics:
    _, height, width, in_channels = inputs.shape
    empty = window_statistics.init(
        window, height, width, in_channels=in_channels, out_channels=targets.shape[-1], **options
    )
    return window_statistics.update(empty, inputs, targets)


def expected_map(
    window: windows.Window,
    inputs: np.ndarray,
    targets: np.ndarray,
    penalty: float | np.ndarray,
    penalize_bias: bool = True,
) -> window_linear.WindowLinear:
    """The oracle's solution, in the order of a window's map."""
    num, height, width, in_channels = inputs.shape
    mask = masks.across_channels(masks.offset_mask(height, width, window.offsets), in_channels)
    penalty = penalty if np.ndim(penalty) == 0 else np.reshape(penalty, -1)
    solutions = [
        oracle.masked_ridge(
            inputs.reshape(num, -1).astype(np.float64),
            targets[..., channel].reshape(num, -1).astype(np.float64),
            mask,
            penalty,
            penalize_bias,
        )
        for channel in range(targets.shape[-1])
    ]
    shape = -1, len(window.offsets), in_channels, height, width
    return window_linear.WindowLinear(
        np.stack([weights.T for weights, _ in solutions]).reshape(shape),
        np.stack([bias for _, bias in solutions]).reshape(-1, height, width),
    )


def assert_close(params, expected, tolerance: float) -> None:
    """All pixels are solved, within `tolerance` times the largest value, if that is above 1."""
    assert np.all(params.solved == 1)
    for one, other in zip(params[:2], expected[:2], strict=True):
        scale = max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale)


def totals(statistics: window_statistics.WindowStatistics) -> list[np.ndarray]:
    """All sums, in float64."""
    sums = statistics.input_sum, statistics.target_sum, statistics.products
    return [np.asarray(each.high, np.float64) + np.asarray(each.low, np.float64) for each in sums]


def assert_same_sums(one, other, tolerance: float) -> None:
    assert float(one.num_pairs) == float(other.num_pairs)
    for first, second in zip(totals(one), totals(other), strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "size", "penalize_bias"),
    [
        *((name, "odd", True) for name in WINDOWS),
        *((name, "small", False) for name in ("square", "off the middle", "large")),
    ],
)
def test_equals_a_loop_over_pixels_in_float64(name, size, penalize_bias, x64):
    pairs = problem(NUM, *SIZES[size])
    statistics = make(WINDOWS[name], *pairs, dtype=jnp.float64)
    for penalty in (*PENALTIES, np.linspace(0.1, 5, pairs[0][0].size).reshape(SIZES[size])):
        params = window_statistics.solve(statistics, WINDOWS[name], penalty, penalize_bias=penalize_bias)
        assert params.weights.dtype == params.bias.dtype == np.float64
        expected = expected_map(WINDOWS[name], *pairs, penalty, penalize_bias)
        assert params.weights.shape == expected.weights.shape
        assert params.bias.shape == expected.bias.shape
        assert_close(params, expected, 1e-10)
        valid = masks.offset_mask(*SIZES[size], WINDOWS[name].offsets).valid.T
        outside = ~valid.reshape(params.weights.shape)
        assert (np.asarray(params.weights)[outside] == 0).all()


@pytest.mark.parametrize("penalize_bias", [True, False])
@pytest.mark.parametrize("name", ["square", "large"])
def test_equals_a_loop_over_pixels_in_float32(name, penalize_bias):
    pairs = [each.astype(np.float32) for each in problem(NUM, *SIZES["odd"])]
    statistics = make(WINDOWS[name], *pairs)
    for penalty in PENALTIES:
        params = window_statistics.solve(statistics, WINDOWS[name], penalty, penalize_bias=penalize_bias)
        assert params.weights.dtype == params.bias.dtype == np.float32
        assert_close(params, expected_map(WINDOWS[name], *pairs, penalty, penalize_bias), 1e-4)


@pytest.mark.parametrize(
    ("name", "channels"), [("cross", (1, 2)), ("cross", (2, 2)), ("six", (2, 1)), ("six", (2, 2))]
)
def test_channels_are_seen_together(name, channels, x64):
    pairs = problem(NUM, *SIZES["small"], *channels)
    statistics = make(WINDOWS[name], *pairs, dtype=jnp.float64)
    params = window_statistics.solve(statistics, WINDOWS[name], 0.4)
    assert_close(params, expected_map(WINDOWS[name], *pairs, 0.4), 1e-10)


def test_no_penalty_is_least_squares(x64):
    pairs = problem(NUM, *SIZES["odd"])
    params = window_statistics.solve(make(WINDOWS["square"], *pairs, dtype=jnp.float64), windows.square(3), 0)
    assert_close(params, expected_map(WINDOWS["square"], *pairs, 0.0), 1e-9)


@pytest.mark.parametrize("num", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_any_number_of_pairs_is_solved(num, x64):
    pairs, window = problem(num, *SIZES["odd"]), WINDOWS["cross"]
    params = window_statistics.solve(make(window, *pairs, dtype=jnp.float64), window, 0.4)
    assert_close(params, expected_map(window, *pairs, 0.4), 1e-10)


@pytest.mark.parametrize("name", ["square", "disk"])
def test_smaller_windows_are_solved_from_the_same_statistics(name, x64):
    pairs = problem(NUM, *SIZES["odd"])
    large = make(WINDOWS["large"], *pairs, dtype=jnp.float64)
    for penalty in (0.4, 30.0):
        params = window_statistics.solve(large, WINDOWS[name], penalty)
        own = window_statistics.solve(make(WINDOWS[name], *pairs, dtype=jnp.float64), WINDOWS[name], penalty)
        assert_close(params, own, 1e-11)
    reference = expected_map(WINDOWS[name], *pairs, 30.0)
    assert_close(params, reference, 1e-10)


@pytest.mark.parametrize("name", ["square", "large"])
def test_weights_come_in_the_order_of_the_window(name, x64):
    pairs = problem(NUM, *SIZES["odd"])
    window = WINDOWS[name]
    order = np.random.default_rng(3).permutation(len(window.offsets))
    shuffled = windows.from_offsets([window.offsets[i] for i in order])
    statistics = make(window, *pairs, dtype=jnp.float64)
    plain = window_statistics.solve(statistics, window, 0.4)
    assert_close(
        window_statistics.solve(statistics, shuffled, 0.4),
        (np.asarray(plain.weights)[:, order], plain.bias),
        1e-11,
    )


@pytest.fixture(params=[(np.float64, 1e-9), (np.float32, 2e-5)], ids=["float64", "float32"])
def precision(request):
    """A dtype, and the tolerance of sums in it."""
    if request.param[0] == np.float64:
        request.getfixturevalue("x64")
    return request.param


def test_pairs_may_come_in_any_split_and_order(precision):
    dtype, tolerance = precision
    inputs, targets = (each.astype(dtype) for each in problem(NUM, *SIZES["odd"]))
    window = WINDOWS["cross"]
    whole = make(window, inputs, targets, dtype=dtype)
    assert whole.products.high.dtype == dtype
    # Few sizes, since each is compiled: one pair, and parts that fit or exceed the rest of the last block.
    for cuts in ([20], [1, 18, 19, 36]):
        parts = list(zip(np.split(inputs, cuts), np.split(targets, cuts), strict=True))
        streamed = window_statistics.init(window, *SIZES["odd"], dtype=dtype)
        for part in parts:
            streamed = window_statistics.update(streamed, *part)
        assert_same_sums(streamed, whole, tolerance)
        merged = make(window, *parts[-1], dtype=dtype)
        for part in parts[:-1]:
            merged = window_statistics.merge(make(window, *part, dtype=dtype), merged)
        assert_same_sums(merged, whole, tolerance)
    assert_close(
        window_statistics.solve(merged, window, 0.4),
        expected_map(window, inputs, targets, 0.4),
        1e-10 if dtype == np.float64 else 1e-4,
    )


def test_a_fold_can_be_subtracted(precision):
    dtype, tolerance = precision
    inputs, targets = (each.astype(dtype) for each in problem(NUM, *SIZES["odd"]))
    window = WINDOWS["cross"]
    whole, fold = make(window, inputs, targets, dtype=dtype), slice(1, 21)
    rest = window_statistics.subtract(whole, make(window, inputs[fold], targets[fold], dtype=dtype))
    kept = [np.delete(each, fold, axis=0) for each in (inputs, targets)]
    assert_same_sums(rest, make(window, *kept, dtype=dtype), tolerance)
    assert_close(
        window_statistics.solve(rest, window, 0.4),
        expected_map(window, *kept, 0.4),
        1e-10 if dtype == np.float64 else 1e-4,
    )


def test_statistics_are_sums_over_the_pairs(x64):
    inputs, targets = problem(NUM, *SIZES["odd"])
    statistics = make(windows.square(1), inputs, targets, dtype=jnp.float64, target_centre=0.25)
    assert float(statistics.num_pairs) == NUM
    x, t = inputs[..., 0] - 0.5, targets[..., 0] - 0.25
    for total, expected in zip(
        totals(statistics),
        (x.sum(0)[None], t.sum(0)[None], [(x**2).sum(0), (x * t).sum(0), (t**2).sum(0)]),
        strict=True,
    ):
        np.testing.assert_allclose(total, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["cross", "six"])
def test_the_centre_does_not_change_the_result(name, x64):
    pairs = problem(NUM, *SIZES["odd"], 2, 2)
    means = {"input_centre": pairs[0].mean(axis=0), "target_centre": pairs[1].mean(axis=0)}
    expected = expected_map(WINDOWS[name], *pairs, 0.4)
    for centres in (means, {"input_centre": 0.0, "target_centre": -3.0}, {"input_centre": [0.4, 0.6]}):
        statistics = make(WINDOWS[name], *pairs, dtype=jnp.float64, **centres)
        assert_close(window_statistics.solve(statistics, WINDOWS[name], 0.4), expected, 1e-9)


def test_both_parts_of_a_sum_count(x64):
    """Usually `low` is tiny, and only millions of pairs would show a mistake with it."""
    pairs = problem(NUM, *SIZES["odd"])
    statistics = make(windows.square(3), *pairs, dtype=jnp.float64)
    names = ("input_sum", "target_sum", "products")
    parts = {name: getattr(statistics, name) for name in names}
    moved = {name: type(part)(0.75 * part.high, 0.25 * part.high + part.low) for name, part in parts.items()}
    params = window_statistics.solve(statistics._replace(**moved), windows.square(3), 0.4)
    assert_close(params, expected_map(windows.square(3), *pairs, 0.4), 1e-9)


def test_the_default_centre_is_grey():
    statistics = window_statistics.init(windows.square(3), 8, 6, in_channels=2, out_channels=3)
    assert statistics.input_centre.shape == (2, 8, 6)
    assert statistics.target_centre.shape == (3, 8, 6)
    for centre in (statistics.input_centre, statistics.target_centre):
        np.testing.assert_array_equal(centre, 0.5)


def test_a_near_centre_keeps_the_digits_of_the_variation():
    inputs, targets = ((1000 + each).astype(np.float32) for each in problem(NUM, *SIZES["odd"]))
    expected = expected_map(WINDOWS["square"], inputs, targets, 0.4, penalize_bias=False)
    statistics = make(WINDOWS["square"], inputs, targets, input_centre=1000, target_centre=1000)
    params = window_statistics.solve(statistics, WINDOWS["square"], 0.4, penalize_bias=False)
    np.testing.assert_allclose(params.weights, expected.weights, rtol=0, atol=1e-4)


def test_a_million_pairs_keep_their_digits():
    """Plain float32 keeps about four digits after thirty thousand additions."""
    pairs = [each.astype(np.float32) for each in problem(NUM, *SIZES["odd"])]
    window, copies = WINDOWS["square"], 30_000
    single = make(window, *pairs)
    many = jax.jit(
        lambda each: jax.lax.fori_loop(
            0, copies - 1, lambda _, total: window_statistics.merge(total, each), each
        )
    )(single)
    assert float(many.num_pairs) == copies * NUM >= 1e6
    for one, total in zip(totals(single), totals(many), strict=True):
        np.testing.assert_allclose(total / copies, one, rtol=1e-7, atol=1e-7)
    expected = window_statistics.solve(single, window, 0.4)
    assert_close(window_statistics.solve(many, window, 0.4 * copies), expected, 2e-5)


@pytest.mark.parametrize("name", ["square", "large"])
def test_doubled_statistics_have_the_same_solution(name):
    pairs = [each.astype(np.float32) for each in problem(NUM, *SIZES["odd"])]
    single = many = make(WINDOWS[name], *pairs)
    while float(many.num_pairs) < 1e6:
        many = window_statistics.merge(many, many)
    scale = float(many.num_pairs) / NUM
    expected = window_statistics.solve(single, WINDOWS[name], 0.4)
    assert_close(window_statistics.solve(many, WINDOWS[name], 0.4 * scale), expected, 1e-6)


def test_a_few_pairs_are_not_lost_among_millions():
    """Plain float32 sums of a million drop whatever is below about 0.01."""
    huge = make(WINDOWS["square"], *(each.astype(np.float32) for each in problem(NUM, *SIZES["odd"])))
    few = [each.astype(np.float32) for each in problem(4, *SIZES["odd"])]
    small = make(WINDOWS["square"], *few)
    while float(huge.num_pairs) < 1e6:
        huge = window_statistics.merge(huge, huge)
    expected = expected_map(WINDOWS["square"], *few, 0.4)
    for both in (window_statistics.merge(huge, small), window_statistics.update(huge, *few)):
        left = window_statistics.subtract(both, huge)
        assert float(left.num_pairs) == 4
        for one, other in zip(totals(left), totals(small), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
        assert_close(window_statistics.solve(left, WINDOWS["square"], 0.4), expected, 1e-5)


@pytest.fixture
def compiled_anew():
    """For tests that change constants, which are read while tracing."""
    functions = accumulation.update, primal.solve
    for function in functions:
        function.clear_cache()
    yield
    for function in functions:
        function.clear_cache()


def test_strips_of_rows_do_not_change_the_result(monkeypatch, compiled_anew, x64):
    height, width, window = 31, 3, WINDOWS["cross"]
    pairs = problem(23, height, width)
    expected = make(window, *pairs, dtype=jnp.float64)
    whole = window_statistics.solve(expected, window, 0.4)
    accumulation.update.clear_cache()
    primal.solve.clear_cache()
    monkeypatch.setattr(accumulation, "_STRIP_PIXELS", 1)
    monkeypatch.setattr(ridge, "_STRIP_PIXELS", 1)
    plans = accumulation.plan(window, width), ridge.plan(window, 1, width)
    assert all(plan.rows + 2 * plan.halo < height for plan in plans), "there are several strips"
    statistics = make(window, *pairs, dtype=jnp.float64)
    assert_same_sums(statistics, expected, 1e-12)
    assert_close(window_statistics.solve(statistics, window, 0.4), whole, 1e-12)


def test_strips_fit_the_cache():
    """Together with their halo, which has the height of the window."""
    for window in (windows.from_offsets([(0, 0), (3, 0), (0, 1)]), windows.from_offsets([(0, 0), (0, 1)])):
        rows, halo = accumulation.plan(window, 1000)
        assert halo == max(dy for dy, _ in window.offsets)
        assert 1000 * (rows + 2 * halo) <= accumulation._STRIP_PIXELS < 1000 * (rows + 2 * halo + 1)


def test_gradients_pass_through_strips(monkeypatch, compiled_anew, unoptimized):
    """The halo of a strip is not used, but NaN in it would make gradients NaN."""
    window, height, width = WINDOWS["cross"], 30, 3
    rng = np.random.default_rng(0)
    # Many pictures of one brightness each, which are collinear.
    inputs = np.broadcast_to(rng.random((200, 1, 1, 1), np.float32), (200, height, width, 1))
    statistics = make(window, inputs, inputs)

    def measure(penalty):
        return jnp.sum(window_statistics.solve(statistics, window, penalty).bias)

    expected = float(jax.jit(jax.grad(measure))(0.4))
    primal.solve.clear_cache()
    monkeypatch.setattr(ridge, "_STRIP_PIXELS", 1)
    assert ridge.plan(window, 1, width).rows < height, "there are several strips"
    assert float(jax.jit(jax.grad(measure))(0.4)) == pytest.approx(expected, rel=1e-3)


def test_new_statistics_can_be_donated():
    inputs, targets = (each.astype(np.float32) for each in problem(4, *SIZES["small"]))
    empty = window_statistics.init(WINDOWS["pixel"], *SIZES["small"])
    update = jax.jit(window_statistics.update, donate_argnums=0)
    assert float(update(empty, inputs, targets).num_pairs) == 4


@pytest.mark.parametrize("many_unknowns", [0, 100])
def test_systems_are_solved_in_batches(many_unknowns, monkeypatch, compiled_anew, x64):
    """Fewer at once where they have more unknowns; rows below the picture fill the last batch."""
    pairs = problem(NUM, *SIZES["odd"])
    window = WINDOWS["disk"]
    monkeypatch.setattr(ridge, "_MANY_UNKNOWNS", many_unknowns)
    monkeypatch.setattr(ridge, "_MANY_SYSTEMS", 10)
    monkeypatch.setattr(ridge, "_FEW_SYSTEMS", 4)
    penalty = np.linspace(0.1, 5, pairs[0][0].size).reshape(SIZES["odd"])
    params = window_statistics.solve(make(window, *pairs, dtype=jnp.float64), window, penalty)
    assert_close(params, expected_map(window, *pairs, penalty), 1e-10)


@pytest.mark.parametrize("name", ["cross", "disk"])
def test_jit_and_vmap(name, unoptimized):
    """For systems of one panel, and of several."""
    inputs, targets = (each.astype(np.float32) for each in problem(4, *SIZES["small"], 2, 2))
    window = WINDOWS[name]
    empty = window_statistics.init(window, *SIZES["small"])
    channels = [jnp.moveaxis(each, -1, 0)[..., None] for each in (inputs, targets)]
    several = jax.jit(jax.vmap(window_statistics.update, in_axes=(None, 0, 0)))(empty, *channels)
    params = jax.vmap(window_statistics.solve, in_axes=(0, None, None))(several, window, 0.4)
    for channel in range(2):
        alone = window_statistics.update(empty, channels[0][channel], channels[1][channel])
        expected = jax.jit(window_statistics.solve)(alone, window, 0.4)
        assert_close(jax.tree.map(lambda leaf, c=channel: leaf[c], params), expected, 1e-5)
    penalties = jax.vmap(lambda penalty: window_statistics.solve(alone, window, penalty))(
        jnp.array([4.0, 0.4])
    )
    assert_close(jax.tree.map(lambda leaf: leaf[1], penalties), expected, 1e-5)


@pytest.mark.parametrize("penalize_bias", [True, False])
def test_gradients_equal_finite_differences(penalize_bias, x64):
    height, width = 5, 5
    window = WINDOWS["cross"]
    test_inputs, test_targets = problem(2, height, width)
    empty = window_statistics.init(window, height, width, dtype=jnp.float64)
    others = window_statistics.update(empty, *problem(4, height, width))

    def held_out_error(inputs, targets, penalty):
        statistics = window_statistics.update(empty, inputs, targets)
        statistics = window_statistics.merge(statistics, others)
        params = window_statistics.solve(statistics, window, penalty, penalize_bias=penalize_bias)
        return jnp.sum((window_linear.predict(params, test_inputs, window) - test_targets) ** 2)

    arguments = (*map(jnp.asarray, problem(3, height, width)), jnp.full((height, width), 0.4, float))
    # One program returns both, since it takes long to compile.
    error_and_gradients = jax.jit(jax.value_and_grad(held_out_error, argnums=(0, 1, 2)))
    _, gradients = error_and_gradients(*arguments)
    rng, step = np.random.default_rng(2), 1e-5
    for position, gradient in enumerate(gradients):
        direction = rng.standard_normal(gradient.shape)

        def moved(sign, position=position, direction=direction):
            changed = list(arguments)
            changed[position] = changed[position] + sign * step * direction
            return float(error_and_gradients(*changed)[0])

        expected = (moved(1) - moved(-1)) / (2 * step)
        assert abs(expected) > 1e-4, "there is something to compare"
        assert float(jnp.sum(gradient * direction)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_new_values_do_not_recompile(unoptimized):
    inputs, targets = (each.astype(np.float32) for each in problem(4, *SIZES["small"]))
    window = WINDOWS["cross"]
    functions = accumulation.update, primal.solve, linear.predict

    def fit(inputs, penalty, **options):
        # Equal windows, but not the same object.
        statistics = make(windows.disk(1), inputs, targets, **options)
        statistics = window_statistics.update(statistics, inputs, targets)
        params = window_statistics.solve(statistics, windows.disk(1), penalty)
        window_linear.predict(params, inputs, windows.disk(1))

    fit(inputs, 0.5)
    first = [function._cache_size() for function in functions]
    assert all(first)
    fit(1 - inputs, 1)
    fit(inputs**2, np.float32(0.7), input_centre=0.3)
    fit(inputs, np.linspace(1, 2, inputs[0].size).reshape(SIZES["small"]), target_centre=inputs[0])
    assert [function._cache_size() for function in functions] == first
    solve = jax.jit(chex.assert_max_traces(window_statistics.solve, n=1))
    for penalty in (0.1, 2.0):
        solve(make(window, inputs * penalty, targets), window, penalty)


def test_arguments_are_not_changed():
    inputs, targets = (each.astype(np.float32) for each in problem(4, *SIZES["small"]))
    copies = inputs.copy(), targets.copy()
    statistics = make(WINDOWS["cross"], inputs, targets)
    before = totals(statistics)
    window_statistics.update(statistics, inputs, targets)
    window_statistics.merge(statistics, statistics)
    np.testing.assert_array_equal(inputs, copies[0])
    np.testing.assert_array_equal(targets, copies[1])
    for one, other in zip(totals(statistics), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_half_precision_is_computed_in_float32():
    inputs, targets = problem(4, *SIZES["small"])
    statistics = make(WINDOWS["cross"], jnp.asarray(inputs, jnp.bfloat16), jnp.asarray(targets, jnp.float16))
    assert statistics.products.high.dtype == jnp.float32
    rounded = [
        np.asarray(jnp.asarray(inputs, jnp.bfloat16).astype(jnp.float32)),
        np.asarray(targets, np.float16).astype(np.float32),
    ]
    assert_same_sums(statistics, make(WINDOWS["cross"], *rounded), 1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window": windows.square(7)}, "window of 7 x 7 pixels is larger than the picture of 5 x 6"),
        ({"height": 0}, "has no pixel"),
        ({"in_channels": 0}, "in_channels must be 1 or more, not 0"),
        ({"out_channels": -1}, "out_channels must be 1 or more, not -1"),
    ],
)
def test_clear_errors_of_init(change, words):
    arguments = {"window": windows.square(3), "height": 5, "width": 6} | change
    with pytest.raises(InputError, match=words):
        window_statistics.init(**arguments)


def test_init_needs_a_window_and_whole_numbers():
    with pytest.raises(TypeError, match=r"window must be a windows\.Window, not a Mask"):
        window_statistics.init(masks.square_mask(5, 6, 3), 5, 6)
    with pytest.raises(TypeError, match="in_channels must be a whole number"):
        window_statistics.init(windows.square(3), 5, 6, in_channels=1.0)


PICTURES = np.ones((4, 5, 6, 1), np.float32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": PICTURES[:3]}, "there are 3 inputs, but 4 targets"),
        ({"inputs": PICTURES[:, :4]}, r"for inputs of \(5, 6, 1\), not \(4, 6, 1\)"),
        ({"targets": PICTURES.repeat(2, axis=-1)}, r"for targets of \(5, 6, 1\), not \(5, 6, 2\)"),
        ({"inputs": PICTURES * np.nan}, r"inputs holds 120 .* index \(0, 0, 0, 0\)"),
        ({"targets": PICTURES * np.inf}, "targets holds 120 values"),
        ({"inputs": PICTURES[0]}, r"inputs must have the 4 axes \(num, height, width, channels\)"),
        ({"inputs": PICTURES[:0], "targets": PICTURES[:0]}, "inputs is empty along num"),
    ],
)
def test_clear_errors_of_update(change, words):
    empty = window_statistics.init(windows.disk(1), 5, 6)
    with pytest.raises(InputError, match=words):
        window_statistics.update(empty, **({"inputs": PICTURES, "targets": PICTURES} | change))


def test_eight_bit_pictures_are_rejected():
    empty = window_statistics.init(windows.disk(1), 5, 6)
    with pytest.raises(TypeError, match=r"targets must hold floating-point numbers, not uint8.*/ 255"):
        window_statistics.update(empty, PICTURES, PICTURES.astype(np.uint8))


@pytest.mark.parametrize("combine", [window_statistics.merge, window_statistics.subtract])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window": windows.square(1)}, "of different windows"),
        ({"height": 7}, r"of \(1, 5, 6\) and \(1, 7, 6\)"),
        ({"in_channels": 2}, r"of \(1, 5, 6\) and \(2, 5, 6\)"),
        ({"out_channels": 3}, r"of \(1, 5, 6\) and \(3, 5, 6\)"),
        ({"input_centre": 0.4}, "have different centres"),
        ({"target_centre": 0.4}, "have different centres"),
    ],
)
def test_only_like_statistics_are_combined(combine, change, words):
    arguments = {"window": windows.square(3), "height": 5, "width": 6}
    first = window_statistics.init(**arguments)
    with pytest.raises(InputError, match=f"window_statistics.{combine.__name__}: .*{words}"):
        combine(first, window_statistics.init(**(arguments | change)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window": windows.square(5)}, r"made for a window without \(-2, -2\)"),
        ({"window": windows.from_offsets([(0, 0), (0, 2)])}, r"made for a window without \(0, 2\)"),
        ({"penalty": -1.0}, "penalty must be 0 or more and finite, not -1"),
        ({"penalty": np.nan}, "penalty must be 0 or more and finite, not nan"),
        ({"penalty": np.ones(30)}, r"penalty must be a scalar or \(5, 6\), not \(30,\)"),
        ({"penalty": np.ones((6, 5))}, r"penalty must be a scalar or \(5, 6\), not \(6, 5\)"),
    ],
)
def test_clear_errors_of_solve(change, words):
    statistics = make(windows.disk(1), PICTURES, PICTURES)
    with pytest.raises(InputError, match=words):
        window_statistics.solve(statistics, **({"window": windows.disk(1), "penalty": 0.4} | change))


@pytest.mark.parametrize(("name", "penalize_bias"), [("cross", True), ("disk", False)])
def test_unsolved_pixels_predict_the_mean(name, penalize_bias):
    """Derivatives stay finite, and those of all other pixels do not change."""
    window = WINDOWS[name]
    statistics = make(window, PICTURES / 2, PICTURES)
    with pytest.warns(UnsolvedWarning, match=r"of 30 of 30 pixels, .*row 0, column 0, cannot be solved"):
        params = window_statistics.solve(statistics, window, 0.0, penalize_bias=penalize_bias)
    assert not params.solved.any()
    assert params.solved.shape == params.bias.shape
    np.testing.assert_array_equal(params.weights, 0)
    means = np.moveaxis(PICTURES.mean(axis=0), -1, 0)
    np.testing.assert_allclose(params.bias, means, atol=1e-6)

    penalty = np.ones((5, 6), np.float32)
    expected = window_statistics.solve(statistics, window, penalty, penalize_bias=penalize_bias)
    assert expected.solved.all()
    penalty[2, 3] = 0

    def solve(penalty):
        return window_statistics.solve(statistics, window, penalty, penalize_bias=penalize_bias)

    with pytest.warns(UnsolvedWarning, match=r"of 1 of 30 pixels, .*row 2, column 3, cannot be solved"):
        params = solve(penalty)
    others = np.ones((5, 6), bool)
    others[2, 3] = False
    np.testing.assert_array_equal(params.solved, np.broadcast_to(others, params.solved.shape))
    np.testing.assert_array_equal(params.weights[..., others], expected.weights[..., others])
    np.testing.assert_array_equal(params.weights[..., 2, 3], 0)
    np.testing.assert_allclose(params.bias[:, 2, 3], means[:, 2, 3], atol=1e-6)
    # Under jit nothing warns, but `solved` is the same.
    jitted = jax.jit(solve)(penalty)
    np.testing.assert_array_equal(jitted.solved, params.solved)

    def total(penalty):
        params = solve(penalty)
        return jnp.sum(params.weights**2) + jnp.sum(params.bias**2)

    slope = jax.jit(jax.grad(total))
    slopes, plain = slope(penalty), slope(np.ones((5, 6), np.float32))
    assert np.isfinite(slopes).all()
    np.testing.assert_allclose(slopes[others], plain[others], rtol=1e-4, atol=1e-6)


def test_statistics_without_pairs_are_rejected():
    empty = window_statistics.init(windows.disk(1), 5, 6)
    with pytest.raises(InputError, match="hold no pairs"):
        window_statistics.solve(empty, windows.disk(1), 0.4)
    full = window_statistics.update(empty, PICTURES, PICTURES)
    with pytest.raises(InputError, match="hold no pairs"):
        window_statistics.solve(window_statistics.subtract(full, full), windows.disk(1), 0.4)


def test_solve_needs_a_window():
    statistics = make(windows.disk(1), PICTURES, PICTURES)
    with pytest.raises(TypeError, match=r"window must be a windows\.Window, not a int"):
        window_statistics.solve(statistics, 3, 0.4)


VIEWED = {
    "foveated": windows.foveated(dilation=2, blur=0.8),
    "mirrored": windows.mirrored(windows.square(3)),
    "both": windows.mirrored(windows.foveated(dilation=2, blur=0.8)),
}


def views_of(inputs: np.ndarray, window: windows.Window) -> np.ndarray:
    return np.asarray(window_linear.look(jnp.asarray(inputs), window))


def as_examples(inputs: np.ndarray, window: windows.Window) -> np.ndarray:
    """The inputs of the mask of a window: the pixels of each view, each with its channels."""
    seen = views_of(inputs, window)
    num_views = len(window.distinct_views)
    return np.moveaxis(seen.reshape(*inputs.shape, num_views), -1, 1).reshape(len(inputs), -1)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", VIEWED)
def test_windows_with_views_equal_a_loop_over_pixels(name, channels, x64):
    """With a mask over the pixels of all views."""
    window = VIEWED[name]
    inputs, targets = problem(NUM, *SIZES["odd"], channels)
    seen = window_linear.look(jnp.asarray(inputs), window)
    statistics = make(window, np.asarray(seen), targets, dtype=jnp.float64)
    mask = masks.across_channels(masks.as_mask(window, *SIZES["odd"]), channels)
    flat = as_examples(inputs, window)
    weights, bias = oracle.masked_ridge(flat, targets.reshape(NUM, -1), mask, 0.4, True)
    params = window_statistics.solve(statistics, window, 0.4)
    predicted = window_linear.predict(params, seen, window)
    expected = oracle.masked_predict(weights, bias, mask, flat)
    np.testing.assert_allclose(predicted, expected.reshape(predicted.shape), atol=1e-10)
    error = window_statistics.squared_error(statistics, params, window)
    np.testing.assert_allclose(
        error[0], ((expected.reshape(targets.shape) - targets) ** 2).sum(axis=(0, 3)), rtol=1e-9
    )


def test_squared_error_rejects_maps_of_other_windows(rng):
    statistics = make(windows.square(3), *rng.random((2, 4, 5, 6, 1), np.float32))
    params = window_statistics.solve(statistics, windows.square(3), 0.4)
    with pytest.raises(InputError, match=r"weights must be \(1, 1, 1, 5, 6\), not \(1, 9, 1, 5, 6\)"):
        window_statistics.squared_error(statistics, params, windows.square(1))


def test_look_gives_the_views_of_a_window():
    images = np.random.default_rng(0).random((2, 6, 5, 2)).astype(np.float32)
    window = windows.mirrored(windows.foveated(dilation=2, blur=1.0))
    seen = np.asarray(window_linear.look(jnp.asarray(images), window)).reshape(2, 6, 5, 2, 3)
    np.testing.assert_array_equal(seen[..., 0], images)
    np.testing.assert_array_equal(seen[..., 2], images[:, :, ::-1])
    np.testing.assert_allclose(seen[..., 1].mean(), images.mean(), rtol=0.05)
    assert seen[..., 1].std() < 0.6 * images.std()
    np.testing.assert_array_equal(window_linear.look(jnp.asarray(images), windows.square(3)), images)


def test_statistics_of_a_joined_window_serve_its_parts(x64):
    """Each part has fewer views than the joined window."""
    joined = windows.join(*VIEWED.values(), windows.square(5))
    inputs, targets = problem(NUM, *SIZES["odd"], 2)
    statistics = make(joined, views_of(inputs, joined), targets, dtype=jnp.float64)
    for window in (*VIEWED.values(), windows.square(5), windows.square(1)):
        alone = make(window, views_of(inputs, window), targets, dtype=jnp.float64)
        found, expected = (window_statistics.solve(each, window, 0.4) for each in (statistics, alone))
        np.testing.assert_allclose(found.weights, expected.weights, atol=1e-10)
        np.testing.assert_allclose(found.bias, expected.bias, atol=1e-10)
    with pytest.raises(InputError, match=r"without \(0, 0\) of View\(mirrored=True, blur=0.0\)"):
        window_statistics.solve(alone, windows.mirrored(windows.square(1)), 0.4)


@pytest.mark.parametrize("side", [3, 5])
def test_factors_scale_the_penalties_of_offsets(side, x64):
    """The penalty f_k lambda of offset k equals a ridge regression on inputs divided by sqrt(f_k)."""
    inputs, targets = problem(NUM, *SIZES["odd"])
    window = windows.square(side)
    factors = np.random.default_rng(1).uniform(0.1, 5, side**2)
    statistics = make(window, inputs, targets, dtype=jnp.float64)
    params = window_statistics.solve(statistics, window, 0.4, factors=factors)
    mask = masks.as_mask(window, *SIZES["odd"])
    flat = inputs.reshape(NUM, -1)
    for pixel in (0, 17, 34):
        valid = mask.valid[pixel]
        rows = np.column_stack([flat[:, mask.indices[pixel][valid]] / np.sqrt(factors[valid]), np.ones(NUM)])
        solution = np.linalg.solve(
            rows.T @ rows + 0.4 * np.eye(valid.sum() + 1), rows.T @ targets.reshape(NUM, -1)[:, pixel]
        )
        found = np.asarray(params.weights).reshape(side**2, -1)[valid, pixel]
        np.testing.assert_allclose(found, solution[:-1] / np.sqrt(factors[valid]), atol=1e-10)
        np.testing.assert_allclose(np.asarray(params.bias).reshape(-1)[pixel], solution[-1], atol=1e-10)
    with pytest.raises(InputError, match=f"factors must be \\({side**2},\\)"):
        window_statistics.solve(statistics, window, 0.4, factors=[1.0])


def test_a_fit_of_all_pairs_is_that_of_their_statistics(x64):
    pairs, window = problem(NUM, *SIZES["odd"]), WINDOWS["square"]
    for penalize_bias in (True, False):
        expected = window_statistics.solve(
            make(window, *pairs, dtype=jnp.float64), window, 0.7, penalize_bias=penalize_bias
        )
        found = window_statistics.fit(*pairs, window, 0.7, penalize_bias=penalize_bias)
        assert_close(found, expected, 1e-10)
    with pytest.raises(InputError, match=r"there are .* inputs, but .* targets"):
        window_statistics.fit(pairs[0], pairs[1][:-1], window, 0.7)
