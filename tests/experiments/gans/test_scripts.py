"""Training as a command, and GANs as methods of a comparison."""

import csv
import json
import sys

import pytest

from experiments.comparing.methods import GANS, METHODS, make_method
from experiments.comparing.methods.method import Settings
from experiments.gans.settings import GanSettings
from mlr_jax.checks import InputError
from tests.experiments import scripts

SMALL = ("--image_size=32", "--channels=1", "--num_subjects=8")


def run(script: str, *flags: str):
    return scripts.run(f"experiments.{script}", scripts.cached(), *flags, optimize=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with pix2pix, trained for an epoch."""
    folder = tmp_path_factory.mktemp("gans")
    flags = (*SMALL, "--width=2", "--budget=0", f"--output_dir={folder / 'pix2pix'}")
    done = run("train_gan", "--gan=pix2pix", *flags)
    assert done.returncode == 0, done.stderr
    assert "ended by: budget" in done.stdout
    return folder


def test_train_gan_writes_its_results(trained):
    figures = json.loads((trained / "pix2pix" / "train.json").read_text())
    assert figures["num_steps"] == 6
    assert figures["ended_by"] == "budget"
    assert figures["held_out_l1"] > 0
    assert (trained / "pix2pix" / "samples.png").exists()
    assert (trained / "pix2pix" / ".gitignore").read_text() == "*\n"


def test_a_checkpoint_is_a_row_of_the_comparison(trained, tmp_path):
    flags = (*SMALL, "--select=fixed", "--gan_width=2", f"--gan_checkpoints={trained}")
    compared = ("--methods=copy_input,pix2pix", *flags, f"--output_dir={tmp_path}")
    done = run("compare_baselines", *compared)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "results.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    figures = json.loads((trained / "pix2pix" / "train.json").read_text())
    assert int(rows["pix2pix"]["num_parameters"]) == figures["num_parameters"]
    assert float(rows["pix2pix"]["fit_seconds"]) == pytest.approx(figures["seconds"], rel=1e-3)
    assert float(rows["pix2pix"]["mse"]) > 0
    # A checkpoint trained on other people is rejected.
    done = run("compare_baselines", *compared, "--seed=1", "--methods=pix2pix")
    assert done.returncode == 1
    assert "was made with seed=0, not 1, other pictures; use another folder, or remove it" in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--image_size=48",), "--image_size must be 32, 64, 128, ..., not 48 x 48"),
        (("--targets=sad",), "--targets: pix2pix knows one expression to reach, --target"),
        (
            ("--gan=stargan", "--targets=sad,sad"),
            "--targets must name at least one expression, and none twice",
        ),
    ],
)
def test_mistakes_get_one_line(tmp_path, flags, words):
    done = run("train_gan", "--num_subjects=4", *flags, f"--output_dir={tmp_path}")
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_fitting_without_training_is_rejected():
    method = make_method("pix2pix", Settings())
    with pytest.raises(InputError, match="trained step by step, which this experiment cannot do"):
        method.fit(None, None)
    assert set(GANS) < set(METHODS)


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("experiments.gans")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flax", None)
    method = make_method("cyclegan", Settings(gan=GanSettings(width=2)))
    with pytest.raises(InputError, match=r"pip install '.\[gans\]' in the project's folder"):
        method.train(None, 0, tmp_path)
