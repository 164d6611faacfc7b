"""Pictures that are taken whole, from training to the message about the template."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from mlr_jax import model_file
from tests.experiments import scripts

pytest.importorskip("mediapipe", reason="the extra 'align' is not installed", exc_type=ImportError)


def write(folder, *, shift: int):
    """The astronaut's face in squares of 96 pixels, `shift` pixels farther in each."""
    for expression in ("neutral", "happy"):
        (folder / expression).mkdir(parents=True)
        for number in range(4):
            left = 160 - 20 + shift * number
            face = data.astronaut()[40:168, left : left + 128].astype(float) * (1 - 0.05 * number)
            small = Image.fromarray(face.astype(np.uint8)).resize((96, 96), Image.Resampling.LANCZOS)
            small.save(folder / expression / f"{number}.png")
    return f"--data_dir={folder}"


@pytest.mark.parametrize("shift", [0, 12])
def test_whether_whole_pictures_are_aligned(tmp_path, shift):
    model, flags = tmp_path / "model.npz", ("--dataset=folder", write(tmp_path / "faces", shift=shift))
    options = (f"--model={model}", f"--output_dir={tmp_path / 'run'}", "--image_size=96")
    trained = scripts.run("experiments.train", *flags, *options, optimize=False)
    assert trained.returncode == 0, trained.stderr
    found = model_file.load(model).metadata.get("measured_template")
    output = f"--output={tmp_path / 'out.png'}"
    eyes = "--eyes=203.5,101,246.2,103"
    said = scripts.run("experiments.synthesize", f"--model={model}", "--input=astronaut", output, eyes).stderr
    assert "that were taken whole; " in said
    assert "0.39" not in said
    if shift:
        assert "note: the faces are not aligned: in 4 pictures the eyes are up to 0." in trained.stderr
        assert found is None
        assert "measured in a training picture" in said
    else:
        assert "not aligned" not in trained.stderr
        expected = 43 / 128, (102 - 40) / 128, (141 - 40) / 128
        np.testing.assert_allclose([float(part) for part in found.split(",")], expected, atol=0.03)
        assert f"--template={found}" in said
