import tomllib
from pathlib import Path

import numpy as np
import pytest

from mlr_jax import metrics, pretrained, warped_ridge
from mlr_jax.alignment import FaceTemplate
from mlr_jax.checks import InputError
from mlr_jax.datasets import london


def test_pretrained_models_are_small():
    assert sum(pretrained.path(name).stat().st_size for name in pretrained.NAMES) < 3e6


def test_pretrained_models_are_installed_with_the_package():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["mlr_jax.pretrained"]
    for name in pretrained.NAMES:
        assert any(Path(pretrained.path(name).name).match(pattern) for pattern in patterns)


@pytest.mark.parametrize("name", pretrained.NAMES)
def test_metadata_describes_the_model(name):
    model, template, metadata = pretrained.load(name)
    assert template == FaceTemplate()
    assert metadata["dataset"] == "london"
    assert (metadata["source"] == "neutral") == (name == "smile")
    assert metadata["num_people"] == 82
    assert model.change.bias.shape[1:] == (128, 128)


@pytest.mark.parametrize("name", pretrained.NAMES)
def test_any_input_changes_by_an_expression_only(name, rng):
    """Even noise stays near its range."""
    faces = rng.uniform(0.2, 0.8, (3, 128, 128, 3)).astype(np.float32)
    result = np.asarray(warped_ridge.synthesize(pretrained.load(name).model, faces))
    assert result.min() > -0.5
    assert result.max() < 1.5


def test_pretrained_models_reduce_the_error_on_their_training_faces(london_dir):
    """Also checks that the present alignment suits the models."""
    for name, source, target in (("smile", "neutral", "happy"), ("unsmile", "happy", "neutral")):
        opened = london.stream(london_dir, image_size=128, source=source, target=target)
        pairs = [opened.read(index) for index in range(6)]
        before, after = (np.stack(side) for side in zip(*pairs, strict=True))
        result = warped_ridge.synthesize(pretrained.load(name).model, before)
        error, unchanged = (float(metrics.mse(each, after).mean()) for each in (result, before))
        assert error < 0.75 * unchanged


def test_an_unknown_name_is_rejected():
    with pytest.raises(InputError, match="no pretrained model 'frown'; there are smile, unsmile"):
        pretrained.load("frown")
