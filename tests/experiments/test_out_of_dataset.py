"""With pictures of real people; `test_reproduce` has a test without them."""

import csv

import pytest

from tests.experiments import scripts


@pytest.mark.long
@pytest.mark.parametrize(("dataset", "others"), [("london", "synthetic"), ("synthetic", "london")])
def test_out_of_dataset_tests_people_of_the_other_data_set(london_dir, tmp_path, dataset, others):
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
