"""The script that makes the README's pictures."""

import imageio.v3 as iio
import pytest

from tests.experiments import scripts


@pytest.mark.long
def test_portraits(tmp_path):
    done = scripts.run("experiments.portraits", f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    for name in ("portraits.png", "parts.png"):
        assert str(tmp_path / name) in done.stdout
        height, width, _ = iio.imread(tmp_path / name).shape
        assert width > height > 500
