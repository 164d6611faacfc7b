"""Runs the parts of `device_check`, each in a new process, which is killed when its time is over."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SPARE_SECONDS = 5.0
"""The time to kill a process and to write its results."""


def run(part: str, seconds: float, *, fast: bool) -> tuple[list[dict[str, Any]], str]:
    """Runs a part.

    Args:
      part: of `device_parts`.
      seconds: after which it is killed.
      fast: on small pictures.

    Returns:
      The results, and the reason why some are missing; empty if none is.
    """
    if seconds < 1:
        return [], "no time was left"
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        # Several processes may use the device's memory at a time.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found"
        path.touch()
        task = {"fast": fast, "seconds": seconds, "found": str(path), "folder": folder}
        process = subprocess.Popen(_command(part, task), env=environment, stderr=subprocess.PIPE, text=True)
        try:
            _, errors = process.communicate(timeout=seconds + SPARE_SECONDS / 2)
            said = errors.strip().splitlines()
            reason = (
                "" if process.returncode == 0 else said[-1] if said else f"exit status {process.returncode}"
            )
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            reason = f"ended after its {seconds:.0f} seconds"
        # A line that was being written at the end is not complete.
        lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in lines], reason


def _command(part: str, task: Mapping[str, Any]) -> list[str]:
    return [sys.executable, "-m", "experiments.benchmarking.device_parts", part, json.dumps(task)]
