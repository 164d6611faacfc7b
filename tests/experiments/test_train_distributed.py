"""Several processes on this machine, from the command line."""

import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import imageio.v3 as iio
import numpy as np
import pytest

from experiments.running import local_processes
from mlr_jax.checks import InputError
from tests.experiments import scripts

COMMAND = ("experiments.train_distributed", "--image_size=16", "--channels=1")
SMALL = ("--num_subjects=13", "--devices_per_process=1")


def run(*flags: str) -> subprocess.CompletedProcess:
    return scripts.run(*COMMAND, *flags)


@pytest.mark.long
def test_two_processes_learn_the_same_as_one(tmp_path):
    rng = np.random.default_rng(0)
    for expression in ("neutral", "happy"):
        (tmp_path / expression).mkdir()
        for name in range(13):  # Odd: one process streams more pairs than the other.
            picture = rng.integers(0, 256, (16, 16), np.uint8)
            iio.imwrite(tmp_path / expression / f"{name}.png", picture)
    done = run(
        "--dataset=folder",
        f"--data_dir={tmp_path}",
        "--devices_per_process=1",
        "--window=1",
        "--fits=streamed,rows",
        f"--output_dir={tmp_path}/made/here",
    )
    assert done.returncode == 0, done.stderr
    assert "2 processes, 2 devices, 13 pairs, folder: neutral to happy" in done.stdout
    with (tmp_path / "made" / "here" / "differences.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fit"] for row in rows] == ["streamed", "rows"]
    for row in rows:
        assert 0 <= float(row["difference"]) <= 1e-5
        assert row["fit"] in done.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--source=happy",), "source and target are both 'happy'; choose two expressions; all were stopped"),
        (("--timeout_seconds=1",), "the processes have not finished in 1 seconds and were stopped"),
    ],
)
def test_a_failure_ends_all_processes(tmp_path, flags, words):
    done = run(*SMALL, *flags, f"--output_dir={tmp_path}")
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_end_all_processes(tmp_path, number):
    first = subprocess.Popen(
        [sys.executable, "-m", *COMMAND, *SMALL, f"--output_dir={tmp_path}"],
        cwd=scripts.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(session(first.pid)) >= 3)
        os.kill(first.pid, number)
        assert first.wait(30) != 0
        wait_until(lambda: not session(first.pid))
    finally:
        for process in session(first.pid):
            os.kill(process, signal.SIGKILL)
        first.communicate()


def session(leader: int) -> list[int]:
    """The live processes of a session, without zombies."""
    listed = subprocess.run(["ps", "-eo", "pid=,sess=,stat="], capture_output=True, text=True, check=True)
    fields = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, of, state in fields if int(of) == leader and not state.startswith("Z")]


def wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def die_or_wait(address, num_processes, process_id):
    if process_id == 1:
        os._exit(3)
    time.sleep(600)


def test_a_dying_process_ends_the_others():
    with pytest.raises(InputError, match="process 1: ended with exit status 3; all were stopped"):
        local_processes.run(die_or_wait, 2, 120)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--window=4",), "size must be odd"),
        (("--fits=",), "--fits must name at least one fit"),
        (("--fits=rows,columns",), "--fits: there is no 'columns'; there are streamed, pairs, rows"),
        (
            ("--join", "--process_id=1"),
            "--join needs --coordinator_address, --num_processes and --process_id",
        ),
        (("--process_id=1",), "--coordinator_address and --process_id need --join"),
    ],
)
def test_mistakes_get_one_line(flags, words):
    done = run(*flags)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
