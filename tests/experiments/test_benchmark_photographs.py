import csv

import pytest

from tests.experiments import scripts


def test_writes_what_it_measures(tmp_path):
    done = scripts.run(
        "experiments.benchmark_photographs",
        "--megapixels=0.3",
        "--num_pairs=2",
        scripts.compiled(),
        f"--output_dir={tmp_path}",
        optimize=False,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "benchmark.csv").open() as file:
        rows = {row["what"]: row for row in csv.DictReader(file)}
    parts = [
        float(row["ms"])
        for what, row in rows.items()
        if row["faces_per_second"] == "" and "all of it" not in what
    ]
    # All parts except training and the PNG, which replaces the JPEG.
    assert sum(parts[:-2]) == pytest.approx(float(rows["all of it, 548 x 548"]["ms"]), rel=1e-4)
    assert float(rows["train warped ridge, 2 pairs of 128 x 128 x 3"]["ms"]) > 0
    for count in (1, 100):
        assert float(rows[f"warped ridge, {count} of 128 x 128 x 3"]["faces_per_second"]) > 0
        row = rows[f"masked ridge, {count} of 128 x 128 x 3"]
        assert float(row["difference"]) < 1e-5, "both compute the same"
        assert float(row["faces_per_second"]) > 0
    assert "| read JPEG |" in done.stdout
    assert (tmp_path / "config.json").is_file()
