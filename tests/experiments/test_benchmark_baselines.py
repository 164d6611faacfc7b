import csv
import json
import subprocess

import numpy as np
import pytest

from experiments import benchmark_baselines
from experiments.benchmark_baselines import Problem
from mlr_jax.baselines import l1_lasso
from tests.experiments import scripts


def run(*flags: str) -> subprocess.CompletedProcess:
    return scripts.run("experiments.benchmark_baselines", scripts.cached(), *flags, optimize=False)


@pytest.mark.long
def test_writes_what_it_measures(tmp_path):
    done = run(
        "--image_size=16",
        "--num_subjects=20",
        "--num_pairs=20",
        "--num_targets=5",
        "--alphas=0.01",
        "--num_nonzeros=3",
        f"--output_dir={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "benchmark.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    document = json.loads((tmp_path / "benchmark.json").read_text())
    assert list(rows) == [row["method"] for row in document["results"]]
    assert document["num_features"] == 256
    assert document["device"]["cores"]
    assert {"l1_lasso", "l0_omp", "l2_ridge", "kernel_ridge"} <= set(rows)
    assert rows["l0_omp"]["agreement"] == "5 of 5 supports equal"
    for row in rows.values():
        ratio = float(row["peer_ms_per_target_one_call"]) / float(row["ms_per_target"])
        assert float(row["times_as_fast_as_one_call"]) == pytest.approx(ratio, rel=1e-4)
        assert float(row["ms_per_target"]) == pytest.approx(1e3 * float(row["seconds"]) / 256, rel=1e-4)
        assert row["agreement"]


def test_the_gap_belongs_to_the_weights():
    rng = np.random.default_rng(0)
    inputs, targets = rng.random((10, 6), np.float32), rng.random((10, 4), np.float32)
    problem = Problem(inputs, targets, np.arange(4))
    params = l1_lasso.fit(inputs, targets, 0.01)
    weights = np.zeros((4, 6))
    for output in range(4):
        valid = np.asarray(params.map.mask.valid[output])
        indices = np.asarray(params.map.mask.indices[output])[valid]
        weights[output, indices] = np.asarray(params.map.linear.weights[output])[valid]
    gap = benchmark_baselines._gap(problem, 0.01, weights)
    assert gap == pytest.approx(float(params.gap.max()), abs=2e-6)
    assert benchmark_baselines._gap(problem, 0.01, 1.1 * weights) > 2 * gap


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--num_pairs=99", "--num_pairs: there are only 20 pairs, not 99"),
        ("--alphas=much", "--alphas: 'much' is not a number"),
        ("--channels=3", "the benchmark is for grey pictures"),
    ],
)
def test_mistakes_get_one_line(tmp_path, flag, words):
    done = run("--image_size=16", "--num_subjects=20", f"--output_dir={tmp_path}", flag)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
