"""Runs the library's tests on the oldest and the newest packages that setup.cfg allows, on each Python.

    bash test.sh --matrix
    bash test.sh --matrix --pythons 3.12 --ends oldest --table build/versions.csv

Each environment is made anew below build/matrix by uv, of wheels alone, and has the packages of the extras
`experiments` and `tests`. What its tests came to is a row of the table, docs/versions.csv, which replaces the
row of the same Python and end. Interpreters are looked for on PATH. Tests that take long, and those of
scripts and documents, are left out: they ask for what they run beside, not for what it stands on.
"""

import argparse
import configparser
import csv
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
ENDS = {"oldest": "lowest-direct", "newest": "highest"}
PACKAGES = ("jax", "jaxlib", "numpy", "dm-pix", "imageio", "optax", "pillow")
HEADER = ("python", "end", *PACKAGES, "passed", "failed", "skipped", "seconds", "date")
LEFT_OUT = ("experiments", "test_contributing.py", "test_docs.py", "test_notebook.py", "test_readme.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pythons", nargs="+", default=PYTHONS, choices=PYTHONS)
    parser.add_argument("--ends", nargs="+", default=list(ENDS), choices=list(ENDS))
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "versions.csv")
    parser.add_argument("--tests", nargs="+", default=["mlr_jax", "tests"], help="files, instead of all")
    given = parser.parse_args()
    if given.tests != parser.get_default("tests") and given.table == parser.get_default("table"):
        parser.error("--tests: what some of the tests came to needs a --table of its own")
    missing = [each for each in given.pythons if shutil.which(f"python{each}") is None]
    if missing:
        sys.exit(f"error: not on PATH: {', '.join(f'python{each}' for each in missing)}; see --pythons")
    is_well = True
    for python in given.pythons:
        for end in given.ends:
            print(f"Python {python}, {end} packages", flush=True)
            row = tried(python, end, given.tests)
            replace_row(given.table, row)
            print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
            is_well &= row["failed"] == 0 < row["passed"]
    sys.exit(0 if is_well else 1)


def tried(python: str, end: str, tests: list[str]) -> dict[str, object]:
    """Makes an environment and runs the tests in it: a row of the table."""
    folder = ROOT / "build" / "matrix" / f"{python}-{end}"
    folder.mkdir(parents=True, exist_ok=True)
    interpreter = folder / "bin" / "python"
    uv("venv", "--quiet", "--clear", "--python", shutil.which(f"python{python}"), folder)
    wanted = folder / "wanted.txt"
    wanted.write_text(ranges())
    wheels = ("--quiet", "--python", interpreter, "--only-binary", ":all:")
    uv("pip", "install", *wheels, "--resolution", ENDS[end], "-r", wanted)
    uv("pip", "install", "--quiet", "--python", interpreter, "--no-deps", ROOT)
    start = time.monotonic()
    ignored = [f"--ignore=tests/{each}" for each in LEFT_OUT]
    done = subprocess.run(
        [interpreter, "-m", "pytest", "-n", "2", "-m", "not long", *ignored, *tests],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        text=True,
    )
    (folder / "pytest.txt").write_text(done.stdout)
    if done.returncode:
        print(done.stdout[-4000:])
    counts = {word: int(num) for num, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    return {
        "python": python,
        "end": end,
        **installed(interpreter),
        "passed": counts.get("passed", 0),
        # Without a count it ended before any test.
        "failed": failed or int(done.returncode != 0),
        "skipped": counts.get("skipped", 0),
        "seconds": round(time.monotonic() - start),
        "date": datetime.date.today().isoformat(),
    }


def ranges() -> str:
    """The requirements of setup.cfg, one a line; uv would build the project to find them out."""
    read = configparser.ConfigParser()
    read.read(ROOT / "setup.cfg")
    extras = read["options.extras_require"]
    return "\n".join([read["options"]["install_requires"], extras["experiments"], extras["tests"], ""])


def installed(interpreter: Path) -> dict[str, str]:
    code = f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in {PACKAGES}}}))"
    return json.loads(subprocess.run([interpreter, "-c", code], check=True, stdout=subprocess.PIPE).stdout)


def uv(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "uv", *map(str, arguments)], cwd=ROOT, check=True)


def replace_row(table: Path, row: dict[str, object]) -> None:
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


if __name__ == "__main__":
    main()
