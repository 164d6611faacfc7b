import csv
import subprocess

import pytest

from experiments.benchmarking import first_calls
from mlr_jax import checks
from tests.experiments import scripts


@pytest.mark.long
def test_every_call_is_measured_in_a_new_process(tmp_path):
    done = scripts.run(
        "experiments.benchmark",
        "--fast",
        "--parts=first",
        "--first_calls=fit_and_synthesize,photograph",
        "--baseline_commit=nothing",
        f"--output_dir={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "benchmark.csv").open() as file:
        rows = {(row["case"], row["way"]): row for row in csv.DictReader(file)}
    fit, photograph = "first fit + synthesize 24 x 24, N=40, r=3", "synthesize, one photograph"
    ways = [(fit, way) for way in ("mlr_jax", "plain_jax", "numpy_loop", "as of nothing")]
    ways += [(photograph, way) for way in ("mlr_jax", "mlr_jax, filled cache", "as of nothing")]
    assert list(rows) == ways
    for (case, way), row in rows.items():
        if way == "as of nothing":
            assert "nothing" in row["note"]
            continue
        assert float(row["seconds"]) > 0
        assert float(row["cpu_seconds"]) > 0
        assert float(row["peak_megabytes"]) > 0
        # All ways solve the same problem.
        assert not row["error"] or float(row["error"]) < 1e-3
        assert bool(row["warm_seconds"]) == (case == fit)
        assert bool(row["times_as_long"]) == (way != "mlr_jax")
    assert int(rows[fit, "plain_jax"]["programs"]) == 2
    assert int(rows[fit, "numpy_loop"]["programs"]) == 0
    assert int(rows[fit, "mlr_jax"]["programs"]) > 0
    # A photograph compiles nothing.
    assert int(rows[photograph, "mlr_jax"]["programs"]) == 0
    assert int(rows[photograph, "mlr_jax, filled cache"]["programs"]) == 0
    assert "not measured" in (tmp_path / "benchmark.md").read_text()


def test_checkout_copies_a_commit(tmp_path):
    command = ["git", "-C", str(scripts.ROOT), "rev-parse", "--verify", "HEAD"]
    try:
        known = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        known = False
    if known:
        first_calls.checkout("HEAD", tmp_path)
        assert (tmp_path / "mlr_jax" / "__init__.py").is_file()
        assert not (tmp_path / ".git").exists()
    else:
        with pytest.raises(checks.InputError, match="git"):
            first_calls.checkout("HEAD", tmp_path)


def test_an_unknown_commit_is_named(tmp_path, monkeypatch):
    with pytest.raises(checks.InputError, match="git does not know nothing: "):
        first_calls.checkout("nothing", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(checks.InputError, match="git cannot be started"):
        first_calls.checkout("HEAD", tmp_path)


def test_an_unknown_call_is_named():
    measured = first_calls.measure(["guess"], commit=None, num_processes=1, fast=True)
    with pytest.raises(checks.InputError, match="there is no call 'guess'; there are import, fit"):
        next(measured)
