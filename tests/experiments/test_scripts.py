"""A script that is forked is as one that is started."""

import subprocess
import sys

import pytest

from tests.experiments import scripts


@pytest.mark.parametrize("ending", ["returns", "words", "status", "exception", "killed", "computes"])
def test_ends_as_one_that_is_started(ending):
    arguments = "tests.experiments.endings", ending, "a flag\nof two lines"
    command = [sys.executable, "-m", *arguments]
    expected = subprocess.run(command, cwd=scripts.ROOT, capture_output=True, text=True, check=False)
    found = scripts.run(*arguments)
    assert found.returncode == expected.returncode
    assert found.stdout == expected.stdout
    # Its traceback begins earlier.
    assert found.stderr.splitlines()[0] == expected.stderr.splitlines()[0]
    assert found.stderr.splitlines()[-1] == expected.stderr.splitlines()[-1]
