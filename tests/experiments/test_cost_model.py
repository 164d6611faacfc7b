import json
import re
import subprocess
from pathlib import Path

from tests.experiments import scripts

# Seconds for one multiplication of each kind.
SUMS, ELIMINATION, KERNELS = 2e-10, 1e-10, 3e-11


def row(size: int, num: int, side: int, channels: int = 1) -> dict:
    """A row of a fit that takes exactly the model's time."""
    outputs, num_inputs = size**2 * channels, side**2
    if num_inputs <= num:
        num_lags = ((2 * side - 1) ** 2 + 1) // 2 + num_inputs
        seconds = outputs * (num * num_lags * SUMS + num_inputs**3 / 3 * ELIMINATION)
    else:
        kernels = 2 * side * num**2 + num_inputs * num
        seconds = outputs * (num**3 / 3 * ELIMINATION + kernels * KERNELS)
    colours = f" x {channels}" if channels > 1 else ""
    case = f"fit {size} x {size}{colours}, N={num}, r={side}"
    return {"case": case, "way": "mlr_jax", "seconds": seconds}


def run(path: Path, *flags: str) -> subprocess.CompletedProcess:
    return scripts.run("experiments.cost_model", f"--benchmark={path}", *flags)


def test_finds_the_rates_and_predicts_the_rest(tmp_path):
    fits = [(128, 200, 3), (128, 200, 7), (128, 82, 15), (512, 82, 3), (128, 82, 31), (1024, 82, 3, 3)]
    stream = {"case": "stream 82 pairs of 1024 x 1024 x 3, r=3", "way": "", "pairs_per_second": 10}
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps({"results": [*(row(*fit) for fit in fits), stream]}))
    done = run(path, "--height=1024", "--width=1024", "--num_pairs=72000", "--num_devices=2")
    assert done.returncode == 0, done.stderr
    assert "sums 5.0, elimination 10.0, kernels 33.3" in done.stdout
    assert re.findall(r"(\S+) \|$", done.stdout, re.MULTILINE)[1:] == ["1.00"] * len(fits)
    # 36,000 pairs on each of two devices, at 10 a second.
    assert "reading 36,000 pairs each, as fast as the stream: 1.0 h" in done.stdout


def test_missing_measurements_are_named(tmp_path):
    done = run(tmp_path / "nothing.json")
    assert done.returncode == 1
    assert "cannot read" in done.stderr
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps({"results": [row(128, 200, 3)]}))
    done = run(path)
    assert done.returncode == 1
    assert "run it with --parts=fit,stream" in done.stderr
