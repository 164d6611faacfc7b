import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import test_util
from scipy import ndimage
from skimage.registration import optical_flow_ilk

from mlr_jax import displacement
from mlr_jax.checks import InputError

SIZE = 48


def smooth(rng, num: int, channels: int = 1) -> np.ndarray:
    """Pictures with texture everywhere."""
    noise = rng.standard_normal((num, SIZE, SIZE, channels))
    blurred = ndimage.gaussian_filter(noise, (0, 2, 2, 0))
    return (0.5 + 0.2 * blurred / blurred.std()).astype(np.float32)


def wave(amplitude: float) -> np.ndarray:
    """A field that vanishes at the border."""
    y, x = np.mgrid[:SIZE, :SIZE] * np.pi / (SIZE - 1)
    bump = np.sin(x) * np.sin(y)
    return amplitude * np.stack([bump, -0.5 * bump], axis=-1)[None].astype(np.float32)


def test_warp_shifts(rng):
    images = jnp.asarray(rng.random((2, 9, 12, 3)), jnp.float32)
    fields = jnp.broadcast_to(jnp.array([2.0, -1.0]), (2, 9, 12, 2))
    moved = displacement.warp(images, fields)
    np.testing.assert_array_equal(moved[:, 1:, :-2], images[:, :-1, 2:])
    np.testing.assert_array_equal(displacement.warp(images, 0 * fields), images)


def test_warp_equals_scipy(rng):
    images = smooth(rng, 1)
    fields = wave(3.0)
    y, x = np.mgrid[:SIZE, :SIZE]
    places = y + fields[0, ..., 1], x + fields[0, ..., 0]
    expected = ndimage.map_coordinates(images[0, ..., 0], places, order=1, mode="nearest")
    moved = displacement.warp(images, fields, kernel="linear")
    np.testing.assert_allclose(moved[0, ..., 0], expected, atol=1e-5)


def test_warp_is_anti_aliased():
    """The field shrinks stripes of one pixel four times."""
    stripes = jnp.asarray(np.tile([0.0, 1.0], (32, 16))[None, ..., None], jnp.float32)
    x = np.broadcast_to(np.arange(32) * 3.0, (32, 32))
    fields = jnp.asarray(np.stack([x, 0 * x], axis=-1)[None], jnp.float32)
    single = displacement.warp(stripes, fields, kernel="linear")[0, :, 1:7]
    assert np.unique(single).size <= 2
    mean = displacement.warp(stripes, fields, kernel="linear", oversampling=4)[0, :, 1:7]
    np.testing.assert_allclose(mean, 0.5, atol=0.15)


def test_resized_and_mirrored_fields_move_the_same():
    images, fields = smooth(np.random.default_rng(0), 1), wave(3.0)
    moved = displacement.warp(images, fields)
    turned = displacement.warp(images[:, :, ::-1], displacement.mirror(fields))
    np.testing.assert_allclose(turned[:, :, ::-1], moved, atol=1e-5)
    small = displacement.resize(fields, (SIZE // 2, SIZE // 3))
    assert small.shape == (1, SIZE // 2, SIZE // 3, 2)
    np.testing.assert_allclose(abs(small).max(axis=(0, 1, 2)), [1.0, 0.75], rtol=0.02)
    np.testing.assert_allclose(displacement.resize(small, (SIZE, SIZE)), fields, atol=0.25)
    np.testing.assert_array_equal(displacement.resize(fields, (SIZE, SIZE)), fields)


def test_stretch_is_the_change_of_area():
    y, x = np.mgrid[:10, :10].astype(np.float32)
    fields = jnp.asarray(np.stack([0.5 * x, -0.25 * y], axis=-1)[None])
    np.testing.assert_allclose(displacement.stretch(fields)[0, :-1, :-1], 1.5 * 0.75, atol=1e-5)
    folded = jnp.asarray(np.stack([-2 * x, 0 * y], axis=-1)[None])
    assert (displacement.stretch(folded)[0, :-1, :-1] < 0).all()


def test_unfold(rng):
    good = wave(4.0)
    bad = good + 3 * rng.standard_normal(good.shape).astype(np.float32)
    worst = 40 * rng.standard_normal(good.shape).astype(np.float32)
    assert (displacement.stretch(bad) < 0).any()
    fields, num_folded = displacement.unfold(np.concatenate([good, bad, worst]))
    np.testing.assert_array_equal(fields[0], good[0])
    assert num_folded[0] == 0
    for field, num, before in zip(fields[1:], num_folded[1:], (bad, worst), strict=True):
        assert num == (displacement.stretch(before) < 0.1).sum() > 0
        assert displacement.stretch(field[None]).min() >= 0.1
    # The repaired field is near the field without noise.
    assert abs(np.asarray(fields[1]) - good[0]).mean() < abs(bad - good).mean() / 2


def test_unfold_where_smoothing_is_not_enough():
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    mirrored = np.stack([SIZE - 1 - 2 * x, 0 * y], axis=-1)[None]
    fields, num_folded = displacement.unfold(mirrored)
    assert num_folded[0] > SIZE * (SIZE - 2)
    assert displacement.stretch(fields).min() >= 0.1
    assert abs(fields).max() > 1, "it is shortened, not dropped"


def test_fix_border():
    fields = np.asarray(displacement.fix_border(np.ones((1, 20, 30, 2), np.float32), margin=4))
    for border in (fields[:, 0], fields[:, -1], fields[:, :, 0], fields[:, :, -1]):
        assert (border == 0).all()
    assert (fields[:, 4:-4, 4:-4] == 1).all()


def test_from_landmarks(rng):
    truth = wave(3.0)[0]
    fixed = rng.uniform(2, SIZE - 3, (150, 2))
    columns, rows = fixed.T
    steps = np.stack(
        [ndimage.map_coordinates(truth[..., k], (rows, columns), order=3) for k in (0, 1)], axis=-1
    )
    field = displacement.from_landmarks(fixed, fixed + steps, (SIZE, SIZE), smoothing=0.0)
    np.testing.assert_allclose(field, truth, atol=0.15)
    assert abs(field[0]).max() < 0.05, "the border stays"
    # `smoothing` reduces noise.
    noisy = fixed + steps + rng.normal(0, 0.5, fixed.shape)
    rough, smoothed = (
        abs(displacement.from_landmarks(fixed, noisy, (SIZE, SIZE), smoothing=amount) - truth).mean()
        for amount in (0.0, 50.0)
    )
    assert smoothed < 0.8 * rough
    # A repeated point is accepted.
    twice = np.concatenate([fixed, fixed[:1]])
    again = displacement.from_landmarks(twice, np.concatenate([fixed + steps, fixed[:1]]), (SIZE, SIZE))
    assert np.isfinite(again).all()
    with pytest.raises(InputError, match=r"fixed is \(150, 2\) and moving is \(149, 2\); both must be"):
        displacement.from_landmarks(fixed, fixed[:149], (SIZE, SIZE))


class TestRegister:
    @pytest.fixture(scope="class")
    @staticmethod
    def scene():
        rng = np.random.default_rng(1)
        moving = smooth(rng, 3)
        truth = np.concatenate([wave(3.0), wave(-4.0), wave(0.0)])
        fixed = np.asarray(displacement.warp(moving, truth))
        return fixed, moving, truth

    def test_finds_the_field(self, scene):
        fixed, moving, truth = scene
        found = np.asarray(displacement.register(fixed, moving, sigma=3.0))
        inner = slice(6, -6)
        error = np.hypot(*np.moveaxis((found - truth)[:, inner, inner], -1, 0))
        assert np.median(error) < 0.15
        assert np.quantile(error, 0.95) < 0.8
        after = displacement.warp(moving, found)
        assert np.mean((after - fixed) ** 2) < 0.05 * np.mean((moving - fixed) ** 2)

    def test_is_no_worse_than_optical_flow(self, scene):
        fixed, moving, truth = scene
        ours = np.asarray(displacement.register(fixed, moving, sigma=3.0))
        flows = [
            np.stack(optical_flow_ilk(a[..., 0], b[..., 0], radius=7, gaussian=True)[::-1], axis=-1)
            for a, b in zip(fixed, moving, strict=True)
        ]
        inner = slice(6, -6)
        errors = [np.abs((each - truth)[:, inner, inner]).mean() for each in (ours, np.stack(flows))]
        assert errors[0] < 1.1 * errors[1]

    def test_constant_pictures_do_not_move(self):
        even = np.full((1, SIZE, SIZE, 1), 0.5, np.float32)
        np.testing.assert_array_equal(displacement.register(even, even), 0)

    def test_clear_errors(self, scene):
        fixed, moving, _ = scene
        with pytest.raises(InputError, match=r"fixed is \(3, 48, 48, 1\), but moving is \(2, 48, 48, 1\)"):
            displacement.register(fixed, moving[:2])
        with pytest.raises(TypeError, match="fixed must hold floating-point numbers"):
            displacement.register((255 * fixed).astype(np.uint8), moving)


@pytest.mark.parametrize("amplitude", [0.7, 9.0])
def test_gradients(x64, amplitude):
    rng = np.random.default_rng(2)
    image = jnp.asarray(rng.random((1, 7, 7, 1)))
    field = jnp.asarray(amplitude * rng.standard_normal((1, 7, 7, 2)))

    def total(image, field):
        unfolded = displacement.unfold(field, num_rounds=2).fields
        return jnp.sum(jnp.sin(displacement.warp(image, unfolded)))

    test_util.check_grads(
        jax.jit(total), (image, field), order=1, modes=["rev"], eps=1e-6, atol=1e-4, rtol=1e-4
    )
