"""The README's code runs, and the files that README and its linked pages name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FILES = ("README.md", "CONTRIBUTING.md", "experiments/README.md", "tools/README.md")
PAGES = [
    pytest.param(path.read_text(), path.parent, id=path.relative_to(ROOT).as_posix())
    for path in [*(ROOT / name for name in FILES), *sorted((ROOT / "docs").glob("*.md"))]
]


@pytest.mark.long
def test_the_code_of_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["smiling"].shape == names["grinning"].shape == names["test"].neutral.shape
    before = abs(names["test"].neutral - names["test"].expressive).mean()
    assert abs(names["smiling"] - names["test"].expressive).mean() < before


def test_the_readme_is_short():
    lines = README.splitlines()
    assert len(lines) < 110
    assert [line for line in lines if len(line) > 110] == []


@pytest.mark.parametrize(("text", "folder"), PAGES)
def test_named_files_exist(text, folder):
    folders = "docs|tests|experiments|mlr_jax|tools|findings"
    for name in re.findall(rf"(?<![\w/])(?:{folders})/[\w/]+\.\w+|\w+\.sh\b", text):
        assert (ROOT / name).is_file() or (folder / name).is_file(), name


def test_readme_names_files():
    assert len(re.findall(r"docs/[\w/]+\.\w+", README)) > 3


@pytest.mark.parametrize(("text", "folder"), PAGES)
def test_linked_files_exist(text, folder):
    links = re.findall(r"\]\(([^)\s:#]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize(("text", "folder"), PAGES)
def test_scripts_of_commands_exist(text, folder):
    modules = re.findall(r"python -m (experiments\.\w+)", text)
    assert [each for each in modules if not (ROOT / f"{each.replace('.', '/')}.py").is_file()] == []


def test_errors_on_real_people_are_in_the_results():
    """Checks README and docs/claims.md. Their other numbers are rounded, or ratios of results."""
    results = (ROOT / "docs" / "results" / "README.md").read_text()
    claims = (ROOT / "docs" / "claims.md").read_text()
    quoted = re.findall(r"\b\d\.\d{2}\b", README + claims[: claims.index("## (e)")])
    assert len(set(quoted)) > 8
    assert [each for each in quoted if each not in results] == []
