"""Imports run one way, as pyproject.toml says, and private modules stay behind their doors."""

from pathlib import Path

import grimp
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def test_imports_run_in_the_directions_that_are_written_down(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True, no_logo=True) == 0, "lint-imports, above, says which import is wrong"


def test_private_modules_are_imported_from_their_own_package_only():
    graph = grimp.build_graph("mlr_jax", "experiments", cache_dir=None)
    for imported in sorted(graph.modules):
        parts = imported.split(".")
        private = [n for n, part in enumerate(parts) if part.startswith("_")]
        if private:
            door = ".".join(parts[: private[0]])
            others = graph.find_modules_that_directly_import(imported)
            assert [each for each in sorted(others) if not f"{each}.".startswith(f"{door}.")] == [], imported


def test_the_library_is_all_that_examples_use():
    """Programs of users, as docs/examples are, see public modules only."""
    for path in (ROOT / "docs" / "examples").glob("*.py"):
        assert "mlr_jax._" not in path.read_text()
        assert "experiments" not in path.read_text()
