import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax import masks, warped_ridge, windows
from mlr_jax.alignment import FaceTemplate
from mlr_jax.checks import InputError
from mlr_jax.photographs import expressions
from mlr_jax.photographs.expressions import Effect, Landmarks
from mlr_jax.photographs.files import Photograph
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.warped_ridge import WarpedModel
from mlr_jax.window_linear import WindowLinear

pytestmark = pytest.mark.usefixtures("unoptimized_file")

SIZE = 32
HEIGHT, WIDTH = 200, 300
LANDMARKS = Landmarks((130.0, 90.0), (170.0, 94.0), (146.0, 134.0))


def brightening(channels: int, amount: float = 0.1) -> ExpressionModel:
    """A model that makes every pixel brighter, in the first channel twice as much."""
    amounts = jnp.array([2.0, 1.0, 1.0])[:channels] * amount
    weights = jnp.ones((channels, 1, 1, SIZE, SIZE))
    bias = jnp.broadcast_to(amounts[:, None, None], (channels, SIZE, SIZE))
    return ExpressionModel(weights, bias, windows.square(1))


@pytest.fixture
def photograph(rng):
    alpha = rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    return Photograph(rng.integers(40, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8), alpha, b"profile")


def test_only_the_inside_of_the_crop_changes(photograph):
    result = expressions.synthesize(brightening(3), photograph, LANDMARKS)
    assert result.icc_profile == photograph.icc_profile
    np.testing.assert_array_equal(result.alpha, photograph.alpha)
    difference = result.levels.astype(int) - photograph.levels
    # The middle of the face keeps its details.
    middle = difference[100:120, 140:160]
    np.testing.assert_allclose(middle[..., 0], 0.2 * 255, atol=0.6)
    np.testing.assert_allclose(middle[..., 1:], 0.1 * 255, atol=0.6)
    changed = difference.any(axis=-1)
    rows, columns = np.nonzero(changed)
    side = np.hypot(40, 4) / FaceTemplate().eye_distance
    assert rows.min() > 90 - 0.5 * side
    assert rows.max() < 90 + 0.9 * side
    assert columns.min() > 150 - 0.7 * side
    assert columns.max() < 150 + 0.7 * side
    assert (difference >= 0).all()
    # No step at the edge.
    edge = difference[100, : columns.max() + 2, 0]
    assert edge[edge > 0].min() <= 2


@pytest.mark.parametrize("detail", ["transfer", "none"])
def test_intensity_0_changes_nothing(photograph, detail):
    result = expressions.synthesize(brightening(3), photograph, LANDMARKS, intensity=0, detail=detail)
    if detail == "transfer":
        np.testing.assert_array_equal(result.levels, photograph.levels)
    else:
        assert (result.levels != photograph.levels).any(), "replaced by a coarser picture"


def test_details_are_replaced_on_request(photograph):
    kept, replaced = (
        expressions.synthesize(brightening(3), photograph, LANDMARKS, detail=detail).levels[100:120, 140:160]
        for detail in ("transfer", "none")
    )
    # Noise is detail only: a pixel of the model averages ten of the photograph.
    assert kept.std() > 40
    assert replaced[..., 1].std() < 0.5 * kept[..., 1].std()
    np.testing.assert_allclose(replaced.mean(axis=(0, 1)), kept.mean(axis=(0, 1)), atol=4)


def test_grey_stays_grey(photograph):
    grey = Photograph(photograph.levels[..., :1])
    result = expressions.synthesize(brightening(3), grey, LANDMARKS)
    assert result.levels.shape == (HEIGHT, WIDTH, 1)
    difference = result.levels.astype(int) - grey.levels
    # Grey changes by the luma of the change.
    np.testing.assert_allclose(difference[100:120, 140:160], (0.1 + 0.1 * 0.299) * 255, atol=0.6)
    # A model of grey pictures changes all channels alike.
    result = expressions.synthesize(brightening(1), photograph, LANDMARKS)
    difference = result.levels.astype(int) - photograph.levels
    np.testing.assert_allclose(difference[100:120, 140:160], 0.2 * 255, atol=0.6)


def test_sixteen_bits_are_kept(photograph):
    deep = Photograph(photograph.levels[..., :1].astype(np.uint16) * 257)
    result = expressions.synthesize(brightening(1), deep, LANDMARKS)
    assert result.levels.dtype == np.uint16
    difference = result.levels.astype(int) - deep.levels
    assert not difference[0].any()
    assert not difference[:, 0].any()
    np.testing.assert_allclose(difference[100:120, 140:160], 0.2 * 65535, atol=2)


@pytest.mark.parametrize("shift", [(-150, -90), (150, 100), (-140, 100)])
def test_faces_at_the_edge_change_as_far_as_they_are_visible(photograph, shift):
    """The landmarks may lie outside the photograph."""
    left_eye, right_eye, mouth = (tuple(np.add(point, shift)) for point in LANDMARKS)
    result = expressions.synthesize(brightening(3), photograph, Landmarks(left_eye, right_eye, mouth))
    difference = result.levels.astype(int) - photograph.levels
    x, y = np.clip(np.add((150, 110), shift), 1, (WIDTH - 2, HEIGHT - 2)).astype(int)
    assert difference[y, x, 0] > 20
    assert result.levels.shape == photograph.levels.shape


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_heads_change_like_upright_ones(photograph, turns):
    """By quarter turns, as of the camera."""
    levels = np.ascontiguousarray(photograph.levels[:, :200])

    def turned(point):
        for _ in range(turns):
            point = point[1], 199 - point[0]
        return point

    upright = expressions.synthesize(brightening(3), Photograph(levels), LANDMARKS).levels
    result = expressions.synthesize(
        brightening(3), Photograph(np.rot90(levels, turns)), Landmarks(*map(turned, LANDMARKS))
    )
    np.testing.assert_allclose(np.rot90(result.levels, -turns).astype(int), upright, atol=1)


def test_the_cutout_is_no_larger_than_the_photograph(photograph):
    near = Landmarks((20.0, 90.0), (280.0, 94.0))
    cutout = expressions.cut_out(photograph, near, SIZE, FaceTemplate())
    assert (cutout.top, cutout.left) == (0, 0)
    assert cutout.part.shape == (HEIGHT, WIDTH, 3)


def test_faces_smaller_than_the_model_change(photograph):
    """The photograph is coarser than the model."""
    near = Landmarks((145.0, 100.0), (151.0, 100.0))
    result = expressions.synthesize(brightening(3), photograph, near)
    difference = result.levels.astype(int) - photograph.levels
    assert difference[..., 0].max() in range(49, 53)
    assert np.count_nonzero(difference.any(axis=-1)) < 20 * 20


STRIPES = np.tile(np.float32([-0.3, 0.3]), (SIZE, SIZE // 2))[..., None]


def test_transfer_drops_the_finest_detail_of_a_change():
    flat = Photograph(np.full((HEIGHT, WIDTH, 1), 100, np.uint8))
    cutout = expressions.cut_out(flat, LANDMARKS, SIZE, FaceTemplate())
    found = Effect(cutout.face + STRIPES, expressions.transferable(STRIPES), None)
    added = expressions.put_back(flat, cutout, found).levels
    np.testing.assert_allclose(added[100:120, 140:160], 100, atol=2)
    replaced = expressions.put_back(flat, cutout, found, detail="none").levels
    assert replaced[100:120, 140:160].std() > 30


def test_a_face_finer_than_the_photograph_is_anti_aliased():
    flat = Photograph(np.full((HEIGHT, WIDTH, 1), 100, np.uint8))
    cutout = expressions.cut_out(flat, Landmarks((145.0, 100.0), (148.0, 100.0)), SIZE, FaceTemplate())
    found = Effect(cutout.face + STRIPES, expressions.transferable(STRIPES), None)
    replaced = expressions.put_back(flat, cutout, found, detail="none").levels
    np.testing.assert_allclose(replaced.astype(int), 100, atol=20)


def test_landmarks_of_the_crop_lie_on_the_template(photograph):
    dots = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for point in LANDMARKS:
        dots[np.hypot(x - point[0], y - point[1]) < 5] = 255
    template = FaceTemplate()
    face = expressions.cut_out(Photograph(dots), LANDMARKS, 100, template).face[..., 0]
    half = template.eye_distance / 2
    # The mouth lies beside the middle, as in the picture.
    for column, row in ((0.5 - half, template.eye_height), (0.5 + half, template.eye_height)):
        place = np.round(np.array([row, column]) * 100 - 0.5).astype(int)
        patch = face[place[0] - 10 : place[0] + 11, place[1] - 10 : place[1] + 11]
        centre = np.argwhere(patch > 0.5).mean(axis=0)
        np.testing.assert_allclose(centre, 10, atol=1)
    rows = np.argwhere(face[60:] > 0.5)[:, 0] + 60
    np.testing.assert_allclose(rows.mean(), template.mouth_height * 100 - 0.5, atol=1)


def test_without_a_mouth_the_crop_is_not_stretched():
    affine = expressions.locate(Landmarks((10.0, 20.0), (40.0, 24.0)), 64)
    (a, b), (c, d) = np.asarray(affine.matrix)
    np.testing.assert_allclose([a, b], [d, -c], rtol=1e-4)


@pytest.mark.parametrize(
    ("landmarks", "words"),
    [
        (
            Landmarks((-1e5, 50), (1e5, 50)),
            "farther apart than the picture of 300 x 200 pixels",
        ),
        (Landmarks((1e30, 50), (1e30, 90)), "lies outside the picture of 300 x 200 pixels"),
        (Landmarks((5, 5), (5, 5)), r"the eyes \(5, 5\) and \(5, 5\) must be two points"),
        (Landmarks((5, 5), (float("nan"), 5)), "must be two points"),
        (Landmarks((100, 50), (60, 50), (80, 90)), r"the mouth \(80, 90\) does not lie below the eyes"),
        (
            Landmarks((900, 50), (960, 50)),
            r"the face at \(900, 50\) and \(960, 50\) lies outside the picture of",
        ),
    ],
)
def test_clear_errors(photograph, landmarks, words):
    with pytest.raises(InputError, match=words):
        expressions.synthesize(brightening(3), photograph, landmarks)


def test_clear_errors_about_details_and_models(photograph):
    with pytest.raises(InputError, match="detail must be one of transfer, none, not 'all'"):
        expressions.synthesize(brightening(3), photograph, LANDMARKS, detail="all")
    wide = brightening(3)
    wide = wide._replace(weights=wide.weights[..., :9], bias=wide.bias[..., :9])
    with pytest.raises(InputError, match="for pictures of 9 x 32 pixels; faces are square"):
        expressions.synthesize(wide, photograph, LANDMARKS)


def test_a_warped_ridge_moves_the_photographs_own_pixels(rng):
    """At the photograph's resolution: a pixel of the model is four of the photograph wide."""
    size = 32
    field = WindowLinear(
        jnp.zeros((2, 1, 1, warped_ridge.FIELD_SIZE, warped_ridge.FIELD_SIZE)),
        jnp.broadcast_to(
            jnp.array([2.0 / size, 0.0])[:, None, None], (2, warped_ridge.FIELD_SIZE, warped_ridge.FIELD_SIZE)
        ),
    )
    nothing = ExpressionModel(jnp.ones((1, 1, 1, size, size)), jnp.zeros((1, size, size)), windows.square(1))
    model = WarpedModel(field, windows.square(1), nothing, jnp.zeros((1, size, size)))
    photograph = Photograph(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8))
    template = FaceTemplate()
    # A crop of 128 x 128 in its middle.
    left, right = (36 + 128 * (0.5 + side * template.eye_distance / 2) - 0.5 for side in (-1, 1))
    height = 36 + 128 * template.eye_height - 0.5
    landmarks = Landmarks((left, height), (right, height))
    result = expressions.synthesize(model, photograph, landmarks)
    middle = slice(95, 105)
    moved = photograph.levels[middle, 103:113].astype(int)
    np.testing.assert_allclose(result.levels[middle, 95:105].astype(int), moved, atol=2)
    np.testing.assert_array_equal(result.levels[:30], photograph.levels[:30])
    still = expressions.synthesize(model, photograph, landmarks, intensity=0.0)
    np.testing.assert_array_equal(still.levels, photograph.levels)
    coarse = expressions.synthesize(model, photograph, landmarks, detail="none")
    assert coarse.levels[middle, middle].std() < 0.7 * result.levels[middle, middle].std()


def warped(rng) -> WarpedModel:
    """A model that moves and changes pixels a little."""
    field = WindowLinear(
        jnp.zeros((2, 1, 1, warped_ridge.FIELD_SIZE, warped_ridge.FIELD_SIZE)),
        jnp.full((2, warped_ridge.FIELD_SIZE, warped_ridge.FIELD_SIZE), 0.03),
    )
    tint = jnp.asarray(rng.random((3, SIZE, SIZE)), jnp.float32) / 10
    return WarpedModel(field, windows.square(1), brightening(1), tint)


@pytest.mark.parametrize("detail", ["transfer", "none"])
def test_photographs_of_any_size_compile_nothing(rng, caplog, detail):
    """Neither a first photograph, nor another size of it or its face, nor another model."""
    models = warped(rng), brightening(3), brightening(1)
    jax.clear_caches()
    with jax.log_compiles():
        for height, width, scale in ((200, 300, 1.0), (131, 240, 0.6), (400, 317, 1.7), (90, 80, 0.2)):
            landmarks = Landmarks(*(tuple(np.multiply(point, scale)) for point in LANDMARKS))
            for channels in (1, 3):
                picture = Photograph(rng.integers(0, 256, (height, width, channels), dtype=np.uint8))
                for model in models:
                    changed = expressions.synthesize(model, picture, landmarks, intensity=0.8, detail=detail)
                    assert (changed.levels != picture.levels).any()
        assert [record.message for record in caplog.records if "ompil" in record.message] == []
        jax.jit(lambda x: x + 1)(1.0)
    assert any("ompil" in record.message for record in caplog.records), "it would be said"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mask_changes_faces_as_its_window_does(photograph, rng, channels):
    """JAX computes models with masks, NumPy those with windows."""
    picture = photograph._replace(levels=photograph.levels[..., :channels])
    model = warped(rng)._replace(change=brightening(1))
    mask = masks.as_mask(windows.square(1), SIZE, SIZE)
    for one, other in (
        (brightening(3), brightening(3)._replace(window=mask)),
        (model, model._replace(change=model.change._replace(window=mask))),
    ):
        cutout = expressions.cut_out(picture, LANDMARKS, SIZE, FaceTemplate())
        by_numpy, by_jax = expressions.effect(one, cutout), expressions.effect(other, cutout)
        assert isinstance(by_numpy.change, np.ndarray)
        assert isinstance(by_jax.change, jax.Array)
        for part, same in zip(by_numpy[:3], by_jax[:3], strict=True):
            if part is not None:
                np.testing.assert_allclose(part, same, atol=1e-5)
        laid = [expressions.blend(cutout, effect) for effect in (by_numpy, by_jax)]
        np.testing.assert_allclose(laid[0], laid[1], atol=1e-4)


def test_photographs_are_differentiable_in_the_model(photograph, rng):
    """JAX computes what is differentiated, with the values of NumPy."""
    model = warped(rng)
    cutout = expressions.cut_out(photograph, LANDMARKS, SIZE, FaceTemplate())

    def total(tint):
        return jnp.mean(expressions.blend(cutout, expressions.effect(model._replace(tint=tint), cutout)))

    assert float(total(model.tint)) == pytest.approx(float(jax.jit(total)(model.tint)), abs=1e-6)
    gradient = jax.grad(total)(model.tint)
    middle, corner = gradient[:, SIZE // 2, SIZE // 2], gradient[:, 0, 0]
    assert (middle > 0).all()
    np.testing.assert_allclose(corner, 0, atol=1e-3 * float(middle.max()))
