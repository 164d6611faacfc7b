import re
import warnings
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlr_jax import masked_ridge, masks, metrics, model_selection, synthesis, windows
from mlr_jax.checks import GridEndWarning, InputError
from mlr_jax.synthesis import _streaming
from tests import oracle

HEIGHT, WIDTH, CHANNELS, NUM = 6, 5, 3, 12
MODES = ("independent", "shared", "joint")

pytestmark = [pytest.mark.usefixtures("small_blocks"), pytest.mark.usefixtures("unoptimized_file")]


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    planes = [oracle.smooth_faces(rng, NUM, HEIGHT, WIDTH) for _ in range(2 * CHANNELS)]
    stacked = np.stack(planes, axis=-1).reshape(NUM, HEIGHT, WIDTH, 2 * CHANNELS)
    neutral = stacked[..., :CHANNELS]
    return neutral, 0.6 * neutral + 0.4 * stacked[..., CHANNELS:]


def flat(pictures: np.ndarray) -> np.ndarray:
    """(num, height, width) -> (num, pixels)."""
    return pictures.reshape(len(pictures), -1)


def rows(model: synthesis.ExpressionModel, channel: int) -> np.ndarray:
    """The weights of one output channel, (pixels, entries * in_channels), as the oracle has them."""
    weights = np.asarray(model.weights[channel])
    return weights.reshape(-1, HEIGHT * WIDTH).T


def test_independent_channels_are_separate_masked_ridges(faces, x64):
    neutral, expressive = faces
    model = synthesis.fit(neutral, expressive, window=3, penalty=0.4)
    mask = masks.square_mask(HEIGHT, WIDTH, 3)
    assert model.weights.shape == (CHANNELS, 9, 1, HEIGHT, WIDTH)
    assert model.bias.shape == (CHANNELS, HEIGHT, WIDTH)
    result = synthesis.synthesize(model, neutral)
    for channel in range(CHANNELS):
        weights, bias = oracle.masked_ridge(
            flat(neutral[..., channel]), flat(expressive[..., channel]), mask, 0.4, True
        )
        np.testing.assert_allclose(rows(model, channel), weights, atol=1e-10)
        expected = oracle.masked_predict(weights, bias, mask, flat(neutral[..., channel]))
        np.testing.assert_allclose(flat(result[..., channel]), expected, atol=1e-10)


def test_shared_weights_learn_from_all_channels(faces, x64):
    neutral, expressive = faces
    model = synthesis.fit(neutral, expressive, channels="shared")
    assert model.weights.shape == (1, 9, 1, HEIGHT, WIDTH)
    mask = masks.square_mask(HEIGHT, WIDTH, 3)
    inputs, targets = (np.concatenate([flat(each[..., c]) for c in range(CHANNELS)]) for each in faces)
    weights, bias = oracle.masked_ridge(inputs, targets, mask, 0.4, True)
    np.testing.assert_allclose(rows(model, 0), weights, atol=1e-10)
    result = synthesis.synthesize(model, neutral)
    for channel in range(CHANNELS):
        expected = oracle.masked_predict(weights, bias, mask, flat(neutral[..., channel]))
        np.testing.assert_allclose(flat(result[..., channel]), expected, atol=1e-10)
    # Shared weights apply to any number of channels.
    grey = synthesis.synthesize(model, neutral[..., :1])
    np.testing.assert_allclose(grey[..., 0], result[..., 0], atol=1e-12)


def test_joint_windows_see_all_channels(faces, x64):
    neutral, expressive = faces
    model = synthesis.fit(neutral, expressive, channels="joint")
    assert model.weights.shape == (CHANNELS, 9, CHANNELS, HEIGHT, WIDTH)
    mask = masks.across_channels(masks.square_mask(HEIGHT, WIDTH, 3), CHANNELS)
    result = synthesis.synthesize(model, neutral)
    for channel in range(CHANNELS):
        weights, bias = oracle.masked_ridge(flat(neutral), flat(expressive[..., channel]), mask, 0.4, True)
        np.testing.assert_allclose(rows(model, channel), weights, atol=1e-10)
        expected = oracle.masked_predict(weights, bias, mask, flat(neutral))
        np.testing.assert_allclose(flat(result[..., channel]), expected, atol=1e-10)


def test_modes_agree_on_grey_pictures(faces):
    neutral, expressive = (each[..., :1] for each in faces)
    models = [synthesis.fit(neutral, expressive, window=masks.disk(1), channels=mode) for mode in MODES]
    chex.assert_trees_all_close(models[0], models[1], atol=1e-6)
    chex.assert_trees_all_close(models[0], models[2], atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_intensity_interpolates_and_extrapolates(faces, mode):
    neutral = faces[0].astype(np.float32)
    out_channels, in_channels = {"independent": (3, 1), "shared": (1, 1), "joint": (3, 3)}[mode]
    rng = np.random.default_rng(1)
    model = synthesis.ExpressionModel(
        0.1 * rng.standard_normal((out_channels, 9, in_channels, HEIGHT, WIDTH), np.float32),
        0.1 * rng.standard_normal((out_channels, HEIGHT, WIDTH), np.float32),
        masks.square(3),
    )
    full = synthesis.synthesize(model, neutral)
    np.testing.assert_array_equal(synthesis.synthesize(model, neutral, intensity=0), neutral)
    np.testing.assert_array_equal(synthesis.synthesize(model, neutral, intensity=1), full)
    np.testing.assert_allclose(
        synthesis.synthesize(model, neutral, intensity=1.5), 1.5 * full - 0.5 * neutral, atol=1e-5
    )
    each = synthesis.synthesize(model, neutral, intensity=jnp.linspace(0, 1, NUM))
    np.testing.assert_array_equal(each[0], neutral[0])
    np.testing.assert_array_equal(each[-1], full[-1])


def test_any_mask_and_a_penalty_for_each_pixel(faces, x64):
    neutral, expressive = (each[..., :1] for each in faces)
    mask = masks.disk_mask(HEIGHT, WIDTH, 2)
    penalty = np.linspace(0.1, 3, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    model = synthesis.fit(neutral, expressive, window=mask, penalty=penalty, penalize_bias=False)
    params = masked_ridge.fit(flat(neutral), flat(expressive), mask, penalty.reshape(-1), penalize_bias=False)
    np.testing.assert_allclose(rows(model, 0), params.weights, atol=1e-12)
    np.testing.assert_allclose(model.bias.reshape(-1), params.bias, atol=1e-12)


@pytest.mark.parametrize(
    ("mode", "window"), [("independent", masks.disk(1)), ("shared", masks.disk(1)), ("joint", 3)]
)
def test_composes_with_jit_and_grad(faces, mode, window, unoptimized):
    """Joint channels use sliding kernels, others sums."""
    neutral, expressive = (jnp.asarray(each, jnp.float32) for each in faces)

    def error(penalty, images):
        model = synthesis.fit(neutral, expressive, window=window, penalty=penalty, channels=mode)
        return jnp.mean((synthesis.synthesize(model, images) - expressive) ** 2)

    value, gradients = jax.jit(jax.value_and_grad(error, argnums=(0, 1)))(0.4, neutral)
    assert float(value) == pytest.approx(float(error(0.4, neutral)), rel=1e-4)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))
    assert float(gradients[0]) > 0, "a larger penalty fits the training pairs worse"


def test_the_model_is_a_pytree_of_arrays(faces):
    model = synthesis.fit(*faces)
    leaves, structure = jax.tree.flatten(model)
    again = jax.tree.unflatten(structure, [np.asarray(leaf) for leaf in leaves])
    np.testing.assert_array_equal(
        jax.jit(synthesis.synthesize)(again, faces[0]), synthesis.synthesize(model, faces[0])
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window": 4}, "size must be odd"),
        ({"window": 7}, "larger than the picture"),
        ({"window": masks.square_mask(5, 5, 3)}, "25 outputs, but pictures of 6 x 5 have 30"),
        ({"window": masks.square_mask(7, 7, 3)}, "made for another size"),
        ({"penalty": -2}, "penalty must be 0 or more"),
        ({"penalty": np.ones(4)}, r"penalty must be a scalar or \(6, 5\)"),
        ({"channels": "rgb"}, "one of independent, shared, joint, not 'rgb'"),
        ({"neutral": np.ones((3, 6, 5))}, "neutral must have the 4 axes"),
        ({"neutral": np.ones((3, 6, 5, 3))}, "neutral is .* but expressive is"),
        ({"neutral": np.full((NUM, HEIGHT, WIDTH, CHANNELS), np.nan)}, "neutral holds .* NaN"),
    ],
)
def test_clear_errors_of_fit(faces, change, words):
    arguments = {"neutral": faces[0], "expressive": faces[1]} | change
    with pytest.raises(InputError, match=words):
        synthesis.fit(**arguments)


def test_window_must_be_a_size_a_window_or_a_mask(faces):
    with pytest.raises(
        TypeError, match=r"window, unless it is a windows.Window or masks.Mask, must be a whole number"
    ):
        synthesis.fit(*faces, window=3.0)
    with pytest.raises(InputError, match=r"window is a matrix of .*; masks.from_dense makes a mask of it"):
        synthesis.fit(*faces, window=np.ones((30, 30), bool))


def test_clear_errors_of_synthesize(faces):
    model = synthesis.fit(*faces)
    with pytest.raises(InputError, match="for pictures of 6 x 5, not 5 x 5; resize them"):
        synthesis.synthesize(model, faces[0][:, :5])
    with pytest.raises(InputError, match="for 3 channels, not 1"):
        synthesis.synthesize(model, faces[0][..., :1])
    with pytest.raises(InputError, match=r"intensity must be a scalar or \(12,\)"):
        synthesis.synthesize(model, faces[0], intensity=np.ones(3))
    with pytest.raises(InputError, match="images holds 1080 values that are NaN"):
        synthesis.synthesize(model, faces[0] * np.nan)
    with pytest.raises(TypeError, match="not uint8"):
        synthesis.synthesize(model, faces[0].astype(np.uint8))


@pytest.mark.parametrize(
    ("mode", "window"),
    [
        ("independent", masks.square(1)),
        ("independent", masks.dilated(3, 2)),
        ("independent", masks.square(5)),
        ("shared", masks.disk(1)),
        ("joint", masks.square(1)),
        ("joint", masks.square(3)),
        ("joint", masks.dilated(3, 2)),
    ],
)
def test_a_window_equals_its_mask(faces, window, mode, x64):
    """For all solvers: by sums, by sliding kernels, or pixel by pixel."""
    mask = masks.offset_mask(HEIGHT, WIDTH, window.offsets)
    one = synthesis.fit(*faces, window=window, channels=mode)
    other = synthesis.fit(*faces, window=mask, channels=mode)
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-10)
    np.testing.assert_allclose(one.bias, other.bias, atol=1e-10)
    first, second = (synthesis.synthesize(model, faces[0], intensity=0.7) for model in (one, other))
    np.testing.assert_allclose(first, second, atol=1e-10)


def fit_parts(faces, size, *, penalty=0.4, penalize_bias=True, **options):
    """The model of pairs in parts of `size`."""
    statistics = synthesis.init_statistics(*(each[:size] for each in faces), **options)
    for start in range(0, NUM, size):
        statistics = synthesis.update(statistics, *(each[start : start + size] for each in faces))
    return synthesis.solve(statistics, penalty=penalty, penalize_bias=penalize_bias)


@pytest.mark.parametrize("mode", MODES)
def test_pairs_in_parts_give_the_same_model(faces, mode, x64):
    options = {"window": masks.disk(1), "channels": mode}
    whole = synthesis.fit(*faces, **options)
    parts = fit_parts(faces, 4, **options)
    assert parts.window == whole.window
    chex.assert_trees_all_close(parts, whole, atol=1e-10)


def test_pairs_in_parts_with_more_inputs_than_pairs(faces, x64):
    """`fit` uses another solver then; the last part is shorter."""
    options = {"window": masks.disk(2), "penalty": 1.3, "penalize_bias": False}
    chex.assert_trees_all_close(fit_parts(faces, 7, **options), synthesis.fit(*faces, **options), atol=1e-10)


def test_pairs_in_parts_in_single_precision(faces):
    single = [each.astype(np.float32) for each in faces]
    parts = fit_parts(single, 4)
    assert parts.weights.dtype == jnp.float32
    chex.assert_trees_all_close(parts, synthesis.fit(*single), rtol=1e-5, atol=1e-5)


def programs(records) -> list[str]:
    """The compilations that `jax.log_compiles` reports."""
    return [record.message for record in records if record.message.startswith("Finished XLA compilation")]


@pytest.mark.parametrize(
    ("options", "most"),
    [({"window": 3}, 1), ({"window": 7, "solver": "dual"}, 1), ({"window": "auto", "penalty": "auto"}, 5)],
)
def test_a_first_fit_compiles_few_programs_and_a_second_none(options, most, rng, caplog, unoptimized):
    """With any values in NumPy arrays, as files give them."""
    jax.clear_caches()
    pictures = [rng.random((2, 6, 9, 7, 1), dtype=np.float32) for _ in range(2)]
    with jax.log_compiles():
        model = synthesis.fit(*pictures[0], **options)
        assert 1 <= len(programs(caplog.records)) <= most
        synthesis.synthesize(model, pictures[0][0])
        first = len(programs(caplog.records))
        assert first <= most + 1
        if "auto" not in options.values():
            options |= {"penalty": 0.7}
            model = synthesis.fit(*pictures[1], **options)
        else:
            synthesis.fit(*pictures[0], **options)
        synthesis.synthesize(model, pictures[1][0], intensity=0.3)
        assert len(programs(caplog.records)) == first


def test_statistics_compile_once_for_each_number_of_pairs(faces):
    statistics = synthesis.init_statistics(*faces)
    statistics = synthesis.update(statistics, *faces)
    compiled = _streaming._update._cache_size()
    for _ in range(3):
        statistics = synthesis.update(statistics, *faces)
    assert _streaming._update._cache_size() == compiled


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda f, _: synthesis.init_statistics(*f, window=7), "larger than the picture"),
        (lambda f, _: synthesis.init_statistics(*f, channels="rgb"), "not 'rgb'"),
        (lambda f, _: synthesis.init_statistics(f[0], f[1][1:]), "neutral is .* but expressive is"),
        (lambda _, s: synthesis.solve(s), "the statistics hold no pairs"),
        (
            lambda f, s: synthesis.update(s, *(each[..., :1] for each in f)),
            r"of \(6, 5, 3\), not \(6, 5, 1\)",
        ),
        (lambda f, s: synthesis.update(s, *(each[:, :5] for each in f)), r"of \(6, 5, 3\), not \(5, 5, 3\)"),
        (lambda f, s: synthesis.update(s, f[0], f[1] * np.nan), "expressive holds .* NaN"),
        (lambda f, s: synthesis.solve(synthesis.update(s, *f), penalty=-1), "penalty must be 0 or more"),
    ],
)
def test_clear_errors_of_statistics(faces, act, words):
    with pytest.raises(InputError, match=words):
        act(faces, synthesis.init_statistics(*faces))


def test_a_mask_has_no_statistics(faces):
    with pytest.raises(TypeError, match=r"window, unless it is a windows\.Window, must be a whole number"):
        synthesis.init_statistics(*faces, window=masks.square_mask(HEIGHT, WIDTH, 3))


@pytest.fixture(scope="module")
def people() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Two colour pairs of each of 12 people; the target is the pixel on the left, plus noise."""
    rng = np.random.default_rng(5)
    neutral = rng.random((24, 8, 7, 3)).astype(np.float32)
    expressive = np.roll(neutral, 1, axis=2) + 0.05 * rng.standard_normal(neutral.shape).astype(np.float32)
    return neutral, expressive, [f"person {n % 12}" for n in range(24)]


@pytest.mark.filterwarnings("ignore::mlr_jax.checks.GridEndWarning")
def test_chooses_window_and_penalty(people):
    neutral, expressive, subjects = people
    options = {"subjects": subjects, "num_folds": 3}
    model = synthesis.fit(neutral, expressive, window="auto", penalty="auto", **options)
    selection = model.selection
    assert selection.scores.errors.shape == (3, 4, 12, 8, 7)
    # Folds keep people together.
    fold_of = model_selection.fold_of(subjects, num_folds=3)
    empty = synthesis.init_statistics(neutral, expressive, window=7)
    folds = [synthesis.update(empty, neutral[fold_of == f], expressive[fold_of == f]) for f in range(3)]
    scores = model_selection.cross_validate(folds, model_selection.WINDOWS, model_selection.PENALTIES)
    np.testing.assert_allclose(selection.scores.errors, scores.errors, rtol=1e-4)
    # A window of 3 sees the pixel on the left, and no other pixel helps.
    assert model.window == masks.square(3)
    best = np.unravel_index(np.argmin(model_selection.mean_errors(scores).mean((2, 3))), (4, 12))
    assert float(selection.penalty) == float(scores.penalties[best[1]])
    plain = synthesis.fit(neutral, expressive, window=3, penalty=float(selection.penalty))
    np.testing.assert_allclose(model.weights, plain.weights, atol=1e-4)
    assert plain.selection is None
    # Either one may be given.
    given = synthesis.fit(neutral, expressive, window=5, penalty="auto", **options)
    assert given.window == masks.square(5)
    assert given.selection.scores.errors.shape == (3, 1, 12, 8, 7)
    # `fit` calls `choose`, and shares its programs.
    same = synthesis.choose(neutral, expressive, windows=5, **options)
    np.testing.assert_array_equal(same.weights, given.weights)
    with pytest.raises(InputError, match=r"^synthesis\.choose: there must be one window at least"):
        synthesis.choose(neutral, expressive, windows=[])


def test_every_pixel_chooses_window_and_penalty(people):
    neutral, expressive, _ = people
    model = synthesis.fit(neutral, expressive, window="auto", penalty="auto", per_pixel=True)
    assert model.selection.window_index.shape == model.selection.penalty.shape == (8, 7)
    assert model.window == masks.square(7)
    jitted = jax.jit(partial(synthesis.fit, window=3, penalty="auto", per_pixel=True))
    plain = synthesis.fit(neutral, expressive, penalty="auto", per_pixel=True)
    np.testing.assert_allclose(jitted(neutral, expressive).weights, plain.weights, atol=1e-4)


@pytest.mark.parametrize("channels", ["joint"])
def test_fit_solves_with_the_tuned_penalties(people, channels):
    neutral, expressive, _ = people
    model = synthesis.fit(neutral, expressive, penalty="tuned", channels=channels)
    tuned = model.selection.tuned
    assert float(tuned.stopping_errors.min()) < float(tuned.stopping_errors[0])
    empty = synthesis.init_statistics(neutral, expressive, channels=channels)
    statistics = synthesis.update(empty, neutral, expressive)
    expected = synthesis.solve(statistics, penalty=tuned.penalty, factors=tuned.factors)
    np.testing.assert_allclose(model.weights, expected.weights, atol=1e-4)


@pytest.mark.filterwarnings("ignore::mlr_jax.checks.GridEndWarning")
@pytest.mark.parametrize("penalty", ["auto", "tuned"])
def test_chooses_among_given_windows(people, penalty):
    """Also under jit, where the window is unknown."""
    neutral, expressive, _ = people
    windows = [masks.square(1), masks.window([(0, -1), (0, 0)])]
    fit = partial(synthesis.fit, window=windows, penalty=penalty, num_folds=3)
    model = fit(neutral, expressive)
    assert model.window == windows[1]
    assert model.selection.scores.windows == tuple(windows)
    jitted = jax.jit(fit)(neutral, expressive)
    np.testing.assert_allclose(
        synthesis.synthesize(jitted, neutral), synthesis.synthesize(model, neutral), atol=1e-4
    )
    if penalty == "tuned":
        np.testing.assert_allclose(jitted.selection.tuned.penalty, model.selection.tuned.penalty, rtol=1e-2)
        own = [jitted.window.offsets.index(offset) for offset in model.window.offsets]
        factors = np.asarray(jitted.selection.tuned.factors)[own]
        np.testing.assert_allclose(factors, model.selection.tuned.factors, rtol=1e-2)
        single = jax.jit(partial(fit, window=[windows[0]]))(neutral, expressive)
        assert single.window == windows[0]


def test_mirror_adds_mirrored_pairs(people):
    neutral, expressive, subjects = people
    twice = [np.concatenate([each, each[:, :, ::-1]]) for each in (neutral, expressive)]
    mirrored = synthesis.fit(neutral, expressive, mirror=True)
    np.testing.assert_array_equal(mirrored.weights, synthesis.fit(*twice).weights)
    # A face and its mirror image give mirror images.
    faces, others = (synthesis.synthesize(mirrored, each) for each in (neutral, neutral[:, :, ::-1]))
    np.testing.assert_allclose(faces, others[:, :, ::-1], atol=1e-5)
    # Both are in the same fold.
    options = {"penalty": "auto", "num_folds": 3}
    found = synthesis.fit(neutral, expressive, mirror=True, subjects=subjects, **options)
    expected = synthesis.fit(*twice, subjects=subjects * 2, **options)
    np.testing.assert_allclose(found.selection.scores.errors, expected.selection.scores.errors, rtol=1e-4)


@pytest.mark.parametrize("channels", ["independent", "shared", "joint"])
def test_all_solvers_agree_on_windows_with_views(people, channels):
    """By sums, streamed, and gathered pixel by pixel."""
    neutral, expressive, _ = people
    window = masks.mirrored(masks.foveated(dilation=2, blur=1.0))
    model = synthesis.fit(neutral, expressive, window=window, channels=channels, solver="primal")
    gathered = synthesis.fit(neutral, expressive, window=window, channels=channels, solver="gather")
    empty = synthesis.init_statistics(neutral, expressive, window=window, channels=channels)
    statistics = synthesis.update(empty, neutral[:10], expressive[:10])
    statistics = synthesis.update(statistics, neutral[10:], expressive[10:])
    for other in (gathered, synthesis.solve(statistics)):
        np.testing.assert_allclose(other.weights, model.weights, atol=1e-4)
    assert synthesis.choose_solver(window, 10) == "gather"
    assert model.weights.shape[1] == len(window.offsets)
    moved = synthesis.synthesize(model, neutral)
    assert float(metrics.mse(moved, expressive).mean()) < float(metrics.mse(neutral, expressive).mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "best"}, "window must be a number or auto, not 'best'"),
        ({"penalty": "best"}, "penalty must be a number or auto or tuned, not 'best'"),
        (
            {"penalty": "auto", "window": masks.square_mask(8, 7, 3)},
            "with a mask, the penalty must be given",
        ),
        ({"penalty": "auto", "solver": "dual"}, "needs the solver 'primal', not 'dual'"),
        ({"penalty": "auto", "subjects": ["one"] * 24}, "two at least are needed"),
        ({"penalty": "auto", "subjects": ["one"]}, "24 pairs, but 1 subjects"),
        ({"window": "auto", "penalty": np.ones((8, 7))}, "penalty must be a scalar"),
        ({"window": "auto", "penalty": "tuned", "per_pixel": True}, "tuned for one window"),
        ({"window": []}, "must be one window at least"),
        ({"window": [3, 9]}, "a window of 9 x 9 pixels is larger than the picture"),
        ({"per_pixel": True}, "per_pixel and subjects are for what is"),
    ],
)
def test_clear_errors_about_choosing(people, options, message):
    with pytest.raises(InputError, match=message):
        synthesis.fit(*people[:2], **options)


@pytest.mark.parametrize("options", [{"windw": 3}, {"window": "auto", "folds": 3}])
def test_an_unknown_option_is_rejected(options, rng):
    pictures = rng.random((2, 4, 5, 5, 1), dtype=np.float32)
    with pytest.raises(TypeError, match=r"there is no option '(windw|folds)'"):
        synthesis.fit(*pictures, **options)


def noisy(scale: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of noise, and targets that are `scale` times these plus unrelated noise."""
    rng = np.random.default_rng(seed)
    neutral, other = rng.random((2, 12, 6, 7, 1), np.float32)
    return neutral, scale * neutral + (1 - scale) * other


@pytest.mark.parametrize(
    ("pairs", "options", "words"),
    [
        (
            noisy(0.0),
            {"penalty": "auto", "window": 1, "penalize_bias": False},
            r"the largest penalty, 102\.4; .* larger ones",
        ),
        (
            noisy(0.0),
            {"penalty": "auto", "per_pixel": True, "penalize_bias": False},
            r"the largest penalty, 102\.4",
        ),
        (noisy(1.0), {"penalty": 1e-3, "window": [windows.from_offsets([(1, 1)]), 1]}, None),
        (
            noisy(1.0),
            {
                "penalty": 1e-3,
                "window": [windows.from_offsets([(0, 1)]), windows.from_offsets([(0, 0), (1, 1)])],
            },
            r"the largest window, 2 x 2; .* a list of larger ones",
        ),
    ],
)
def test_a_choice_at_the_end_of_its_grid_is_said(pairs, options, words):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = synthesis.fit(*pairs, **options)
    found = [str(each.message) for each in caught if each.category is GridEndWarning]
    assert len(found) == (words is not None)
    at_end = model.selection.at_end
    if words is None:
        # One pixel is as large as another, and a single penalty has no end.
        assert not np.any(at_end)
        return
    assert re.search(f"synthesis.fit: .*{words}", found[0])
    assert caught[0].filename == __file__
    end = re.search("(largest|smallest) (penalty|window)", words)
    assert np.mean(getattr(at_end, end[0].replace(" ", "_"))) > 0.5
    assert not np.any(getattr(at_end, f"{'smallest' if end[1] == 'largest' else 'largest'}_{end[2]}"))
    # The same inside a compiled program, where nothing can be said.
    jitted = jax.jit(lambda *pairs: synthesis.fit(*pairs, **options).selection.at_end)(*pairs)
    np.testing.assert_array_equal(np.array(jitted), np.array(at_end))


def test_choose_says_the_end_too():
    with pytest.warns(GridEndWarning, match=r"synthesis\.choose: .* the largest penalty"):
        synthesis.choose(*noisy(0.0), windows=1, penalize_bias=False)


@pytest.mark.filterwarnings("ignore::mlr_jax.checks.GridEndWarning")
@pytest.mark.parametrize("options", [{}, {"per_pixel": True}, {"window": 1, "penalty": "tuned"}])
def test_a_chosen_model_can_be_trained_further(options):
    """With its selection, of which a gradient is 0."""
    neutral, expressive = noisy(0.5)
    model = synthesis.fit(neutral, expressive, **{"window": [1, 3], "penalty": "auto"} | options)

    def error(model):
        return jnp.mean((synthesis.synthesize(model, neutral) - expressive) ** 2)

    gradient = jax.grad(error)(model)
    plain = jax.grad(error)(model._replace(selection=None))
    np.testing.assert_array_equal(gradient.weights, plain.weights)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient.selection))
    optimizer = optax.adam(1e-3)
    updates, _ = optimizer.update(gradient, optimizer.init(model))
    better = optax.apply_updates(model, updates)
    assert error(better) < error(model)
    np.testing.assert_array_equal(better.selection.window_index, model.selection.window_index)
    assert better.selection.window_index.dtype == np.int32
