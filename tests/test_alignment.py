import jax.numpy as jnp
import numpy as np
import pytest
from jax import test_util

from mlr_jax import alignment

EYES = np.array([[40.0, 50.0], [70.0, 44.0]], np.float32)
MOUTH = np.array([60.0, 80.0], np.float32)


def apply(affine: alignment.Affine, point) -> np.ndarray:
    return np.asarray(affine.matrix @ jnp.asarray(point, jnp.float32) + affine.offset)


def test_affine_from_points(rng):
    source = rng.random((5, 2)).astype(np.float32)
    matrix, offset = np.array([[1.5, 0.2], [-0.3, 0.8]]), np.array([4.0, -2.0])
    affine = alignment.affine_from_points(source, (source @ matrix.T + offset).astype(np.float32))
    np.testing.assert_allclose(affine.matrix, matrix, atol=1e-4)
    np.testing.assert_allclose(affine.offset, offset, atol=1e-4)


def test_similarity_from_points(rng):
    source = rng.random((5, 2)).astype(np.float32)
    matrix, offset = 1.7 * np.array([[0.6, -0.8], [0.8, 0.6]]), np.array([4.0, -2.0])
    target = (source @ matrix.T + offset).astype(np.float32)
    for points in (slice(None), slice(2)):
        affine = alignment.similarity_from_points(source[points], target[points])
        np.testing.assert_allclose(affine.matrix, matrix, atol=1e-4)
        np.testing.assert_allclose(affine.offset, offset, atol=1e-4)
    # Where no similarity fits, the error is minimal: it grows in every direction.
    target += rng.normal(0, 0.3, target.shape).astype(np.float32)
    best, offset = alignment.similarity_from_points(source, target)
    a, b = best[:, 0]

    def error(a, b, offset):
        return np.sum((source @ np.array([[a, b], [-b, a]]) + np.asarray(offset) - target) ** 2)

    np.testing.assert_allclose(best, [[a, -b], [b, a]], atol=1e-5)
    for step in 0.05 * np.concatenate([np.eye(4), -np.eye(4)]):
        assert error(a, b, offset) < error(a + step[0], b + step[1], offset + step[2:])


def test_invert_and_compose(rng):
    affine = alignment.Affine(jnp.array([[1.2, 0.3], [-0.4, 0.9]]), jnp.array([5.0, -7.0]))
    points = rng.random((4, 3, 2)).astype(np.float32)
    back = alignment.invert(affine)
    np.testing.assert_allclose(alignment.apply(back, alignment.apply(affine, points)), points, atol=1e-5)
    both = alignment.compose(affine, alignment.Affine(2 * jnp.eye(2), jnp.array([1.0, 3.0])))
    expected = alignment.apply(affine, 2 * points + np.array([1, 3], np.float32))
    np.testing.assert_allclose(alignment.apply(both, points), expected, atol=1e-5)


def test_resample_has_any_shape_and_is_anti_aliased(rng):
    # Stripes of one pixel: without anti-aliasing the result is black or white.
    stripes = jnp.asarray(np.tile([0.0, 1.0], (24, 16))[..., None], jnp.float32)
    affine = alignment.Affine(4 * jnp.eye(2), jnp.array([1.5, 1.5]))
    for kernel in ("linear", "cubic"):
        seen = alignment.resample(stripes, affine, (6, 8), kernel=kernel, oversampling=4)
        assert seen.shape == (6, 8, 1)
        np.testing.assert_allclose(seen[1:-1, 1:-1], 0.5, atol=1e-6)


def test_crops_from_eyes_have_landmarks_on_the_template():
    size, template = 64, alignment.FaceTemplate()
    ratio = alignment.mouth_ratio(*EYES, MOUTH)
    affine = alignment.crop_from_eyes(*EYES, ratio, size, template=template)
    half = template.eye_distance / 2
    for x, eye in zip((0.5 - half, 0.5 + half), EYES, strict=True):
        place = np.array([x, template.eye_height]) * size - 0.5
        np.testing.assert_allclose(apply(affine, place), eye, atol=1e-3)
    # The template fixes the mouth's height, not its sideways place.
    middle, across = EYES.mean(axis=0), EYES[1] - EYES[0]
    mouth = apply(affine, np.array([0.5, template.mouth_height]) * size - 0.5)
    down = np.array([-across[1], across[0]])
    assert (mouth - middle) @ down == pytest.approx((MOUTH - middle) @ down, rel=1e-4)
    assert (mouth - middle) @ across == pytest.approx(0, abs=1e-2)


def test_mouth_ratio_does_not_depend_on_tilt_and_size():
    turn = np.array([[0.6, -0.8], [0.8, 0.6]], np.float32) * 3
    points = [*EYES, MOUTH]
    expected = float(alignment.mouth_ratio(*points))
    assert 0.9 < expected < 1.2
    turned = alignment.mouth_ratio(*(turn @ point + 7 for point in points))
    assert float(turned) == pytest.approx(expected, rel=1e-5)


def test_crop_of_whole_pixels_copies_them(rng):
    image = jnp.asarray(rng.random((9, 12, 3)), jnp.float32)
    affine = alignment.Affine(jnp.eye(2), jnp.array([4.0, 2.0]))
    np.testing.assert_allclose(alignment.crop(image, affine, 5), image[2:7, 4:9], atol=1e-6)


def test_crop_repeats_the_border():
    image = jnp.arange(4.0)[None, :, None] * jnp.ones((4, 1, 1))
    affine = alignment.Affine(jnp.eye(2), jnp.array([-3.0, -3.0]))
    np.testing.assert_array_equal(alignment.crop(image, affine, 4)[..., 0], np.zeros((4, 4)))


def test_crop_averages_what_it_shrinks():
    board = (np.indices((64, 64)).sum(axis=0) % 2)[..., None].astype(np.float32)
    shrink = alignment.Affine(jnp.eye(2) * 8, jnp.array([3.5, 3.5]))
    assert float(alignment.pixels_per_pixel(shrink)) == pytest.approx(8)
    small = alignment.crop(jnp.asarray(board), shrink, 8, oversampling=8)
    np.testing.assert_allclose(small, 0.5, atol=1e-5)
    # Each pixel is the mean of its block.
    picture = np.random.default_rng(0).random((64, 64, 1)).astype(np.float32)
    small = alignment.crop(jnp.asarray(picture), shrink, 8, oversampling=8)
    blocks = picture.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(small[..., 0], blocks, atol=1e-5)


def test_crop_is_differentiable(rng, x64):
    image = jnp.asarray(rng.random((12, 12, 1)))

    def total(image, offset):
        affine = alignment.Affine(jnp.eye(2) * 1.3, offset)
        return jnp.sum(jnp.sin(3 * alignment.crop(image, affine, 4, oversampling=2)))

    test_util.check_grads(total, (image, jnp.array([2.21, 3.34])), order=1, modes=["rev"], eps=1e-6)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.bfloat16])
def test_crops_of_low_precision_have_exact_places(rng, dtype):
    """The dtype of a picture limits its levels, not the places of its pixels."""
    levels = jnp.asarray(rng.integers(0, 256, (3, 600, 1)), dtype)
    affine = alignment.Affine(jnp.eye(2) / 2, jnp.array([501.5, 0.0]))
    face = alignment.crop(levels, affine, 3)
    assert jnp.issubdtype(face.dtype, jnp.floating)
    exact = alignment.crop(levels.astype(jnp.float32), affine, 3)
    np.testing.assert_allclose(face.astype(jnp.float32), exact, rtol=0.01)


@pytest.mark.parametrize("at_once", [1, 2000])
def test_a_crop_in_parts_is_the_same(rng, monkeypatch, at_once):
    picture = jnp.asarray(rng.random((60, 50, 2)), jnp.float32)
    affine = alignment.Affine(jnp.array([[2.6, 0.3], [-0.2, 2.4]]), jnp.array([3.0, 5.0]))
    uncached = alignment.resample.__wrapped__  # Without its compilation cache.
    whole = uncached(picture, affine, (13, 17), oversampling=5)
    monkeypatch.setattr(alignment, "_MOST_SAMPLES", at_once)
    np.testing.assert_allclose(uncached(picture, affine, (13, 17), oversampling=5), whole, atol=1e-6)
