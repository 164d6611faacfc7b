import os
import zlib
from pathlib import Path

import pytest

from experiments.running import compilation_cache
from tests.experiments import scripts


def run(*flags: str) -> dict[str, str]:
    """What a script says that compiles one program: without any noise, and with the right result."""
    done = scripts.run("tests.experiments.compiles", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    return _said(done.stdout)


def start(flags: list[str], environment: dict[str, str]) -> dict[str, str]:
    process = scripts.start("tests.experiments.compiles", *flags, environment=environment)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    return _said(output)


def _said(output: str) -> dict[str, str]:
    said = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert said["result"] == "7.0"
    return said


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*-cache"))


def test_what_one_script_compiles_the_next_one_loads(tmp_path):
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
    """As where the process ended between two writes; JAX then cannot keep anything more."""
    path.with_name(path.name.removesuffix("-cache") + "-atime").unlink()
    path.rename(path.with_name("jit_other-0-cache"))


@pytest.mark.parametrize("spoil", [cut, empty, replace, replace_inside, forget_time])
def test_spoiled_entries_are_made_again_without_noise(tmp_path, spoil):
    flag = f"--compilation_cache={tmp_path}"
    first = run(flag)
    for path in entries(tmp_path):
        spoil(path)
    assert run(flag)["cache_hits"] == "0"
    run(flag)  # Of the last one, one more program may have been lost with the others.
    assert run(flag)["cache_hits"] == first["cache_misses"]


def test_off(tmp_path):
    assert run("--compilation_cache=off")["folder"] == "None"
    said = start(["--compilation_cache=off"], {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)})
    assert said["folder"] == "None"
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written_scripts_go_on_without(tmp_path):
    path = tmp_path / "file"
    path.touch()
    assert run(f"--compilation_cache={path}")["folder"] == "None"


@pytest.mark.parametrize("has_jax_own", [False, True])
def test_variables_and_the_user_s_cache_folder(tmp_path, has_jax_own):
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


def test_each_kind_of_machine_has_programs_of_its_own(tmp_path):
    text = "model name\t: A\ncpu MHz\t\t: {}\nflags\t\t: fpu {}\n\nmodel name\t: B\n"
    paths = [tmp_path / name for name in ("this", "later", "another")]
    for path, words in zip(
        paths, [("2000.1", "avx"), ("2400.5", "avx"), ("2000.1", "avx avx512f")], strict=True
    ):
        path.write_text(text.format(*words))
    this, later, another = (compilation_cache.kind_of_machine(str(path)) for path in paths)
    assert this == later != another
    assert compilation_cache.kind_of_machine(str(tmp_path / "none"))


def test_help_says_so():
    said = scripts.run("tests.experiments.compiles", "--help").stdout
    assert "--compilation_cache" in said
    assert compilation_cache.VARIABLE in said


def test_the_library_leaves_it_to_the_program_that_imports_it():
    for path in (scripts.ROOT / "mlr_jax").rglob("*.py"):
        assert "compilation_cache" not in path.read_text()
