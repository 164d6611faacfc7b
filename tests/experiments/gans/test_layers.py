"""Layers against XLA's, and the augmentation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.gans import augmentation, layers, losses

_NHWC = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize(("channels", "size", "stride"), [((3, 5), 3, 1), ((16, 3), 7, 1), ((4, 9), 4, 2)])
def test_convolutions_equal_those_of_xla(rng, channels, size, stride):
    pictures = rng.normal(size=(2, 12, 13, channels[0])).astype(np.float32)
    kernel = rng.normal(size=(size, size, *channels)).astype(np.float32)
    expected = jax.lax.conv_general_dilated(
        pictures, kernel, (stride, stride), "VALID", dimension_numbers=_NHWC
    )
    found = layers.convolve(jnp.asarray(pictures), jnp.asarray(kernel), stride=stride)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("size", [3, 4])
def test_transposed_convolutions_are_gradients_of_strided_ones(rng, size):
    pictures = rng.normal(size=(2, 6, 5, 3)).astype(np.float32)
    kernel = rng.normal(size=(size, size, 3, 4)).astype(np.float32)

    def strided(large):
        flipped = kernel.transpose(0, 1, 3, 2)
        padding = ((1, 1), (1, 1))
        return jax.lax.conv_general_dilated(large, flipped, (2, 2), padding, dimension_numbers=_NHWC)

    large = jnp.zeros((2, 12, 10, 4))
    outputs, pull_back = jax.vjp(strided, large)
    assert outputs.shape == pictures.shape
    found = layers.convolve_transposed(jnp.asarray(pictures), jnp.asarray(kernel))
    np.testing.assert_allclose(found, pull_back(jnp.asarray(pictures))[0], atol=1e-5)


def test_instance_norm(rng):
    pictures = jnp.asarray(5 + 3 * rng.normal(size=(2, 8, 8, 3)), jnp.float32)
    normal = layers.InstanceNorm().apply({}, pictures)
    np.testing.assert_allclose(normal.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(axis=(1, 2)), 1, atol=1e-3)


def test_the_gradient_penalty_measures_the_slope(rng):
    """The critic 3 x + c has the slope 3 in each of 12 numbers, at every point between real and fake."""
    real, fake = (jnp.asarray(rng.random((4, 2, 2, 3)), jnp.float32) for _ in range(2))
    penalty = losses.gradient_penalty(lambda x: 3 * x.sum() + 1, real, fake, jax.random.key(0))
    assert float(penalty) == pytest.approx((3 * np.sqrt(12) - 1) ** 2, rel=1e-5)
    # x^2 / 2 has the slope x, here at points between real and fake.
    share = jax.random.uniform(jax.random.key(1), (4, 1, 1, 1))
    between = np.asarray(share * real + (1 - share) * fake)
    norms = np.sqrt((between**2).sum(axis=(1, 2, 3)))
    penalty = losses.gradient_penalty(lambda x: (x**2).sum() / 2, real, fake, jax.random.key(1))
    assert float(penalty) == pytest.approx(np.mean((norms - 1) ** 2), rel=1e-4)


def test_adversarial_losses():
    verdicts = jnp.array([0.0, 2.0])
    expected = np.mean(np.log(1 + np.exp(-np.array([0.0, 2.0]))))
    assert float(losses.real_from_logits(verdicts, is_real=True)) == pytest.approx(expected, rel=1e-6)
    expected = np.mean(np.log(1 + np.exp(np.array([0.0, 2.0]))))
    assert float(losses.real_from_logits(verdicts, is_real=False)) == pytest.approx(expected, rel=1e-6)
    assert float(losses.real_by_squares(verdicts, is_real=True)) == 1
    assert float(losses.real_by_squares(verdicts, is_real=False)) == 2


def test_pictures_of_a_pair_stay_together(rng):
    picture = rng.random((32, 32, 3)).astype(np.float32)
    pair = jnp.asarray(np.stack([picture, 1 - picture]))
    seen = [np.asarray(augmentation.augment(pair, jax.random.key(seed))) for seed in range(12)]
    for moved in seen:
        assert moved.shape == pair.shape
        np.testing.assert_allclose(moved[0], 1 - moved[1], atol=1e-5)
        assert moved.min() >= -1e-6
        assert moved.max() <= 1 + 1e-6
    assert len({moved.tobytes() for moved in seen}) > 6
    # A bright left half is on the left, or on the right after mirroring.
    half = np.zeros((1, 32, 32, 1), np.float32)
    half[:, :, :16] = 1
    sides = [np.asarray(augmentation.augment(jnp.asarray(half), jax.random.key(s))) for s in range(12)]
    assert {bool(side[0, 16, 0, 0] > 0.5) for side in sides} == {True, False}


def test_an_epoch_shows_every_person():
    key = jax.random.key(0)
    one = [int(augmentation.batch_of(key, jnp.asarray(step), 7, 1)[0]) for step in range(14)]
    assert sorted(one[:7]) == sorted(one[7:]) == list(range(7))
    assert one[:7] != one[7:]
    several = [augmentation.batch_of(key, jnp.asarray(step), 7, 3) for step in range(3)]
    assert set(np.concatenate(several).tolist()) == set(range(7))
