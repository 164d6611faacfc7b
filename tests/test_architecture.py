"""Imports run one way, as pyproject.toml says, and packages import only their own private modules."""

import subprocess
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]


def test_imports_run_in_the_directions_of_pyproject():
    """In a process of its own, since import-linter disables the loggers of this one."""
    code = "from importlinter.cli import lint_imports; exit(lint_imports(no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_private_modules_are_imported_from_their_own_package_only():
    graph = grimp.build_graph("mlr_jax", "experiments", cache_dir=None)
    for imported in sorted(graph.modules):
        parts = imported.split(".")
        private = [n for n, part in enumerate(parts) if part.startswith("_")]
        if private:
            owner = ".".join(parts[: private[0]])
            others = graph.find_modules_that_directly_import(imported)
            assert [each for each in sorted(others) if not f"{each}.".startswith(f"{owner}.")] == [], imported


def test_examples_use_public_modules_only():
    """The examples are programs of users."""
    for path in (ROOT / "docs" / "examples").glob("*.py"):
        assert "mlr_jax._" not in path.read_text()
        assert "experiments" not in path.read_text()
