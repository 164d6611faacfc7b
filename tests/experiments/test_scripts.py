"""A forked script behaves like a started one."""

import subprocess
import sys

import pytest

from tests.experiments import scripts


@pytest.mark.parametrize("ending", ["returns", "words", "status", "exception", "killed", "computes"])
def test_a_forked_script_ends_as_a_started_one(ending):
    arguments = "tests.experiments.endings", ending, "a flag\nof two lines"
    command = [sys.executable, "-m", *arguments]
    expected = subprocess.run(command, cwd=scripts.ROOT, capture_output=True, text=True, check=False)
    found = scripts.run(*arguments)
    assert found.returncode == expected.returncode
    assert found.stdout == expected.stdout
    # The traceback of a fork begins earlier.
    assert found.stderr.splitlines()[0] == expected.stderr.splitlines()[0]
    assert found.stderr.splitlines()[-1] == expected.stderr.splitlines()[-1]
