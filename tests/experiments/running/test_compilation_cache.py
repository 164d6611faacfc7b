import os
import zlib
from pathlib import Path

import pytest

from experiments.running import compilation_cache
from tests.experiments import scripts


def run(*flags: str) -> dict[str, str]:
    """Runs a script that compiles one program; it must print the right result, and no errors."""
    done = scripts.run("tests.experiments.compiles", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    return _parsed(done.stdout)


def start(flags: list[str], environment: dict[str, str]) -> dict[str, str]:
    process = scripts.start("tests.experiments.compiles", *flags, environment=environment)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    return _parsed(output)


def _parsed(output: str) -> dict[str, str]:
    said = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert said["result"] == "7.0"
    return said


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*-cache"))


def test_the_next_script_loads_the_programs_of_the_last(tmp_path):
    flag = f"--compilation_cache={tmp_path / 'made' / 'if need be'}"
    first, second = run(flag), run(flag)
    assert int(first["cache_misses"]) > 0
    assert (second["cache_hits"], second["cache_misses"]) == (first["cache_misses"], "0")
    assert len(entries(tmp_path)) == int(first["cache_misses"])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace(path: Path) -> None:
    path.write_bytes(b"of another program")


def replace_inside(path: Path) -> None:
    path.write_bytes(zlib.compress(b"of another program"))


def forget_time(path: Path) -> None:
    """Simulates an end between two writes, after which JAX stores nothing more."""
    path.with_name(path.name.removesuffix("-cache") + "-atime").unlink()
    path.rename(path.with_name("jit_other-0-cache"))


@pytest.mark.parametrize("spoil", [cut, empty, replace, replace_inside, forget_time])
def test_damaged_entries_are_replaced_silently(tmp_path, spoil):
    flag = f"--compilation_cache={tmp_path}"
    first = run(flag)
    for path in entries(tmp_path):
        spoil(path)
    assert run(flag)["cache_hits"] == "0"
    run(flag)  # The last spoiler may cost one more program.
    assert run(flag)["cache_hits"] == first["cache_misses"]


def test_off_disables_the_cache(tmp_path):
    assert run("--compilation_cache=off")["folder"] == "None"
    said = start(["--compilation_cache=off"], {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)})
    assert said["folder"] == "None"
    assert not list(tmp_path.iterdir())


def test_scripts_run_without_an_unwritable_cache(tmp_path):
    path = tmp_path / "file"
    path.touch()
    assert run(f"--compilation_cache={path}")["folder"] == "None"


@pytest.mark.parametrize("has_jax_own", [False, True])
def test_variables_go_before_the_users_cache_folder(tmp_path, has_jax_own):
    unset = {compilation_cache.VARIABLE: "", "JAX_COMPILATION_CACHE_DIR": ""}
    home = {"XDG_CACHE_HOME": str(tmp_path / "user")}
    if has_jax_own:
        said = start([], unset | home | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax")})
        assert said["folder"] == str(tmp_path / "jax")
        assert not (tmp_path / "user").exists()
        both = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax")}
        both[compilation_cache.VARIABLE] = str(tmp_path / "variable")
        assert Path(start([], both)["folder"]).parent == tmp_path / "variable"
    elif os.name == "posix" and os.uname().sysname != "Darwin":
        said = start([], unset | home)
        assert Path(said["folder"]).parent == tmp_path / "user" / "mlr_jax" / "compiled"


def test_each_kind_of_machine_has_its_own_folder(tmp_path):
    text = "model name\t: A\ncpu MHz\t\t: {}\nflags\t\t: fpu {}\n\nmodel name\t: B\n"
    paths = [tmp_path / name for name in ("this", "later", "another")]
    for path, words in zip(
        paths, [("2000.1", "avx"), ("2400.5", "avx"), ("2000.1", "avx avx512f")], strict=True
    ):
        path.write_text(text.format(*words))
    this, later, another = (compilation_cache.kind_of_machine(str(path)) for path in paths)
    assert this == later != another
    assert compilation_cache.kind_of_machine(str(tmp_path / "none"))


def test_help_names_the_flag_and_the_variable():
    said = scripts.run("tests.experiments.compiles", "--help").stdout
    assert "--compilation_cache" in said
    assert compilation_cache.VARIABLE in said


def test_the_library_sets_no_compilation_cache():
    for path in (scripts.ROOT / "mlr_jax").rglob("*.py"):
        assert "compilation_cache" not in path.read_text()
