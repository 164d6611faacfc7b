"""Arguments that mean something else than the caller thinks are refused, with what to do."""

from functools import partial

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from mlr_jax import (
    checks,
    displacement,
    images,
    masked_ridge,
    masks,
    metrics,
    model_selection,
    sharding,
    synthesis,
    warped_ridge,
    window_statistics,
    windows,
)
from mlr_jax.checks import InputError
from mlr_jax.photographs import expressions

pytestmark = pytest.mark.usefixtures("unoptimized_file")

FACES = np.random.default_rng(0).random((6, 16, 16, 1), np.float32)
MESH = Mesh(np.array(jax.devices()[:1]), ("i",))
FLAT = FACES.reshape(6, -1)
MASK = masks.square_mask(16, 16, 3)


@pytest.fixture(scope="module")
def model():
    return synthesis.fit(FACES, 1 - FACES)


@pytest.fixture(scope="module")
def warped():
    return warped_ridge.fit(FACES, 1 - FACES, window=1)


def with_pictures(model, warped, change):
    """All functions of pictures, each with pictures that are changed in one argument."""
    empty = synthesis.init_statistics(FACES, FACES, window=1)
    other = change(FACES)
    return [
        ("neutral", partial(synthesis.fit, other, FACES)),
        ("expressive", partial(synthesis.fit, FACES, other)),
        ("neutral", partial(synthesis.fit, other, FACES, penalty="auto")),
        ("neutral", partial(synthesis.choose, other, FACES)),
        ("neutral", partial(synthesis.init_statistics, other, FACES)),
        ("expressive", partial(synthesis.update, empty, FACES, other)),
        ("images", partial(synthesis.synthesize, model, other)),
        ("neutral", partial(warped_ridge.fit, other, FACES)),
        ("images", partial(warped_ridge.synthesize, warped, other)),
        ("images", partial(warped_ridge.parts, warped, other)),
        ("neutral", partial(sharding.fit, other, FACES, mesh=MESH)),
        ("images", partial(sharding.synthesize, model, other, mesh=MESH)),
        ("fixed", partial(displacement.register, other, FACES)),
        ("truth", partial(metrics.psnr, FACES, other)),
        ("truth", partial(metrics.ssim, FACES, other)),
        ("truth", partial(metrics.sharpness, FACES, other)),
        ("image", partial(images.resize, other[0], 8)),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: 255 * x, r"from .* to 25\d.*, but pictures must be in \[0, 1\]; divide by 255$"),
        (lambda x: (255 * x).astype(np.uint8).astype(np.float64), r"to 25\d, .*; divide by 255$"),
        (lambda x: 65535 * x, r"; divide by 65535$"),
        (lambda x: 2 * x - 1, r"from -0.99\d* to .*; if they are in \[-1, 1\], use \(x \+ 1\) / 2"),
        (lambda x: 1e9 * x - 1e8, r"; scale or clip them$"),
    ],
)
def test_pictures_in_other_units_are_refused(model, warped, change, words):
    is_change = -1 <= change(FACES).min() < 0 and change(FACES).max() <= 1
    for name, call in with_pictures(model, warped, change):
        if is_change and name == "expressive":
            call()  # Targets may be changes of pictures.
            continue
        with pytest.raises(InputError, match=f"{name} holds values .*{words}"):
            call()


def test_earlier_results_are_pictures(model, warped):
    """They are not clipped."""
    for _, call in with_pictures(model, warped, lambda x: 1.6 * x - 0.3):
        call()


def test_nan_in_pictures_is_located(model):
    spoiled = 255 * FACES
    spoiled[2, 3, 4, 0] = np.nan
    with pytest.raises(InputError, match=r"holds 1 values that are NaN .* index \(2, 3, 4, 0\)"):
        synthesis.synthesize(model, spoiled)


def test_general_regressions_take_any_units():
    assert np.isfinite(masked_ridge.fit(255 * FLAT, FLAT, MASK, 0.4).weights).all()
    empty = window_statistics.init(windows.square(1), 16, 16)
    assert float(window_statistics.update(empty, 255 * FACES, FACES).num_pairs) == 6


@pytest.mark.parametrize(
    ("intensity", "words"),
    [
        (np.nan, "must be finite, not nan"),
        (np.full(6, -np.inf), "must be finite, not -inf"),
        ("1", "must be a number, not '1'"),
        (None, "must be a number, not None"),
        (1j, "must be a number, not 1j"),
        (True, "must be a number, not True"),
    ],
)
def test_intensity_must_be_a_number(model, warped, intensity, words):
    for call in (
        partial(synthesis.synthesize, model, FACES),
        partial(warped_ridge.synthesize, warped, FACES),
        partial(warped_ridge.parts, warped, FACES),
        partial(sharding.synthesize, model, FACES, mesh=MESH),
    ):
        with pytest.raises(InputError, match=f"synthesize: intensity {words}"):
            call(intensity=intensity)


@pytest.mark.parametrize("intensity", [np.nan, "1", None])
def test_intensity_in_a_photograph_must_be_a_number(model, warped, intensity):
    cutout = expressions.Cutout(FACES[0], FACES[0], 0, 0, np.eye(2, 3))
    for each in (model, warped):
        with pytest.raises(InputError, match="intensity must be"):
            expressions.effect(each, cutout, intensity=intensity)


@pytest.mark.parametrize(("penalty", "words"), [(None, "not None"), ("0.4", "not '0.4'")])
def test_a_penalty_must_be_a_number(penalty, words):
    empty = window_statistics.init(windows.square(1), 16, 16)
    one = window_statistics.update(empty, FACES, FACES)
    for call in (
        partial(masked_ridge.fit, FLAT, FLAT, MASK),
        partial(synthesis.fit, FACES, FACES, window=1),
        partial(sharding.fit, FACES, FACES, mesh=MESH),
        partial(window_statistics.solve, one, windows.square(1)),
        partial(model_selection.leave_one_out, FLAT, FLAT, MASK),
    ):
        with pytest.raises(InputError, match=f"penalty must be a number.*, {words}"):
            call(penalty=penalty)
    with pytest.raises(InputError, match=f"penalt(y|ies) must be a number.*{words}"):
        synthesis.choose(FACES, FACES, windows=1, penalties=penalty)
    with pytest.raises(InputError, match=f"penalties must be a number.*{words}"):
        model_selection.cross_validate([one, one], [1], penalty)


def test_only_synthesis_chooses_a_penalty():
    with pytest.raises(InputError, match=r"not 'auto'; only synthesis\.fit and synthesis\.choose choose one"):
        masked_ridge.fit(FLAT, FLAT, MASK, "auto")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: masks.square_mask(10, 10, 3.0), r"size must be a whole number, not 3\.0"),
        (lambda: masks.dilated_mask(10, 10, 3, 1.5), r"dilation must be a whole number, not 1\.5"),
        (lambda: masks.square_mask(10.0, 10, 3), r"height must be a whole number, not 10\.0"),
        (lambda: masks.disk_mask(10, 10, "3"), "radius must be a number, not '3'"),
        (lambda: windows.from_offsets([(0.5, 0)]), r"in whole pixels, not \(0\.5, 0\)"),
        (lambda: windows.from_offsets([(0, 0, 0)]), r"in whole pixels, not \(0, 0, 0\)"),
    ],
)
def test_windows_are_of_whole_pixels(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((256, 256), bool), r"not a ndarray; masks\.from_dense makes one of a bool matrix"),
        (windows.square(3), r"not a Window; masks\.as_mask makes one"),
        (3, r"not a int; masks\.square_mask makes one"),
    ],
)
def test_what_makes_a_mask_is_named(mask, words):
    with pytest.raises(TypeError, match=words):
        masked_ridge.fit(FLAT, FLAT, mask, 0.4)


def test_what_to_transpose_is_named():
    fit = partial(masked_ridge.fit, mask=MASK, penalty=0.4)
    with pytest.raises(
        InputError, match="256 examples, but targets hold 6; transpose inputs or targets, whose"
    ):
        fit(FLAT.T, FLAT)
    with pytest.raises(InputError, match="256 examples, but targets hold 6; transpose inputs, whose rows"):
        fit(FLAT.T, FLAT[:, :9])
    with pytest.raises(InputError, match="as there are examples, 256; transpose inputs and targets"):
        fit(FLAT.T, FLAT.T)


def test_channels_that_come_first_are_noticed(model):
    first = np.moveaxis(FACES.repeat(3, axis=-1), -1, 1)
    for call in (
        partial(synthesis.fit, first, first, window=1),
        partial(synthesis.synthesize, model, first),
        partial(sharding.fit, first, first, mesh=MESH, window=1),
    ):
        with pytest.raises(InputError, match=r"\(6, 3, 16, 16\) has the channels first; use np\.moveaxis"):
            call()


def test_checks_see_numbers_of_arrays_on_several_devices():
    """The range is found on the devices."""
    low, high = (float(each) for each in checks._range_on_device(jax.numpy.asarray(FACES)))
    assert (low, high) == (FACES.min(), FACES.max())


def test_big_endian_arrays_are_taken(model):
    swapped = FACES.astype(">f4")
    np.testing.assert_array_equal(synthesis.fit(swapped, 1 - FACES).weights, model.weights)
    np.testing.assert_array_equal(
        synthesis.synthesize(model, swapped, intensity=np.ones(6, ">f8")), synthesis.synthesize(model, FACES)
    )
    found = masked_ridge.fit(FLAT.astype(">f4"), FLAT.astype(">f2"), MASK, np.array(1.0, ">f8"))
    expected = masked_ridge.fit(FLAT, FLAT.astype(np.float16), MASK, 1.0)
    np.testing.assert_array_equal(found.weights, expected.weights)


@pytest.mark.filterwarnings("ignore::mlr_jax.checks.GridEndWarning")
@pytest.mark.parametrize(
    "call",
    [
        lambda: synthesis.fit(FACES, 1 - FACES, window=[1, 3], penalty="auto"),
        lambda: synthesis.fit(FACES, 1 - FACES, window=5),
        lambda: synthesis.solve(synthesis.update(synthesis.init_statistics(FACES, FACES), FACES, FACES)),
        lambda: displacement.warp(FACES, np.full((6, 16, 16, 2), 0.3, np.float32), oversampling=2),
        lambda: displacement.register(FACES, FACES),
        lambda: warped_ridge.synthesize(warped_ridge.fit(FACES, 1 - FACES, window=1), FACES),
        lambda: model_selection.leave_one_out(FLAT, FLAT, MASK, 1.0),
        lambda: metrics.ssim(FACES, 1 - FACES),
        lambda: metrics.sharpness(FACES, 1 - FACES),
    ],
)
def test_no_type_is_promoted_by_accident(call):
    with jax.numpy_dtype_promotion("strict"):
        found = call()
    assert all(map(np.array_equal, jax.tree.leaves(found), jax.tree.leaves(call())))


def test_masks_and_models_print_shapes(model, warped):
    assert repr(MASK) == "Mask(indices=int32[256, 9], valid=bool[256, 9])"
    assert repr(model) == (
        "ExpressionModel(weights=float32[1, 9, 1, 16, 16], bias=float32[1, 16, 16], "
        "window=<window of 9 pixels in 3 x 3>, selection=None, solved=float32[1, 16, 16])"
    )
    linear = masked_ridge.fit(FLAT, FLAT, MASK, 1.0)
    assert repr(linear).startswith("MaskedLinear(weights=float32[256, 9], bias=float32[256], ")
    statistics = synthesis.init_statistics(FACES, FACES)
    for each in (warped, linear, statistics, model._replace(window=MASK)):
        assert len(repr(each)) < 1000
        assert "Array" not in repr(each)
    # While tracing, too.
    jax.eval_shape(lambda model: print(model), model)
