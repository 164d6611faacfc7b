"""Where the pictures of real people are at hand; `test_reproduce` does without."""

import csv

import pytest

from tests.experiments import scripts


@pytest.mark.long
@pytest.mark.parametrize(("dataset", "others"), [("london", "synthetic"), ("synthetic", "london")])
def test_out_of_dataset_has_people_of_the_other_kind(london_dir, tmp_path, dataset, others):
    assert london_dir.is_dir()
    done = scripts.run(
        "experiments.out_of_dataset",
        scripts.cached(),
        f"--dataset={dataset}",
        "--image_size=32",
        "--channels=1",
        "--num_subjects=20",
        "--select=fixed",
        "--methods=copy_input,masked_ridge",
        "--num_faces=1",
        f"--output_dir={tmp_path}",
        optimize=False,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = {(row["method"], row["pictures"]): row for row in csv.DictReader(file)}
    kinds = {"own test people", "sketches", "oil paintings", f"{others} people", "astronaut", "cat"}
    assert {pictures for _, pictures in rows} == kinds | {"composite faces"}
    assert (tmp_path / "faces.png").exists()
    assert (tmp_path / "public_faces.png").exists()
