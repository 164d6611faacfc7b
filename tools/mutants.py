"""Changes the mathematics in one place at a time, and finds the changes that pass all tests.

    bash test.sh --mutants
    bash test.sh --mutants --modules masks --num_workers 1

cosmic-ray makes the mutants of each module: another operator, another number, an inverted condition, one
change at each place, except in annotations. The tests of the module run on each mutant in a copy of the
project below build/mutants, the most specific tests first, until one fails. tools/mutants.csv has a row for
each mutant with its outcome, killed or survived; the last column, written by hand, gives the reason why a
survivor does no harm. Mutants in the table whose line of code still exists are not tried again, so that the
same command continues after an interruption. --again tries survivors without a reason once more. The
whole run takes some hours.
"""

import argparse
import ast
import csv
import functools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import cosmic_ray.plugins
from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test, mutate_code
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "mutants"
TABLE = ROOT / "tools" / "mutants.csv"
HEADER = ("module", "line", "code", "mutant", "outcome", "why")
_SELECTION = "tests/test_model_selection.py"
_SYNTHESIS = "tests/test_synthesis.py"
# The source and the tests of each module; the tests that find most come first.
TESTS = {
    "masks": ("mlr_jax/masks.py", "tests/test_masks.py", "tests/test_masked_ridge.py"),
    "masked_ridge": ("mlr_jax/masked_ridge.py", "tests/test_masked_ridge.py", "tests/test_api.py"),
    "windows": ("mlr_jax/windows.py", "tests/test_masks.py"),
    "window_statistics": ("mlr_jax/window_statistics.py", "tests/test_window_statistics.py"),
    "_window_regression/window": ("tests/test_masks.py", "tests/test_window_statistics.py"),
    "_window_regression/statistics": ("tests/test_window_statistics.py",),
    "_window_regression/accumulation": ("tests/test_window_statistics.py", "tests/test_solvers.py"),
    "_window_regression/moments": ("tests/test_window_statistics.py", "tests/test_solvers.py"),
    "_window_regression/ridge": ("tests/test_window_statistics.py", "tests/test_solvers.py"),
    "_window_regression/regularization": ("tests/test_window_statistics.py", "tests/test_solvers.py"),
    "model_selection/choosing": (
        "mlr_jax/model_selection/choosing.py",
        f"{_SELECTION}::test_the_least_error_and_ties_to_the_larger_penalty",
        f"{_SELECTION}::test_the_one_standard_error_rule",
        f"{_SELECTION}::test_pixels_choose_with_their_neighbours",
        f"{_SELECTION}::test_solve_equals_a_fit_with_the_chosen_window_and_penalty",
        f"{_SELECTION}::test_fit_chooses_and_solves",
        f"{_SELECTION}::test_fit_tunes_one_window",
        f"{_SELECTION}::test_penalties_to_choose_from_are_scalars",
        f"{_SYNTHESIS}::test_clear_errors_about_choosing",
        f"{_SYNTHESIS}::test_chooses_among_given_windows",
        f"{_SYNTHESIS}::test_every_pixel_chooses_window_and_penalty",
    ),
    "model_selection/hat_matrix": (
        "mlr_jax/model_selection/hat_matrix.py",
        f"{_SELECTION}::test_clear_errors_of_leave_one_out",
        f"{_SELECTION}::test_leave_one_out_equals_refitting",
        f"{_SELECTION}::test_leave_one_out_takes_a_penalty_for_each_output",
        f"{_SELECTION}::test_leave_one_out_keeps_the_precision_of_its_arguments",
    ),
    "model_selection/held_out": (
        "mlr_jax/model_selection/held_out.py",
        f"{_SELECTION}::test_folds_keep_people_together",
        f"{_SELECTION}::test_there_are_at_most_as_many_folds_as_people",
        f"{_SELECTION}::test_clear_errors",
        f"{_SELECTION}::test_errors_of_channels_are_averaged",
        _SELECTION,
    ),
    "model_selection/tuning": (
        "mlr_jax/model_selection/tuning.py",
        f"{_SELECTION}::test_tuned_penalties_lower_the_error",
        f"{_SELECTION}::test_tuning_descends_by_adam",
        f"{_SELECTION}::test_tuning_stops_at_the_least_stopping_error",
    ),
}
# Replaces an operator only by those that are easily confused with it.
OTHERS = {
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul"),
    *("BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitOr", "LShift_RShift", "RShift_LShift"),
    *("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq"),
    *("Is_IsNot", "IsNot_Is", "In_NotIn", "NotIn_In"),
    *("USub_UAdd", "Invert_UAdd", "Delete_Not"),
}
# A file of tests takes a minute or two; a mutant that takes much longer is stuck.
_TIMEOUT_SECONDS = 900


class Mutant(NamedTuple):
    """One change.

    Attributes:
      module: the module of the library.
      line: the number of the line, from 1.
      code: the line before the change.
      text: the line after it; empty if the line is removed.
      occurrence: how many earlier mutants of the module have the same code and text.
      change: the change as cosmic-ray describes it.
    """

    module: str
    line: int
    code: str
    text: str
    occurrence: int
    change: MutationSpec

    @property
    def key(self) -> tuple[object, ...]:
        """The same for a mutant whose line has moved."""
        return self.module, self.code, self.text, self.occurrence


def main() -> None:
    """Tries the mutants that are not in the table, and writes the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--modules", nargs="+", default=list(TESTS), choices=list(TESTS))
    parser.add_argument("--num_workers", type=int, default=os.cpu_count())
    parser.add_argument("--again", action="store_true", help="try survivors that are not explained, too")
    given = parser.parse_args()
    os.chdir(ROOT)
    known = read_table()
    kept = [row for key, row in known.items() if key[0] not in given.modules]
    wanted = [mutant for module in given.modules for mutant in mutants(module)]
    rows = {mutant.key: known[mutant.key] | {"line": mutant.line} for mutant in wanted if mutant.key in known}
    pending = [
        mutant
        for mutant in wanted
        if mutant.key not in rows
        or (given.again and rows[mutant.key]["outcome"] == "survived" and not rows[mutant.key]["why"])
    ]
    print(f"{len(wanted)} mutants, of which {len(wanted) - len(pending)} were tried", flush=True)
    shutil.rmtree(BUILD, ignore_errors=True)
    with ProcessPoolExecutor(given.num_workers, initializer=move_into_a_copy) as pool:
        try:
            outcomes = {pool.submit(tried, mutant.module, mutant.change): mutant for mutant in pending}
            for number, future in enumerate(as_completed(outcomes), start=1):
                mutant = outcomes[future]
                before = rows.get(mutant.key, {"why": ""})
                rows[mutant.key] = as_row(mutant, future.result(), before["why"])
                write_table([*kept, *(rows[each.key] for each in wanted if each.key in rows)])
                print(f"[{number} of {len(pending)}]", *rows[mutant.key].values(), sep="  ", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for module in given.modules:
        found = Counter(rows[mutant.key]["outcome"] for mutant in wanted if mutant.module == module)
        print(f"{module}:", ", ".join(f"{num} {outcome}" for outcome, num in sorted(found.items())))


def mutants(module: str) -> list[Mutant]:
    """The mutants of a module, one for each place and kind of change."""
    path = source_of(module)
    source = path.read_text()
    with tempfile.TemporaryDirectory() as folder:
        database = WorkDB(f"{folder}/work.sqlite", WorkDB.Mode.create)
        init([path], database, {})
        changes = [item.mutations[0] for item in database.work_items]
        database.close()
    chosen: dict[object, MutationSpec] = {}
    tree = ast.parse(source)
    annotations, operations = list(spans_of_annotations(tree)), list(spans_of_operations(tree))
    for change in changes:
        kind, _, others = change.operator_name.partition("_")
        is_excluded = is_in(change.start_pos, annotations) or bool(others and others not in OTHERS)
        # The star of an argument is not an operator.
        is_excluded |= kind.endswith("BinaryOperator") and not is_in(change.start_pos, operations)
        if not is_excluded:
            chosen.setdefault((kind, change.start_pos), change)
    found: list[Mutant] = []
    seen: Counter[tuple[str, str]] = Counter()
    lines = source.splitlines()
    for change in sorted(chosen.values(), key=lambda change: change.start_pos):
        operator = cosmic_ray.plugins.get_operator(change.operator_name)(**change.operator_args)
        changed = mutate_code(source, operator, change.occurrence)
        assert changed is not None
        line = change.start_pos[0]
        code, text = lines[line - 1].strip(), difference(lines, changed.splitlines())
        found.append(Mutant(module, line, code, text, seen[code, text], change))
        seen[code, text] += 1
    return found


def source_of(module: str) -> Path:
    """The file of a module, relative to the project's folder."""
    return Path("mlr_jax", f"{module}.py")


Place = tuple[int, int]


def spans_of_annotations(tree: ast.AST) -> Iterator[tuple[Place, Place]]:
    """The spans of type annotations."""
    for node in ast.walk(tree):
        for each in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if each is not None:
                yield (each.lineno, each.col_offset), (each.end_lineno, each.end_col_offset)


def spans_of_operations(tree: ast.AST) -> Iterator[tuple[Place, Place]]:
    """The spans between an operator's left and right operands."""
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(left=left, right=right) | ast.AugAssign(target=left, value=right):
                assert left.end_lineno is not None
                assert left.end_col_offset is not None
                yield (left.end_lineno, left.end_col_offset), (right.lineno, right.col_offset)


def is_in(place: Place, spans: Sequence[tuple[Place, Place]]) -> bool:
    """Whether one of the spans contains a place."""
    return any(start <= place < end for start, end in spans)


def difference(before: Sequence[str], after: Sequence[str]) -> str:
    """The changed lines, joined."""
    start = next((n for n, (one, other) in enumerate(zip(before, after, strict=False)) if one != other), 0)
    end = next(
        (
            n
            for n, (one, other) in enumerate(zip(before[::-1], after[::-1], strict=False))
            if one != other or len(after) - n <= start
        ),
        0,
    )
    return " ".join(each.strip() for each in after[start : len(after) - end])


def move_into_a_copy() -> None:
    """Copies the files that git tracks into a folder of this process, where it may change modules."""
    folder = BUILD / str(os.getpid())
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    # Paths of mutants and tests are relative. Mutants share a cache of compiled programs.
    os.chdir(folder)
    os.environ |= {
        "PYTHONPATH": str(folder),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "build" / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def tried(module: str, change: MutationSpec) -> str:
    """Returns `killed` or `survived`."""
    check_passes(module)
    result = mutate_and_test([change], shlex.join(command(module)), _TIMEOUT_SECONDS)
    return (result.test_outcome or result.worker_outcome).value


@functools.cache
def check_passes(module: str) -> None:
    """Checks that the tests pass without a mutant; otherwise all mutants would seem to be killed."""
    subprocess.run(command(module), check=True, stdout=subprocess.DEVNULL)


def command(module: str) -> list[str]:
    """The command that runs the tests of a module until one fails."""
    return [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *TESTS[module]]


def as_row(mutant: Mutant, outcome: str, why: str) -> dict[str, object]:
    """A row of the table."""
    return {
        "module": mutant.module,
        "line": mutant.line,
        "code": mutant.code,
        "mutant": mutant.text,
        "outcome": outcome,
        "why": why if outcome == "survived" else "",
    }


def read_table() -> dict[tuple[object, ...], dict[str, object]]:
    """The rows by their keys, which do not depend on the numbers of lines."""
    if not TABLE.exists():
        return {}
    rows: dict[tuple[object, ...], dict[str, object]] = {}
    seen: Counter[tuple[str, ...]] = Counter()
    with TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            key = row["module"], row["code"], row["mutant"]
            rows[*key, seen[key]] = dict(row)
            seen[key] += 1
    return rows


def write_table(rows: list[dict[str, object]]) -> None:
    """Writes the rows in the order of the modules and their lines."""
    order = list(TESTS)
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            sorted(rows, key=lambda row: (order.index(str(row["module"])), int(str(row["line"]))))
        )


if __name__ == "__main__":
    main()
