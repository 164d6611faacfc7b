import os
import subprocess
import sys

import pytest

from experiments.running import native_log


def test_what_native_code_writes_is_discarded_meanwhile(capfd):
    os.write(2, b"before\n")
    with native_log.discarded():
        os.write(2, b"meanwhile\n")
    with pytest.raises(KeyError), native_log.discarded():
        raise KeyError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"


def test_it_works_without_a_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with native_log.discarded():
        pass
    code = "import os; os.close(2)\nfrom experiments.running import native_log\n"
    code += "with native_log.discarded():\n    print(1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "1\n")
