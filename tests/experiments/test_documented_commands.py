"""The commands of docs/photographs.md run as printed, on files that this test makes."""

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from mlr_jax.datasets import landmarks
from tests.datasets import drawn
from tests.experiments import scripts

PAGE = Path(__file__).parents[2] / "docs" / "photographs.md"


def commands() -> list[list[str]]:
    """The modules and flags of the commands in blocks."""
    text = PAGE.read_text().replace("\\\n", " ")
    found = re.findall(r"^    python -m (.*)$", text, re.MULTILINE)
    return [shlex.split(each) for each in found]


def make_table(path: Path) -> None:
    """A manifest with landmarks of four people who frown."""
    names = [f"{side}_{column}" for side in ("neutral", "expressive") for column in landmarks.COLUMNS]
    rows = []
    for number in range(4):
        points = [drawn.landmarks(50 + 4 * number, tilt=number, mouth=mouth) for mouth in (1, 0.9)]
        for side, each in zip("nf", points, strict=True):
            drawn.draw(path.parent / f"{side}{number}.png", number, each)
        files = f"n{number}.png", f"f{number}.png"
        rows.append([f"person{number}", *files, "frown", *np.ravel(points[0]), *np.ravel(points[1])])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["subject", "neutral", "expressive", "expression", *names], *rows])


@pytest.mark.long
def test_the_commands_run_as_printed(tmp_path):
    pytest.importorskip("mediapipe", reason="the extra 'align' is not installed", exc_type=ImportError)
    for name in ("photo.jpg", "drawing.png"):
        Image.fromarray(data.astronaut()).save(tmp_path / name)
    make_table(tmp_path / "TABLE.csv")
    printed = commands()
    assert len(printed) == 4
    for module, *flags in printed:
        # Files lie in a folder of this test; and what is written by default, too.
        flags = [re.sub(r"=(\w+\.[a-z]\w*)$", rf"={tmp_path}/\1", flag) for flag in flags]
        names = {flag.partition("=")[0] for flag in flags}
        if module == "experiments.train":
            flags.append(f"--output_dir={tmp_path / 'run'}")
        elif "--output" not in names:
            flags.append(f"--output={tmp_path / 'results'}")
        done = scripts.run(module, *flags, optimize=False)
        assert done.returncode == 0, (module, flags, done.stderr)
    written = {path.name for path in (tmp_path / "results").glob("*.png")}
    assert written == {"drawing-smile.png", "photo-frown.png"}
    assert (tmp_path / "smile.jpg").is_file()
