import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax import alignment
from mlr_jax.alignment import Affine, FaceTemplate
from mlr_jax.photographs import blending
from mlr_jax.photographs._numpy import affine_maps, compositing, sampling

pytestmark = pytest.mark.usefixtures("unoptimized_file")

SIZE = 24


def turned(scale: float, x: float, y: float) -> Affine:
    """A slightly turned and stretched crop at (x, y) of a photograph."""
    matrix = scale * np.array([[0.98, -0.2], [0.2, 1.05]], np.float32)
    return Affine(matrix, np.array([x, y], np.float32))


def test_affine_maps_equal_those_of_jax(rng):
    affine, points = turned(1.7, 12.0, -3.0), rng.random((5, 4, 2)).astype(np.float32) * 100
    for one, other in (
        (affine_maps.apply(affine, points), alignment.apply(affine, points)),
        (affine_maps.invert(affine).matrix, alignment.invert(affine).matrix),
        (affine_maps.invert(affine).offset, alignment.invert(affine).offset),
        (affine_maps.pixels_per_pixel(affine), alignment.pixels_per_pixel(affine)),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


def test_crops_from_eyes_equal_those_of_jax():
    left, right, mouth = np.float32([130.5, 90]), np.float32([170, 94.25]), np.float32([146, 134])
    ratio = affine_maps.mouth_ratio(left, right, mouth)
    assert ratio == pytest.approx(float(alignment.mouth_ratio(left, right, mouth)), rel=1e-5)
    template = FaceTemplate(0.3, 0.4, 0.7)
    one = affine_maps.crop_from_eyes(left, right, ratio, SIZE, template)
    other = alignment.crop_from_eyes(left, right, ratio, SIZE, template=template)
    assert one.matrix.dtype == one.offset.dtype == np.float32
    np.testing.assert_allclose(one.matrix, other.matrix, atol=1e-4)
    np.testing.assert_allclose(one.offset, other.offset, atol=1e-3)


@pytest.mark.parametrize(("scale", "x", "y"), [(1.3, 20, 5), (3.2, 4, 2), (0.4, 60, 40), (2.0, -30, 90)])
def test_crops_equal_those_of_jax(rng, scale, x, y):
    """Within the picture and beyond it."""
    image, affine = rng.random((90, 110, 3)).astype(np.float32), turned(scale, x, y)
    oversampling = max(1, int(np.ceil(scale)))
    one = sampling.crop(image, affine, SIZE, oversampling=oversampling)
    assert one.dtype == np.float32
    other = alignment.crop(image, affine, SIZE, oversampling=oversampling)
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("gain", [0.0, 1.0])
@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize(("scale", "x", "y"), [(2.5, 20, 10), (0.3, 60, 40), (2.5, -20, 60)])
def test_put_back_equals_that_of_jax(rng, gain, moves, scale, x, y):
    photograph, affine = rng.random((90, 110, 2)).astype(np.float32), turned(scale, x, y)
    face = rng.random((SIZE, SIZE, 2)).astype(np.float32)
    field = rng.random((SIZE, SIZE, 2)).astype(np.float32) * 4 - 2 if moves else None
    options = {"gain": gain, "feather": 0.3, "oversampling": 4 if scale < 1 else 1}
    one = compositing.put_back(photograph, face, affine, field=field, **options)
    other = np.asarray(blending.put_back(photograph, face, affine, field=field, **options))
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, other, atol=3e-4)
    # NumPy leaves every pixel that JAX leaves, to the bit.
    outside = (other == photograph).all(axis=-1)
    assert outside.any()
    assert not outside.all()
    np.testing.assert_array_equal(one[outside], photograph[outside])


@pytest.mark.parametrize("block", [1, 300, 10**9])
def test_blocks_do_not_change_the_result(rng, monkeypatch, block):
    photograph, affine = rng.random((50, 40, 3)).astype(np.float32), turned(1.2, 6, 8)
    face = rng.random((SIZE, SIZE, 3)).astype(np.float32)
    field = rng.random((SIZE, SIZE, 2)).astype(np.float32)

    def both():
        cut = sampling.crop(photograph, affine, SIZE, oversampling=2)
        return cut, compositing.put_back(photograph, face, affine, field=field, gain=1.0, feather=0.2)

    before = both()
    monkeypatch.setattr(sampling, "_BLOCK", block)
    for one, other in zip(both(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_points_far_outside_read_the_border(rng):
    planes = rng.random((1, 4, 5))
    far = np.array([-1e30, 1e30])
    for sample in (sampling.sample_linear, sampling.sample_cubic):
        values = sample(planes, far, far)
        np.testing.assert_allclose(values[0], [planes[0, 0, 0], planes[0, -1, -1]], rtol=1e-12)


def test_double_precision_is_kept(rng):
    photograph, face = rng.random((20, 20, 1)), rng.random((8, 8, 1))
    with jax.enable_x64(True):
        affine = Affine(jnp.eye(2) * 1.1, jnp.array([5.0, 4.0]))
        one = compositing.put_back(photograph, face, affine, feather=0.2)
        other = blending.put_back(photograph, face, affine, feather=0.2)
        assert one.dtype == other.dtype == np.float64
        np.testing.assert_allclose(one, other, atol=1e-12)
