"""The conventions of the public functions."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import pytest

import mlr_jax

MODULES = [importlib.import_module(info.name) for info in pkgutil.walk_packages(mlr_jax.__path__, "mlr_jax.")]
PUBLIC = [
    pytest.param(member, id=f"{module.__name__}.{name}")
    for module in [mlr_jax, *MODULES]
    for name, member in vars(module).items()
    if not name.startswith("_")
    and callable(member)
    and getattr(member, "__module__", None) == module.__name__
]


def test_modules_are_documented():
    assert all(module.__doc__ for module in MODULES)


def test_help_names_all_modules():
    listed = set(re.findall(r"\w+", mlr_jax.__doc__))
    found = {info.name for info in pkgutil.iter_modules(mlr_jax.__path__) if not info.name.startswith("_")}
    assert not found - listed


@pytest.mark.parametrize("member", PUBLIC)
def test_public_names_are_documented(member):
    assert inspect.getdoc(member), "no docstring"
    if inspect.isclass(member) or not inspect.signature(member).parameters:
        return
    for name, parameter in inspect.signature(member).parameters.items():
        annotated = parameter.annotation is not inspect.Parameter.empty
        assert annotated, f"{name} has no type"
    assert inspect.signature(member).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("member", PUBLIC)
def test_options_are_keyword_only(member):
    """Callers name every argument that has a default, so that options can be added."""
    if inspect.isclass(member) or member.__module__.startswith("mlr_jax.datasets.synthetic."):
        return  # Drawing tools of the renderer are exempt.
    for name, parameter in inspect.signature(member).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            # All `load` functions take the folder first, though synthetic faces need none.
            assert name == "data_dir" or parameter.kind is inspect.Parameter.KEYWORD_ONLY, name


def test_import_needs_no_optional_package():
    """Checks the modules of the extras of pyproject.toml."""
    extras = "absl.app flax matplotlib mediapipe nbclient orbax scipy.stats skimage sklearn tqdm"
    code = f"import sys, mlr_jax; print([name for name in {extras.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
