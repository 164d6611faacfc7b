"""Follows the instructions of CONTRIBUTING.md on a copy of the project, and checks its promises."""

import ast
import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import oracle

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()


def insert(path: Path, line: int, text: str) -> None:
    """Puts `text` before a line, counted from 1."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[: line - 1], text, *lines[line - 1 :]]))


def statement(path: Path, name: str) -> ast.stmt:
    """The top-level statement of a file that defines a name."""
    for each in ast.parse(path.read_text()).body:
        target = each.targets[0] if isinstance(each, ast.Assign) else getattr(each, "target", each)
        if name in (getattr(each, "name", None), getattr(target, "id", None)):
            return each
    raise AssertionError(f"{path.name} has no {name}")


def append(path: Path, name: str, text: str) -> None:
    """Appends `text` to the dictionary or tuple that is assigned to a name."""
    for each in ast.walk(ast.parse(path.read_text())):
        target = each.targets[0] if isinstance(each, ast.Assign) else getattr(each, "target", None)
        if getattr(target, "id", None) == name:
            for value in ast.walk(each.value):
                if isinstance(value, ast.Dict | ast.Tuple) and value.end_lineno > value.lineno:
                    return insert(path, value.end_lineno, text)
    raise AssertionError(f"{path.name} has no {name}")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with the method, the mask and the data set of the guide."""
    root = tmp_path_factory.mktemp("project")
    for name in ("mlr_jax", "experiments", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)

    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    method, mask, mask_test, module, name = blocks
    (root / "experiments" / "comparing" / "methods" / "shrunken_change.py").write_text(method)

    windows = root / "mlr_jax" / "windows.py"
    insert(windows, statement(windows, "disk").end_lineno + 1, "\n\n" + mask)
    append(root / "tests" / "test_masks.py", "WINDOWS", mask_test)

    (root / "mlr_jax" / "datasets" / "stacks.py").write_text(module)
    data = root / "experiments" / "pictures" / "data.py"
    first_line = re.search(r"^from mlr_jax\.datasets import", data.read_text(), re.MULTILINE)
    assert first_line is not None
    line = data.read_text()[: first_line.start()].count("\n") + 1
    insert(data, line, "from mlr_jax.datasets import stacks\n")
    append(data, "DATASETS", name)
    return root


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *arguments]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)


def test_examples_pass_the_checks(project):
    # The import that `project` adds has its own line, so imports are not sorted.
    for arguments in (("check", "--ignore=I001"), ("format", "--check")):
        done = run(project, "-m", "ruff", *arguments, "--no-cache", ".")
        assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_examples_pass_the_tests(project):
    files = [f"tests/{name}.py" for name in ("experiments/comparing/test_methods", "test_masks", "test_api")]
    names = "shrunken_change or has_its_hyper_parameters or cross or stacks or imports"
    done = run(project, "-m", "pytest", "-p", "no:cacheprovider", "-vv", *files, "-k", names)
    assert done.returncode == 0, done.stdout
    for test in ("test_learns_a_change_that_everyone_shares[shrunken_change]", "see_what_they_should[cross]"):
        assert f"{test} PASSED" in done.stdout
    assert "test_options_are_keyword_only[mlr_jax.datasets.stacks.load] PASSED" in done.stdout


def test_the_method_is_compared_on_the_data_set(project, tmp_path, rng):
    for name in ("neutral", "happy"):
        faces = oracle.smooth_faces(rng, 12, 24, 24).reshape(12, 24, 24)
        np.save(tmp_path / f"{name}.npy", np.round(255 * faces).astype(np.uint8))
    commands = re.findall(r"^    python -m (experiments\S+) (.*)$", GUIDE, re.MULTILINE)
    ((script, with_methods), (same_script, with_data)) = commands
    assert script == same_script
    flags = f"{with_methods} {with_data} --image_size=16 --output_dir={tmp_path / 'run'}"
    done = run(project, "-m", script, *flags.replace("FOLDER", str(tmp_path)).split())
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "results.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["copy_input", "shrunken_change"]
    assert rows["shrunken_change"]["choice"].startswith("share=")


def test_the_guide_has_the_checks_of_test_sh():
    """All of them, but the guide formats the code, where test.sh checks the format."""
    commands = re.findall(r"^    (\.venv/bin/.*)$", GUIDE, re.MULTILINE)
    script = (ROOT / "test.sh").read_text().replace(" --check", "")
    for command in re.findall(r"^(?:exec )?(\.venv/bin/.*?)(?: \"\$@\")?$", script, re.MULTILINE):
        assert command in commands
    assert ".venv/bin/python -m sphinx -W -b html docs build/docs" in commands
