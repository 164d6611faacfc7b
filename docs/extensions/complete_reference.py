"""The build fails unless the reference has every public name of the package, with a docstring.

A name is public if a module defines it at its top level, or lists it in `__all__`, and no part of its path
starts with an underscore.
"""

import ast
import importlib.util
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

_logger = logging.getLogger(__name__)


def public_names(package: str) -> Iterator[tuple[str, bool]]:
    """All public modules, functions, classes and constants of a package.

    Yields:
      The full name, and whether it may have a docstring: only autodoc knows those of constants.
    """
    spec = importlib.util.find_spec(package)
    assert spec is not None, package
    infos = pkgutil.walk_packages(spec.submodule_search_locations, f"{package}.")
    modules = [package, *(info.name for info in infos)]
    for module in modules:
        if any(part.startswith("_") for part in module.split(".")):
            continue
        path = getattr(importlib.util.find_spec(module), "origin", None)
        assert path is not None, module
        tree = ast.parse(Path(path).read_text())
        yield module, ast.get_docstring(tree) is not None
        for statement in tree.body:
            for name in _defined(statement):
                if not name.startswith("_"):
                    yield f"{module}.{name}", _may_have_docstring(statement)
                # A public module may list names of private modules, which have the docstrings.
                if name == "__all__" and isinstance(statement, ast.Assign):
                    names = {f"{module}.{each}" for each in ast.literal_eval(statement.value)}
                    yield from ((each, True) for each in sorted(names - set(modules)))


def _defined(statement: ast.stmt) -> list[str]:
    """The names that a statement defines, without imports."""
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _may_have_docstring(statement: ast.stmt) -> bool:
    """Reads the source, since Python writes docstrings for NamedTuples without one."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return ast.get_docstring(statement) is not None
    return True


def _check(app: Sphinx, env: BuildEnvironment) -> None:
    documented = env.domains.python_domain.objects
    for name, may_have_docstring in public_names(app.config.documented_package):
        # A package may list names that the pages of its modules document.
        package, _, last = name.rpartition(".")
        is_inside = any(each.startswith(f"{package}.") and each.endswith(f".{last}") for each in documented)
        if not may_have_docstring or not (name in documented or is_inside):
            _logger.warning(
                "%s is public, but not in the reference: give it a docstring, and its module a place in "
                "docs/reference; or begin its name with an underscore",
                name,
            )


def setup(app: Sphinx) -> dict[str, Any]:
    """Checks the package `documented_package` of conf.py."""
    app.add_config_value("documented_package", None, "env", str)
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
