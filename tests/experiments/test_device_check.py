import json
import os
import subprocess

import numpy as np
import pytest

from experiments.benchmarking import device_parts, device_processes, first_calls
from mlr_jax import checks
from tests.experiments import scripts


@pytest.mark.long
def test_all_parts_check_and_measure_the_device(tmp_path):
    """Through its shell script, without optimisation, since it computes little."""
    done = subprocess.run(
        ["bash", str(scripts.ROOT / "experiments" / "device_check.sh"), "--fast", f"--output_dir={tmp_path}"],
        cwd=tmp_path,
        env=os.environ
        | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "device_check.json").read_text())
    assert found["device"]["platform"] == "cpu"
    assert list(found["parts"]) == ["checks", "warm", "first", "pix2pix"]
    for part in found["parts"].values():
        assert not part["not_done"]
        assert part["rows"]
    checked = found["parts"]["checks"]["rows"]
    assert [row["passed"] for row in checked if "limit" in row] == [True] * (len(checked) - 1)
    assert {row["what"].split(":")[0] for row in checked} >= {"weights", "prediction", "sums in parts"}
    assert [row["way"] for row in found["parts"]["first"]["rows"]] == ["mlr_jax", "plain_jax"]
    assert found["parts"]["pix2pix"]["rows"][-1]["steps"] == 2
    table = (tmp_path / "device_check.md").read_text()
    assert table.startswith("# 1 x cpu (cpu), JAX ")
    assert "| weights: dual" in table


def run(monkeypatch, code: str, seconds: float) -> tuple[list[dict], str]:
    """Runs `code` instead of a part."""
    monkeypatch.setattr(
        device_processes, "_command", lambda part, task: ["python3", "-c", code, task["found"]]
    )
    return device_processes.run("checks", seconds, fast=True)


WRITE = "import sys, time; file = open(sys.argv[1], 'w'); file.write('{\"what\": 1}\\n{\"wh'); file.flush(); "


def test_a_part_that_fails_keeps_what_it_found(monkeypatch):
    lines, reason = run(monkeypatch, WRITE + "import a_package_that_is_missing", 60)
    assert lines == [{"what": 1}]
    assert reason == "ModuleNotFoundError: No module named 'a_package_that_is_missing'"


def test_a_part_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(device_processes, "SPARE_SECONDS", 0.0)
    lines, reason = run(monkeypatch, WRITE + "time.sleep(600)", 2)
    assert lines == [{"what": 1}]
    assert reason == "ended after its 2 seconds"


def test_without_time_no_part_starts(monkeypatch):
    assert run(monkeypatch, "", 0.5) == ([], "no time was left")


def test_a_part_without_time_measures_nothing(tmp_path):
    assert len(list(device_parts.check(True, 0.0, tmp_path))) == 1, "the device"
    assert not list(device_parts.measure_first(True, 0.0, tmp_path))


def test_a_process_that_fails_is_a_row(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise checks.InputError("no memory")

    monkeypatch.setattr(first_calls, "run", fail)
    rows = list(device_parts.measure_first(True, np.inf, tmp_path))
    assert [row["not_done"] for row in rows] == ["no memory"] * 2


def test_large_errors_and_nan_fail():
    assert not device_parts._checked("weights", float("nan"), 1e-4)["passed"]
    assert not device_parts._checked("weights", 1e-3, 1e-4)["passed"]
    assert device_parts._checked("weights", 1e-6, 1e-4)["passed"]


def test_an_unknown_part_is_named(tmp_path):
    done = scripts.run("experiments.device_check", "--parts=guess", f"--output_dir={tmp_path}")
    assert done.returncode == 1
    assert "there is no part 'guess'; there are checks, warm, first, pix2pix" in done.stderr
