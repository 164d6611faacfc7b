import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax import masks, pretrained, synthesis, warped_ridge, windows
from mlr_jax.numerics.blurring import blur
from mlr_jax.photographs._numpy import prediction
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.warped_ridge import WarpedModel
from mlr_jax.window_linear import WindowLinear

pytestmark = pytest.mark.usefixtures("unoptimized_file")

SIZE = 20
WINDOWS = {
    "square": windows.square(3),
    "disk": windows.disk(2.5),
    "foveated": windows.foveated(),
    "mirrored": windows.mirrored(windows.square(3)),
}


def random_model(rng, window, out_channels=1, in_channels=1) -> ExpressionModel:
    weights = rng.standard_normal((out_channels, len(window.offsets), in_channels, SIZE, SIZE))
    bias = rng.standard_normal((out_channels, SIZE, SIZE))
    return ExpressionModel(jnp.asarray(weights, jnp.float32), jnp.asarray(bias, jnp.float32), window)


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize(("out_channels", "in_channels"), [(1, 1), (3, 1), (3, 3)])
def test_synthesize_equals_that_of_jax(rng, window, out_channels, in_channels):
    model = random_model(rng, window, out_channels, in_channels)
    face = rng.random((SIZE, SIZE, 3)).astype(np.float32)
    one = prediction.synthesize(model, face, intensity=0.7)
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, synthesis.synthesize(model, face[None], intensity=0.7)[0], atol=1e-4)


@pytest.mark.parametrize("intensity", [0.0, 0.6, 1.0, 2.0, 40.0])
def test_apply_equals_that_of_jax(rng, intensity):
    """At the intensity 40 the field folds, and is repaired."""
    model = pretrained.load("smile").model
    assert isinstance(model, WarpedModel)
    grey = np.asarray(blur(jnp.asarray(rng.random((128, 128, 1))), 3.0), np.float32)
    face = np.clip(grey + np.array([0.1, 0.0, -0.1]), 0, 1).astype(np.float32)
    one = prediction.apply(model, face, intensity=intensity)
    other = warped_ridge.apply(model, face[None], intensity=intensity)
    tolerance = 1e-4 * max(intensity, 1)
    np.testing.assert_allclose(one.output, other.outputs[0], atol=tolerance)
    np.testing.assert_allclose(one.field, other.parts.fields[0], atol=tolerance)
    np.testing.assert_allclose(one.change, other.parts.changes[0], atol=tolerance)
    assert one.num_folded == pytest.approx(int(other.parts.num_folded[0]), rel=0.01)
    assert (one.num_folded > 0) == (intensity == 40)


def test_fields_that_smoothing_cannot_repair_are_shortened(rng):
    """A field of strong noise."""
    window = windows.square(1)
    field = WindowLinear(
        jnp.zeros((2, 1, 1, 32, 32)), jnp.asarray(rng.standard_normal((2, 32, 32)), jnp.float32)
    )
    model = WarpedModel(field, window, random_model(rng, window), jnp.zeros((1, SIZE, SIZE)))
    face = rng.random((SIZE, SIZE, 1)).astype(np.float32)
    one, other = prediction.apply(model, face), warped_ridge.apply(model, face[None])
    assert one.num_folded == other.parts.num_folded[0] > 0
    np.testing.assert_allclose(one.field, other.parts.fields[0], atol=1e-4)
    np.testing.assert_allclose(one.output, other.outputs[0], atol=1e-3)


@pytest.mark.parametrize("sigma", [0.0, 0.8, 2.0])
def test_blur_equals_that_of_jax(rng, sigma):
    planes = rng.random((14, 9, 2)).astype(np.float32)
    np.testing.assert_allclose(prediction.blur(planes, sigma), blur(jnp.asarray(planes), sigma), atol=1e-6)


def test_half_precision_is_computed_in_single(rng):
    model = random_model(rng, windows.square(3))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model)
    face = rng.random((SIZE, SIZE, 1)).astype(np.float32)
    one = prediction.synthesize(half, face)
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, synthesis.synthesize(half, face[None])[0], atol=1e-3)


def test_masks_are_not_supported(rng):
    model = random_model(rng, windows.square(3))
    assert prediction.supports(model)
    assert not prediction.supports(model._replace(window=masks.as_mask(windows.square(3), SIZE, SIZE)))
