"""The page of results, which can publish one experiment again without the others."""

import json

import pytest

from experiments.reporting import results_page
from experiments.reporting.results_page import Column, Section
from mlr_jax.checks import InputError

SECTIONS = [
    Section("first", "How large?", "python first", ["a.png"], 120.0, {"method": Column("method")}),
    Section("second", "How fast?", "python second", [], None),
    Section("third", "How far?", "python third", [], None),
]


def write_run(folder, name, text, cores=2):
    (folder / name).mkdir(parents=True)
    (folder / name / "summary.csv").write_text(f"method\n{text}\n")
    (folder / name / "a.png").write_bytes(b"png")
    (folder / name / "secret.png").write_bytes(b"a face")
    device = {"kind": "cpu", "machine": "here", "cores": cores}
    versions = {"python": "3", "jax": "1", "mlr_jax": "2"}
    (folder / name / "config.json").write_text(json.dumps({"device": device, "versions": versions}))


@pytest.fixture
def public(tmp_path):
    """A folder where two of three runs are published."""
    write_run(tmp_path / "runs", "first", "ridge")
    write_run(tmp_path / "runs", "second", "lasso")
    results_page.publish(tmp_path / "runs", tmp_path / "public", "python all", SECTIONS)
    return tmp_path / "public"


def test_the_page_shows_exactly_the_experiments_that_ran(public):
    page = (public / "README.md").read_text()
    assert [question for question in ("How large?", "How fast?", "How far?") if question in page] == [
        "How large?",
        "How fast?",
    ]
    assert "The run took 2 minutes." in page
    assert "| ridge |" in page
    assert sorted(path.name for path in public.rglob("*.png")) == ["a.png"]


def test_publishing_one_experiment_keeps_the_others(public, tmp_path):
    write_run(tmp_path / "again", "second", "better", cores=16)
    write_run(tmp_path / "again", "third", "new")
    results_page.publish(tmp_path / "again", public, "python all", SECTIONS)
    page = (public / "README.md").read_text()
    assert page.index("How large?") < page.index("How fast?") < page.index("How far?")
    assert (public / "second" / "summary.csv").read_text() == "method\nbetter\n"
    # A part from another machine says so.
    assert page.count("Made on cpu (here, 16 cores)") == 1
    assert "Made on cpu (here, 2 cores), with python 3, jax 1, mlr_jax 2, unless it says otherwise." in page


def test_experiments_of_other_commands_are_rejected(public, tmp_path):
    other = [SECTIONS[0]._replace(command="python first --fast"), *SECTIONS[1:]]
    write_run(tmp_path / "again", "second", "better")
    with pytest.raises(InputError, match="was published from 'python first', not from 'python first --fast'"):
        results_page.publish(tmp_path / "again", public, "python all", other)
    assert (public / "second" / "summary.csv").read_text() == "method\nlasso\n"
    place = [SECTIONS[0]._replace(command="python first --data_dir=FOLDER"), *SECTIONS[1:]]
    results_page.publish(tmp_path / "again", public, "python all", place)
