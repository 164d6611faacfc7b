"""The comparison of methods, from its command line."""

import csv
import json
import subprocess
import time
from pathlib import Path

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from experiments import compare_baselines
from experiments.comparing import comparison, summary
from experiments.comparing.methods import GANS, METHODS, VARIANTS
from experiments.running import run_folder, timing
from mlr_jax import images, metrics, synthesis
from mlr_jax.checks import InputError
from mlr_jax.datasets import synthetic
from mlr_jax.datasets.pairs import folds, split
from tests.experiments import scripts

USUAL = [name for name in METHODS if name not in (*VARIANTS, *GANS)]
HEADER = "method,mse,psnr,ssim,sharpness,num_parameters,fit_seconds,predict_seconds"


def run(*flags: str, optimize: bool = False) -> subprocess.CompletedProcess:
    return scripts.run("experiments.compare_baselines", scripts.cached(), *flags, optimize=optimize)


def results(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return {row["method"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory) -> tuple[Path, str, str]:
    """A run on a few small synthetic faces with the published values: its folder and its output."""
    folder = tmp_path_factory.mktemp("run") / "made" / "here"
    done = run("--num_subjects=44", "--image_size=16", f"--output_dir={folder}", "--seed=3", "--select=fixed")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


def test_writes_the_table(small_run):
    folder, output, _ = small_run
    assert (folder / "results.csv").read_text().startswith(HEADER + ",")
    rows = results(folder)
    assert list(rows) == USUAL
    for name, row in rows.items():
        assert float(row["mse"]) > 0
        assert -10 * np.log10(float(row["mse"])) <= float(row["psnr"]) + 1e-4, "a mean of logarithms"
        assert 0 < float(row["ssim"]) < 1
        assert float(row["fit_seconds"]) >= 0
        assert name in output
    assert rows["copy_input"]["num_parameters"] == "0"


def test_rows_of_quick_methods_appear_first(small_run):
    """Rows above the progress bar do; the tables have the methods in the usual order."""
    folder, output, errors = small_run
    shown, tabulated = (
        [line.split() for line in text.replace("\r", "\n").splitlines() if line.split(" ")[0] in USUAL]
        for text in (errors, output)
    )
    rows = results(folder)
    for name, error, *_ in shown:
        assert error == f"{1e3 * float(rows[name]['mse']):.3f}"
    slow = ["l0_omp", "masked_lsrf", "warped_ridge", "l1_lasso"]
    quick = [name for name in USUAL if name not in slow]
    assert [words[0] for words in shown] == [*quick, *slow]
    assert [words[0] for words in tabulated] == USUAL


def test_the_table_agrees_with_the_library(small_run):
    pairs = synthetic.load(image_size=16, num_subjects=44, seed=3)
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


def test_choices_are_the_fixed_values(small_run):
    rows = results(small_run[0])
    assert rows["masked_ridge"]["choice"] == "window=3 penalty=0.4"
    assert rows["copy_input"]["choice"] == ""
    assert list(rows["l0_omp"])[-2:] == ["choice", "at_end"]
    assert rows["kernel_ridge"]["choice"].split()[0] == f"shape={METHODS['kernel_ridge'].fixed['shape']}"


@pytest.fixture(scope="module")
def two_splits(tmp_path_factory) -> Path:
    """Two splits of a few faces, with hyper-parameters by cross-validation."""
    folder = tmp_path_factory.mktemp("splits")
    done = run(
        "--num_subjects=20",
        "--image_size=16",
        "--channels=1",
        "--num_seeds=2",
        "--num_folds=3",
        "--seed=5",
        "--methods=mean_change,l2_ridge,masked_ridge,l1_lasso",
        f"--output_dir={folder}",
    )
    assert done.returncode == 0, done.stderr
    assert "2 splits" in done.stdout
    return folder


def test_several_splits_are_summarised(two_splits):
    with (two_splits / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["5"] * 4 + ["6"] * 4
    with (two_splits / "summary.csv").open() as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames) == summary.HEADER
        summaries = {row["method"]: row for row in reader}
    for name, row in summaries.items():
        errors = [float(each["mse"]) for each in rows if each["method"] == name]
        assert float(row["mse_mean"]) == pytest.approx(np.mean(errors), rel=1e-5)
        assert float(row["mse_se"]) == pytest.approx(abs(errors[0] - errors[1]) / 2, rel=1e-4)
        assert (row["p_value"] == "") == (name == "masked_ridge")
    assert summaries["l2_ridge"]["num_people"] == "4", "synthetic people are new with every seed"
    assert (two_splits / "summary.png").exists()


def test_cross_validation_chooses_the_penalty_of_scikit_learn(two_splits):
    """With ridge regression over the same folds and grid."""
    train, _ = split(synthetic.load(image_size=16, channels=1, num_subjects=20, seed=6), seed=6)
    penalties = METHODS["l2_ridge"].grid["penalty"]
    errors = np.zeros(len(penalties))
    for part, held_out in folds(train, num_folds=3, seed=6):
        flat = [each.reshape(len(each), -1).astype(np.float64) for each in (*part[:2], *held_out[:2])]
        for i, penalty in enumerate(penalties):
            predicted = Ridge(alpha=penalty).fit(flat[0], flat[1]).predict(flat[2])
            errors[i] += np.sum((predicted - flat[3]) ** 2)
    best = penalties[int(np.argmin(errors))]
    assert penalties[-1] < best < penalties[0], "the grid is too narrow for this test"
    with (two_splits / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "l2_ridge" and row["seed"] == "6"]
    assert rows[0]["choice"] == f"penalty={best:g}"
    config = json.loads((two_splits / "config.json").read_text())
    assert config["grids"]["l2_ridge"]["penalty"] == list(penalties)


def test_a_method_that_cannot_run_is_skipped_with_its_reason(tmp_path):
    """Three training pairs have too few principal components."""
    flags = ("--num_subjects=4", "--image_size=16", "--channels=1", f"--output_dir={tmp_path}")
    done = run(*flags, "--methods=copy_input,pca_ridge")
    assert done.returncode == 0, done.stderr
    assert "skipped: pca_ridge, seed 0: reduced_rank.fit_pca: input_rank must be at most 2" in done.stderr
    assert list(results(tmp_path)) == ["copy_input"]
    assert list(json.loads((tmp_path / "config.json").read_text())["skipped"]) == ["pca_ridge, seed 0"]
    done = run(*flags, "--methods=pca_ridge")
    assert done.returncode == 1
    assert done.stderr.startswith("error: pca_ridge, seed 0: ")


def test_seconds_exclude_tracing_and_include_waiting():
    """Tracing takes a second; a run takes a tenth, in which the program waits for the device."""

    def wait(x):
        time.sleep(0.1)
        return x

    def slow(x):
        time.sleep(1)
        return jax.pure_callback(wait, x, x)

    _, seconds, compile_seconds = timing.compile_and_run(slow, jnp.ones(3))
    assert compile_seconds >= 1
    assert 0.1 <= seconds < 1


def test_writes_the_configuration(small_run):
    config = json.loads((small_run[0] / "config.json").read_text())
    assert config["flags"]["num_subjects"] == 44
    assert config["flags"]["source"] == "neutral"
    assert config["flags"]["select"] == "fixed"
    assert config["grids"]["masked_ridge"] == {"window": [3], "penalty": [0.4]}
    assert list(config["grids"]) == USUAL
    assert config["skipped"] == {}
    assert (config["num_train"], config["num_test"]) == (40, 4)
    assert len(config["test_subjects"]) == 4
    assert config["image_shape"] == [16, 16, 3]
    assert config["flags"]["channels"] == 3
    assert {"jax", "numpy", "python"} <= config["versions"].keys()
    assert config["device"]["platform"]


def test_draws_the_comparison(small_run):
    sheet = iio.imread(small_run[0] / "comparison.png")
    # Four test faces in rows; input, nine methods and the truth in columns.
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
        "--cache_dir=",
        f"--output_dir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    assert list(results(tmp_path / "run")) == ["masked_ridge", "copy_input"]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["test_subjects"] == ["p3", "p5"]
    assert config["image_shape"] == [16, 16, 1]
    row = results(tmp_path / "run")["masked_ridge"]
    assert row["choice"] == "window=5 penalty=2"
    # (5 H - 6) (5 W - 6) entries of windows cut at the border, and the biases.
    assert int(row["num_parameters"]) == (5 * 16 - 6) ** 2 + 16 * 16
    assert list((tmp_path / "run" / "cache").iterdir()), "decoded pictures are kept"


@pytest.mark.long
def test_a_failed_run_leaves_nothing_of_the_run_before(tmp_path):
    """Two training pairs have no rank of 32."""
    for expression in ("neutral", "happy"):
        (tmp_path / expression).mkdir()
        for place, name in enumerate("abc"):
            images.write(tmp_path / expression / f"{name}.png", np.full((16, 16, 3), place / 4))
    flags = ("--dataset=folder", f"--data_dir={tmp_path}", "--image_size=16", f"--output_dir={tmp_path}")
    assert run(*flags, "--methods=copy_input").returncode == 0
    assert (tmp_path / "comparison.png").exists()
    done = run(*flags, "--methods=reduced_rank")
    assert done.returncode == 1
    # After the progress bar, if one was shown.
    last = done.stderr.replace("\r", "\n").strip().splitlines()[-1].strip()
    assert last.startswith("error: reduced_rank, seed 0: ")
    assert not (tmp_path / "comparison.png").exists()
    assert not (tmp_path / "results.csv").exists()


@pytest.mark.long
def test_a_mistake_keeps_the_results_of_the_last_run(small_run):
    folder, _, _ = small_run
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    written = {"config.json", *comparison.TABLES, *compare_baselines.FIGURES}
    assert {".gitignore", ".lock", *written} == set(before)
    for mistake in ("--window=4", "--dataset=folder", "--test_fraction=7"):
        flags = ("--num_subjects=4", "--image_size=16", "--methods=copy_input,masked_ridge", mistake)
        assert run(*flags, f"--output_dir={folder}").returncode == 1
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_only_new_folders_get_a_gitignore(tmp_path):
    (tmp_path / ".gitignore").write_text("mine")
    assert run_folder.create(str(tmp_path)) == tmp_path
    assert (tmp_path / ".gitignore").read_text() == "mine"
    assert (run_folder.create(str(tmp_path / "new")) / ".gitignore").read_text() == "*\n"
    with pytest.raises(InputError, match="not a folder that can be written to"):
        run_folder.create(str(tmp_path / ".gitignore"))


@pytest.mark.long
def test_masked_ridge_wins_on_the_default_faces(tmp_path):
    methods = "--methods=copy_input,masked_ridge,l1_lasso,l2_ridge"
    flags = ("--image_size=32", "--channels=1", "--select=fixed", methods)
    done = run(*flags, f"--output_dir={tmp_path}", optimize=True)
    assert done.returncode == 0, done.stderr
    mse = {name: float(row["mse"]) for name, row in results(tmp_path).items()}
    assert mse["masked_ridge"] < 0.9 * mse["l2_ridge"]
    assert mse["masked_ridge"] < mse["l1_lasso"]
    assert mse["masked_ridge"] < 0.8 * mse["copy_input"]
    assert mse["masked_ridge"] > 0.3 * mse["copy_input"], "the faces are too easy"


@pytest.mark.long
def test_masked_ridge_wins_on_real_people(london_dir, tmp_path):
    """On each of three splits, by mean squared error."""
    done = run(
        "--dataset=london",
        f"--data_dir={london_dir}",
        "--channels=1",
        "--num_seeds=3",
        "--select=fixed",
        f"--output_dir={tmp_path}",
        "--methods=copy_input,mean_change,masked_ridge,l0_omp,l1_lasso,l2_ridge",
        optimize=True,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    for seed in range(3):
        mse = {row["method"]: float(row["mse"]) for row in rows if row["seed"] == str(seed)}
        assert min(mse, key=mse.get) == "masked_ridge"
        assert mse["masked_ridge"] < mse["copy_input"] < mse["l2_ridge"]
    with (tmp_path / "summary.csv").open() as file:
        for row in csv.DictReader(file):
            if row["method"] != "masked_ridge":
                assert float(row["mse_minus_reference"]) > 0
                assert float(row["p_value"]) < 0.01


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
        (["--num_seeds=2", "--test_list=x"], "--num_seeds needs random splits"),
        (["--test_fraction=2"], "--test_fraction must be between 0 and 1, not 2"),
        (["--test_list=/nowhere/list.txt"], "--test_list: cannot read /nowhere/list.txt"),
        (["--test_list=/dev/null"], "--test_list: /dev/null names no subject"),
        (["--test_list=README.md"], "--test_list: README.md: "),
        (["--dataset=folder"], "--dataset=folder needs --data_dir"),
        (["--data_dir=here"], "--data_dir needs --dataset: london, jaffe, ck_plus, folder, manifest"),
        (["--dataset=folder", "--data_dir=/nowhere"], "there is no folder /nowhere"),
        (["--dataset=london", "--data_dir=/nowhere"], "there is no folder /nowhere/neutral_front"),
        (["extra"], "unexpected argument 'extra'"),
    ],
)
def test_mistakes_get_one_line(tmp_path, flags, words):
    few = ("--num_subjects=4", "--image_size=16", "--methods=copy_input,masked_ridge")
    done = run(*few, f"--output_dir={tmp_path}", *flags)
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
def test_impossible_flags_are_rejected(tmp_path, flag):
    done = run(flag, f"--output_dir={tmp_path}")
    assert done.returncode != 0
    assert flag.split("=")[0].strip("-") in done.stderr
    assert "Traceback" not in done.stderr
