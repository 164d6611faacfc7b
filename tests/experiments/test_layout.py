"""Imports in `experiments` run one way: scripts import packages, and packages those before them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "experiments"
# Each imports itself and those before it.
PACKAGES = ("running", "pictures", "reporting", "gans", "comparing", "benchmarking")
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def imports(file: Path) -> list[tuple[str, ...]]:
    """The modules and names of `experiments` that a file imports."""
    found = []
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "experiments":
            found += [(*node.module.split(".")[1:], name.name) for name in node.names]
        if isinstance(node, ast.Import):
            found += [tuple(name.name.split(".")[1:]) for name in node.names if name.name == "experiments"]
    return found


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_run_one_way(file):
    own = len(PACKAGES) if len(file.parts) == 1 else PACKAGES.index(file.parts[0])
    for package, *names in imports(file):
        assert package in PACKAGES, f"a script is imported: {package}"
        assert PACKAGES.index(package) <= own, package
        assert not any(name.startswith("_") for name in names), names


def test_no_modules_import_each_other():
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    modules = {(*file.parts[:-1], file.stem): file for file in FILES if file.stem != "__init__"}
    for module, file in modules.items():
        names = imports(file)
        graph[module] = {path for name in names for path in (name, name[:-1]) if path in modules}
    while leaves := [module for module in graph if not graph[module] & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert not graph


def test_only_scripts_have_a_main():
    """Except two modules that run as separate processes."""
    started = {Path("benchmarking/device_parts.py"), Path("benchmarking/first_call_process.py")}
    for file in FILES:
        is_run = "__main__" in (ROOT / file).read_text()
        assert is_run == ((len(file.parts) == 1 and file.stem != "__init__") or file in started), file


def test_the_readme_lists_all_scripts_and_packages():
    readme = (ROOT / "README.md").read_text()
    for name in (
        *PACKAGES,
        *(file.stem for file in FILES if len(file.parts) == 1 and file.stem != "__init__"),
    ):
        assert f"| `{name}` |" in readme, name
