"""The documentation builds, its code runs, and it has every public name."""

import csv
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from sphinx.cmd.build import build_main

import mlr_jax
from tools import noxfile

# Sphinx's own extensions use deprecated functions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

PACKAGE = '''"""A package."""

from typing import NamedTuple

LIMIT = 3
"""How many | there are."""


class Place(NamedTuple):
    """Where it is.

    Attributes:
      row: `(num,)`, from above: 0 is the first.
    """

    row: int


def double(number: int) -> int:
    """Doubles a number, as `Place` and `pixel_` do not.

        2 || number || * 1

    Args:
      number: to double.

    Returns:
      The result: twice `number`.

    Raises:
      ValueError: never.
    """
    return 2 * number
'''


def build(source: Path, target: Path, builder: str, *options: str) -> int:
    """Runs Sphinx with the configuration of the documentation, and returns its exit code."""
    return build_main(["-q", "-W", "-b", builder, "-c", str(DOCS), *options, str(source), str(target)])


@pytest.fixture
def build_small(tmp_path, monkeypatch):
    """Builds the reference of a small package as text; returns the exit code and the text."""
    # Modules stay imported, so each test has another package.
    name = tmp_path.name
    monkeypatch.syspath_prepend(tmp_path)

    def run(package: str, forgotten_module: str | None = None) -> tuple[int, str]:
        for folder in ("site", name):
            (tmp_path / folder).mkdir()
        (tmp_path / name / "__init__.py").write_text(package)
        if forgotten_module is not None:
            (tmp_path / name / "forgotten.py").write_text(forgotten_module)
        (tmp_path / "site" / "index.rst").write_text(f"Title\n=====\n\n.. automodule:: {name}\n")
        code = build(tmp_path / "site", tmp_path / "text", "text", "-D", f"documented_package={name}")
        text = tmp_path / "text" / "index.txt"
        return code, text.read_text() if text.exists() else ""

    return run


def test_docstrings_are_plain_text(build_small):
    code, text = build_small(PACKAGE)
    assert code == 0
    assert "2 || number || * 1" in text
    assert "How many | there are." in text
    assert re.search(r'Fields:\s+\*\*row\*\* -- "\(num,\)", from above: 0 is the first\.', text)
    assert re.search(r'Returns:\s+The result: twice "number"\.', text)
    assert 'as "Place" and "pixel_" do not' in text
    assert "Alias for field" not in text


@pytest.mark.parametrize(
    ("addition", "missing"),
    [
        ("\n\ndef bare() -> None:\n    pass\n", "bare"),
        ("\n\nclass Bare(NamedTuple):\n    row: int\n", "Bare"),
        ("\n\nBARE = 3\n", "BARE"),
    ],
)
def test_a_public_name_without_docstring_fails_the_build(build_small, capsys, addition, missing):
    code, _ = build_small(PACKAGE + addition)
    assert code != 0
    assert f".{missing} is public, but not in the reference" in capsys.readouterr().err


def test_private_names_need_no_docstring(build_small):
    assert build_small(PACKAGE + "\n\ndef _bare() -> None:\n    pass\n\n\n_BARE = 3\n")[0] == 0


def test_a_module_on_no_page_fails_the_build(build_small, capsys):
    code, _ = build_small(PACKAGE, forgotten_module='"""Documented, but on no page."""\n')
    assert code != 0
    assert ".forgotten is public, but not in the reference" in capsys.readouterr().err


def test_links_of_included_files_lead_to_pages(tmp_path, monkeypatch):
    """A file's links are relative to the file, and must work on the page that includes it."""
    (tmp_path / "LICENSE").write_text("Free.")
    (tmp_path / "README.md").write_text("# First\n\n[second](sub/README.md), [licence](LICENSE)\n")
    for folder in ("sub", "site"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sub" / "README.md").write_text("# Second\n\n[first](../README.md)\n")
    site = tmp_path / "site"
    (site / "index.md").write_text("```{include} ../README.md\n```\n\n```{toctree}\nsub/page\n```\n")
    (site / "sub").mkdir()
    (site / "sub" / "page.md").write_text("```{include} ../../sub/README.md\n```\n")
    # An empty package, so that nothing is missing.
    package = tmp_path.name
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text('"""Empty."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    with (site / "sub" / "page.md").open("a") as file:
        file.write(f"\n```{{eval-rst}}\n.. automodule:: {package}\n```\n")
    assert build(site, tmp_path / "html", "html", "-D", f"documented_package={package}") == 0
    index, page = ((tmp_path / "html" / name).read_text() for name in ("index.html", "sub/page.html"))
    assert re.search(r'href="sub/page\.html"[^>]*><span[^>]*>second<', index)
    assert re.search(r'href="_downloads/[^"]*LICENSE"', index)
    assert re.search(r'href="\.\./index\.html"[^>]*><span[^>]*>first<', page)


@pytest.mark.long
def test_the_site_builds(tmp_path):
    """With the documented command, into another folder."""
    command = [sys.executable, "-m", "sphinx", "-W", "-b", "html", "docs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    assert 'id="mlr_jax.masked_ridge.fit"' in pages["reference/model.html"]
    assert "<math" in pages["library.html"]
    for example in (DOCS / "examples").glob("*.py"):
        # Highlighting splits code into spans, but not comments and sentences.
        assert f"python docs/examples/{example.name}" in pages["library.html"]
    for page in pages.values():
        # Links may lead elsewhere; scripts, styles and pictures may not.
        assert not re.search(r"<(?:script|img|link)[^>]*(?:src|href)=\"(?:https?:)?//", page)


@pytest.mark.long
def test_code_of_the_page_on_library_use_runs():
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", (DOCS / "library.md").read_text(), re.DOTALL):
        # One example has missing values, as NaN.
        with jax.debug_nans(False):
            exec(compile(code, "library.md", "exec"), names)
    assert names["prediction"].shape == names["targets"].shape
    assert names["errors"].shape == (3,)
    assert names["steepest"].shape == (64,)
    assert abs(names["steepest"]).max() > 0
    assert names["some"].solved.all()
    np.testing.assert_allclose(names["unchanged"], names["inputs"], atol=1e-5)
    changed = abs(
        names["some"].weights
        - mlr_jax.masked_ridge.fit(*(names[each] for each in ("inputs", "targets", "mask")), 0.4).weights
    )
    assert list(np.flatnonzero(changed.max(axis=1) > 1e-4)) == [5]
    # The targets are noise, but the bias shrinks with the weights.
    assert names["search"].best_params_ == {"maskedridge__alpha": 4}
    assert [each.bias.shape for each in names["folds"]] == [(1, 8, 8), (1, 8, 8)]
    column, target = (np.asarray(names[each])[:, 0] for each in ("inputs", "targets"))
    seen = np.stack([column, np.ones_like(column)], axis=1)
    weight, bias = np.linalg.solve(seen.T @ seen + 0.4 * np.eye(2), seen.T @ target)
    assert names["model"].weights[0, 0, 0, 0, 0] == pytest.approx(weight, abs=1e-5)
    assert names["model"].bias[0, 0, 0] == pytest.approx(bias, abs=1e-5)


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == mlr_jax.__version__
    page = (DOCS / "citing.md").read_text()
    doi = re.search(r"^  doi: (.*)$", citation, re.MULTILINE)[1]
    assert f"{{{doi}}}" in page
    families = re.findall(r"family-names: (\w+)", citation)
    given = re.findall(r"given-names: (\w+)", citation)
    authors = [f"{family}, {name}" for family, name in zip(families, given, strict=True)]
    assert re.search(r"author  = \{(.*)\}", page)[1].split(" and ") == authors


def test_the_changelog_has_this_version():
    releases = re.findall(r"^## \[(.*)\](?: - (.*))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    assert releases[1][0] == mlr_jax.__version__
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", date) for _, date in releases[1:])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_has_the_numbers_of_the_table_of_mutants():
    rows = table(ROOT / "tools" / "mutants.csv")
    assert {row["outcome"] for row in rows} <= {"killed", "survived"}
    survivors = [row for row in rows if row["outcome"] == "survived"]
    assert [row["line"] for row in survivors if not row["why"]] == [], "no reason why they may live"
    page = " ".join((DOCS / "trust.md").read_text().split())
    assert f"{len(rows)} mutants, of which tests killed {len(rows) - len(survivors)}" in page


def test_all_versions_of_the_matrix_passed():
    """Each row, written by `tools/noxfile.py`, has a Python and the oldest or newest packages."""
    rows = table(DOCS / "versions.csv")
    found = [(row["python"], row["end"]) for row in rows]
    assert sorted(found) == sorted(itertools.product(noxfile.PYTHONS, noxfile.RESOLUTIONS))
    assert [row for row in rows if row["failed"] != "0" or int(row["passed"]) < 1000] == []


def test_all_dependencies_are_pinned():
    """`tools/compile_requirements.sh` writes a version of each dependency and extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for name, parts in {
        "run": ("align", "experiments"),
        "test": ("align", "estimators", "experiments", "heic", "gans", "notebook", "docs", "tests"),
        "mutants": ("mutants",),
    }.items():
        pinned = re.findall(
            r"^([\w.-]+)==", (ROOT / "requirements" / f"{name}.txt").read_text(), re.MULTILINE
        )
        wanted = [*project["dependencies"], *(each for part in parts for each in extras[part])]
        assert {re.match(r"[\w.-]+", each)[0] for each in wanted} <= set(pinned), name
