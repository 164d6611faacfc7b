"""`jax.export`: predictions for any number of examples, as files that other processes run."""

import pickle
import subprocess
import sys
from functools import partial

import chex
import jax
import numpy as np
import pytest
from jax import export

from mlr_jax import (
    checks,
    masked_ridge,
    masks,
    synthesis,
    warped_ridge,
    window_linear,
    window_statistics,
    windows,
)
from mlr_jax.baselines import kernel_ridge, l0_omp, l1_lasso, l2_ridge, masked_lsrf, reduced_rank

PICTURE = (8, 9, 2)
MASK = masks.square_mask(8, 9, 3)
BATCHES = (1, 3, 17)


def pairs(*shape: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random(shape, dtype=np.float32) for _ in range(2)]


def colours(channels: str, **options):
    model = synthesis.fit(*pairs(12, *PICTURE), channels=channels, **options)
    return partial(synthesis.synthesize, intensity=0.7), model, PICTURE


def warped():
    fields = np.zeros((3, 32, 32, 2), np.float32)
    model = warped_ridge.fit(*pairs(3, 32, 32, 3), fields=fields, window=3, field_window=3)
    return warped_ridge.apply, model, (32, 32, 3)


def window_map():
    window = windows.disk(1)
    inputs, targets = pairs(12, *PICTURE)
    statistics = window_statistics.init(window, *PICTURE[:2], in_channels=2)
    statistics = window_statistics.update(statistics, inputs, targets[..., :1])
    params = window_statistics.solve(statistics, window, 4.0)
    return partial(window_linear.predict, window=window), params, PICTURE


def flat(module, *options, **named):
    return module.predict, module.fit(*pairs(20, 72), *options, **named), (72,)


def masked():
    params = masked_ridge.fit(*pairs(20, 72), MASK, 0.4)
    return lambda model, inputs: masked_ridge.predict(model[0], inputs, model[1]), (params, MASK), (72,)


# Each: a function of a model and examples, the model, and the shape of an example.
MODELS = {
    "window": partial(colours, "independent"),
    "shared": partial(colours, "shared"),
    "wide": partial(colours, "joint", window=7),
    "views": partial(colours, "independent", window=windows.mirrored(windows.foveated(dilation=2))),
    "mask": partial(colours, "joint", window=MASK),
    "chosen": partial(colours, "shared", window=[1, 3], penalty="auto", num_folds=2),
    "warped": warped,
    "window_linear": window_map,
    "masked_ridge": masked,
    "l2_ridge": partial(flat, l2_ridge, 0.4),
    "reduced_rank": partial(flat, reduced_rank, 0.4, rank=2),
    "l1_lasso": partial(flat, l1_lasso, 0.01),
    "l0_omp": partial(flat, l0_omp, num_nonzeros=2),
    "masked_lsrf": partial(flat, masked_lsrf, MASK, 0.4, num_nonzeros=2),
    "kernel_ridge": partial(flat, kernel_ridge, kernel_ridge.rbf(0.1), 0.4),
}
# Its kernel is a function, which a file cannot name.
ONLY_AS_CONSTANT = {"kernel_ridge"}

CHILD = """
import pathlib, pickle, sys
import jax, numpy
from jax import export

folder = pathlib.Path(sys.argv[1])
if sys.argv[2] == "types":
    import mlr_jax.warped_ridge, mlr_jax.baselines.l1_lasso, mlr_jax.baselines.reduced_rank
for path in sorted(folder.glob("*.exported")):
    function = export.deserialize(bytearray(path.read_bytes()))
    arguments, batches = pickle.loads(path.with_suffix(".arguments").read_bytes())
    results = [jax.tree.leaves(function.call(*arguments, batch)) for batch in batches]
    results = [list(map(numpy.asarray, leaves)) for leaves in results]
    path.with_suffix(".results").write_bytes(pickle.dumps(results))
if sys.argv[2] == "plain":
    assert not [name for name in sys.modules if name.startswith("mlr_jax")]
"""


def specification(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), tree)


@pytest.fixture(scope="module")
def models():
    return {name: make() for name, make in MODELS.items()}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["plain", "types"])
def test_another_process_predicts_from_files(models, kind, tmp_path):
    """With the model in the file, it needs JAX alone; with the model as argument, the types of the models."""
    expected = {}
    for name, (predict, model, shape) in models.items():
        if kind == "types" and name in ONLY_AS_CONSTANT:
            continue
        (batch,) = export.symbolic_shape("batch")
        examples = jax.ShapeDtypeStruct((batch, *shape), np.float32)
        if kind == "plain":
            # Results whose types need not be known.
            function = jax.jit(lambda x, p=predict, m=model: jax.tree.leaves(p(m, x)))
            exported = export.export(function)(examples)
            arguments = ()
        else:
            exported = export.export(jax.jit(predict))(specification(model), examples)
            arguments = (jax.tree.map(np.asarray, model),)
        batches = [np.random.default_rng(num).random((num, *shape), dtype=np.float32) for num in BATCHES]
        expected[name] = [jax.tree.leaves(predict(model, each)) for each in batches]
        (tmp_path / f"{name}.exported").write_bytes(exported.serialize())
        (tmp_path / f"{name}.arguments").write_bytes(pickle.dumps((arguments, batches)))
    command = [sys.executable, "-c", CHILD, str(tmp_path), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    for name, values in expected.items():
        found = pickle.loads((tmp_path / f"{name}.results").read_bytes())
        chex.assert_trees_all_close(found, values, atol=1e-5, custom_message=name)


@pytest.mark.parametrize(
    "window", [windows.square(3), windows.mirrored(windows.foveated(blur=0.1)), windows.disk(1.5)]
)
def test_statistics_come_back_as_they_were(window):
    """Types that hold static values, window and channels among them."""
    faces = pairs(3, 9, 9, 2)
    statistics = synthesis.init_statistics(*faces, window=window, channels="shared")
    statistics = synthesis.update(statistics, *faces)
    exported = export.export(jax.jit(lambda each: (each, synthesis.solve(each, penalty=1.0))))(
        specification(statistics)
    )
    again = export.deserialize(bytearray(exported.serialize()))
    assert again.in_tree == exported.in_tree
    found, model = again.call(statistics)
    assert found.groups.window == model.window == window
    assert found.mode.channels == "shared"
    chex.assert_trees_all_equal(found, statistics)
    # A function for one window does not take the statistics of another.
    other = synthesis.init_statistics(*faces, window=windows.square(5), channels="shared")
    with pytest.raises(ValueError, match="metadata does not match"):
        again.call(other)


@pytest.mark.parametrize(
    ("fit", "shape", "what"),
    [
        (lambda x, y: synthesis.fit(x, y), PICTURE, "pairs"),
        (lambda x, y: masked_ridge.fit(x, y, MASK, 0.4), (72,), "examples"),
        (lambda x, y: l2_ridge.fit(x, y, 0.4), (72,), "examples"),
    ],
)
def test_fits_need_a_known_number(fit, shape, what):
    (batch,) = export.symbolic_shape("batch")
    with pytest.raises(checks.InputError, match=f"the number of {what} must be known, not batch"):
        export.export(jax.jit(fit))(*2 * [jax.ShapeDtypeStruct((batch, *shape), np.float32)])


def test_an_intensity_for_each_picture_is_exported(models):
    _, model, shape = models["window"]
    (batch,) = export.symbolic_shape("batch")
    examples = jax.ShapeDtypeStruct((batch, *shape), np.float32)
    intensities = jax.ShapeDtypeStruct((batch,), np.float32)

    def predict(images, intensity):
        return synthesis.synthesize(model, images, intensity=intensity)

    exported = export.export(jax.jit(predict))(examples, intensities)
    images, amounts = pairs(4, *shape)[0], np.linspace(0, 1, 4, dtype=np.float32)
    np.testing.assert_allclose(exported.call(images, amounts), predict(images, amounts), atol=1e-6)
