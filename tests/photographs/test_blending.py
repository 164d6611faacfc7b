import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import test_util

from mlr_jax.alignment import Affine
from mlr_jax.photographs import blending

SIZE = 8


def points_of(size: int) -> jax.Array:
    return jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size)), axis=-1).astype(jnp.float32)


def test_the_soft_mask_falls_smoothly_to_0():
    mask = np.asarray(blending.soft_mask(points_of(100), 100, feather=0.2))
    assert mask.min() == 0
    assert mask.max() == 1
    np.testing.assert_allclose(mask, mask[::-1], atol=1e-5)
    np.testing.assert_allclose(mask, mask.T, atol=1e-5)
    row = mask[50, 50:]
    assert (row[:40] == 1).all(), "within, it is whole"
    assert (np.diff(row[40:]) < 0).all(), "then it falls"
    assert row[-1] < 1e-2, "to nothing at the border"
    assert abs(np.diff(mask, axis=0)).max() < 0.2, "and never steeply"
    assert mask[0, 0] == mask[3, 3] == 0, "corners are no face"


def test_bounding_box_covers_the_crop():
    affine = Affine(jnp.array([[1.5, 0.5], [-0.5, 1.5]]), jnp.array([30.0, -4.0]))
    top, left, height, width = blending.bounding_box(affine, SIZE)
    corners = np.array([[x, y] for x in (-0.5, 7.5) for y in (-0.5, 7.5)]) @ np.asarray(affine.matrix).T
    corners += np.array([30, -4])
    assert (corners >= (left, top)).all()
    assert (corners <= (left + width - 1, top + height - 1)).all()
    assert (corners.min(axis=0) < (left + 1, top + 1)).all()
    assert (corners.max(axis=0) > (left + width - 2, top + height - 2)).all()


@pytest.mark.parametrize("height", [31, 64, 70])
def test_a_face_on_whole_pixels_is_blended_by_the_mask(rng, height):
    photograph = jnp.asarray(rng.random((height, 40, 3)), jnp.float32)
    face = jnp.asarray(rng.random((SIZE, SIZE, 3)), jnp.float32)
    affine = Affine(jnp.eye(2), jnp.array([12.0, 20.0]))
    mask = np.asarray(blending.soft_mask(points_of(SIZE), SIZE))[..., None]
    for gain, expected in (
        (0.0, (1 - mask) * photograph[20:28, 12:20] + mask * face),
        (1.0, photograph[20:28, 12:20] + mask * face),
    ):
        laid = np.array(blending.put_back(photograph, face, affine, gain=gain))
        np.testing.assert_allclose(laid[20:28, 12:20], expected, atol=1e-5)
        laid[20:28, 12:20] = photograph[20:28, 12:20]
        np.testing.assert_array_equal(laid, photograph)


def test_shrinking_a_face_is_anti_aliased(rng):
    photograph = jnp.zeros((32, 32, 1))
    stripes = jnp.asarray(np.tile([0.0, 1.0], (64, 32))[..., None], jnp.float32)
    # Four pixels of the face for each pixel of the photograph.
    affine = Affine(jnp.eye(2) / 4, jnp.array([8.0, 8.0]))
    laid = np.asarray(blending.put_back(photograph, stripes, affine, oversampling=4))
    np.testing.assert_allclose(laid[13:19, 13:19], 0.5, atol=0.02)


def test_enlarging_a_face_is_smooth():
    """A parabola stays one between the face's pixels."""
    x = jnp.arange(16.0)
    face = jnp.broadcast_to(x[None, :, None] ** 2, (16, 16, 1))
    laid = blending.put_back(jnp.zeros((16, 16, 1)), face, Affine(jnp.eye(2), jnp.array([0.5, 0.0])))
    np.testing.assert_allclose(laid[8, 5:12, 0], (x[5:12] - 0.5) ** 2, rtol=1e-4)


def test_half_precision_keeps_exact_places():
    photograph = jnp.zeros((4, 5000, 1), jnp.bfloat16)
    affine = Affine(jnp.eye(2), jnp.array([4001.0, -2.0]))
    laid = blending.put_back(photograph, jnp.ones((SIZE, SIZE, 1), jnp.bfloat16), affine)
    exact = blending.put_back(photograph.astype(jnp.float32), jnp.ones((SIZE, SIZE, 1)), affine)
    np.testing.assert_allclose(laid.astype(jnp.float32), exact, atol=0.02)


def test_put_back_is_differentiable(rng, x64):
    photograph, face = jnp.asarray(rng.random((6, 6, 1))), jnp.asarray(rng.random((4, 4, 1)))

    def total(photograph, face, matrix, offset, gain):
        laid = blending.put_back(photograph, face, Affine(matrix, offset), gain=gain, feather=0.9)
        return jnp.sum(jnp.sin(3 * laid))

    arguments = (photograph, face, jnp.array([[1.1, 0.1], [-0.2, 0.9]]), jnp.array([1.13, 0.87]), 0.3)
    test_util.check_grads(total, arguments, order=1, modes=["rev"], eps=1e-6)


def test_composes_with_jit_and_vmap(rng):
    photographs = jnp.asarray(rng.random((2, 9, 9, 1)), jnp.float32)
    faces = jnp.asarray(rng.random((2, 4, 4, 1)), jnp.float32)
    affines = Affine(jnp.stack([jnp.eye(2)] * 2), jnp.array([[1.0, 2.0], [3.0, 1.0]]))
    together = jax.jit(jax.vmap(blending.put_back))(photographs, faces, affines)
    for n in range(2):
        alone = blending.put_back(photographs[n], faces[n], Affine(affines.matrix[n], affines.offset[n]))
        np.testing.assert_allclose(together[n], alone, atol=1e-6)


def test_fields_move_pixels_of_the_photograph(rng):
    """A field of two pixels moves a face that is twice as large in the photograph by four."""
    photograph = jnp.asarray(rng.random((90, 80, 3)), jnp.float32)
    nothing = jnp.zeros((SIZE * 4, SIZE * 4, 3))
    field = jnp.broadcast_to(jnp.array([2.0, -1.0]), (SIZE * 4, SIZE * 4, 2))
    affine = Affine(2 * jnp.eye(2), jnp.array([6.0, 10.0]))
    laid = np.asarray(blending.put_back(photograph, nothing, affine, field=field, gain=1.0))
    middle = slice(34, 48), slice(30, 44)
    np.testing.assert_allclose(laid[middle], photograph[32:46, 34:48], atol=1e-5)
    # Where the mask is 0, to the bit.
    np.testing.assert_array_equal(laid[:8], photograph[:8])
    np.testing.assert_array_equal(laid[:, 75:], photograph[:, 75:])


def test_fields_turn_with_the_face(rng):
    """For a face on its side, down is left in the photograph."""
    photograph = jnp.asarray(rng.random((80, 80, 1)), jnp.float32)
    turned = Affine(jnp.array([[0.0, -1.0], [1.0, 0.0]]), jnp.array([60.0, 20.0]))
    field = jnp.broadcast_to(jnp.array([0.0, 3.0]), (40, 40, 2))
    laid = blending.put_back(photograph, jnp.zeros((40, 40, 1)), turned, field=field, gain=1.0)
    middle = slice(36, 44)
    np.testing.assert_allclose(laid[middle, 38:44], photograph[middle, 35:41], atol=1e-5)
