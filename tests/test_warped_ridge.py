import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mlr_jax import displacement, masked_ridge, masks, metrics, model_file, synthesis, warped_ridge, windows
from mlr_jax.checks import InputError

pytestmark = pytest.mark.usefixtures("unoptimized_file")

SIZE = 32
OPTIONS = {"window": 3, "penalty": 0.1, "field_window": 5}


@pytest.fixture(scope="module")
def scene():
    """Faces whose middle becomes brighter and moves down, each by another amount."""
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.standard_normal((30, SIZE, SIZE, 1)), (0, 1.5, 1.5, 0))
    faces = (0.5 + 0.12 * noise / noise.std()).clip(0.05, 0.8).astype(np.float32).repeat(3, axis=-1)
    y, x = np.mgrid[:SIZE, :SIZE] * np.pi / (SIZE - 1)
    bump = (np.sin(x) * np.sin(y))[None, ..., None] ** 2
    amounts = rng.normal(2.0, 0.3, (30, 1, 1, 1))
    fields = (amounts * bump * np.array([0.0, -1.0])).astype(np.float32)
    expressive = np.asarray(displacement.warp(faces, fields)) + 0.1 * bump.astype(np.float32)
    return faces, expressive, fields


@pytest.fixture(scope="module")
def model(scene):
    faces, expressive, fields = scene
    return warped_ridge.fit(faces[:24], expressive[:24], fields=fields[:24], **OPTIONS)


def test_predicts_the_displacement_fields(scene, model):
    faces, expressive, fields = scene
    found = warped_ridge.predict_fields(model.field, model.field_window, faces[24:]).fields
    inner = slice(6, -6)
    error = abs(np.asarray(found) - fields[24:])[:, inner, inner].mean()
    assert error < 0.35 * abs(fields[24:])[:, inner, inner].mean()
    # Sharper than a masked ridge alone, and no farther from the truth.
    published = synthesis.fit(faces[:24], expressive[:24], window=3, penalty=0.1)
    plain = synthesis.synthesize(published, faces[24:])
    warped = warped_ridge.synthesize(model, faces[24:])
    truth = expressive[24:]
    assert metrics.mse(warped, truth).mean() < metrics.mse(plain, truth).mean()
    assert (metrics.laplacian_variance(warped) > metrics.laplacian_variance(plain)).all()


def test_predicts_changes_of_brightness(scene, model):
    """Such as teeth behind closed lips, which no displacement gives."""
    faces = scene[0]
    changes = warped_ridge.parts(model, faces[24:]).changes
    middle = slice(12, 20)
    np.testing.assert_allclose(np.asarray(changes)[:, middle, middle].mean(), 0.1, atol=0.03)


def test_intensity_scales_field_and_change(scene, model):
    faces = scene[0][24:]
    np.testing.assert_array_equal(warped_ridge.synthesize(model, faces, intensity=0.0), faces)
    whole, half = (warped_ridge.parts(model, faces, intensity=amount) for amount in (1.0, 0.5))
    np.testing.assert_allclose(half.fields, 0.5 * whole.fields, atol=1e-6)
    # Half of the change, at the place that half of the field reaches.
    carried = 0.5 * displacement.warp(whole.changes, -0.5 * whole.fields, kernel="linear")
    np.testing.assert_allclose(half.changes, carried, atol=1e-6)
    each = warped_ridge.synthesize(model, faces, intensity=np.linspace(0, 2, len(faces)).astype(np.float32))
    np.testing.assert_array_equal(each[0], faces[0])
    assert abs(each[-1] - faces[-1]).mean() > 1.5 * abs(each[3] - faces[3]).mean()


def test_folded_fields_are_repaired_and_counted(scene, model):
    """At high intensities the field folds: pixels would change places."""
    faces = scene[0][24:]
    calm, wild = (warped_ridge.parts(model, faces, intensity=amount) for amount in (1.0, 40.0))
    np.testing.assert_array_equal(calm.num_folded, 0)
    assert (np.asarray(wild.num_folded) > 0).all()
    assert displacement.stretch(wild.fields).min() >= 0.1


def test_smoothing(scene, model):
    faces = scene[0][24:]
    sharp, soft = (
        np.asarray(metrics.laplacian_variance(warped_ridge.synthesize(model, faces, smoothing=sigma)))
        for sigma in (2.0, 0.0)
    )
    assert (sharp != soft).all()
    exact = warped_ridge.parts(model, faces, smoothing=0.0)
    moved = displacement.warp(faces, exact.fields)
    change, tint = model.change, np.moveaxis(np.asarray(model.tint), 0, -1)
    np.testing.assert_allclose(
        moved + exact.changes, synthesis.synthesize(change, moved) + tint[None], atol=1e-5
    )
    with pytest.raises(InputError, match="smoothing must be 0 or more, not -1"):
        warped_ridge.synthesize(model, faces, smoothing=-1.0)


def test_the_tint_keeps_colours_from_fading(scene):
    """Shared weights and a penalty pull colours together; the tint prevents it."""
    faces, expressive, fields = scene
    tinted = (
        (each * np.array([0.9, 0.7, 0.5], np.float32)).astype(np.float32) for each in (faces, expressive)
    )
    before, after = tinted
    options = OPTIONS | {"penalty": 5.0, "channels": "shared"}
    model = warped_ridge.fit(before[:24], after[:24], fields=fields[:24], **options)
    result = np.asarray(warped_ridge.synthesize(model, before[24:])).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(result, after[24:].mean(axis=(0, 1, 2)), rtol=0.05)
    faded = np.asarray(warped_ridge.synthesize(model._replace(tint=0 * model.tint), before[24:]))
    ratio = np.divide(*faded.mean(axis=(0, 1, 2))[[0, 2]])
    assert ratio < 0.95 * result[0] / result[2]
    with pytest.raises(InputError, match="the model is for 3 channels, not 1"):
        warped_ridge.synthesize(model, before[..., :1])


def test_the_border_does_not_move(scene, model):
    fields = np.asarray(warped_ridge.parts(model, scene[0]).fields)
    for border in (fields[:, 0], fields[:, -1], fields[:, :, 0], fields[:, :, -1]):
        assert (border == 0).all()
    assert displacement.stretch(fields).min() > 0


def test_a_large_penalty_leaves_the_mean_field(scene):
    faces, expressive, fields = scene
    options = OPTIONS | {"field_penalty": 1e9}
    model = warped_ridge.fit(faces[:24], expressive[:24], fields=fields[:24], **options)
    found = np.asarray(warped_ridge.predict_fields(model.field, model.field_window, faces).fields)
    np.testing.assert_allclose(found, found[:1].repeat(30, axis=0), atol=1e-4)
    inner = slice(6, -6)
    np.testing.assert_allclose(found[0, inner, inner], fields[:24].mean(axis=0)[inner, inner], atol=0.05)
    # Mirror images cancel a common move to one side.
    aside = fields[..., ::-1]
    for mirrored, expected in ((False, aside[:24].mean(axis=0)), (True, 0 * aside[0])):
        model = warped_ridge.fit(faces[:24], expressive[:24], fields=aside[:24], **options, mirrored=mirrored)
        found = np.asarray(warped_ridge.predict_fields(model.field, model.field_window, faces[:1]).fields)
        np.testing.assert_allclose(found[0, inner, inner], expected[inner, inner], atol=0.05)


def test_fit_registers_pairs_without_given_fields(scene):
    faces, expressive, _ = scene
    model = warped_ridge.fit(faces[:24], expressive[:24], **OPTIONS)
    given = warped_ridge.fit(
        faces[:24], expressive[:24], fields=displacement.register(expressive[:24], faces[:24]), **OPTIONS
    )
    for one, other in zip(jax.tree.leaves(model), jax.tree.leaves(given), strict=True):
        np.testing.assert_array_equal(one, other)


def test_both_solvers_of_the_field_agree(scene):
    """Windows with fewer and with more inputs than there are pairs."""
    faces, _, fields = scene
    small = jnp.asarray(faces[:24])
    for side in (5, 7):
        window = windows.square(side)
        fitted = warped_ridge.fit_fields(small, fields[:24], window, 10.0)
        one, other = warped_ridge.small_faces(small), warped_ridge.small_faces(small[:, :, ::-1])
        inputs = np.concatenate([one, other])
        places = np.array([0, 31, 16])
        targets = np.concatenate([fields[:24], fields[:24, :, ::-1] * np.array([-1, 1], np.float32)]) / SIZE
        mask = masks.offset_mask(SIZE, SIZE, window.offsets)
        expected = masked_ridge.fit(
            inputs.reshape(48, -1), targets[..., 0].reshape(48, -1), mask, 10.0, penalize_bias=False
        )
        weights = np.asarray(fitted.weights)[0, :, 0].reshape(side * side, -1).T
        np.testing.assert_allclose(weights[places], expected.weights[places], atol=1e-5)
        np.testing.assert_allclose(np.asarray(fitted.bias)[0].ravel(), expected.bias, atol=1e-4)


def test_jit_and_grad(scene, model):
    faces = jnp.asarray(scene[0][24:26])
    compiled = jax.jit(warped_ridge.synthesize)(model, faces)
    np.testing.assert_allclose(compiled, warped_ridge.synthesize(model, faces), atol=1e-6)

    def loss(faces, amount):
        return jnp.sum(warped_ridge.synthesize(model, faces, intensity=amount) ** 2)

    gradients = jax.grad(loss, argnums=(0, 1))(faces, 0.7)
    assert all(np.isfinite(each).all() for each in gradients)
    assert abs(gradients[1]) > 0


def test_a_saved_model_loads_the_same(tmp_path, scene, model):
    path = tmp_path / "model.npz"
    model_file.save(path, model, metadata={"a": 1})
    again = model_file.load(path).model
    assert isinstance(again, warped_ridge.WarpedModel)
    assert again.field_window == model.field_window
    # Files do not hold `solved`.
    model = model._replace(field=model.field._replace(solved=None), change=model.change._replace(solved=None))
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(one, other)
    model_file.save(path, model, dtype=np.float16)
    half = warped_ridge.synthesize(model_file.load(path).model, scene[0][:2])
    np.testing.assert_allclose(half, warped_ridge.synthesize(model, scene[0][:2]), atol=0.01)


def test_clear_errors(scene, model):
    faces, expressive, fields = scene
    with pytest.raises(InputError, match=r"fields must be \(30, 32, 32, 2\), not \(29, 32, 32, 2\)"):
        warped_ridge.fit(faces, expressive, fields=fields[:29])
    broken = fields.copy()
    broken[3, 4, 5, 1] = np.nan
    with pytest.raises(InputError, match="fields holds 1 values that are NaN"):
        warped_ridge.fit(faces, expressive, fields=broken)
    with pytest.raises(InputError, match=r"neutral is .* but expressive is"):
        warped_ridge.fit(faces, expressive[:9])
    with pytest.raises(InputError, match="the model is for pictures of 32 x 32, not 16 x 16"):
        warped_ridge.synthesize(model, faces[:, ::2, ::2])
    with pytest.raises(InputError, match="field_window must be 1 or more"):
        warped_ridge.fit(faces, expressive, fields=fields, field_window=0)
