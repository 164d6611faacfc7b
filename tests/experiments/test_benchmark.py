import csv
import json

import pytest

from tests.experiments import scripts


@pytest.mark.long
def test_writes_what_it_measures(tmp_path):
    done = scripts.run(
        "experiments.benchmark",
        "--fast",
        "--num_sampled=32",
        scripts.compiled(),
        # First calls are in test_first_calls.py.
        "--parts=fit,predict,select,solver,stream",
        f"--output_dir={tmp_path}",
        optimize=False,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "benchmark.csv").open() as file:
        rows = list(csv.DictReader(file))
    document = json.loads((tmp_path / "benchmark.json").read_text())
    assert [row["case"] for row in rows] == [row["case"] for row in document["results"]]
    assert document["bytes_per_second"] > 0
    assert {"mlr_jax", "numpy_loop", "scikit_learn", "plain_jax", "scipy_csr"} <= {row["way"] for row in rows}
    for row in rows:
        assert 0 < float(row["fastest"]) <= float(row["seconds"]) <= float(row["slowest"])
        # All ways solve the same problem.
        assert not row["error"] or float(row["error"]) < 1e-3
        assert row["case"] in (tmp_path / "benchmark.md").read_text()
        assert not row["peak_megabytes"] or float(row["peak_megabytes"]) > 0
    streams = [row for row in rows if row["way"] == "experiments.train"]
    assert all(float(row["pairs_per_second"]) > 0 for row in streams)
    assert len(streams) == 2
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_part_is_named(tmp_path):
    done = scripts.run("experiments.benchmark", "--parts=guess", f"--output_dir={tmp_path}")
    assert done.returncode == 1
    assert "there is no part 'guess'; there are fit, predict, select, solver, stream, first" in done.stderr
