"""Changes the mathematics in one place at a time, and asks whether any test notices.

    bash test.sh --mutants
    bash test.sh --mutants --modules masks --num_workers 1

Of each module cosmic-ray makes mutants: another operator, another number, a condition turned round, one of
them at each place; annotations stay. Each is tested in a copy of the project below build/mutants by the tests
of its module, until the first fails. The table, docs/mutants.csv, has a row for each, with what it came to:
killed, or survived; why a survivor may live is written into its last column by hand, and stays. Stopped, the
same command goes on; done, it tries those that survived again. Needs some hours.
"""

import argparse
import ast
import contextlib
import csv
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, WorkItem, WorkResult

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "mutants"
TABLE = ROOT / "docs" / "mutants.csv"
HEADER = ("module", "line", "code", "mutant", "outcome", "why")
# The tests of each, the quickest first.
TESTS = {
    "masks": ["mlr_jax/masks.py", "tests/test_masks.py", "tests/test_masked_ridge.py"],
    "masked_ridge": [
        "mlr_jax/masked_ridge.py",
        "tests/test_masked_ridge.py",
        "tests/test_invariants.py",
        "tests/test_properties.py",
        "tests/test_api.py",
    ],
    "window_statistics": [
        "mlr_jax/window_statistics.py",
        "tests/test_window_statistics.py",
        "tests/test_solvers.py",
        "tests/test_invariants.py",
        "tests/test_properties.py",
    ],
    **{
        f"model_selection/{name}": [
            f"mlr_jax/model_selection/{name}.py",
            "tests/test_model_selection.py",
            "tests/experiments/test_cross_validation.py",
        ]
        for name in ("choosing", "hat_matrix", "held_out", "tuning")
    },
}
# By what an operator is replaced: what is easily confused with it, not all that there is.
OTHERS = {
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul"),
    *("BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitOr", "LShift_RShift", "RShift_LShift"),
    *("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq"),
    *("Is_IsNot", "IsNot_Is", "In_NotIn", "NotIn_In"),
    *("USub_UAdd", "Invert_UAdd", "Delete_Not"),
}
# A whole file takes a minute or two; a mutant that takes longer is stuck.
_TIMEOUT_SECONDS = 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--modules", nargs="+", default=list(TESTS), choices=list(TESTS))
    parser.add_argument("--num_workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    with ProcessPoolExecutor(given.num_workers) as pool:
        for module, rows in zip(given.modules, pool.map(tried, given.modules), strict=True):
            replace_rows(module, rows)
            survived = sum(row["outcome"] == "survived" for row in rows)
            print(f"{module}: {len(rows)} mutants, {survived} survived", flush=True)


def tried(module: str) -> list[dict[str, object]]:
    """Tests all mutants of a module: the rows of the table."""
    folder = BUILD / module.replace("/", "-")
    copied(folder)
    path = Path("mlr_jax", f"{module}.py")
    # Paths of mutants and tests are relative.
    os.chdir(folder)
    environment = {"PYTHONPATH": str(folder), "JAX_COMPILATION_CACHE_DIR": f"{folder}.compiled"}
    os.environ.update(environment, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *TESTS[module]]
    source = path.read_text()
    with contextlib.closing(WorkDB(f"{folder}.sqlite", WorkDB.Mode.create)) as database:
        if not is_of(source, f"{folder}.py") or not database.num_work_items:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            init([path], database, {})
            chosen = [item for item in database.work_items if item.job_id in places(database, source)]
            database.clear()
            database.add_work_items(chosen)
            Path(f"{folder}.py").write_text(source)
        survivors = {key for key, result in database.results if not result.is_killed}
        again = [item for item in database.work_items if item.job_id in survivors]
        for item in list(database.pending_work_items) or again:
            result = mutate_and_test(item.mutations, shlex.join(command), _TIMEOUT_SECONDS)
            database.set_result(item.job_id, result)
        results = dict(database.results)
        return [row(module, item, results[item.job_id], source) for item in database.work_items]


def copied(folder: Path) -> None:
    """A copy of what git knows."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


def is_of(source: str, kept: str) -> bool:
    """Whether the mutants of another run are those of this source."""
    return Path(kept).exists() and Path(kept).read_text() == source


def places(database: WorkDB, source: str) -> set[str]:
    """Which mutants are tested: one at each place for each kind of change."""
    chosen: dict[object, str] = {}
    annotated = list(annotations(source))
    for item in database.work_items:
        (mutation,) = item.mutations
        kind, _, others = mutation.operator_name.partition("_")
        in_annotation = any(start <= mutation.start_pos < end for start, end in annotated)
        if not in_annotation and (not others or others in OTHERS):
            chosen.setdefault((kind, mutation.start_pos), item.job_id)
    return set(chosen.values())


def annotations(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where types are written."""
    for node in ast.walk(ast.parse(source)):
        for each in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if each is not None:
                yield (each.lineno, each.col_offset), (each.end_lineno, each.end_col_offset)


def row(module: str, item: WorkItem, result: WorkResult, source: str) -> dict[str, object]:
    mutation: MutationSpec = item.mutations[0]
    line = mutation.start_pos[0]
    changed = [each[1:] for each in (result.diff or "").splitlines() if each[:1] == "+" and each[:3] != "+++"]
    return {
        "module": module,
        "line": line,
        "code": source.splitlines()[line - 1].strip(),
        "mutant": " ".join(each.strip() for each in changed),
        "outcome": (result.test_outcome or result.worker_outcome).value,
    }


def replace_rows(module: str, rows: list[dict[str, object]]) -> None:
    """Those of a module, with what is known of its survivors."""
    before: list[dict[str, object]] = []
    if TABLE.exists():
        with TABLE.open(newline="") as file:
            before = list(csv.DictReader(file))
    why = {(each["module"], each["code"], each["mutant"]): each["why"] for each in before}
    own = [each | {"why": why.get((module, each["code"], each["mutant"]), "")} for each in rows]
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows([each for each in before if each["module"] != module] + own)


if __name__ == "__main__":
    main()
