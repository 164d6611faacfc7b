"""The version matrix: the library's tests on each Python, with the oldest and the newest packages allowed.

    bash test.sh --matrix
    bash test.sh --matrix --list
    bash test.sh --matrix -s "matrix-3.12(oldest)" -- tests/test_masks.py

nox makes each environment again below build/matrix, by uv and from wheels alone, with the dependencies that
pyproject.toml names and those of its extras `estimators`, `experiments` and `tests`. A session writes its
result into docs/versions.csv, in place of the row of the same Python and packages; a session of some tests
only, named after `--`, writes into build/matrix/versions.csv instead. Interpreters must be on PATH. Long
tests, and those of scripts, documents and the import directions, are left out: they do not depend on the
versions of packages.
"""

import csv
import datetime
import json
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "matrix"
TABLE = ROOT / "docs" / "versions.csv"
PYTHONS = ("3.11", "3.12", "3.13")
# uv's names of the resolutions.
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
PACKAGES = ("jax", "jaxlib", "numpy", "dm-pix", "imageio", "optax", "pillow")
HEADER = ("python", "end", *PACKAGES, "passed", "failed", "skipped", "seconds", "date")
LEFT_OUT = (
    "experiments",
    "test_architecture.py",
    "test_contributing.py",
    "test_docs.py",
    "test_notebook.py",
    "test_readme.py",
)

nox.options.envdir = BUILD
nox.options.error_on_missing_interpreters = True
nox.options.download_python = "never"


@nox.session(python=PYTHONS, venv_backend="uv")
@nox.parametrize("end", [nox.param(end, id=end) for end in RESOLUTIONS])
def matrix(session: nox.Session, end: str) -> None:
    """Runs the library's tests and writes the numbers of outcomes into the table."""
    # nox starts in the folder of this file.
    session.chdir(ROOT)
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["estimators"], *extras["experiments"], *extras["tests"]]
    session.install("--resolution", RESOLUTIONS[end], "--only-binary", ":all:", *wanted)
    session.install("--no-deps", ".")
    report = BUILD / f"{session.python}-{end}.xml"
    report.unlink(missing_ok=True)
    ignored = [f"--ignore=tests/{each}" for each in LEFT_OUT]
    tests = session.posargs or ["mlr_jax", "tests"]
    start = time.monotonic()
    session.run(
        *("python", "-m", "pytest", "-n", "2", "-m", "not long", f"--junit-xml={report}"),
        *(*ignored, *tests),
        env={"PYTHONPATH": None},
        # Tests that fail, or cannot be collected, are counted below.
        success_codes=[0, 1, 2],
    )
    row = {
        "python": str(session.python),
        "end": end,
        **installed(session),
        **outcomes(report),
        "seconds": round(time.monotonic() - start),
        "date": datetime.date.today().isoformat(),
    }
    replace_row(BUILD / TABLE.name if session.posargs else TABLE, row)
    session.log(", ".join(f"{name} {value}" for name, value in row.items()))
    if row["failed"] or not row["passed"]:
        session.error(f"{row['failed']} tests failed, {row['passed']} passed")


def installed(session: nox.Session) -> dict[str, str]:
    """The versions of the packages in the session's environment."""
    code = f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in {PACKAGES}}}))"
    return json.loads(session.run("python", "-c", code, silent=True, log=False))


def outcomes(report: Path) -> dict[str, int]:
    """How many tests passed, failed and were skipped, from pytest's report in JUnit's format."""
    suites = list(ET.parse(report).getroot().iter("testsuite"))
    totals = ("tests", "failures", "errors", "skipped")
    count = {name: sum(int(suite.get(name, 0)) for suite in suites) for name in totals}
    failed = count["failures"] + count["errors"]
    return {
        "passed": count["tests"] - failed - count["skipped"],
        "failed": failed,
        "skipped": count["skipped"],
    }


def replace_row(table: Path, row: dict[str, object]) -> None:
    """Writes a row in place of the one of the same Python and end."""
    rows = {}
    if table.exists():
        with table.open(newline="") as file:
            rows = {(each["python"], each["end"]): each for each in csv.DictReader(file)}
    rows[row["python"], row["end"]] = row
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[key] for key in sorted(rows))
