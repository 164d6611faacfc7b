"""The rendered faces: `load` keeps its promises, and the renderer draws what its arguments describe."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax.datasets import pairs, synthetic
from mlr_jax.datasets.synthetic import Expression

SIZE = 32
NUM_SUBJECTS = 8  # The same nearly everywhere, so that the renderer is compiled once.

# Draws people with one expression.
draw = jax.jit(jax.vmap(synthetic.render, in_axes=(0, None, None)), static_argnums=2)


def load(**options):
    return synthetic.load(**{"image_size": SIZE, "num_subjects": NUM_SUBJECTS, **options})


@pytest.fixture(scope="module")
def happy():
    return load()


@pytest.fixture(scope="module")
def large():
    """The first of these people, four times as large, drawn with double precision switched on."""
    with jax.enable_x64(True):
        return load(num_subjects=1, image_size=4 * SIZE)


@pytest.fixture(scope="module")
def people():
    return jax.vmap(synthetic.sample_identity)(jax.random.split(jax.random.key(1), 6))


@pytest.fixture(scope="module")
def at_rest(people):
    return draw(people, Expression(), SIZE)


def rows(images, first, last):
    """The rows of pictures between two heights, given as fractions from the top."""
    height = images.shape[-3]
    return images[..., round(first * height) : round(last * height), :, :]


def halve(images):
    num, height, width, channels = images.shape
    return images.reshape(num, height // 2, 2, width // 2, 2, channels).mean((2, 4))


# load ---------------------------------------------------------------------------------------------


def test_the_cache_returns_the_same_pictures(happy, tmp_path):
    first = load(cache_dir=tmp_path)
    again = load(cache_dir=tmp_path, progress=lambda _: pytest.fail("drawn"))
    for one, other, expected in zip(again[:2], first[:2], happy[:2], strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, expected)
    for change in ({"seed": 1}, {"channels": 1}, {"target": "sad"}):
        other = load(cache_dir=tmp_path, **change).expressive
        assert other.shape != first.expressive.shape or (other != first.expressive).any()


def test_pictures_stay_the_same_within_a_version(happy):
    """Compares means of sixteen parts. A change that is meant must raise _VERSION, which empties caches."""
    parts = happy.expressive.reshape(NUM_SUBJECTS, 4, SIZE // 4, 4, SIZE // 4, 3).mean((0, 2, 4, 5))
    expected = [
        [0.5574, 0.6114, 0.6165, 0.5541],
        [0.5541, 0.5952, 0.5956, 0.5556],
        [0.5581, 0.5918, 0.5911, 0.5631],
        [0.5659, 0.5067, 0.5066, 0.5691],
    ]
    assert synthetic._VERSION == 1
    np.testing.assert_allclose(parts, expected, atol=2e-4)


def test_load_returns_usable_pairs(happy):
    assert pairs.check(happy) is happy
    for pictures in (happy.neutral, happy.expressive):
        assert isinstance(pictures, np.ndarray)
        assert pictures.shape == (NUM_SUBJECTS, SIZE, SIZE, 3)
        assert pictures.dtype == np.float32
    assert happy.subjects[:2] == ("synthetic_0000", "synthetic_0001")
    assert len(set(happy.subjects)) == NUM_SUBJECTS


def test_load_uses_the_range_of_values(happy):
    assert happy.neutral.min() < 0.15
    assert happy.neutral.max() > 0.8


def test_load_is_deterministic(happy):
    again = load()
    np.testing.assert_array_equal(again.neutral, happy.neutral)
    np.testing.assert_array_equal(again.expressive, happy.expressive)


def test_another_seed_draws_other_people(happy):
    other = load(seed=1)
    assert np.square(other.neutral - happy.neutral).mean((1, 2, 3)).min() > 1e-3


def test_people_do_not_depend_on_num_subjects(happy):
    fewer = load(num_subjects=5)
    assert fewer.subjects == happy.subjects[:5]
    np.testing.assert_array_equal(fewer.neutral, happy.neutral[:5])
    np.testing.assert_array_equal(fewer.expressive, happy.expressive[:5])


def test_one_large_picture_is_the_same_face(happy, large):
    for small, pictures in zip(happy[:2], large[:2], strict=True):
        difference = abs(halve(halve(pictures)) - small[:1])
        assert difference.mean() < 2e-3
        assert difference.max() < 0.05


def test_pictures_are_float32_in_double_precision(large):
    assert large.neutral.dtype == large.expressive.dtype == np.float32


def test_reversed_pairs_are_the_same_pictures(happy):
    reverse = load(source="happy", target="neutral")
    np.testing.assert_array_equal(reverse.neutral, happy.expressive)
    np.testing.assert_array_equal(reverse.expressive, happy.neutral)


@pytest.mark.parametrize("name", synthetic.EXPRESSIONS[2:])
def test_any_expression_can_be_source_and_target(happy, name):
    onto = load(target=name)
    np.testing.assert_array_equal(onto.neutral, happy.neutral)
    change = np.square(onto.expressive - onto.neutral).mean((1, 2, 3))
    assert np.median(change) > 3e-4
    away = load(source=name)
    np.testing.assert_array_equal(away.neutral, onto.expressive)
    np.testing.assert_array_equal(away.expressive, happy.expressive)


def test_other_seeds_and_expressions_do_not_compile_again(happy):
    compiled = synthetic._photograph._cache_size()
    load(seed=5, source="afraid", target="sad", channels=1)
    assert synthetic._photograph._cache_size() == compiled


def test_grey_is_the_luminance_of_the_colours(happy):
    grey = load(channels=1)
    assert grey.neutral.shape == (NUM_SUBJECTS, SIZE, SIZE, 1)
    assert grey.neutral.dtype == np.float32
    luminance = happy.neutral @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey.neutral[..., 0], luminance, atol=1e-6)


def test_people_differ(happy):
    flat = happy.neutral.reshape(NUM_SUBJECTS, -1)
    distances = np.square(flat[:, None] - flat).mean(-1)
    assert distances[~np.eye(NUM_SUBJECTS, dtype=bool)].min() > 2e-3


def test_expressions_differ_less_than_people(happy):
    flat = happy.neutral.reshape(NUM_SUBJECTS, -1)
    between = np.square(flat - np.roll(flat, 1, axis=0)).mean()
    within = np.square(happy.expressive - happy.neutral).mean()
    assert 1e-3 < within < between / 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_dir": "faces"}, "it reads no folder: leave data_dir out"),
        (
            {"source": "bored"},
            "source 'bored' is unknown; choose one of neutral, happy, sad, angry",
        ),
        (
            {"target": "Happy"},
            "target 'Happy' is unknown; choose one of neutral, happy, sad, angry",
        ),
        ({"source": "sad", "target": "sad"}, "source and target are both 'sad'; choose two"),
        ({"channels": 4}, r"channels must be 1 \(grey\) or 3 \(colour\), not 4"),
        ({"image_size": 15}, "image_size must be 16 or more to show a face, not 15"),
        ({"num_subjects": 0}, "num_subjects must be 1 or more, not 0"),
    ],
)
def test_clear_errors_of_load(options, message):
    with pytest.raises(ValueError, match=f"^synthetic: .*{message}") as caught:
        load(**options)
    assert "\n" not in str(caught.value)


# sampling -----------------------------------------------------------------------------------------


def test_sampled_people_are_within_the_ranges_of_the_fields(people):
    for name, values in people._asdict().items():
        low, high, *shape = synthetic.Identity.__annotations__[name].__metadata__
        assert values.shape == (6, *shape)
        assert values.dtype == jnp.float32
        assert (values >= low - 1e-6).all()
        assert (values <= high + 1e-6).all()


def test_sampled_expressions_vary_about_the_typical_one():
    sample = jax.vmap(lambda key: jnp.array(synthetic.sample_expression(key, "surprised")))
    drawn = Expression(*sample(jax.random.split(jax.random.key(0), 500)).T)
    assert 0.75 < drawn.jaw.mean() < 0.9
    assert 0.15 < drawn.jaw.std() < 0.35
    assert abs(drawn.smile.mean()) < 0.02
    assert 0.004 < drawn.shift_x.std() < 0.01


def test_one_key_is_one_person_with_an_unrelated_draw_for_each_expression():
    key = jax.random.key(3)
    assert synthetic.sample_expression(key, "sad") == synthetic.sample_expression(key, "sad")
    tilts = {float(synthetic.sample_expression(key, name).tilt) for name in synthetic.EXPRESSIONS}
    assert len(tilts) == len(synthetic.EXPRESSIONS)


def test_an_unknown_expression_lists_the_known_ones():
    with pytest.raises(ValueError, match="name 'bored' is unknown; choose one of neutral, happy"):
        synthetic.sample_expression(jax.random.key(0), "bored")


# render -------------------------------------------------------------------------------------------


def test_eyes_and_mouth_are_where_aligned_faces_have_them(happy):
    face = happy.neutral.mean((0, 3))

    def brightness(x, y):
        column, row = round(x * SIZE - 0.5), round(y * SIZE - 0.5)
        return face[row, column]

    for x in (0.31, 0.69):
        assert brightness(x, 0.38) < brightness(x, 0.50) - 0.1
    assert brightness(0.5, 0.78) < brightness(0.5, 0.56) - 0.1


@pytest.mark.parametrize(
    ("muscle", "first", "last"),
    [
        ("smile", 0.62, 0.98),
        ("stretch", 0.55, 0.98),
        ("jaw", 0.5, 1.0),
        ("lip_raise", 0.58, 0.98),
        ("press", 0.65, 0.95),
        ("brow_inner", 0.0, 0.45),
        ("brow_outer", 0.0, 0.45),
        ("brow_draw", 0.1, 0.45),
        ("eye_open", 0.25, 0.5),
        ("cheek", 0.25, 0.98),
        ("nose", 0.25, 0.98),
        ("chin", 0.62, 1.0),
    ],
)
def test_a_muscle_changes_its_part_of_the_face_only(people, at_rest, muscle, first, last):
    change = abs(draw(people, Expression(**{muscle: 1.0}), SIZE) - at_rest)
    elsewhere = jnp.concatenate([rows(change, 0, first), rows(change, last, 1)], axis=1)
    assert (rows(change, first, last).max((1, 2, 3)) > 0.02).all()
    assert elsewhere.max(initial=0.0) < 0.02
    background_and_hair = change[:, :, [0, -1]]
    assert background_and_hair.max() < 0.02


def test_an_open_mouth_is_darker_and_teeth_are_brighter(people, at_rest):
    def mouth(images):
        return images[:, round(0.78 * SIZE) : round(0.84 * SIZE), SIZE // 2 - 1 : SIZE // 2 + 1]

    wide = draw(people, Expression(jaw=1.0), SIZE)
    laugh = draw(people, Expression(smile=1.0, lip_raise=1.2, jaw=0.3), SIZE)
    assert mouth(wide).mean() < mouth(at_rest).mean() - 0.05
    assert mouth(laugh).mean() > mouth(wide).mean() + 0.1


def test_shifting_the_head_shifts_the_picture(people, at_rest):
    moved = draw(people, Expression(shift_x=2 / SIZE, shift_y=1 / SIZE), SIZE)
    np.testing.assert_allclose(moved[:, 1:, 2:], at_rest[:, :-1, :-2], atol=1e-3)


def test_exposure_brightens_every_pixel(people, at_rest):
    assert (draw(people, Expression(exposure=0.5), SIZE) > at_rest).all()


def test_gradients_are_finite(people):
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles faster
    @jax.grad
    def slope(act, who):
        return jnp.square(synthetic.render(who, act, 16)).sum()

    for index, name in enumerate(("neutral", "happy", "surprised")):
        who = jax.tree.map(lambda field, index=index: field[index], people)
        slopes = slope(synthetic.sample_expression(jax.random.key(2), name), who)
        assert all(jnp.isfinite(value) for value in slopes)
        assert all(value != 0 for value in (slopes.jaw, slopes.brow_draw, slopes.eye_open))


def test_the_template_is_the_middle_of_sampled_identities():
    """Eyes and mouth lie in the middle of the ranges of `sample_identity`."""
    template = synthetic.TEMPLATE
    for field, place in (
        ("eye_x", template.eye_distance / 2),
        ("eye_y", template.eye_height),
        ("mouth_y", template.mouth_height),
    ):
        low, high = synthetic.Identity.__annotations__[field].__metadata__
        assert place == pytest.approx((low + high) / 2)
        assert high - low < 0.02
    assert synthetic.stream(image_size=16, num_subjects=1).key["template"] == template
