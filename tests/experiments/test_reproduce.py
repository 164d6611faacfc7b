"""Every experiment with --fast, through the one command that runs them all."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from experiments.reporting.verdicts import OWN
from mlr_jax import metrics, synthesis
from mlr_jax.datasets import synthetic
from mlr_jax.datasets.pairs import Pairs, split
from tests.experiments import scripts

NAMES = (
    "compare_baselines",
    "compare_changes",
    "compare_colour",
    "perception_distortion",
    "full_resolution",
    "displacement_fields",
    "receptive_field",
    "penalty",
    "model_selection",
    "training_size",
    "image_size",
    "out_of_dataset",
    "out_of_synthetic",
    "gan_comparison",
    "gan_expressions",
    "expressions",
)
# The methods that --fast compares.
METHODS = ["copy_input", "masked_ridge", "l2_ridge"]

pytestmark = pytest.mark.long


def run(script: str, *flags: str) -> subprocess.CompletedProcess:
    return scripts.run(f"experiments.{script}", *flags, optimize=False)


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Variables without the data of real people, and without optimisation."""
    return {key: value for key, value in os.environ.items() if key != "MLR_JAX_DATA"} | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0",
    }


@pytest.fixture(scope="module")
def everything(tmp_path_factory, environment) -> Path:
    """The folder of a run of all experiments, which publishes into `public`."""
    folder = tmp_path_factory.mktemp("everything")
    public = folder / "public"
    command = [sys.executable, "-m", "experiments.reproduce", "--fast"]
    done = subprocess.run(
        [*command, f"--output_dir={folder}", f"--publish={public}"],
        cwd=scripts.ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n[") == len(NAMES) - 1
    assert "(a) lower error" in done.stdout
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def pairs() -> tuple[Pairs, Pairs]:
    """The training and test pairs of --fast."""
    return split(synthetic.load(image_size=16, channels=1, num_subjects=24))


def error(train: Pairs, test: Pairs, **options) -> float:
    model = synthesis.fit(*train[:2], **options)
    return float(metrics.mse(synthesis.synthesize(model, test.neutral), test.expressive).mean())


@pytest.mark.parametrize("name", NAMES)
def test_writes_configuration_tables_and_figures(everything, name):
    config = json.loads((everything / name / "config.json").read_text())
    assert config["experiment"] == {
        "compare_changes": "compare_baselines",
        "compare_colour": "compare_baselines",
        "out_of_synthetic": "out_of_dataset",
        "gan_expressions": "gan_comparison",
    }.get(name, name)
    assert config["flags"]["fast"] is True
    assert config["flags"]["channels"] == 1
    assert rows(everything / name / "results.csv")
    figures = list((everything / name).glob("*.png"))
    assert figures
    for figure in figures:
        assert iio.imread(figure)[..., :3].std() > 5, figure


def test_perception_distortion(everything, pairs):
    train, test = pairs
    found = rows(everything / "perception_distortion" / "results.csv")
    assert [(row["method"], row["smoothing"]) for row in found] == [
        (name, smoothing) for name in METHODS for smoothing in ("0", "1")
    ]
    copied, own = ([row for row in found if row["method"] == name] for name in ("copy_input", "masked_ridge"))
    for row in copied:
        assert row["best_mse"] == row["mse"] == copied[0]["mse"]
        assert row["best_intensity"] == "0"
    assert float(own[0]["mse"]) == pytest.approx(error(train, test, penalty=0.4), rel=1e-3)
    model = synthesis.fit(*train[:2], penalty=0.4)
    intensities = np.arange(9) / 4
    errors = [
        metrics.mse(synthesis.synthesize(model, test.neutral, intensity=each), test.expressive)
        for each in intensities
    ]
    assert float(own[0]["best_mse"]) == pytest.approx(float(np.min(errors, axis=0).mean()), rel=1e-3)
    expected = np.median(intensities[np.argmin(errors, axis=0)])
    assert float(own[0]["best_intensity"]) == expected
    assert float(own[1]["sharpness"]) != float(own[0]["sharpness"])


def test_full_resolution(everything, pairs):
    found = rows(everything / "full_resolution" / "results.csv")
    outputs = list(dict.fromkeys(row["output"] for row in found))
    assert [(row["size"], row["output"]) for row in found] == [
        (size, output) for size in ("16", "32") for output in outputs
    ]
    large = {row["output"]: row for row in found if row["size"] == "32"}
    assert float(large["copy_input"]["sharpness_of_input"]) == 1
    sharpness = {output: float(row["sharpness_of_input"]) for output, row in large.items()}
    assert sharpness["warped_ridge"] > sharpness["masked_ridge"]
    # A closed mouth has no teeth to move.
    mouth = {output: float(row["mouth_mse"]) for output, row in large.items()}
    assert mouth["warped_ridge"] < mouth["warped_ridge, moved only"] < mouth["copy_input"]
    small = {row["output"]: row for row in found if row["size"] == "16"}
    _, test = pairs
    assert float(small["copy_input"]["mse"]) == pytest.approx(
        float(metrics.mse(test.neutral, test.expressive).mean()), rel=1e-5
    )


def test_displacement_fields(everything):
    found = {row["way"]: row for row in rows(everything / "displacement_fields" / "summary.csv")}
    unknown = {way: float(row["unknown"]) for way, row in found.items()}
    assert unknown["none"] == 1
    assert unknown["its own, learned from"] < unknown["window 9"] < unknown["mean"] < 1
    tried = [
        row for row in rows(everything / "displacement_fields" / "results.csv") if row["way"] == "window 9"
    ]
    assert unknown["window 9"] == min(float(row["unknown"]) for row in tried)
    assert len(tried) > 3
    assert float(found["its own, learned from"]["mse"]) < float(found["mean"]["mse"])


def test_receptive_field(everything, pairs):
    found = {row["window"]: row for row in rows(everything / "receptive_field" / "results.csv")}
    assert list(found) == ["none", "1", "3"]
    assert found["none"]["method"] == "copy_input"
    for window in (1, 3):
        expected = error(*pairs, window=window, penalty=0.4)
        assert float(found[str(window)]["mse"]) == pytest.approx(expected, rel=1e-3)
    assert int(found["1"]["num_parameters"]) == 2 * 16 * 16


def test_penalty(everything, pairs):
    train, test = pairs
    found = [row for row in rows(everything / "penalty" / "results.csv") if row["window"] == "3"]
    by_penalty = {float(row["penalty"]): row for row in found}
    assert len(found) == len(by_penalty) > 8
    for penalty in (0.003, 0.4, 100):
        row = by_penalty[penalty]
        assert float(row["test_mse"]) == pytest.approx(error(train, test, penalty=penalty), rel=1e-3)
        assert float(row["train_mse"]) == pytest.approx(error(train, train, penalty=penalty), rel=1e-2)
    fitted = [float(row["train_mse"]) for _, row in sorted(by_penalty.items())]
    assert fitted == sorted(fitted), "the training error grows with the penalty"
    assert all(float(row["held_out_mse"]) > float(row["train_mse"]) for row in found)


def test_training_size(everything, pairs):
    found = rows(everything / "training_size" / "results.csv")
    own = {int(row["num_pairs"]): float(row["mse"]) for row in found if row["method"] == OWN}
    assert list(own) == [5, 10, 22]
    assert own[22] == pytest.approx(error(*pairs, penalty=0.4), rel=1e-3)
    assert own[22] < own[10] < own[5]


def test_image_size(everything):
    found = rows(everything / "image_size" / "results.csv")
    assert [(row["image_size"], row["method"]) for row in found] == [
        (size, name) for size in ("16", "32") for name in METHODS
    ]
    for row in found:
        size = int(row["image_size"])
        number = {"copy_input": 0, OWN: (3 * size - 2) ** 2 + size**2, "l2_ridge": size**4 + size**2}
        assert int(row["num_parameters"]) == number[row["method"]]
        assert float(row["dense_gib"]) == pytest.approx(4 * number[row["method"]] / 2**30, rel=1e-4)
        # At least the training pictures.
        assert float(row["memory_gib"]) >= (row["method"] != "copy_input") * 2 * 22 * 4 * size**2 / 2**30
        assert row["stopped_by"] == ""


def test_image_size_reports_the_limit_that_stopped_it(tmp_path):
    flags = ("--fast", "--sizes=16", "--sizes=24", "--methods=l2_ridge", f"--output_dir={tmp_path}")
    done = run("image_size", *flags, "--memory_gib=1e-6")
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "results.csv")
    assert [row["stopped_by"] for row in found] == ["memory", "memory"]
    assert float(found[0]["memory_gib"]) > 1e-6
    assert found[0]["mse"] == ""


def test_expressions(everything):
    found = rows(everything / "expressions" / "results.csv")
    assert [(row["expression"], row["method"]) for row in found] == [
        (target, name) for target in ("happy", "sad") for name in METHODS
    ]
    sad = synthetic.load(image_size=16, channels=1, num_subjects=24, target="sad")
    row = next(row for row in found if (row["expression"], row["method"]) == ("sad", OWN))
    assert float(row["mse"]) == pytest.approx(error(*split(sad), penalty=0.4), rel=1e-3)


def test_out_of_dataset(everything):
    found = rows(everything / "out_of_dataset" / "results.csv")
    kinds = list(dict.fromkeys(row["pictures"] for row in found))
    assert kinds == ["own test people", "sketches", "oil paintings", "astronaut", "cat"]
    for row in found:
        if row["method"] == "copy_input":
            assert float(row["ssim_to_input"]) == pytest.approx(1)
            assert row["relative_mse"] in ("", "1")
        assert (row["mse"] == "") == (row["pictures"] in ("astronaut", "cat"))
    kept = {row["method"]: float(row["ssim_to_input"]) for row in found if row["pictures"] == "cat"}
    assert kept["masked_ridge"] > kept["l2_ridge"]


def test_experiments_share_their_pictures(everything):
    assert list((everything / "cache").glob("pairs-*.npz"))
    assert (everything / "cache" / ".gitignore").read_text() == "*\n"
    assert not list(everything.glob("*/cache"))


def test_verdicts_and_report(everything):
    table = (everything / "verdicts.md").read_text()
    assert re.findall(r"^\| \((\w)\)", table, re.MULTILINE) == list("abcdef")
    assert "not tested" not in table
    report = (everything / "report.html").read_text().replace("<wbr>", "")
    assert all(f">{name}<" in report for name in NAMES)


def test_publishes_no_face_of_a_data_set(everything):
    public = everything / "public"
    page = (public / "README.md").read_text()
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (public / link).is_file(), link
    assert (everything / "verdicts.md").read_text() in page
    published = {path.name for path in public.rglob("*.png")}
    assert "comparison.png" not in published
    assert str(everything) not in page


def test_gan_comparison(everything):
    found = rows(everything / "gan_comparison" / "results.csv")
    train, test = split(synthetic.load(image_size=32, channels=1, num_subjects=24))
    by_method = {
        (row["num_pairs"], row["method"]): row for row in found if row["pictures"] == "own test people"
    }
    assert set(by_method) == {
        (pairs, name) for pairs in ("22", "10") for name in ("copy_input", "masked_ridge", "pix2pix")
    }
    own, gan = by_method["22", "masked_ridge"], by_method["22", "pix2pix"]
    assert float(own["mse"]) == pytest.approx(error(train, test, penalty=0.4), rel=1e-3)
    assert float(gan["num_parameters"]) > 2 * float(own["num_parameters"])
    assert float(gan["fit_seconds"]) > 0
    assert float(gan["epochs"]) >= 1
    assert own["epochs"] == ""
    assert float(gan["megabytes"]) > 0
    # The cat has no true expression, and so no error.
    cat = [row for row in found if row["pictures"] == "cat" and row["method"] == "pix2pix"]
    assert [row["mse"] for row in cat] == [""]
    assert 0 < float(cat[0]["ssim_to_input"]) < 1
    curves = rows(everything / "gan_comparison" / "curves.csv")
    assert {row["method"] for row in curves} == {"pix2pix"}
    assert all(float(row["held_out_l1"]) > 0 for row in curves)


def test_gan_expressions(everything):
    """StarGAN is trained once, and tested on each expression."""
    found = rows(everything / "gan_expressions" / "results.csv")
    stargan = {row["expression"]: row for row in found if row["method"] == "stargan"}
    assert list(stargan) == ["happy", "sad", "surprised"]
    assert len({row["fit_seconds"] for row in stargan.values()}) == 1
    assert len({row["ssim_to_input"] for row in stargan.values()}) == 3


def test_a_repeated_run_computes_new_methods_only(everything, environment):
    """After one more method, the other rows of the tables are the same."""
    folder = everything / "training_size"
    kept = {path: path.stat().st_mtime_ns for path in (folder / "trials").iterdir()}
    before = rows(folder / "results.csv")
    # Compiled in the same way: other compiler options change the last bits of the faces.
    command = [sys.executable, "-m", "experiments.training_size", "--fast", "--channels=1"]
    done = subprocess.run(
        [*command, f"--output_dir={folder}", f"--methods={','.join(METHODS)},mean_change"],
        cwd=scripts.ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list((folder / "trials").iterdir())) == len(kept) + 3
    after = rows(folder / "results.csv")
    assert [row for row in after if row["method"] != "mean_change"] == before


def test_expressions_that_some_people_lack(tmp_path):
    """Each expression is tested on the people who have it; an expression that nobody has is named."""
    folder = tmp_path / "people"
    folder.mkdir()
    lines = ["subject,neutral,expressive,expression"]
    for place, subject in enumerate("abcd"):
        for expression in ("neutral", "happy", "sad") if subject in "cd" else ("neutral", "happy"):
            name = f"{subject}_{expression}.png"
            iio.imwrite(folder / name, np.full((20, 24), 37 * place + 10 * len(expression), np.uint8))
            if expression != "neutral":
                lines.append(f"{subject},{subject}_neutral.png,{name},{expression}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    data = ("--dataset=manifest", f"--data_dir={folder}", "--targets=happy,sad,bored")
    done = run("expressions", "--fast", "--methods=copy_input", f"--output_dir={tmp_path}", *data)
    assert done.returncode == 0, done.stderr
    assert "left out, since the data set lacks them: bored" in done.stderr
    assert [row["expression"] for row in rows(tmp_path / "errors.csv")] == ["happy", "sad"]
    assert (tmp_path / "faces.png").exists()


def test_runs_with_other_flags_are_not_judged_together(everything):
    before = (everything / "verdicts.md").read_text()
    done = run("reproduce", "--fast", "--seed=1", "--only=penalty", f"--output_dir={everything}")
    assert done.returncode == 1
    assert "compare_baselines was run with --channels=1 --fast, not with --channels=1 --fast --seed=1" in (
        done.stderr
    )
    assert (everything / "verdicts.md").read_text() == before


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("receptive_field", ["--methods=l2_ridge"], "not about l2_ridge, but about masked_ridge"),
        ("expressions", ["--targets=bored"], "bored"),
        ("perception_distortion", ["--smoothings=-1"], "--smoothings must be 0 or more, not -1"),
        ("reproduce", ["--only="], "--only must name one at least of compare_baselines"),
        ("reproduce", ["--only=magic"], "--only: there is no 'magic'; there are compare_baselines"),
    ],
)
def test_mistakes_get_one_line(tmp_path, script, flags, words):
    done = run(script, "--fast", f"--output_dir={tmp_path}", *flags)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_model_selection(everything, pairs):
    train, test = pairs
    found = rows(everything / "model_selection" / "relative.csv")
    assert [row["method"] for row in found] == ["copy_input", "masked_ridge", "mirrored_pairs"]
    assert float(found[1]["relative_mse_mean"]) == 1
    published = error(train, test, penalty=0.4)
    mirrored = error(train, test, penalty="auto", mirror=True)
    assert float(found[1]["mse"]) == pytest.approx(published, rel=1e-3)
    assert float(found[2]["relative_mse_mean"]) == pytest.approx(mirrored / published, rel=1e-3)
    assert float(found[0]["relative_mse_mean"]) == pytest.approx(
        float(metrics.mse(test.neutral, test.expressive).mean()) / published, rel=1e-3
    )
