"""Tests that need eight devices, which `test_sharding` runs in a separate process."""

import warnings
from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P

from mlr_jax import (
    masked_ridge,
    masks,
    sharding,
    synthesis,
    warped_ridge,
    window_dual,
    window_statistics,
    windows,
)
from mlr_jax.checks import GridEndWarning, InputError, UnsolvedWarning
from mlr_jax.sharding import _pictures
from tests import oracle

# Asymmetric windows with few offsets, for short compilation.
WINDOW = windows.from_offsets([(0, 0), (2, 1)])
FAR = windows.from_offsets([(0, 1), (-3, 0), (2, 2)])
SPLITS = {
    "pairs": ((8,), {"pairs": "i"}),
    "rows": ((8,), {"rows": "i"}),
    "both": ((2, 4), {"pairs": "i", "rows": "j"}),
}


def mesh(shape: tuple[int, ...]) -> Mesh:
    return Mesh(np.array(jax.devices()).reshape(shape), ("i", "j")[: len(shape)])


def faces(num: int, height: int, width: int, channels: int = 1, dtype: type = np.float64):
    rng = np.random.default_rng(num)
    shape = num, height, width
    planes = [oracle.smooth_faces(rng, *shape).reshape(shape) for _ in range(2 * channels)]
    neutral = np.stack(planes[:channels], axis=-1)
    return neutral.astype(dtype), (0.6 * neutral + 0.4 * np.stack(planes[channels:], axis=-1)).astype(dtype)


def assert_close(found, expected, tolerance: float) -> None:
    """Compares leaf by leaf, relative to the largest value of each leaf."""
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(float(np.abs(other).max()), 1e-9))


def assert_same_model(found, expected, tolerance: float) -> None:
    assert found.window == expected.window
    assert_close((found.weights, found.bias), (expected.weights, expected.bias), tolerance)


def test_there_are_eight_devices():
    assert jax.device_count() == 8


@pytest.mark.parametrize(
    ("window", "num", "height", "penalize_bias"),
    [
        (windows.disk(1), 6, 16, True),
        # Three rows for each device, fewer for the last; the window reaches as far.
        (FAR, 6, 19, False),
        # Two rows for each device, none for the last three; solved by the dual.
        (windows.square(5), 6, 9, True),
        # Solved pixel by pixel.
        (windows.dilated(3, 2), 6, 21, True),
    ],
)
def test_rows_on_devices_equal_a_fit_on_one_device(window, num, height, penalize_bias, x64):
    pictures = faces(num, height, 7)
    options = {
        "window": window,
        "penalty": np.linspace(0.1, 5, height * 7).reshape(height, 7),
        "penalize_bias": penalize_bias,
    }
    expected = synthesis.fit(*pictures, **options)
    found = sharding.fit(*pictures, mesh=mesh((8,)), rows="i", **options)
    assert_same_model(found, expected, 1e-11)
    assert found.weights.sharding.spec == (P(None, None, None, "i") if height % 8 == 0 else P())


@pytest.mark.parametrize(
    ("split", "channels"),
    [("both", "independent"), ("both", "joint"), ("pairs", "shared"), ("rows", "joint")],
)
def test_all_splits_and_channels_equal_one_device(split, channels, x64):
    """Devices get different numbers of pairs and rows."""
    shape, axes = SPLITS[split]
    pictures = faces(13, 11, 5, 3)
    expected = synthesis.fit(*pictures, window=WINDOW, channels=channels)
    found = sharding.fit(*pictures, mesh=mesh(shape), **axes, window=WINDOW, channels=channels)
    assert_same_model(found, expected, 1e-11)
    amounts = np.linspace(0, 1.5, 13)
    result = sharding.synthesize(found, pictures[0], mesh=mesh(shape), **axes, intensity=amounts)
    assert_close(result, synthesis.synthesize(expected, pictures[0], intensity=amounts), 1e-11)


@pytest.mark.parametrize("split", SPLITS)
def test_single_precision(split):
    shape, axes = SPLITS[split]
    pictures = faces(16, 16, 5, dtype=np.float32)
    expected = synthesis.fit(*pictures, window=WINDOW)
    found = sharding.fit(*pictures, mesh=mesh(shape), **axes, window=WINDOW)
    assert_same_model(found, expected, 1e-5)


@pytest.mark.parametrize(("split", "num"), [("pairs", 5), ("both", 13)])
def test_statistics_equal_those_of_one_device(split, num, x64):
    """With more devices than pairs, and with earlier pairs."""
    shape, axes = SPLITS[split]
    pictures, more = faces(num, 16, 5), faces(3, 16, 5)
    empty = window_statistics.init(FAR, 16, 5, input_centre=0.4, target_centre=pictures[1][0], dtype=float)
    before = window_statistics.update(empty, *more)
    expected = window_statistics.update(before, *pictures)
    found = sharding.update(before, *pictures, mesh=mesh(shape), **axes)
    assert float(found.num_pairs) == num + 3
    for one, other in zip(total(found), total(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)
    assert found.products.high.sharding.spec == (P(None, "j") if split == "both" else P())
    params = sharding.solve(found, FAR, 0.4, mesh=mesh(shape), rows=axes.get("rows"))
    assert_close(params, window_statistics.solve(expected, FAR, 0.4), 1e-11)


def total(statistics) -> list[np.ndarray]:
    sums = statistics.input_sum, statistics.target_sum, statistics.products
    return [np.asarray(each.high, np.float64) + np.asarray(each.low, np.float64) for each in sums]


def test_sums_over_devices_lose_no_digits():
    """The spacing of float32 numbers near 1e8 is 8."""
    pictures = [each.copy() for each in faces(8, 4, 5, dtype=np.float32)]
    for each in pictures:
        each[3] *= 2e4
    empty = window_statistics.init(WINDOW, 4, 5, input_centre=0, target_centre=0)
    whole = sharding.update(empty, *pictures, mesh=mesh((8,)), pairs="i")
    large = window_statistics.update(empty, *(each[3:4] for each in pictures))
    small = window_statistics.update(empty, *(np.delete(each, 3, axis=0) for each in pictures))
    assert np.abs(whole.products.high).max() > 5e7
    left = window_statistics.subtract(whole, jax.device_put(large, whole.num_pairs.sharding))
    for one, other in zip(total(left), total(small), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_pictures_may_have_any_sharding(kind):
    shape, axes = SPLITS["both"]
    pictures = faces(16, 16, 5, dtype=np.float32)
    typed = jax.make_mesh(shape, ("i", "j"), axis_types=(kind,) * 2)
    fit = partial(sharding.fit, mesh=typed, **axes, window=WINDOW)
    expected = fit(*pictures)
    for place in (jax.devices()[5], *(NamedSharding(typed, spec) for spec in (P("i", "j"), P(None, "i")))):
        placed = [jax.device_put(each, place) for each in pictures]
        assert_same_model(fit(*placed), expected, 1e-6)
    found = jax.jit(fit)(*placed)
    assert_same_model(found, expected, 1e-6)
    assert found.weights.sharding.spec == P(None, None, None, "j")
    result = sharding.synthesize(found, placed[0], mesh=typed, **axes)
    assert result.sharding.spec == P("i", "j")


def test_devices_exchange_only_halos_and_sums():
    pictures = faces(16, 16, 5, dtype=np.float32)
    sent = {}
    for split, (shape, axes) in SPLITS.items():
        axis_names = P(axes.get("pairs"), axes.get("rows"))
        placed = [jax.device_put(each, NamedSharding(mesh(shape), axis_names)) for each in pictures]
        fit = partial(sharding.fit, mesh=mesh(shape), **axes, window=WINDOW)
        sent[split] = jax.jit(fit).lower(*placed).compile().as_text()
        assert "all-gather" not in sent[split]
        assert "all-to-all" not in sent[split]
    assert "all-reduce" not in sent["rows"]
    assert "collective-permute" not in sent["pairs"]


def test_gradients_equal_those_on_one_device(x64):
    shape, axes = SPLITS["both"]
    pictures = faces(5, 6, 4)
    unseen = faces(2, 6, 4)

    def error(fit, synthesize, neutral, penalty):
        model = fit(neutral, pictures[1], window=WINDOW, penalty=penalty)
        return jnp.sum((synthesize(model, unseen[0]) - unseen[1]) ** 2)

    ways = [
        (synthesis.fit, synthesis.synthesize),
        [partial(each, mesh=mesh(shape), **axes) for each in (sharding.fit, sharding.synthesize)],
    ]
    expected, found = (
        jax.jit(jax.value_and_grad(partial(error, *way), argnums=(0, 1)))(pictures[0], 0.4) for way in ways
    )
    assert abs(float(expected[1][1])) > 1e-4, "there is something to compare"
    assert_close(found, expected, 1e-9)


def test_new_values_do_not_recompile():
    shape, axes = SPLITS["both"]
    pictures = faces(16, 16, 5, dtype=np.float32)
    functions = _pictures._fit, _pictures._synthesize

    def learn(neutral, penalty):
        # Equal meshes and windows, but not the same objects.
        window = windows.from_offsets([(0, 0), (2, 1)])
        model = sharding.fit(neutral, pictures[1], mesh=mesh(shape), **axes, window=window, penalty=penalty)
        sharding.synthesize(model, neutral, mesh=mesh(shape), **axes, intensity=penalty)

    learn(pictures[0], 0.5)
    first = [function._cache_size() for function in functions]
    learn(1 - pictures[0], 2)
    assert [function._cache_size() for function in functions] == first


@pytest.mark.parametrize("spec", [P("i"), P(None, "i")])
def test_jit_of_sharded_arrays_is_right(spec):
    """Without `sharding.fit`, though devices exchange far more."""
    pictures = faces(16, 16, 5, dtype=np.float32)
    placed = [jax.device_put(each, NamedSharding(mesh((8,)), spec)) for each in pictures]
    found = jax.jit(partial(synthesis.fit, window=WINDOW))(*placed)
    assert_same_model(found, synthesis.fit(*pictures, window=WINDOW), 1e-5)


@pytest.mark.parametrize(("num_devices", "num_pairs", "side"), [(2, 4, 3), (4, 8, 5), (8, 8, 5)])
@pytest.mark.parametrize("penalize_bias", [True, False])
@pytest.mark.parametrize("solver", get_args(synthesis.Solver))
def test_jit_of_sharded_arrays_is_right_by_every_solver(solver, penalize_bias, num_devices, num_pairs, side):
    """With a penalised bias the dual has one example more than pairs, which split unevenly."""
    pictures = faces(num_pairs, 6, 5, dtype=np.float32)
    few = Mesh(np.array(jax.devices()[:num_devices]), ("i",))
    placed = [jax.device_put(each, NamedSharding(few, P("i"))) for each in pictures]
    fit = partial(synthesis.fit, window=side, solver=solver, penalize_bias=penalize_bias)
    assert_same_model(fit(*placed), fit(*pictures), 1e-5)


def test_pixels_that_cannot_be_solved_are_named():
    flat = np.ones((16, 16, 5, 1), np.float32)
    for shape, axes in SPLITS.values():
        with pytest.warns(
            UnsolvedWarning, match=r"sharding.fit: .* 80 of 80 pixels, .*row 0, column 0, cannot"
        ):
            model = sharding.fit(flat, flat, mesh=mesh(shape), **axes, window=WINDOW, penalty=0)
        assert not model.solved.any()
        np.testing.assert_allclose(model.bias, 1, atol=1e-6)


@pytest.mark.parametrize("spec", [P("i"), P(None, "i")])
def test_explicit_axes_are_taken(spec):
    """The default of `jax.make_mesh`; in every argument."""
    typed = jax.make_mesh((2,), ("i",), devices=jax.devices()[:2])
    assert typed.axis_types == (AxisType.Explicit,)

    def put(tree, spec=spec):
        return jax.tree.map(lambda leaf: jax.device_put(leaf, NamedSharding(typed, spec)), tree)

    pictures = faces(6, 16, 16, dtype=np.float32)
    flat = [each.reshape(6, -1) for each in pictures]
    mask = masks.square_mask(16, 16, 3)
    penalty = np.full((16, 16), 0.4, np.float32)
    amounts = np.linspace(0, 1, 6, dtype=np.float32)
    model, moving = synthesis.fit(*pictures), warped_ridge.fit(*pictures, window=1)
    wide = windows.square(5)
    statistics = synthesis.init_statistics(*pictures)
    empty = window_statistics.init(WINDOW, 16, 16)
    linear = masked_ridge.fit(*flat, mask, 0.4)

    def trained(statistics, *pairs):
        return synthesis.solve(synthesis.update(statistics, *pairs))

    calls = [
        (synthesis.fit, pictures),
        (partial(synthesis.fit, window=wide, solver="dual"), pictures),
        (partial(synthesis.fit, solver="gather"), pictures),
        (partial(synthesis.fit, window=[1, 3], penalize_bias=False), pictures),
        (trained, (statistics, *pictures)),
        (
            lambda *all: window_statistics.solve(window_statistics.update(*all), WINDOW, 0.4),
            (empty, *pictures),
        ),
        (lambda *pairs: window_dual.fit(*pairs, wide, 0.4), pictures),
        (lambda *pairs: masked_ridge.fit(*pairs, mask, 0.4), flat),
        (lambda *both: masked_ridge.predict(*both, mask), (linear, flat[0])),
        (lambda images: synthesis.synthesize(model, images), pictures[:1]),
        (lambda images: warped_ridge.synthesize(moving, images), pictures[:1]),
    ]
    for function, arguments in calls:
        own = [put(each, P() if isinstance(each, tuple) else spec) for each in arguments]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GridEndWarning)
            assert_close(function(*own), function(*arguments), 1e-5)
    found = synthesis.fit(*pictures, penalty=put(penalty, P("i")))
    assert_same_model(found, model, 1e-5)
    result = synthesis.synthesize(put(model, P()), pictures[0], intensity=put(amounts, P("i")))
    assert_close(result, synthesis.synthesize(model, pictures[0], intensity=amounts), 1e-5)


def test_explicit_axes_inside_a_program_are_refused_with_a_line():
    typed = jax.make_mesh((8,), ("i",))
    placed = [jax.device_put(each, NamedSharding(typed, P("i"))) for each in faces(8, 4, 5, dtype=np.float32)]
    with pytest.raises(InputError, match=r"synthesis\.fit: .* explicit axes .*; call sharding\.fit"):
        jax.jit(partial(synthesis.fit, window=WINDOW))(*placed)
    with jax.set_mesh(typed), pytest.raises(InputError, match=r"synthesis\.fit: the mesh of jax\.set_mesh"):
        synthesis.fit(*placed, window=WINDOW)


@pytest.mark.parametrize(
    ("num_devices", "solver"),
    [
        (2, "dual"),
        (3, "dual"),
        (4, "dual"),
        (8, "dual"),
        (3, "primal"),
        (8, "primal"),
        (2, "gather"),
        (4, "gather"),
    ],
)
def test_any_placement_of_any_argument_gives_the_weights_of_one_device(num_devices, solver):
    """Random problems, whose axes the devices divide, as JAX requires where they are split."""
    rng = np.random.default_rng(10 * num_devices + len(solver))
    few = Mesh(np.array(jax.devices()[:num_devices]), ("i",))
    num, height, width = num_devices, num_devices * -(-5 // num_devices), num_devices * -(-4 // num_devices)
    pictures = faces(num, height, width, 2, dtype=np.float32)
    penalty = rng.uniform(0.1, 5, (height, width)).astype(np.float32)
    specs = [P("i"), P(None, "i"), P(None, None, "i"), P()]
    penalize_bias, channels = bool(rng.integers(2)), str(rng.choice(["independent", "shared", "joint"]))
    fit = partial(synthesis.fit, window=3, solver=solver, channels=channels, penalize_bias=penalize_bias)
    neutral, expressive = (
        jax.device_put(each, NamedSharding(few, specs[rng.integers(4)])) for each in pictures
    )
    own = jax.device_put(penalty, NamedSharding(few, [P("i"), P(None, "i"), P()][rng.integers(3)]))
    expected = fit(*pictures, penalty=penalty)
    assert expected.solved.all()
    found = fit(neutral, expressive, penalty=own)
    assert found.solved.all(), (channels, penalize_bias)
    assert_same_model(found, expected, 2e-4)


def test_a_context_of_explicit_axes_is_rejected():
    pictures = faces(4, 4, 5, dtype=np.float32)
    typed = jax.make_mesh((8,), ("i",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(typed), pytest.raises(ValueError, match="explicit axes; make it"):
        sharding.fit(*pictures, mesh=typed, rows="i")
