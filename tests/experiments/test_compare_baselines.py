"""The main job, through its command line."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import compare_baselines, run_folder
from experiments.methods import METHODS
from mlr_jax import images, metrics, synthesis
from mlr_jax.checks import InputError
from mlr_jax.datasets import synthetic
from mlr_jax.datasets.pairs import split

ROOT = Path(__file__).parents[2]
HEADER = "method,mse,psnr,ssim,num_parameters,fit_seconds,predict_seconds"


def run(*flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.compare_baselines", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def results(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return {row["method"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory) -> tuple[Path, str]:
    """A run on a few small synthetic faces: its folder and its output."""
    folder = tmp_path_factory.mktemp("run") / "made" / "here"
    done = run("--num_subjects=24", "--image_size=16", f"--output_dir={folder}", "--seed=3")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_writes_the_table(small_run):
    folder, output = small_run
    assert (folder / "results.csv").read_text().startswith(HEADER + ",")
    rows = results(folder)
    assert list(rows) == list(METHODS)
    for name, row in rows.items():
        assert float(row["mse"]) > 0
        assert -10 * np.log10(float(row["mse"])) <= float(row["psnr"]) + 1e-4, "a mean of logarithms"
        assert 0 < float(row["ssim"]) < 1
        assert float(row["fit_seconds"]) >= 0
        assert name in output
    assert rows["copy_input"]["num_parameters"] == "0"


def test_the_table_is_what_the_library_says(small_run):
    pairs = synthetic.load(image_size=16, num_subjects=24, seed=3)
    train, test = split(pairs, test_fraction=0.1, seed=3)
    model = synthesis.fit(train.neutral, train.expressive, window=3, penalty=0.4)
    pictures = {
        "copy_input": test.neutral,
        "mean_change": test.neutral + (train.expressive - train.neutral).mean(axis=0),
        "masked_ridge": synthesis.synthesize(model, test.neutral),
    }
    rows = results(small_run[0])
    for name, predicted in pictures.items():
        for metric in (metrics.mse, metrics.psnr, metrics.ssim):
            expected = float(metric(predicted, test.expressive).mean())
            assert float(rows[name][metric.__name__]) == pytest.approx(expected, rel=1e-3)
    config = json.loads((small_run[0] / "config.json").read_text())
    assert config["test_subjects"] == list(test.subjects)


def test_seconds_are_those_of_a_finished_run():
    """Tracing takes a second, and a run a tenth of one, in which the device is waited for."""

    def wait(x):
        time.sleep(0.1)
        return x

    def slow(x):
        time.sleep(1)
        return jax.pure_callback(wait, x, x)

    _, seconds, compile_seconds = compare_baselines._run(slow, jnp.ones(3))
    assert compile_seconds >= 1
    assert 0.1 <= seconds < 1


def test_writes_the_configuration(small_run):
    config = json.loads((small_run[0] / "config.json").read_text())
    assert config["flags"]["num_subjects"] == 24
    assert config["flags"]["source"] == "neutral"
    assert config["flags"]["penalty"] == 0.4
    assert (config["num_train"], config["num_test"]) == (22, 2)
    assert len(config["test_subjects"]) == 2
    assert config["image_shape"] == [16, 16, 3]
    assert config["flags"]["channels"] == 3
    assert {"jax", "numpy", "python"} <= config["versions"].keys()
    assert config["device"]["platform"]


def test_draws_the_comparison(small_run):
    sheet = iio.imread(small_run[0] / "comparison.png")
    # Two test faces in rows; input, three methods and the truth in columns.
    assert sheet.shape[1] > 1.5 * sheet.shape[0]
    assert sheet[..., :3].std() > 20


@pytest.mark.long
def test_folder_grey_test_list_and_chosen_methods(tmp_path, rng):
    root = tmp_path / "faces"
    for expression in ("calm", "glad"):
        (root / expression).mkdir(parents=True)
        for n in range(9):
            images.write(root / expression / f"p{n}.png", rng.random((20, 20, 3)))
    test_list = tmp_path / "test.txt"
    test_list.write_text("p3\n\np5\n")
    done = run(
        "--dataset=folder",
        f"--data_dir={root}",
        "--source=glad",
        "--target=calm",
        "--channels=1",
        "--image_size=16",
        f"--test_list={test_list}",
        "--methods=masked_ridge,copy_input",
        "--window=5",
        "--penalty=2",
        f"--output_dir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    assert list(results(tmp_path / "run")) == ["masked_ridge", "copy_input"]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["test_subjects"] == ["p3", "p5"]
    assert config["image_shape"] == [16, 16, 1]
    row = results(tmp_path / "run")["masked_ridge"]
    assert "window=5 penalty=2" in row["setting"]
    # (5 H - 6) (5 W - 6) entries of windows cut at the border, and the biases.
    assert int(row["num_parameters"]) == (5 * 16 - 6) ** 2 + 16 * 16
    assert list((tmp_path / "run" / "cache").iterdir()), "decoded pictures are kept"


@pytest.mark.long
def test_a_failed_run_leaves_nothing_of_the_run_before(tmp_path):
    """Black pictures and no penalty: the systems are singular."""
    for expression in ("neutral", "happy"):
        (tmp_path / expression).mkdir()
        for name in "abc":
            images.write(tmp_path / expression / f"{name}.png", np.zeros((16, 16, 3)))
    flags = ("--dataset=folder", f"--data_dir={tmp_path}", "--image_size=16", f"--output_dir={tmp_path}")
    assert run(*flags, "--methods=copy_input").returncode == 0
    assert (tmp_path / "comparison.png").exists()
    done = run(*flags, "--methods=masked_ridge", "--penalty=0")
    assert done.returncode == 1
    assert done.stderr.startswith("error: masked_ridge has no finite solution")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "comparison.png").exists()
    assert not (tmp_path / "results.csv").exists()


@pytest.mark.long
def test_a_mistake_costs_no_results(small_run):
    folder, _ = small_run
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {".gitignore", "config.json", "results.csv", "comparison.png"} == set(before)
    for mistake in ("--window=4", "--dataset=folder", "--test_fraction=7"):
        assert run("--num_subjects=24", "--image_size=16", f"--output_dir={folder}", mistake).returncode == 1
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_only_a_new_folder_is_hidden_from_git(tmp_path):
    (tmp_path / ".gitignore").write_text("mine")
    assert run_folder.create(str(tmp_path)) == tmp_path
    assert (tmp_path / ".gitignore").read_text() == "mine"
    assert (run_folder.create(str(tmp_path / "new")) / ".gitignore").read_text() == "*\n"
    with pytest.raises(InputError, match="not a folder that can be written to"):
        run_folder.create(str(tmp_path / ".gitignore"))


@pytest.mark.long
def test_masked_ridge_wins_on_the_default_faces(tmp_path):
    done = run("--image_size=32", "--channels=1", f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    mse = {name: float(row["mse"]) for name, row in results(tmp_path).items()}
    assert mse["masked_ridge"] < 0.9 * mse["l2_ridge"]
    assert mse["masked_ridge"] < 0.8 * mse["copy_input"]
    assert mse["masked_ridge"] > 0.3 * mse["copy_input"], "the faces are too easy"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_masked_ridge_wins_on_real_people(london_dir, tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("london")
    done = run(
        "--dataset=london",
        f"--data_dir={london_dir}",
        "--channels=1",
        f"--seed={seed}",
        f"--output_dir={folder}",
        "--methods=copy_input,masked_ridge,l2_ridge",
    )
    assert done.returncode == 0, done.stderr
    mse = {name: float(row["mse"]) for name, row in results(folder).items()}
    assert mse["masked_ridge"] < mse["copy_input"] < mse["l2_ridge"]


@pytest.fixture(scope="module")
def broken_folder(tmp_path_factory) -> Path:
    """Two people, of whom one has an unreadable picture."""
    root = tmp_path_factory.mktemp("broken")
    for expression in ("neutral", "happy"):
        (root / expression).mkdir()
        for name in ("a", "b"):
            images.write(root / expression / f"{name}.png", np.zeros((20, 20, 3)))
    (root / "happy" / "b.png").write_text("rubbish")
    return root


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--methods=masked_ridge,magic"], "--methods: there is no method 'magic'; there are copy_input"),
        (["--methods=copy_input,copy_input"], "none twice"),
        (["--window=4"], "size must be odd and positive"),
        (["--target=bored"], "bored"),
        (["--target=neutral"], "neutral"),
        (["--test_fraction=2"], "--test_fraction must be between 0 and 1, not 2"),
        (["--test_list=/nowhere/list.txt"], "--test_list: cannot read /nowhere/list.txt"),
        (["--dataset=folder"], "--dataset=folder needs --data_dir"),
        (["--data_dir=here"], "--data_dir needs --dataset=folder or --dataset=london"),
        (["--dataset=folder", "--data_dir=/nowhere"], "there is no folder /nowhere"),
        (["--dataset=london", "--data_dir=/nowhere"], "there is no folder /nowhere/neutral_front"),
        (["extra"], "unexpected argument 'extra'"),
    ],
)
def test_mistakes_get_one_line(tmp_path, flags, words):
    done = run("--num_subjects=4", "--image_size=16", f"--output_dir={tmp_path}", *flags)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_an_unreadable_picture_is_named(tmp_path, broken_folder):
    done = run("--dataset=folder", f"--data_dir={broken_folder}", f"--output_dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot read ")
    assert str(Path("happy") / "b.png") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["--penalty=-1", "--channels=2", "--dataset=moon", "--image_size=3"])
def test_impossible_flags_are_refused(tmp_path, flag):
    done = run(flag, f"--output_dir={tmp_path}")
    assert done.returncode != 0
    assert flag.split("=")[0].strip("-") in done.stderr
    assert "Traceback" not in done.stderr
